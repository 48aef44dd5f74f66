// Learning rate and averages against their formulas at chosen points.
#include "trainer/schedule.h"

#include "tests/test.h"

static OptimConfig optim_config(const char *schedule) {
    OptimConfig optim = {
        .lr = 2e-3, .lr_final = 0.1, .warmup = 1000, .ema_halflife = {500, 4000}, .ema_ramp = 0.05};
    snprintf(optim.schedule, sizeof optim.schedule, "%s", schedule);
    return optim;
}

static void test_warmup_is_linear(void) {
    OptimConfig optim = optim_config("cosine");
    EXPECT_NEAR(schedule_lr(&optim, 0, 10000), 0, 0);
    EXPECT_NEAR(schedule_lr(&optim, 250, 10000), 0.5e-3, 1e-15);
    EXPECT_NEAR(schedule_lr(&optim, 1000, 10000), 2e-3, 1e-15);
}

static void test_cosine_ends_at_its_share(void) {
    OptimConfig optim = optim_config("cosine");
    EXPECT_NEAR(schedule_lr(&optim, 5500, 10000), 2e-3 * 0.55, 1e-15); // half way
    EXPECT_NEAR(schedule_lr(&optim, 10000, 10000), 2e-4, 1e-15);
    EXPECT_NEAR(schedule_lr(&optim, 20000, 10000), 2e-4, 1e-15); // beyond the end
}

static void test_constant_stays(void) {
    OptimConfig optim = optim_config("constant");
    EXPECT_NEAR(schedule_lr(&optim, 999999, 10000), 2e-3, 0);
}

// After a half-life of steps the average has gone half of the way.
static void test_average_goes_half_way_in_a_halflife(void) {
    OptimConfig optim = optim_config("cosine");
    optim.ema_ramp = 0;
    double left = 1;
    for (int step = 0; step < 10; ++step) left *= 1 - schedule_ema_rate(&optim, 0, 50 * step, 50);
    EXPECT_NEAR(left, 0.5, 1e-12);
}

static void test_ramp_limits_the_halflife(void) {
    OptimConfig optim = optim_config("cosine");
    EXPECT_NEAR(schedule_ema_rate(&optim, 1, 0, 100), 1, 0);          // begins at the weights
    EXPECT_NEAR(schedule_ema_rate(&optim, 1, 2000, 100), 0.5, 1e-15); // h = 0.05 * 2000
    EXPECT_NEAR(schedule_ema_rate(&optim, 1, 1000000, 400), 1 - exp2(-0.1), 1e-15);
}

// Published exponents; and the weight of each step is its number to the e-th power.
static void test_power_function(void) {
    EXPECT_NEAR(schedule_ema_exponent(0.05), 16.9722, 1e-4);
    EXPECT_NEAR(schedule_ema_exponent(0.10), 6.9372, 1e-4);
    EXPECT_NEAR(schedule_ema_exponent(sqrt(1 / 12.0)), 0, 1e-9);
    OptimConfig optim = optim_config("cosine");
    optim.ema_power[0] = 0.1;
    double e = schedule_ema_exponent(0.1), average = 123, square = 0;
    enum { STEPS = 20000 };
    for (int step = 1; step <= STEPS; ++step) { // of a ramp: the value of a step is its number
        double rate = schedule_ema_rate(&optim, 0, 50 * step, 50);
        if (step == 1) EXPECT_NEAR(rate, 1, 0);
        average += rate * (step - average);
        square += rate * ((double)step * step - square);
    }
    EXPECT_NEAR(average, (e + 1) / (e + 2) * STEPS + 0.5, 0.01);
    EXPECT_NEAR(sqrt(square - average * average) / STEPS, 0.1, 1e-4);
}

int main(void) {
    RUN(test_warmup_is_linear);
    RUN(test_cosine_ends_at_its_share);
    RUN(test_constant_stays);
    RUN(test_average_goes_half_way_in_a_halflife);
    RUN(test_ramp_limits_the_halflife);
    RUN(test_power_function);
    return test_report();
}
