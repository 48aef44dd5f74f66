// Times for people, and that the clock goes forward.
#include "base/clock.h"
#include "tests/test.h"

static const char *format(double seconds) {
    static char out[32];
    clock_format(seconds, out, sizeof out);
    return out;
}

static void test_format(void) {
    EXPECT_TEXT(format(0), "0.0 s");
    EXPECT_TEXT(format(0.31), "0.3 s");
    EXPECT_TEXT(format(0.96), "1 s");
    EXPECT_TEXT(format(4), "4 s");
    EXPECT_TEXT(format(59.4), "59 s");
    EXPECT_TEXT(format(59.7), "1 min 00 s");
    EXPECT_TEXT(format(200), "3 min 20 s");
    EXPECT_TEXT(format(3599.4), "59 min 59 s");
    EXPECT_TEXT(format(3599.6), "1 h 00 min");
    EXPECT_TEXT(format(7500), "2 h 05 min");
    EXPECT_TEXT(format(86369), "23 h 59 min");
    EXPECT_TEXT(format(86399), "1 d 0 h");
    EXPECT_TEXT(format(76 * 3600), "3 d 4 h");
    EXPECT_TEXT(format(1e9), "11574 d 2 h");
    EXPECT_TEXT(format(-1), "?");
    EXPECT_TEXT(format(NAN), "?");
    EXPECT_TEXT(format(INFINITY), "?");
    char small[4];
    clock_format(7500, small, sizeof small);
    EXPECT_TEXT(small, "2 h");
}

static void test_now(void) {
    double before = clock_now();
    usleep(20000);
    double passed = clock_now() - before;
    EXPECT(passed >= 0.02 && passed < 5);
}

int main(void) {
    RUN(test_format);
    RUN(test_now);
    return test_report();
}
