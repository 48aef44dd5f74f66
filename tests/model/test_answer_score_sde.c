// Score SDEs against closed forms on N(0,s^2), where the best answer is linear: schedules and their
// rates, the likelihood of the probability flow, the spread that samplers end with, the bound.
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

static const char *const schedules[] = {"vp", "sub-vp", "ve"};

static ProcessConfig config_of(const char *schedule) {
    ProcessConfig config = {.name = "score-sde", .steps = 1000};
    snprintf(config.schedule, sizeof config.schedule, "%s", schedule);
    return config;
}

static Process *open_process(const char *schedule) {
    ProcessConfig config = config_of(schedule);
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

// ---- numbers ----------------------------------------------------------------------------------

static void test_schedules(void) {
    for (int k = 0; k < 3; ++k) {
        Process *process = open_process(schedules[k]);
        for (double t = 0.02; t < 1; t += 0.03) {
            GaussianPoint at = gaussian_point(process, t);
            double c = -t * t * 19.9 / 4 - t * 0.05, sigma = 0.01 * pow(5000, t), h = 1e-5;
            double keep = k < 2 ? exp(2 * c) : 1 / (1 + sigma * sigma);
            double noise = k == 0   ? 1 - exp(2 * c)
                           : k == 1 ? (1 - exp(2 * c)) * (1 - exp(2 * c))
                                    : sigma * sigma / (1 + sigma * sigma);
            EXPECT_NEAR(at.keep, keep, 1e-14);
            EXPECT_NEAR(at.noise, noise, 1e-13);
            GaussianPoint up = gaussian_point(process, t + h),
                          down = gaussian_point(process, t - h);
            EXPECT_NEAR(at.keep_rate, (sqrt(up.keep) - sqrt(down.keep)) / (2 * h), 1e-7);
            EXPECT_NEAR(at.noise_rate, (sqrt(up.noise) - sqrt(down.noise)) / (2 * h), 1e-7);
        }
        process_close(process);
    }
}

// What each head's target says gives x_0 back, also where the squares of a point do not add up
// to 1.
static void test_heads(void) {
    static const char *const heads[] = {"eps", "x0", "v"};
    for (int k = 0; k < 9; ++k) {
        ProcessConfig config = config_of(schedules[k / 3]);
        snprintf(config.head, sizeof config.head, "%s", heads[k % 3]);
        NetworkShape shape = shape_vector(3);
        Process *process;
        EXPECT_OK(process_open(&config, &shape, &process));
        for (double t = 0.001; t < 1; t += 0.037) {
            GaussianNumbers n = gaussian_numbers(process, t);
            double x_t = n.keep * 0.7 - n.noise * 1.3, out = n.target_x0 * 0.7 - n.target_eps * 1.3;
            EXPECT_NEAR(n.hat_x * x_t + n.hat_out * out, 0.7, 1e-10);
        }
        process_close(process);
    }
}

// One step of the exact posterior, composed or not, reproduces the marginal at s.
static void test_ancestral_step_is_the_posterior(void) {
    SamplerConfig config = {.solver = "ddpm"};
    for (int k = 0; k < 3; ++k) {
        Process *process = open_process(schedules[k]);
        static const double pairs[][2] = {{1, 0.5}, {0.3, 0.299}, {0.01, 0.001}};
        for (int i = 0; i < 3; ++i) {
            double t = pairs[i][0], s = pairs[i][1];
            GaussianStep step = gaussian_step(process, &config, t, s);
            GaussianPoint at = gaussian_point(process, t), to = gaussian_point(process, s);
            EXPECT_NEAR(step.by_x * sqrt(at.keep) + step.by_x0, sqrt(to.keep), 1e-12);
            EXPECT_NEAR(step.by_x * step.by_x * at.noise + step.std * step.std, to.noise, 1e-12);
        }
        process_close(process);
    }
}

// The weight of the likelihood loss is g^2/sigma^2: for VP beta/(1 - e^-B).
static void test_likelihood_weight(void) {
    ProcessConfig config = config_of("vp");
    snprintf(config.loss, sizeof config.loss, "likelihood");
    NetworkShape shape = shape_vector(2);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    for (double t = 0.01; t < 1; t += 0.1) {
        double beta = 0.1 + 19.9 * t, big = 0.5 * t * t * 19.9 + 0.1 * t;
        EXPECT_NEAR(gaussian_numbers(process, t).weight, beta / -expm1(-big), 1e-9 * beta / big);
    }
    process_close(process);
    snprintf(config.head, sizeof config.head, "v");
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "process.head: eps");
}

// ---- probability flow -------------------------------------------------------------------------

// d log of x's factor /dt, which is the divergence too.
static double flow(const Process *process, double t, double s) {
    GaussianStep slope = gaussian_slope(process, t);
    return slope.by_x + slope.by_x0 * best_gain(process, t, s);
}

// log-likelihood in nats of x given at t = 1e-5, by RK4 in `steps` uniform steps; the flow is
// linear, so that position and divergence have the same integral.
static double flow_likelihood(const Process *process, double x, double s, int steps) {
    double begin = 1e-5, h = (1 - begin) / steps, sum = 0;
    for (int i = 0; i < steps; ++i) {
        double t = begin + i * h;
        double k_1 = flow(process, t, s), k_2 = flow(process, t + h / 2, s) * (1 + h / 2 * k_1);
        double k_3 = flow(process, t + h / 2, s) * (1 + h / 2 * k_2);
        double k_4 = flow(process, t + h, s) * (1 + h * k_3);
        sum += h / 6 *
               (flow(process, t, s) + 4 * flow(process, t + h / 2, s) + flow(process, t + h, s));
        x *= 1 + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4);
    }
    return -0.5 * log(2 * M_PI) - 0.5 * x * x + sum;
}

static void test_likelihood_of_the_flow(void) {
    Process *process = open_process("vp");
    EXPECT_NEAR(flow_likelihood(process, 0.7, 0.5, 4000), -1.205774, 1e-6);
    EXPECT_NEAR(flow_likelihood(process, 0.7, 0.5, 50), -1.205775, 2e-6);
    process_close(process);
}

// ---- samplers ---------------------------------------------------------------------------------

// Euler and Maruyama from N(0,1) on N points t = 1..1e-3 with steps of 1/N, noise kept on the last.
// Numbers of a step are linear in its length, so that one of 1e-4 tells those of 1/N.
static double em_std(int n, double s) {
    Process *process = open_process("vp");
    SamplerConfig config = {.solver = "em"};
    double variance = 1, h = 1e-4, longer = 1 / (n * h);
    for (int i = 0; i < n; ++i) {
        double t = 1 + (double)i / (n - 1) * (1e-3 - 1);
        GaussianStep step = gaussian_step(process, &config, t, t - h);
        double factor = 1 + longer * (step.by_x - 1 + step.by_x0 * best_gain(process, t, s));
        variance = factor * factor * variance + longer * step.std * step.std;
    }
    process_close(process);
    return sqrt(variance);
}

static void test_euler_reaches_published_spread(void) {
    EXPECT_NEAR(em_std(100, 0.5), 0.50419, 6e-6);
    EXPECT_NEAR(em_std(1000, 0.5), 0.50035, 6e-6);
}

// Root of the mean square of x_t, and what the best network would leave of it at a time.
static double spread_of(ProcessCase *c, int64_t n) {
    static float x[12800];
    double squares = 0;
    case_download(c, x, c->pass.x_t, sizeof x);
    for (int64_t i = 0; i < n; ++i) squares += (double)x[i] * (double)x[i] / (double)n;
    return sqrt(squares);
}

// Every solver on every SDE with the best network, through the operations: the spread half-way and
// at the end, in any number of dimensions.
static void check_sampler(const char *schedule, const char *solver, int dims, int steps,
                          double tolerance) {
    enum { N = 12800 };
    ProcessConfig config = config_of(schedule);
    SamplerConfig sampler_config = {.steps = steps, .guidance = 1, .snr = 0.16f};
    snprintf(sampler_config.solver, sizeof sampler_config.solver, "%s", solver);
    ProcessCase c;
    Sampler *sampler;
    int draws = N / dims;
    process_case_open(&c, "late", &config, shape_vector(dims), draws);
    EXPECT_OK(sampler_open(c.process, &sampler_config, &sampler));
    case_number_samples(&c, 100, draws);
    sampler_begin(sampler, c.stream, &c.pass, draws, 3);
    double s = 0.5, noise = 5 * sqrt(0.5 / N); // relative: false alarms at 6e-7
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        double t = sampler_time(sampler, i);
        if (i == sampler_steps(sampler) / 4 * 2) { // between whole steps
            GaussianPoint at = gaussian_point(c.process, t);
            double spread = sqrt(at.keep * s * s + at.noise);
            EXPECT_NEAR(spread_of(&c, N), spread, spread * (noise + tolerance));
        }
        GaussianNumbers n = gaussian_numbers(c.process, t);
        double out = (best_gain(c.process, t, s) - n.hat_x) / n.hat_out;
        axpby(c.stream, (Elementwise){.x = c.pass.x_t, .y = c.pass.out, .n = N, .a = (float)out});
        sampler_advance(sampler, c.stream, &c.pass, draws, i, 3);
    }
    EXPECT_NEAR(spread_of(&c, N), s, s * (noise + tolerance));
    sampler_close(sampler);
    process_case_close(&c);
}

static void test_samplers_draw_the_data(void) {
    for (int k = 0; k < 3; ++k) {
        check_sampler(schedules[k], "em", 64, 400, 0.03);
        check_sampler(schedules[k], "pc", 64, 401, 0.04);
        check_sampler(schedules[k], "heun", 64, 101, 0.01);
        check_sampler(schedules[k], "ddim", 64, 100, 0.02);
        check_sampler(schedules[k], "ddpm", 64, 100, 0.05);
    }
    check_sampler("vp", "pc", 2, 401, 0.04);
}

static void test_plans(void) {
    Process *process = open_process("vp");
    static const struct {
        const char *solver;
        int steps, planned;
    } cases[] = {{"em", 10, 10}, {"pc", 10, 9}, {"heun", 11, 11}, {"ddim", 1, 1}, {"pc", 2, 1}};
    for (int i = 0; i < 5; ++i) {
        SamplerConfig config = {.steps = cases[i].steps, .guidance = 1};
        snprintf(config.solver, sizeof config.solver, "%s", cases[i].solver);
        Sampler *sampler;
        EXPECT_OK(sampler_open(process, &config, &sampler));
        int n = sampler_steps(sampler);
        EXPECT_EQ(n, cases[i].planned);
        EXPECT_NEAR(sampler_time(sampler, 0), 1, 0);
        EXPECT_NEAR(sampler_time(sampler, n - 1), n > 1 ? 1e-3 : 1, 1e-15);
        EXPECT_NEAR(sampler->step[n - 1].to, 0, 0);
        for (int k = 1; k < n; ++k) EXPECT(sampler->step[k].time <= sampler->step[k - 1].time);
        sampler_close(sampler);
    }
    process_close(process);
}

// ---- bound ------------------------------------------------------------------------------------

// The entropy, and for VE what its start of width sigma_1 costs.
static void test_bound_is_the_entropy(void) {
    for (int k = 0; k < 3; ++k) {
        Process *process = open_process(schedules[k]);
        EXPECT_NEAR(best_bound(process, 1), 2.047096, 1e-3);
        EXPECT_NEAR(best_bound(process, 0.5), 1.047096, 1e-3);
        process_close(process);
    }
}

int main(void) {
    RUN(test_schedules);
    RUN(test_heads);
    RUN(test_ancestral_step_is_the_posterior);
    RUN(test_likelihood_weight);
    RUN(test_likelihood_of_the_flow);
    RUN(test_euler_reaches_published_spread);
    RUN(test_samplers_draw_the_data);
    RUN(test_plans);
    RUN(test_bound_is_the_entropy);
    return test_report();
}
