// Monotonic time, and intervals.
#pragma once

#include <stddef.h>
#include <stdint.h>

double clock_now(void); // seconds, monotonic
// "4 s", "3 min 20 s", "2 h 05 min", "3 d 4 h": for people.
void clock_format(double seconds, char *out, size_t bytes);

// Every so many steps, or every so many seconds of wall time; both 0: never.
typedef struct {
    int64_t steps;
    double seconds;
} Interval;
