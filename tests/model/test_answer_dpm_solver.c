// DPM-Solver++ on N(0,s^2), where the best denoiser is linear and the flow has a closed form:
// orders of convergence, and the spread that every solver draws.
#include <stdio.h>

#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

enum { STEPS_MOST = 160 };
static const double s = 0.5;

static Process *open_process(void) {
    ProcessConfig config = {.name = "score-sde", .steps = 1000, .schedule = "vp"};
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

// The exact flow keeps x in the ratio of the deviation of x_t.
static double deviation(const Process *process, double t) {
    GaussianPoint at = gaussian_point(process, t);
    return sqrt(at.keep * s * s + at.noise);
}

static double lambda(const Process *process, double t) {
    GaussianPoint at = gaussian_point(process, t);
    return 0.5 * log(at.keep / at.noise);
}

static double time_of(const Process *process, double wanted) {
    double low = 1e-3, high = 1;
    for (int i = 0; i < 80; ++i) {
        double middle = 0.5 * (low + high);
        if (lambda(process, middle) > wanted)
            low = middle;
        else
            high = middle;
    }
    return high;
}

// Relative error of n steps even in lambda from t = 1 to 1e-3. exact: the first two evaluations,
// and where they lead, are those of the exact solution.
static double error_of(const char *solver, int n, bool exact) {
    Process *process = open_process();
    double time[STEPS_MOST + 1], hat[STEPS_MOST + 1], x = 1;
    double first = lambda(process, 1), last = lambda(process, 1e-3);
    for (int i = 0; i <= n; ++i)
        time[i] = i == 0 ? 1 : i == n ? 1e-3 : time_of(process, first + (last - first) * i / n);
    for (int i = 0; i < n; ++i) {
        double back[3] = {time[i], i > 0 ? time[i - 1] : 0, i > 1 ? time[i - 2] : 0};
        if (exact && i < 3) x = deviation(process, time[i]) / deviation(process, 1);
        hat[i] = best_gain(process, time[i], s) * x;
        GaussianMultistep step =
            gaussian_multistep(process, solver, back, i < 2 ? i + 1 : 3, time[i + 1]);
        EXPECT_NEAR(step.std, 0, 0);
        x *= step.by_x;
        for (int k = 0; k < 3 && k <= i; ++k) x += step.by_x0[k] * hat[i - k];
    }
    double right = deviation(process, 1e-3) / deviation(process, 1);
    process_close(process);
    return fabs(x / right - 1);
}

static const int counts[5] = {10, 20, 40, 80, 160};

static void expect_errors(const char *solver, bool exact, const double expected[5], double order) {
    double found[5];
    for (int i = 0; i < 5; ++i) {
        found[i] = error_of(solver, counts[i], exact);
        EXPECT_NEAR(found[i], expected[i], 0.01 * expected[i]);
    }
    double measured = log2(found[3] / found[4]);
    EXPECT(measured > order);
    printf("  %s: order %.2f\n", solver, measured);
}

static void test_second_order(void) {
    expect_errors("dpm-2m", false, (double[]){3.27e-2, 1.30e-2, 3.51e-3, 8.90e-4, 2.23e-4}, 1.95);
}

static void test_third_order(void) {
    expect_errors("dpm-3m", true, (double[]){5.38e-2, 2.85e-3, 1.81e-4, 1.14e-5, 7.38e-7}, 3);
}

// With nothing known, it is DDIM; and from one time to the next with the exact answer it keeps the
// marginal.
static void test_first_step_is_ddim(void) {
    Process *process = open_process();
    SamplerConfig config = {.solver = "ddim"};
    static const double pairs[][2] = {{1, 0.5}, {0.3, 0.299}, {0.01, 0.001}};
    for (int i = 0; i < 3; ++i) {
        double t = pairs[i][0], to = pairs[i][1];
        GaussianStep ddim = gaussian_step(process, &config, t, to);
        static const char *const solvers[] = {"dpm-2m", "dpm-3m"};
        for (int k = 0; k < 2; ++k) {
            GaussianMultistep step = gaussian_multistep(process, solvers[k], &t, 1, to);
            EXPECT_NEAR(step.by_x, ddim.by_x, 1e-12);
            EXPECT_NEAR(step.by_x0[0], ddim.by_x0, 1e-12);
            EXPECT_NEAR(step.by_x0[1], 0, 0);
        }
        GaussianPoint at = gaussian_point(process, t), end = gaussian_point(process, to);
        GaussianMultistep sde = gaussian_multistep(process, "dpm-sde", &t, 1, to);
        EXPECT_NEAR(sde.by_x * sqrt(at.keep) + sde.by_x0[0], sqrt(end.keep), 1e-12);
        EXPECT_NEAR(sde.by_x * sde.by_x * at.noise + sde.std * sde.std, end.noise, 1e-12);
    }
    process_close(process);
}

// Every weight of an x0_hat that does not change is that of the first order.
static void test_history_of_one_value(void) {
    Process *process = open_process();
    static const char *const solvers[] = {"dpm-2m", "dpm-3m", "dpm-sde"};
    double time[3] = {0.4, 0.55, 0.8};
    for (int k = 0; k < 3; ++k) {
        GaussianMultistep alone = gaussian_multistep(process, solvers[k], time, 1, 0.2);
        for (int known = 2; known <= 3; ++known) {
            GaussianMultistep step = gaussian_multistep(process, solvers[k], time, known, 0.2);
            EXPECT_NEAR(step.by_x0[0] + step.by_x0[1] + step.by_x0[2], alone.by_x0[0], 1e-12);
            EXPECT_NEAR(step.by_x, alone.by_x, 0);
        }
    }
    process_close(process);
}

// Through the operations, of continuous and of discrete time.
static void test_samplers_draw_the_data(void) {
    static const char *const names[] = {"score-sde", "ddpm", "flow", "edm"}, *const solvers[] = {
                                                                                 "dpm-2m", "dpm-3m",
                                                                                 "dpm-sde"};
    for (int i = 0; i < 4; ++i)
        for (int k = 0; k < 3; ++k) {
            ProcessConfig config = {.steps = 1000};
            SamplerConfig sampler = {.steps = k < 2 ? 40 : 80, .guidance = 1};
            snprintf(config.name, sizeof config.name, "%s", names[i]);
            snprintf(sampler.solver, sizeof sampler.solver, "%s", solvers[k]);
            printf("  %s %s\n", names[i], solvers[k]);
            EXPECT_NEAR(drawn_spread(&config, &sampler, s), s, s * (spread_noise + 0.02));
        }
}

int main(void) {
    RUN(test_second_order);
    RUN(test_third_order);
    RUN(test_first_step_is_ddim);
    RUN(test_history_of_one_value);
    RUN(test_samplers_draw_the_data);
    return test_report();
}
