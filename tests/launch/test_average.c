// Power-function averages of any width after training, against averages that were kept all along.
#include "launch/average.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "tests/test.h"
#include "trainer/schedule.h"

enum { STEPS = 4000, SNAPSHOTS = 20 };

// A walk with a drift, as weights go.
static double walk(int step) {
    static double at[STEPS + 1];
    static int known = 0;
    while (known < step) {
        uint32_t bits[4];
        rng_block(rng_key(5, RNG_DATA, 0), (uint64_t)++known, 0, bits);
        at[known] = at[known - 1] + 0.01 + (double)rng_normal(bits[0]);
    }
    return at[step];
}

// The average of a width, at the snapshots.
static void track(double width, double kept[SNAPSHOTS]) {
    OptimConfig optim = {.ema_power = {width}};
    double average = 0;
    for (int step = 1; step <= STEPS; ++step) {
        average += schedule_ema_rate(&optim, 0, step, 1) * (walk(step) - average);
        if (step % (STEPS / SNAPSHOTS) == 0) kept[step / (STEPS / SNAPSHOTS) - 1] = average;
    }
}

static void fill_profiles(Profile profile[2 * SNAPSHOTS]) {
    for (int i = 0; i < 2 * SNAPSHOTS; ++i)
        profile[i] = (Profile){(i / 2 + 1) * (double)(STEPS / SNAPSHOTS),
                               schedule_ema_exponent(i % 2 == 0 ? 0.05 : 0.1)};
}

static void test_any_width_after_training(void) {
    static const struct {
        double width, left, error;
    } cases[] = {{0.06, 0.01, 0.1}, {0.075, 0.02, 0.2}, {0.15, 0.02, 0.2},
                 {0.2, 0.03, 0.3},  {0.03, 0.06, 0.6},  {0.25, 0.06, 0.8}};
    double narrow[SNAPSHOTS], wide[SNAPSHOTS], direct[SNAPSHOTS], weight[2 * SNAPSHOTS];
    Profile profile[2 * SNAPSHOTS];
    fill_profiles(profile);
    track(0.05, narrow), track(0.1, wide);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) {
        Profile goal = {STEPS, schedule_ema_exponent(cases[k].width)};
        double left = average_mix(profile, 2 * SNAPSHOTS, goal, weight), mixed = 0, sum = 0;
        for (int i = 0; i < 2 * SNAPSHOTS; ++i) {
            mixed += weight[i] * (i % 2 == 0 ? narrow : wide)[i / 2];
            sum += weight[i];
        }
        track(cases[k].width, direct);
        printf("width %g: %.4f of the norm left, %.4f for %.4f\n", cases[k].width, left, mixed,
               direct[SNAPSHOTS - 1]);
        EXPECT(left < cases[k].left);
        EXPECT_NEAR(sum, 1, 1e-12);
        EXPECT_NEAR(mixed, direct[SNAPSHOTS - 1], cases[k].error);
    }
}

// What was kept is found again, and nothing else.
static void test_a_width_that_was_kept(void) {
    double weight[2 * SNAPSHOTS];
    Profile profile[2 * SNAPSHOTS];
    fill_profiles(profile);
    EXPECT(average_mix(profile, 2 * SNAPSHOTS, profile[2 * SNAPSHOTS - 1], weight) < 1e-5);
    for (int i = 0; i < 2 * SNAPSHOTS; ++i) EXPECT_NEAR(weight[i], i == 2 * SNAPSHOTS - 1, 1e-3);
}

// One average at one time is off by the angle between two power functions, in closed form: of s^a
// and s^b up to the same time, cos^2 = (2a + 1)(2b + 1)/(a + b + 1)^2.
static void test_what_is_left(void) {
    Profile one = {1000, 7}, goal = {1000, 17};
    double weight, square = 15.0 * 35 / (25 * 25);
    EXPECT_NEAR(average_mix(&one, 1, goal, &weight), sqrt(1 - square), 1e-6);
    EXPECT_NEAR(weight, 1, 1e-12);
    // At another time: s^7 up to 500 within s^17 up to 1000.
    one.samples = 500;
    square = 15.0 * 35 / (25 * 25) * pow(0.5, 35);
    EXPECT_NEAR(average_mix(&one, 1, goal, &weight), sqrt(1 - square), 1e-6);
}

int main(void) {
    RUN(test_any_width_after_training);
    RUN(test_a_width_that_was_kept);
    RUN(test_what_is_left);
    return test_report();
}
