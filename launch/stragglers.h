// Ranks that all others wait for, step after step: told once for a rank and cause, with where to
// look, and again when it is over.
#pragma once

#include "launch/metrics.h"

enum { STRAGGLER_RECORDS = 3 };

// Fills the rank that arrives last at the reduction, by how much over the median rank, and the
// cause of most of that. times [world][SLOW_CAUSES] are seconds of so many steps.
void stragglers_judge(const Comm *comm, const double *times, int64_t steps, MetricsRecord *record);

// Reads each record of metrics.jsonl. Slow is a rank whose excess over the median rank is more than
// 5 ms and a fifth of a step; it is told after STRAGGLER_RECORDS records in a row.
void stragglers_watch(const MetricsRecord *record, void (*warn)(const char *message));
