// The clock of Linux that no one sets, and its times as text.
#include "base/clock.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

double clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void clock_format(double seconds, char *out, size_t bytes) {
    enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };
    if (!(seconds >= 0 && seconds < 1e15)) {
        snprintf(out, bytes, "?");
        return;
    }
    int64_t s = llround(seconds);
    int64_t m = llround(seconds / MINUTE), h = llround(seconds / HOUR);
    if (seconds < 0.95)
        snprintf(out, bytes, "%.1f s", seconds);
    else if (s < MINUTE)
        snprintf(out, bytes, "%d s", (int)s);
    else if (s < HOUR)
        snprintf(out, bytes, "%d min %02d s", (int)(s / MINUTE), (int)(s % MINUTE));
    else if (m < DAY / MINUTE)
        snprintf(out, bytes, "%d h %02d min", (int)(m / 60), (int)(m % 60));
    else
        snprintf(out, bytes, "%lld d %d h", (long long)(h / 24), (int)(h % 24));
}
