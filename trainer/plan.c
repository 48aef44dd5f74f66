// The memory plan behind trainer/plan.h.
#include "trainer/plan.h"

#include <stdio.h>
#include <string.h>

void plan_add(Plan *plan, const char *purpose, size_t bytes, int count) {
    REQUIRE(plan->rows < PLAN_ROWS_MOST);
    if (bytes == 0 || count == 0) return;
    plan->row[plan->rows++] = (PlanRow){purpose, bytes, count};
}

size_t plan_total(const Plan *plan) {
    size_t total = 0;
    for (int i = 0; i < plan->rows; ++i) total += plan->row[i].bytes * (size_t)plan->row[i].count;
    return total;
}

void plan_format(const Plan *plan, char *out, size_t bytes) {
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < plan->rows && used < bytes; ++i) {
        double mb = (double)plan->row[i].bytes * plan->row[i].count / 1e6;
        used += (size_t)snprintf(out + used, bytes - used, "%s %.1f + ", plan->row[i].purpose, mb);
    }
    if (used < 3 || used >= bytes) return;
    snprintf(out + used - 3, bytes - used + 3, " = %.1f MB", (double)plan_total(plan) / 1e6);
}
