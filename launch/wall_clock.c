// Clocks of Linux; the start of the process comes from /proc.
#include "launch/wall_clock.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static double clock_read(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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
