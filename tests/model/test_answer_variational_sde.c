// The variational perspective against closed forms on N(0,s^2): the law of the time, the head and
// the loss, the spread that the family of reverse SDEs ends with, the bound and the ELBO.
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

static const ProcessConfig config = {.name = "variational-sde", .steps = 1000};

static Process *open_process(void) {
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

// ---- times ------------------------------------------------------------------------------------

static void test_debiased_times(void) {
    enum { DRAWS = 1000000 };
    Process *process = open_process();
    double sum = 0, squares = 0, early = 0;
    for (uint64_t i = 0; i < DRAWS; ++i) {
        double t = process_draw_time(process, 5, i / 1000, i % 1000);
        EXPECT(t > 0 && t <= 1);
        sum += t / DRAWS;
        squares += t * t / DRAWS;
        early += t < 1e-3 ? 1.0 / DRAWS : 0;
    }
    EXPECT_NEAR(sum, 0.363938, 2e-3);
    EXPECT_NEAR(sqrt(squares - sum * sum), 0.350170, 2e-3);
    EXPECT_NEAR(early, 0.053839, 1.5e-3);
    process_close(process);
}

// The normaliser; and the density, integrated, is the inverse of the times.
static void test_density_and_its_inverse(void) {
    Process *process = open_process();
    const ProcessSystem *system = process->system;
    double mean = 0;
    for (double t = 2e-3; t < 1; t += 0.01) {
        double beta = 0.1 + 19.9 * t, big = 0.5 * t * t * 19.9 + 0.1 * t;
        EXPECT_NEAR(beta / -expm1(-big) / system->density(t), 20.255942, 1e-6);
    }
    EXPECT_NEAR(system->distribution(process, 1e-3), 0.053839, 1e-6);
    EXPECT_NEAR(system->density(1e-7), system->density(1e-3), 1e-12);
    for (int i = 0; i < 1000; ++i) {
        double point = (i + 0.5) / 1000, t = process_time_at(process, point), h = 1e-6 * t;
        mean += t / 1000;
        EXPECT_NEAR(process_time_point(process, t), point, 1e-12);
        if (fabs(t - 1e-3) < 2 * h) continue;
        EXPECT_NEAR((system->distribution(process, t + h) - system->distribution(process, t - h)) /
                        (2 * h),
                    system->density(t), 1e-5 * system->density(t));
    }
    EXPECT_NEAR(mean, 0.363938, 1e-5);
    process_close(process);
    ProcessConfig even = config;
    snprintf(even.times, sizeof even.times, "uniform");
    NetworkShape shape = shape_vector(3);
    EXPECT_OK(process_open(&even, &shape, &process));
    EXPECT_NEAR(process_time_at(process, 0.5), 0.500005, 1e-12);
    process_close(process);
}

// ---- the loss ---------------------------------------------------------------------------------

// a = - g eps/sigma gives eps and x_0 back, and the loss is half the square of a sigma/g + eps.
static void test_head_and_loss(void) {
    Process *process = open_process();
    for (double t = 1e-4; t <= 1; t *= 1.3) {
        GaussianNumbers n = gaussian_numbers(process, t);
        double x_0 = 0.7, eps = -1.3, x_t = n.keep * x_0 + n.noise * eps, beta = 0.1 + 19.9 * t;
        double a = n.target_x0 * x_0 + n.target_eps * eps, other = a + 0.25;
        EXPECT_NEAR(n.diffusion, beta, 1e-10 * beta);
        EXPECT_NEAR(a, -sqrt(beta) * eps / n.noise, 1e-10 * fabs(a));
        EXPECT_NEAR(n.hat_x * x_t + n.hat_out * a, x_0, 1e-9 / n.keep);
        double each = other * n.noise / sqrt(beta) + eps;
        EXPECT_NEAR(n.weight * (other - a) * (other - a), 0.5 * each * each, 1e-9 * each * each);
    }
    process_close(process);
}

// ---- samplers ---------------------------------------------------------------------------------

static void check_sampler(const char *solver, float lambda, int steps, double tolerance) {
    enum { DRAWS = 200, DIMS = 64, N = DRAWS * DIMS };
    SamplerConfig sampler_config = {.steps = steps, .guidance = 1, .snr = 0.16f, .lambda = lambda};
    snprintf(sampler_config.solver, sizeof sampler_config.solver, "%s", solver);
    ProcessCase c;
    Sampler *sampler;
    process_case_open(&c, "late", &config, shape_vector(DIMS), DRAWS);
    EXPECT_OK(sampler_open(c.process, &sampler_config, &sampler));
    case_number_samples(&c, 100, DRAWS);
    sampler_begin(sampler, c.stream, &c.pass, DRAWS, 3);
    double s = 0.5, squares = 0;
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        GaussianPoint at = gaussian_point(c.process, sampler_time(sampler, i));
        double g = sqrt(gaussian_numbers(c.process, sampler_time(sampler, i)).diffusion);
        double a = -g / (at.keep * s * s + at.noise);
        axpby(c.stream, (Elementwise){.x = c.pass.x_t, .y = c.pass.out, .n = N, .a = (float)a});
        sampler_advance(sampler, c.stream, &c.pass, DRAWS, i, 3);
    }
    static float x[N];
    case_download(&c, x, c.pass.x_t, sizeof x);
    for (int i = 0; i < N; ++i) squares += (double)x[i] * (double)x[i] / N;
    double noise = 5 * sqrt(0.5 / N); // relative, of the deviation: false alarms at 6e-7
    EXPECT_NEAR(sqrt(squares), s, s * (noise + tolerance));
    sampler_close(sampler);
    process_case_close(&c);
}

// Variance that a member of the family keeps to as steps become short, without noise of sampling.
static double family_std(float lambda, double s) {
    enum { STEPS = 20000 };
    Process *process = open_process();
    SamplerConfig sampler = {.solver = "em", .lambda = lambda};
    double variance = 1, end = 1e-3;
    for (int i = 0; i < STEPS; ++i) {
        double t = 1 - (1 - end) * i / STEPS, to = 1 - (1 - end) * (i + 1) / STEPS;
        GaussianStep step = gaussian_step(process, &sampler, t, to);
        double factor = step.by_x + step.by_x0 * best_gain(process, t, s);
        variance = factor * factor * variance + step.std * step.std;
    }
    GaussianPoint at = gaussian_point(process, end);
    process_close(process);
    return sqrt((variance - at.noise) / at.keep);
}

static void test_family_of_reverse_sdes(void) {
    static const float lambdas[] = {0, 0.5f, 1};
    for (int i = 0; i < 3; ++i) {
        EXPECT_NEAR(family_std(lambdas[i], 0.5), 0.5, 1e-4);
        check_sampler("em", lambdas[i], 400, 0.03);
    }
    check_sampler("pc", 0, 401, 0.04);
    check_sampler("heun", 0, 101, 0.01);
    check_sampler("ddim", 0, 100, 0.02);
    check_sampler("ddpm", 0, 100, 0.05);
}

static void test_lambda_is_of_em(void) {
    Process *process = open_process();
    Sampler *sampler;
    SamplerConfig wrong = {.steps = 4, .guidance = 1, .solver = "heun", .lambda = 0.5f};
    EXPECT_FAIL(sampler_open(process, &wrong, &sampler), BAD_CONFIG, "sampler.solver: em");
    process_close(process);
}

// ---- bounds -----------------------------------------------------------------------------------

// Both with the best network, over x_0 ~ N(0,s^2) and noise in closed form; nats a dimension.
static double elbo_nats(const Process *process, double s) {
    enum { POINTS = 200000 };
    float x_0[3] = {(float)s, (float)s, (float)-s}; // the mean of x^2 is s^2
    double nats = process_elbo_rest(process, x_0) / 3;
    for (int i = 0; i < POINTS; ++i) {
        double weight, t = process_elbo_time(process, (i + 0.5) / POINTS, &weight);
        GaussianPoint at = gaussian_point(process, t);
        double variance = at.keep * s * s + at.noise, g2 = 0.1 + 19.9 * t;
        // a = - g x_t/variance: |a|^2 has mean g^2/variance, and da/dx is - g/variance
        nats += weight / POINTS *
                process_elbo_term(process, t, 3 * g2 / variance, -3 * sqrt(g2) / variance) / 3;
    }
    return nats;
}

static void test_bounds_are_the_entropy(void) {
    Process *process = open_process();
    EXPECT_NEAR(elbo_nats(process, 0.5), 0.725791, 1e-6);
    EXPECT_NEAR(elbo_nats(process, 1), 1.418939, 1e-6);
    EXPECT_NEAR(best_bound(process, 0.5), 1.047096, 1e-3); // bits
    EXPECT_OK(process_elbo_check(process));
    process_close(process);
}

int main(void) {
    RUN(test_debiased_times);
    RUN(test_density_and_its_inverse);
    RUN(test_head_and_loss);
    RUN(test_family_of_reverse_sdes);
    RUN(test_lambda_is_of_em);
    RUN(test_bounds_are_the_entropy);
    return test_report();
}
