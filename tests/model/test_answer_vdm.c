// Variational diffusion models against closed forms: on N(0,s^2), and on uniform data of 256 levels
// with the exact denoiser, whose bound is 8 bits and what the start of samplers misses.
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

enum { SIDE = 16, LEVELS = SIDE * SIDE };

static ProcessConfig config_of(const char *loss, int steps) {
    ProcessConfig config = {.name = "vdm", .steps = steps, .batch = 256};
    snprintf(config.loss, sizeof config.loss, "%s", loss);
    return config;
}

static Process *open_process(const char *loss, int steps, NetworkShape shape) {
    ProcessConfig config = config_of(loss, steps);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

// ---- numbers ----------------------------------------------------------------------------------

static void test_schedule(void) {
    Process *process = open_process("auto", 10, shape_vector(1));
    for (double t = 0.02; t < 1; t += 0.03) {
        GaussianPoint at = gaussian_point(process, t);
        double g = -13.3 + 18.3 * t, h = 1e-5;
        EXPECT_NEAR(at.keep, 1 / (1 + exp(g)), 1e-14);
        EXPECT_NEAR(at.noise, 1 / (1 + exp(-g)), 1e-14);
        GaussianPoint up = gaussian_point(process, t + h), down = gaussian_point(process, t - h);
        EXPECT_NEAR(at.keep_rate, (sqrt(up.keep) - sqrt(down.keep)) / (2 * h), 1e-7);
        EXPECT_NEAR(at.noise_rate, (sqrt(up.noise) - sqrt(down.noise)) / (2 * h), 1e-7);
        EXPECT_NEAR(process_time_label(process, t), (g + 13.3) / 18.3 * 1000, 1e-9);
        GaussianNumbers n = gaussian_numbers(process, t); // out = eps - x_t
        EXPECT_NEAR(n.hat_x * n.keep + n.hat_out * n.target_x0, 1, 1e-9);
        EXPECT_NEAR(n.hat_x * n.noise + n.hat_out * n.target_eps, 0, 1e-9);
        EXPECT_NEAR(n.target_x0, -n.keep, 0);
        EXPECT_NEAR(n.target_eps, 1 - n.noise, 0);
    }
    process_close(process);
}

// The mean of a batch's times lies within half a B-th of 1/2, by one number a step.
static void test_times_are_even_over_a_batch(void) {
    enum { B = 256 };
    Process *process = open_process("auto", 10, shape_vector(1));
    double offset[3];
    for (uint64_t step = 0; step < 3; ++step) {
        bool seen[B] = {false};
        double first = process_draw_time(process, 5, step, step * B), mean = 0;
        for (uint64_t i = 0; i < B; ++i) {
            double t = process_draw_time(process, 5, step, step * B + i);
            EXPECT(t > 0 && t <= 1 && !seen[(int)(t * B)]);
            seen[(int)(t * B)] = true;
            mean += t / B;
        }
        offset[step] = first * B - floor(first * B);
        EXPECT_NEAR(mean, 0.5 + (offset[step] - 0.5) / B, 1e-11);
    }
    EXPECT(fabs(offset[0] - offset[1]) > 1e-3 && fabs(offset[1] - offset[2]) > 1e-3);
    process_close(process);
    ProcessConfig config = config_of("auto", 10);
    NetworkShape shape = shape_vector(1);
    config.batch = 0;
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "the batch is 0");
}

// ---- N(0,s^2) -----------------------------------------------------------------------------------

// Square error of eps of the best network.
static double eps_error(const Process *process, double t, double s) {
    GaussianPoint at = gaussian_point(process, t);
    return at.keep / at.noise * best_error(process, t, s);
}

// Mean over points of the bound's term; and of the training loss, over the same points.
static void check_diffusion(const char *loss, int steps, double s, double expected) {
    Process *process = open_process(loss, steps, shape_vector(1));
    int points = word_is(loss, "discrete") ? steps : 20000;
    double bound = 0, trained = 0;
    for (int i = 0; i < points; ++i) {
        double weight, point = (i + 0.5) / points;
        double t = process_bound_time(process, point, &weight);
        GaussianNumbers n = gaussian_numbers(process, t);
        EXPECT(n.term == GAUSSIAN_KL && n.variance.add == 0 && n.log_posterior == 0);
        bound += weight * 0.5 * n.slope * n.slope * best_error(process, t, s) / points;
        t = process_time_at(process, point);
        trained += gaussian_numbers(process, t).weight * eps_error(process, t, s) / points;
    }
    EXPECT_NEAR(bound, expected, 1e-6);
    EXPECT_NEAR(trained, expected, 1e-6);
    process_close(process);
}

static void test_diffusion_loss(void) {
    check_diffusion("continuous", 1, 1, 6.646643);
    check_diffusion("continuous", 1, 0.5, 5.956015);
    check_diffusion("discrete", 10, 1, 17.707852);
    check_diffusion("discrete", 100, 1, 7.243793);
    check_diffusion("discrete", 1000, 1, 6.703246);
    check_diffusion("discrete", 10000, 1, 6.652274);
}

// The same through the operations, by draws.
static void check_trained(const char *loss, double expected) {
    enum { DIMS = 64, DRAWS = 256, N = DIMS * DRAWS };
    static float x_0[N], x_t[N];
    static uint64_t sample[DRAWS];
    static int32_t label[DRAWS];
    float row[DRAWS];
    ProcessConfig config = config_of(loss, 10);
    ProcessCase c;
    process_case_open(&c, "late", &config, shape_vector(DIMS), DRAWS);
    for (int i = 0; i < N; ++i) x_0[i] = i % 2 == 0 ? 1 : -1;
    for (int i = 0; i < DRAWS; ++i) sample[i] = (uint64_t)i;
    GrainBatch batch = {7, 0, DRAWS, x_0, label, sample};
    process_corrupt(c.process, c.network, c.stream, &c.pass, &batch);
    case_download(&c, x_t, c.pass.x_t, sizeof x_t);
    for (int i = 0; i < N; ++i) {
        double t = process_draw_time(c.process, 7, 0, sample[i / DIMS]);
        GaussianNumbers n = gaussian_numbers(c.process, t);
        double best = (best_gain(c.process, t, 1) - n.hat_x) / n.hat_out;
        x_t[i] = (float)(best * (double)x_t[i]);
    }
    case_upload(&c, c.pass.out, x_t, sizeof x_t);
    process_loss(c.process, c.stream, &c.pass, DRAWS, false);
    case_download(&c, row, c.pass.loss, sizeof row);
    double mean = 0;
    for (int i = 0; i < DRAWS; ++i) mean += (double)row[i] / N;
    EXPECT_NEAR(mean, expected, 0.05 * expected); // 5 deviations
    process_case_close(&c);
}

static void test_loss_of_draws(void) {
    check_trained("continuous", 6.646643);
    check_trained("discrete", 17.707852);
}

static void test_prior(void) {
    Process *process = open_process("auto", 1, shape_vector(1));
    float x_0 = 1;
    EXPECT_NEAR(process_bound_prior(process, &x_0), 3.357674e-3, 1e-9);
    process_close(process);
}

// From N(0,1) on the sampler's own grid, noise kept on the last step, at which x is read off z_0.
static double ancestral_std(int steps, double s) {
    Process *process = open_process("auto", 1, shape_vector(1));
    SamplerConfig config = {.solver = "ddpm", .steps = steps + 1, .guidance = 1};
    Sampler *sampler;
    EXPECT_OK(sampler_open(process, &config, &sampler));
    EXPECT_EQ(sampler_steps(sampler), steps + 1);
    double variance = 1;
    for (int i = 0; i < steps; ++i) {
        double t = sampler->step[i].time, to = sampler->step[i].to;
        EXPECT_NEAR(t, 1 - (double)i / steps, 1e-11);
        GaussianStep step = gaussian_step(process, &config, t, to);
        double factor = step.by_x + step.by_x0 * best_gain(process, t, s);
        variance = factor * factor * variance + step.std * step.std;
    }
    GaussianNumbers last = gaussian_numbers(process, sampler_time(sampler, steps));
    GaussianStep step = gaussian_step(process, &config, sampler_time(sampler, steps), 0);
    EXPECT(sampler->step[steps].to == 0 && last.hat_out == 0);
    EXPECT_NEAR(step.by_x + step.by_x0 * last.hat_x, 1 / last.keep, 1e-12);
    sampler_close(sampler);
    process_close(process);
    return sqrt(variance);
}

static void test_sampler_reaches_the_known_spread(void) {
    EXPECT_NEAR(ancestral_std(10, 0.5), 0.338525, 1e-6);
    EXPECT_NEAR(ancestral_std(50, 0.5), 0.457558, 1e-6);
    EXPECT_NEAR(ancestral_std(250, 0.5), 0.490991, 1e-6);
    EXPECT_NEAR(ancestral_std(1000, 0.5), 0.497725, 1e-6);
}

// ---- uniform data on 256 levels -----------------------------------------------------------------

static double level_of(int v) {
    return (v + 0.5) / 128 - 1;
}

// An image of all levels, as the data give it.
static void fill_image(float image[LEVELS]) {
    for (int v = 0; v < LEVELS; ++v) image[v] = (float)v / 127.5f - 1;
}

// Mean over levels and noise of - log p(x|z_0): noise by the trapezoidal rule, one node a sample.
static double reconstruction(void) {
    enum { NODES = 161 };
    static float x_0[NODES * LEVELS], seen[NODES * LEVELS], x_t[NODES * LEVELS];
    static double time[NODES], error[NODES];
    static uint64_t sample[NODES];
    static int32_t label[NODES];
    ProcessConfig config = config_of("auto", 1);
    ProcessCase c;
    process_case_open(&c, "late", &config, shape_image(SIDE), NODES);
    double first = process_first_time(c.process), mean = 0;
    GaussianNumbers n = gaussian_numbers(c.process, first);
    EXPECT(n.term == GAUSSIAN_LEVELS);
    for (int k = 0; k < NODES; ++k) {
        time[k] = first;
        fill_image(x_0 + k * LEVELS);
        for (int v = 0; v < LEVELS; ++v)
            x_t[k * LEVELS + v] = (float)(n.keep * level_of(v) + n.noise * (k * 0.1 - 8));
    }
    GrainBatch batch = {7, 0, NODES, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
    case_download(&c, seen, c.pass.x_0, sizeof seen);
    for (int v = 0; v < LEVELS; ++v) EXPECT_NEAR(seen[v], level_of(v), 2e-7);
    case_upload(&c, c.pass.x_t, x_t, sizeof x_t);
    process_bound_terms(c.process, c.stream, &c.pass, NODES);
    case_download(&c, error, c.pass.error, sizeof error);
    for (int k = 0; k < NODES; ++k) {
        double eps = k * 0.1 - 8;
        mean += 0.1 * exp(-0.5 * eps * eps) / sqrt(2 * M_PI) * error[k] / LEVELS;
    }
    process_case_close(&c);
    return mean;
}

// E (x - E[x|z])^2 by steps of a quarter of a deviation through z.
static double least_error(const GaussianPoint *at) {
    double alpha = sqrt(at->keep), sigma = sqrt(at->noise), h = sigma / 4, error = 0;
    for (double z = -alpha - 8 * sigma; z < alpha + 8 * sigma; z += h) {
        double mass = 0, first = 0, second = 0;
        int low = (int)fmax(0, ((z - 9 * sigma) / alpha + 1) * 128 - 1);
        int high = (int)fmin(255, ((z + 9 * sigma) / alpha + 1) * 128 + 1);
        for (int v = low; v <= high; ++v) {
            double f = level_of(v), gap = (z - alpha * f) / sigma, p = exp(-0.5 * gap * gap);
            mass += p, first += p * f, second += p * f * f;
        }
        if (mass > 0) error += h * (second - first * first / mass) / (256 * sigma * sqrt(2 * M_PI));
    }
    return error;
}

static void test_bound_of_uniform_levels(void) {
    enum { POINTS = 4000 };
    Process *process = open_process("auto", 1, shape_image(SIDE));
    float image[LEVELS];
    fill_image(image);
    double prior = process_bound_prior(process, image) / LEVELS, diffusion = 0;
    for (int i = 0; i < POINTS; ++i) {
        double weight, t = process_bound_time(process, (i + 0.5) / POINTS, &weight);
        GaussianNumbers n = gaussian_numbers(process, t);
        GaussianPoint at = gaussian_point(process, t);
        diffusion += weight * 0.5 * n.slope * n.slope * least_error(&at) / POINTS;
    }
    double decoder = reconstruction();
    EXPECT_NEAR(decoder, 0.007217, 1e-6);
    EXPECT_NEAR(diffusion, 5.536838, 1e-6);
    EXPECT_NEAR(prior, 0.001127, 1e-6);
    EXPECT_NEAR((decoder + diffusion + prior) / M_LN2, 8.000007, 1e-6);
    process_close(process);
}

int main(void) {
    RUN(test_schedule);
    RUN(test_times_are_even_over_a_batch);
    RUN(test_diffusion_loss);
    RUN(test_loss_of_draws);
    RUN(test_prior);
    RUN(test_sampler_reaches_the_known_spread);
    RUN(test_bound_of_uniform_levels);
    return test_report();
}
