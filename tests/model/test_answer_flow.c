// Flow matching on N(0,s^2), where the best answer is linear: its least loss, the spread that its
// solvers end with, the bound.
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

static Process *open_process(const char *schedule, const char *head) {
    ProcessConfig config = {.name = "flow", .steps = 1000};
    snprintf(config.schedule, sizeof config.schedule, "%s", schedule);
    snprintf(config.head, sizeof config.head, "%s", head);
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

static void test_points_and_rates(void) {
    static const char *const schedules[] = {"linear", "gvp"};
    for (int k = 0; k < 2; ++k) {
        Process *process = open_process(schedules[k], "v");
        for (double t = 0.02; t < 1; t += 0.03) {
            GaussianPoint at = gaussian_point(process, t), up = gaussian_point(process, t + 1e-6),
                          down = gaussian_point(process, t - 1e-6);
            EXPECT_NEAR(sqrt(at.keep), k == 0 ? 1 - t : cos(M_PI_2 * t), 1e-14);
            EXPECT_NEAR(sqrt(at.noise), k == 0 ? t : sin(M_PI_2 * t), 1e-14);
            EXPECT_NEAR(at.keep_rate, (sqrt(up.keep) - sqrt(down.keep)) / 2e-6, 1e-8);
            EXPECT_NEAR(at.noise_rate, (sqrt(up.noise) - sqrt(down.noise)) / 2e-6, 1e-8);
        }
        process_close(process);
    }
    ProcessConfig config = {.name = "flow", .steps = 10, .schedule = "gvp", .head = "velocity"};
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "with gvp choose v");
}

// Whatever is predicted, its target gives x_0 back, and the velocity that of the flow.
static void test_heads(void) {
    static const char *const heads[] = {"velocity", "v", "x0", "eps"};
    for (int k = 0; k < 4; ++k) {
        Process *process = open_process("linear", heads[k]);
        for (double t = 0.002; t < 1; t += 0.037) {
            GaussianNumbers n = gaussian_numbers(process, t);
            double x_0 = 0.7, eps = -1.3, x_t = n.keep * x_0 + n.noise * eps;
            double out = n.target_x0 * x_0 + n.target_eps * eps, by_x, by_out;
            EXPECT_NEAR(n.hat_x * x_t + n.hat_out * out, x_0, 1e-12);
            process_flow_slope(process, t, &by_x, &by_out);
            EXPECT_NEAR(by_x * x_t + by_out * out, eps - x_0, 1e-9);
        }
        process_close(process);
    }
}

// The mean over t of what the best network leaves: s pi/2 a number.
static void test_least_loss(void) {
    enum { POINTS = 20000 };
    Process *process = open_process("linear", "velocity");
    for (double s = 0.5; s <= 1; s += 0.5) {
        double loss = 0;
        for (int i = 0; i < POINTS; ++i) {
            double t = (i + 0.5) / POINTS;
            GaussianNumbers n = {.keep = 1 - t, .noise = t};
            gaussian_set_head("velocity", &n);
            loss += best_error(process, t, s) / (n.hat_out * n.hat_out);
        }
        EXPECT_NEAR(loss / POINTS, s * M_PI_2, 1e-6);
    }
    process_close(process);
}

// From N(0,1) in even steps to 0, each by Euler (which is DDIM's step) or by Heun.
static double spread(const Process *process, int n, bool heun, double s) {
    double x = 1;
    for (int i = 0; i < n; ++i) {
        double t = 1 - (double)i / n, to = i + 1 < n ? 1 - (i + 1.0) / n : 0, keep, ignored;
        double gain = best_gain(process, t, s), end = fmax(to, 1e-7); // the slope has a limit at 0
        if (!heun) {
            GaussianStep step = gaussian_step(process, &(SamplerConfig){.solver = "ddim"}, t, to);
            x *= step.by_x + step.by_x0 * gain;
            continue;
        }
        GaussianStep half = gaussian_half(process, t, t, to, &keep);
        GaussianStep again = gaussian_half(process, end, t, to, &ignored);
        double change = half.by_x + half.by_x0 * gain, there = (keep + 2 * change) * x;
        x = (keep + change) * x + (again.by_x + again.by_x0 * best_gain(process, end, s)) * there;
    }
    return x;
}

static void test_spread_of_solvers(void) {
    static const int counts[4] = {10, 50, 100, 250};
    static const double euler[4] = {0.430783, 0.485397, 0.492645, 0.497045},
                        heun[4] = {0.501720, 0.500089, 0.500023, 0.500004};
    Process *process = open_process("linear", "velocity");
    for (int i = 0; i < 4; ++i) {
        EXPECT_NEAR(spread(process, counts[i], false, 0.5), euler[i], 6e-7);
        EXPECT_NEAR(spread(process, counts[i], true, 0.5), heun[i], 2e-6);
    }
    process_close(process);
}

static void test_samplers_draw_the_data(void) {
    static const struct {
        const char *schedule, *solver;
        int steps;
        float lambda;
    } cases[] = {{"linear", "heun", 41, 0},  {"linear", "ddim", 100, 0}, {"linear", "em", 400, 0},
                 {"linear", "em", 200, 0.5}, {"linear", "em", 200, 1},   {"linear", "pc", 401, 0},
                 {"linear", "ddpm", 200, 0}, {"gvp", "heun", 41, 0},     {"gvp", "em", 400, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        ProcessConfig config = {.name = "flow", .steps = 1000, .head = "v"};
        SamplerConfig sampler = {
            .steps = cases[i].steps, .guidance = 1, .snr = 0.16f, .lambda = cases[i].lambda};
        snprintf(config.schedule, sizeof config.schedule, "%s", cases[i].schedule);
        snprintf(sampler.solver, sizeof sampler.solver, "%s", cases[i].solver);
        EXPECT_NEAR(drawn_spread(&config, &sampler, 0.5), 0.5, 0.5 * (spread_noise + 0.03));
    }
}

static void test_bound_is_the_entropy(void) {
    static const char *const schedules[] = {"linear", "gvp"};
    for (int k = 0; k < 2; ++k) {
        Process *process = open_process(schedules[k], "v");
        EXPECT_NEAR(best_bound(process, 1), 2.047096, 1e-3);
        EXPECT_NEAR(best_bound(process, 0.5), 1.047096, 1e-3);
        process_close(process);
    }
}

int main(void) {
    RUN(test_points_and_rates);
    RUN(test_heads);
    RUN(test_least_loss);
    RUN(test_spread_of_solvers);
    RUN(test_samplers_draw_the_data);
    RUN(test_bound_is_the_entropy);
    return test_report();
}
