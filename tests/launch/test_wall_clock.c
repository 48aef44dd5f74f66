// The time of day goes as the clock does, and the start of the process is where it was.
#include "base/clock.h"
#include "launch/wall_clock.h"
#include "tests/test.h"

static void test_wall(void) {
    double before = clock_now(), wall = clock_wall();
    usleep(20000);
    EXPECT_NEAR(clock_wall() - wall, clock_now() - before, 1);
    EXPECT(wall > 1.6e9);
}

// The start is that of the process, whenever it is asked.
static void test_process_start(void) {
    double start = clock_process_start();
    double age = clock_now() - start;
    EXPECT(age > 0.019 && age < 60); // test_wall slept for 20 ms; the kernel counts in 10 ms
    usleep(50000);
    EXPECT_NEAR(clock_process_start(), start, 0.02);
}

int main(void) {
    RUN(test_wall);
    RUN(test_process_start);
    return test_report();
}
