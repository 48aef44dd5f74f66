// Clocks of Linux; the start of the process comes from /proc.
#include "base/clock.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double clock_read(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double clock_now(void) {
    return clock_read(CLOCK_MONOTONIC);
}

double clock_wall(void) {
    return clock_read(CLOCK_REALTIME);
}

// Seconds from boot to the start of this process (field 22 of /proc/self/stat), or -1.
static double start_after_boot(void) {
    unsigned long long ticks = 0;
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL) return -1;
    int fields = fscanf(file,
                        "%*d (%*[^)]) %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                        " %*s %*s %*s %*s %llu",
                        &ticks);
    fclose(file);
    return fields == 1 ? (double)ticks / (double)sysconf(_SC_CLK_TCK) : -1;
}

double clock_process_start(void) {
    double start = start_after_boot(), now = clock_now();
    return start < 0 ? now : now - fmax(clock_read(CLOCK_BOOTTIME) - start, 0);
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
