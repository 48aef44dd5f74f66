// All device and host memory of a run, computed from sizes before anything is taken: one list of
// named amounts that is both printed and allocated.
#ifndef TRAINER_PLAN_H
#define TRAINER_PLAN_H

#include <stdint.h>

#include "model/backend.h"

enum { PLAN_ROWS_MOST = 24 };

typedef struct {
    const char *purpose; // string literal
    size_t bytes;        // each
    int count;
} PlanRow;

typedef struct {
    PlanRow row[PLAN_ROWS_MOST];
    int rows;
} Plan;

void plan_add(Plan *plan, const char *purpose, size_t bytes, int count);
size_t plan_total(const Plan *plan);
// "weights 12.1 MB + optimizer 48.4 MB + ... = 310 MB"
void plan_format(const Plan *plan, char *out, size_t bytes);

#endif
