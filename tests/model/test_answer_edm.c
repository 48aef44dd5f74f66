// EDM on N(0,s^2), where the best answer is linear: preconditioning, the law of sigma, the
// published grid, the spread that Heun and Euler end with, the bound.
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

// sigma_data is 1/2 for images, 1 for other data.
static Process *open_process(bool image) {
    ProcessConfig config = {.name = "edm", .steps = 1000};
    NetworkShape shape = shape_vector(3);
    if (image) shape = (NetworkShape){.channels = 1, .height = 4, .width = 4};
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

static double sigma_of(const Process *process, double t) {
    GaussianPoint at = gaussian_point(process, t);
    return sqrt(at.noise / at.keep);
}

static double time_of(double sigma) {
    return log(sigma / 0.002) / log(80 / 0.002);
}

// D = c_skip x + c_out F for an F that its loss sees, in the paper's own numbers.
static void test_preconditioning(void) {
    for (int image = 0; image < 2; ++image) {
        Process *process = open_process(image);
        double data = image ? 0.5 : 1;
        for (double sigma = 0.003; sigma < 80; sigma *= 2.1) {
            GaussianNumbers n = gaussian_numbers(process, time_of(sigma));
            double all = sigma * sigma + data * data, y = 0.4, eps = -1.1, x = y + sigma * eps;
            double c_skip = data * data / all, c_out = sigma * data / sqrt(all),
                   c_in = 1 / sqrt(all);
            double target = n.target_x0 * y + n.target_eps * eps;
            EXPECT_NEAR(n.keep * y + n.noise * eps, c_in * x, 1e-12);
            EXPECT_NEAR(target, (y - c_skip * x) / c_out, 1e-9);
            EXPECT_NEAR(n.hat_x * c_in, c_skip, 1e-12);
            EXPECT_NEAR(n.hat_out, c_out, 1e-12);
            EXPECT_NEAR(n.weight * all / (sigma * sigma * data * data) * c_out * c_out, n.weight,
                        1e-12);
            // F = 0 on data of variance data^2: a loss of 1 at every sigma.
            EXPECT_NEAR(n.target_x0 * n.target_x0 * data * data + n.target_eps * n.target_eps, 1,
                        1e-10);
        }
        process_close(process);
    }
}

static void test_rates(void) {
    Process *process = open_process(true);
    for (double t = 0.02; t < 1; t += 0.03) {
        GaussianPoint at = gaussian_point(process, t), up = gaussian_point(process, t + 1e-6),
                      down = gaussian_point(process, t - 1e-6);
        EXPECT_NEAR(at.keep_rate, (sqrt(up.keep) - sqrt(down.keep)) / 2e-6, 1e-8);
        EXPECT_NEAR(at.noise_rate, (sqrt(up.noise) - sqrt(down.noise)) / 2e-6, 1e-8);
    }
    process_close(process);
}

// ln sigma is N(-1.2, 1.2^2), but for 1.6e-5 of it.
static void test_law_of_sigma(void) {
    enum { POINTS = 10000 };
    Process *process = open_process(false);
    double mean = 0, square = 0;
    for (int i = 0; i < POINTS; ++i) {
        double point = (i + 0.5) / POINTS, t = process_time_at(process, point);
        double z = (log(sigma_of(process, t)) + 1.2) / 1.2;
        EXPECT_NEAR(process_time_point(process, t), point, 1e-9);
        mean += z / POINTS;
        square += z * z / POINTS;
    }
    EXPECT_NEAR(mean, 0, 1e-3);
    EXPECT_NEAR(square, 1, 2e-3);
    EXPECT_NEAR(process_time_label(process, time_of(1)), 1000 * time_of(1), 1e-9);
    process_close(process);
}

// The plan of N levels: 2 N - 1 evaluations of Heun's, at sigma_i of eq. 5.
static void test_grid(void) {
    Process *process = open_process(true);
    Sampler *sampler;
    EXPECT_OK(sampler_open(process, &(SamplerConfig){.steps = 35, .guidance = 1}, &sampler));
    EXPECT_EQ(sampler_steps(sampler), 35);
    for (int i = 0; i < 18; ++i) {
        double first = pow(80, 1 / 7.0), last = pow(0.002, 1 / 7.0);
        double sigma = pow(first + i / 17.0 * (last - first), 7);
        EXPECT_NEAR(sigma_of(process, sampler_time(sampler, 2 * i)), sigma, 1e-6 * sigma);
    }
    EXPECT_NEAR(sampler->step[34].to, 0, 0);
    sampler_close(sampler);
    process_close(process);
}

// The deviation that a plan ends with, from N(0, 80^2).
static double spread(const Process *process, const char *solver, int evaluations) {
    const double s = 0.5;
    SamplerConfig config = {.steps = evaluations, .guidance = 1};
    snprintf(config.solver, sizeof config.solver, "%s", solver);
    Sampler *sampler;
    EXPECT_OK(sampler_open(process, &config, &sampler));
    double x = sqrt(gaussian_point(process, 1).noise), kept = 0, keep;
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        const SamplerStep *step = &sampler->step[i];
        double gain = best_gain(process, step->time, s);
        if (step->kind == STEP_SOLVER) {
            GaussianStep whole = gaussian_step(process, &sampler->config, step->time, step->to);
            x *= whole.by_x + whole.by_x0 * gain;
        } else if (step->kind == STEP_HEUN_1) {
            GaussianStep half = gaussian_half(process, step->time, step->time, step->to, &keep);
            kept = (keep + half.by_x + half.by_x0 * gain) * x;
            x *= keep + 2 * (half.by_x + half.by_x0 * gain);
        } else {
            GaussianStep half = gaussian_half(process, step->time, step->to, step->time, &keep);
            x = kept + (half.by_x + half.by_x0 * gain) * x;
        }
    }
    sampler_close(sampler);
    return x;
}

static void test_spread_of_solvers(void) {
    static const int counts[4] = {9, 18, 36, 72};
    static const double heun[4] = {0.639060, 0.527625, 0.506097, 0.501426},
                        euler[4] = {0.349493, 0.423031, 0.460996, 0.480369};
    Process *process = open_process(true);
    for (int i = 0; i < 4; ++i) {
        EXPECT_NEAR(spread(process, "heun", 2 * counts[i] - 1), heun[i], 1e-6);
        EXPECT_NEAR(spread(process, "ddim", counts[i]), euler[i], 1e-6);
    }
    process_close(process);
}

static void test_samplers_draw_the_data(void) {
    static const struct {
        const char *solver;
        int steps;
    } cases[] = {{"heun", 71}, {"ddim", 200}, {"pc", 401}, {"ddpm", 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        ProcessConfig config = {.name = "edm", .steps = 1000};
        SamplerConfig sampler = {.steps = cases[i].steps, .guidance = 1, .snr = 0.16f};
        snprintf(sampler.solver, sizeof sampler.solver, "%s", cases[i].solver);
        EXPECT_NEAR(drawn_spread(&config, &sampler, 0.5), 0.5, 0.5 * (spread_noise + 0.04));
    }
}

// Algorithm 2 in its own coordinates, where the network is the best one for N(0, s^2): the
// deviation that N levels end with.
static double churned_spread(int levels, const SamplerConfig *config, double s) {
    double square = 80 * 80, grows = fmin((double)config->churn / (levels - 1), M_SQRT2 - 1);
    for (int i = 0; i < levels; ++i) {
        double first = pow(80, 1 / 7.0), last = pow(0.002, 1 / 7.0), n = levels - 1;
        double sigma = pow(first + i / n * (last - first), 7);
        double next = i + 1 < levels ? pow(first + (i + 1) / n * (last - first), 7) : 0,
               hat = sigma;
        if (i > 0 && sigma >= (double)config->churn_from && sigma <= (double)config->churn_to)
            hat = sigma * (1 + grows);
        square += pow((double)config->churn_noise, 2) * (hat * hat - sigma * sigma);
        double h = next - hat, here = hat / (s * s + hat * hat),
               there = next / (s * s + next * next);
        double by = next > 0 ? 1 + h / 2 * (here + there * (1 + h * here)) : 1 + h * here;
        square *= by * by;
    }
    return sqrt(square);
}

static void test_churn(void) {
    static const struct {
        float churn, noise, from, to;
        int levels;
        double most; // how far from s it ends, so that the case says something
    } cases[] = {{40, 1, 0.05f, 50, 40, 0.02},
                 {40, 1.003f, 0.05f, 50, 18, 0.2},
                 {100, 1.2f, 0.05f, 50, 30, 0.3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        ProcessConfig config = {.name = "edm", .steps = 1000};
        SamplerConfig sampler = {.solver = "heun",
                                 .steps = 2 * cases[i].levels - 1,
                                 .guidance = 1,
                                 .churn = cases[i].churn,
                                 .churn_noise = cases[i].noise,
                                 .churn_from = cases[i].from,
                                 .churn_to = cases[i].to};
        double expected = churned_spread(cases[i].levels, &sampler, 0.5);
        printf("churn %g, noise %g, %d levels: %.4f\n", (double)cases[i].churn,
               (double)cases[i].noise, cases[i].levels, expected);
        EXPECT(fabs(expected - 0.5) < cases[i].most);
        EXPECT_NEAR(drawn_spread(&config, &sampler, 0.5), expected, expected * spread_noise);
    }
    Process *process = open_process(true);
    Sampler *plan;
    EXPECT_FAIL(
        sampler_open(process, &(SamplerConfig){.solver = "ddim", .steps = 9, .churn = 1}, &plan),
        BAD_CONFIG, "sampler.churn is 1, which is for sampler.solver: heun");
    process_close(process);
}

// EDM2's law of the levels in the place of EDM's.
static void test_another_law_of_sigma(void) {
    enum { POINTS = 10000 };
    ProcessConfig config = {.name = "edm", .steps = 1000, .level_mean = -0.4f, .level_std = 1};
    snprintf(config.times, sizeof config.times, "lognormal");
    NetworkShape shape = shape_vector(2);
    Process *process;
    double mean = 0, square = 0;
    EXPECT_OK(process_open(&config, &shape, &process));
    for (int i = 0; i < POINTS; ++i) {
        double z = log(sigma_of(process, process_time_at(process, (i + 0.5) / POINTS))) + 0.4;
        mean += z / POINTS;
        square += z * z / POINTS;
    }
    EXPECT_NEAR(mean, 0, 1e-3);
    EXPECT_NEAR(square, 1, 2e-3);
    process_close(process);
}

static void test_bound_is_the_entropy(void) {
    Process *process = open_process(false);
    EXPECT_NEAR(best_bound(process, 1), 2.047096, 1e-3);
    EXPECT_NEAR(best_bound(process, 0.5), 1.047096, 1e-3);
    process_close(process);
}

int main(void) {
    RUN(test_preconditioning);
    RUN(test_rates);
    RUN(test_law_of_sigma);
    RUN(test_grid);
    RUN(test_spread_of_solvers);
    RUN(test_samplers_draw_the_data);
    RUN(test_churn);
    RUN(test_another_law_of_sigma);
    RUN(test_bound_is_the_entropy);
    return test_report();
}
