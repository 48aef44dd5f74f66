// Gaussian diffusion against published values and closed forms on data N(0, s^2), where the best
// denoiser is known: x0_hat = x_t keep s^2 / (keep^2 s^2 + noise^2).
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

// ---- numbers ----------------------------------------------------------------------------------

static void test_schedules(void) {
    Process *linear = open_ddpm_vector("linear", "eps", "fixed-small");
    EXPECT_NEAR(linear->table.keep[1000], 4.035830e-5, 5e-12);
    EXPECT_NEAR(linear->table.step_noise[1], 1e-4, 1e-18);
    EXPECT_NEAR(linear->table.step_noise[1000], 0.02, 1e-15);
    Process *cosine = open_ddpm_vector("cosine", "eps", "fixed-small");
    EXPECT_NEAR(cosine->table.keep[500], 0.49384, 5e-6);
    EXPECT_NEAR(cosine->table.step_noise[1000], 0.999, 0);
    EXPECT(cosine->table.step_noise[999] < 0.999);
    for (int t = 1; t <= 1000; ++t) {
        EXPECT_NEAR(cosine->table.keep[t] + cosine->table.noise[t], 1, 1e-14);
        EXPECT(cosine->table.keep[t] < cosine->table.keep[t - 1]);
    }
    process_close(linear);
    process_close(cosine);
}

static void test_linear_schedule_scales_with_steps(void) {
    ProcessConfig config = config_gaussian("linear", "eps", "fixed-small");
    config.steps = 100;
    NetworkShape shape = shape_vector(2);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    EXPECT_NEAR(process->table.step_noise[1], 1e-3, 1e-17);
    EXPECT_NEAR(process->table.step_noise[100], 0.2, 1e-15);
    process_close(process);
}

// Each head asked for x_0 and eps gives back x_0.
static void test_heads_convert(void) {
    static const char *const heads[] = {"eps", "x0", "v"};
    double x_0 = 0.7, eps = -1.3;
    for (int h = 0; h < 3; ++h) {
        Process *process = open_ddpm_vector("cosine", heads[h], "fixed-small");
        for (int t = 1; t <= 1000; ++t) {
            GaussianNumbers n = gaussian_numbers(process, t);
            double x_t = n.keep * x_0 + n.noise * eps;
            double target = n.target_x0 * x_0 + n.target_eps * eps;
            double tolerance = h == 0 ? 1e-15 / n.keep : 1e-15; // eps divides by keep
            EXPECT_NEAR(n.hat_x * x_t + n.hat_out * target, x_0, 4 * tolerance + 1e-15);
            if (h == 2) EXPECT_NEAR(target, n.keep * eps - n.noise * x_0, 0);
            if (t < 900) EXPECT_NEAR(n.hat_x * x_t + n.hat_out * target, x_0, 1e-12);
        }
        process_close(process);
    }
}

// The ancestral step is the posterior q(x_s|x_t,x_0): feeding the true x_0 must reproduce mean and
// variance of q(x_s|x_0), for single steps and composed ones.
static void test_ancestral_step_is_the_posterior(void) {
    static const int pairs[][2] = {{2, 1}, {500, 499}, {1000, 999}, {1000, 600}, {300, 17}};
    static const char *const schedules[] = {"cosine", "linear"};
    SamplerConfig config = {.solver = "ddpm"};
    for (int k = 0; k < 2; ++k) {
        Process *process = open_ddpm_vector(schedules[k], "eps", "fixed-small");
        const NoiseTable *table = &process->table;
        for (int i = 0; i < 5; ++i) {
            int t = pairs[i][0], s = pairs[i][1];
            GaussianStep step = gaussian_step(process, &config, t, s);
            double mean = step.by_x * sqrt(table->keep[t]) + step.by_x0;
            double variance = step.by_x * step.by_x * table->noise[t] + step.std * step.std;
            EXPECT_NEAR(mean, sqrt(table->keep[s]), 1e-12);
            EXPECT_NEAR(variance, table->noise[s], 1e-12);
        }
        process_close(process);
    }
}

// ---- bound ------------------------------------------------------------------------------------

// A term's mean over x_0 where x0_hat has this square error, all per dimension.
static double term_mean(const GaussianNumbers *n, double error) {
    double log_variance = n->variance.add, precision = exp(-log_variance);
    EXPECT(n->variance.mul == 0 && !n->variance.logistic);
    if (n->term == GAUSSIAN_DENSITY)
        return 0.5 * (log(2 * M_PI) + log_variance + error * precision);
    EXPECT_EQ(n->term, GAUSSIAN_KL);
    double ratio = exp(n->log_posterior - log_variance);
    return 0.5 *
           (log_variance - n->log_posterior + ratio - 1 + n->slope * n->slope * error * precision);
}

// pass.out = the best denoiser's answer, made on the device.
static void answer(const ProcessCase *c, int t, double s, int64_t samples) {
    GaussianNumbers n = gaussian_numbers(c->process, t);
    double out = (best_gain(c->process, t, s) - n.hat_x) / n.hat_out;
    axpby(c->stream,
          (Elementwise){
              .x = c->pass.x_t, .y = c->pass.out, .n = samples * c->in_bytes / 4, .a = (float)out});
}

static float *gaussian_data(int64_t n, double s) {
    float *x = malloc((size_t)n * sizeof *x);
    if (x == NULL) abort();
    for (int64_t i = 0; i < n; ++i)
        x[i] = (float)s * rng_normal((uint32_t)mix64((uint64_t)i + 12345));
    return x;
}

// The terms that come out of the operations have the mean of the closed form.
static void check_bound_terms(const char *backend, const char *head, const char *variance) {
    enum { SAMPLES = 40, DIMS = 500 };
    ProcessConfig config = config_gaussian("cosine", head, variance);
    ProcessCase c;
    process_case_open(&c, backend, &config, shape_vector(DIMS), SAMPLES);
    double s = 0.5, time[SAMPLES], error[SAMPLES];
    float *x_0 = gaussian_data(SAMPLES * DIMS, s);
    int32_t label[SAMPLES] = {0};
    uint64_t sample[SAMPLES];
    for (int i = 0; i < SAMPLES; ++i) sample[i] = (uint64_t)i;
    static const int times[] = {1, 2, 250, 700, 940};
    for (int k = 0; k < 5; ++k) {
        GrainBatch batch = {3, 0, SAMPLES, x_0, label, sample};
        for (int i = 0; i < SAMPLES; ++i) time[i] = times[k];
        process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 7);
        answer(&c, times[k], s, SAMPLES);
        process_bound_terms(c.process, c.stream, &c.pass, SAMPLES);
        case_download(&c, error, c.pass.error, sizeof error);
        double mean = 0;
        for (int i = 0; i < SAMPLES; ++i) mean += error[i] / (SAMPLES * DIMS);
        GaussianNumbers n = gaussian_numbers(c.process, times[k]);
        double exact = term_mean(&n, best_error(c.process, times[k], s));
        double scatter = exact - term_mean(&n, 0);
        EXPECT_NEAR(mean, exact, 4 * scatter * sqrt(2.0 / 20000));
    }
    free(x_0);
    process_case_close(&c);
}

static void test_bound_terms(void) {
    check_bound_terms("cpu", "eps", "fixed-small");
    check_bound_terms("late", "v", "fixed-large");
    check_bound_terms("cpu", "x0", "fixed-large");
}

// Images are decoded into their levels at t = 1, within one pass with other times.
static void test_images_are_decoded(void) {
    enum { SIDE = 8, DIMS = SIDE * SIDE };
    ProcessConfig config = config_gaussian("cosine", "x0", "fixed-small");
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_image(SIDE), 2);
    float x_0[2 * DIMS];
    for (int i = 0; i < 2 * DIMS; ++i) x_0[i] = (float)(i * 37 % 256) / 127.5f - 1;
    int32_t label[2] = {0};
    uint64_t sample[2] = {0, 1};
    double time[2] = {1, 2}, error[2];
    GrainBatch batch = {3, 0, 2, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
    float far[2 * DIMS]; // beyond the range: limited to it
    for (int i = 0; i < 2 * DIMS; ++i) far[i] = x_0[i] > 0.9999f ? 5.0f : x_0[i];
    case_upload(&c, c.pass.out, far, sizeof far);
    process_bound_terms(c.process, c.stream, &c.pass, 2);
    case_download(&c, error, c.pass.error, sizeof error);
    double std = sqrt(c.process->table.step_noise[1]), expected = 0;
    for (int i = 0; i < DIMS; ++i) {
        int v = i * 37 % 256;
        double inner = erf(1 / 255.0 / std * M_SQRT1_2);
        expected -= log(v == 0 || v == 255 ? 0.5 + inner / 2 : inner);
    }
    EXPECT_NEAR(error[0], expected, 1e-3); // the fp32 rounding of x_0
    EXPECT_NEAR(error[1], 0, 1e-9);
    process_case_close(&c);
}

// ---- training ---------------------------------------------------------------------------------

// E (eps - best answer)^2 = error of x0_hat scaled by (keep/noise)^2.
static void test_loss_of_the_best_denoiser(void) {
    enum { SAMPLES = 40, DIMS = 500 };
    ProcessConfig config = config_gaussian("cosine", "eps", "fixed-small");
    ProcessCase c;
    process_case_open(&c, "late", &config, shape_vector(DIMS), SAMPLES);
    float *x_0 = gaussian_data(SAMPLES * DIMS, 0.5), loss[SAMPLES];
    int32_t label[SAMPLES] = {0};
    uint64_t sample[SAMPLES];
    double time[SAMPLES], mean = 0;
    for (int i = 0; i < SAMPLES; ++i) sample[i] = (uint64_t)i, time[i] = 400;
    GrainBatch batch = {3, 0, SAMPLES, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 7);
    answer(&c, 400, 0.5, SAMPLES);
    process_loss(c.process, c.stream, &c.pass, SAMPLES, true);
    case_download(&c, loss, c.pass.loss, sizeof loss);
    for (int i = 0; i < SAMPLES; ++i)
        mean += (double)loss[i] / (double)(SAMPLES * process_loss_items(c.process));
    const NoiseTable *table = &c.process->table;
    double expected = best_error(c.process, 400, 0.5) * table->keep[400] / table->noise[400];
    EXPECT_NEAR(mean, expected, 4 * expected * sqrt(2.0 / 20000));
    free(x_0);
    process_case_close(&c);
}

// ---- sampling ---------------------------------------------------------------------------------

static void test_sampler_times(void) {
    Process *process = open_ddpm_vector("cosine", "eps", "fixed-small");
    Sampler *sampler = open_ddpm_sampler(process, "ddim", 10, 0);
    EXPECT_EQ(sampler_steps(sampler), 10);
    for (int i = 0; i < 10; ++i) EXPECT_NEAR(sampler_time(sampler, i), 901 - 100 * i, 0);
    sampler_close(sampler);
    sampler = open_ddpm_sampler(process, "ddpm", 4, 0);
    static const double kept[] = {1000, 667, 334, 1};
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(sampler_time(sampler, i), kept[i], 0);
    sampler_close(sampler);
    sampler = open_ddpm_sampler(process, "ddpm", 0, 0);
    EXPECT_EQ(sampler_steps(sampler), 1000);
    for (int i = 0; i < 1000; ++i) EXPECT_NEAR(sampler_time(sampler, i), 1000 - i, 0);
    sampler_close(sampler);
    process_close(process);
}

static void draw(ProcessCase *c, const Sampler *sampler, uint64_t first, int64_t samples, double s,
                 float *out) {
    case_number_samples(c, first, samples);
    sampler_begin(sampler, c->stream, &c->pass, samples, 11);
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        answer(c, (int)sampler_time(sampler, i), s, samples);
        sampler_advance(sampler, c->stream, &c->pass, samples, i, 11);
    }
    case_download(c, out, c->pass.x_t, samples * c->in_bytes);
}

static void check_draws(const char *backend, const char *head, const char *solver, float eta) {
    enum { SAMPLES = 20, DIMS = 1000, N = SAMPLES * DIMS };
    ProcessConfig config = config_gaussian("cosine", head, "fixed-large");
    ProcessCase c;
    process_case_open(&c, backend, &config, shape_vector(DIMS), SAMPLES);
    Sampler *sampler = open_ddpm_sampler(c.process, solver, 25, eta);
    static float x[N], alone[DIMS];
    draw(&c, sampler, 0, SAMPLES, 0.5, x);
    double sum = 0, squares = 0, expected = final_std(sampler, 0.5);
    for (int i = 0; i < N; ++i) sum += (double)x[i], squares += (double)x[i] * (double)x[i];
    EXPECT_NEAR(sum / N, 0, 4 * expected / sqrt(N));
    EXPECT_NEAR(sqrt(squares / N), expected, 4 * expected / sqrt(2.0 * N));
    draw(&c, sampler, 13, 1, 0.5, alone); // a sample does not depend on its neighbours
    EXPECT(memcmp(alone, x + 13 * DIMS, sizeof alone) == 0);
    sampler_close(sampler);
    process_case_close(&c);
}

static void test_draws_have_the_right_spread(void) {
    check_draws("cpu", "eps", "ddpm", 0);
    check_draws("late", "v", "ddim", 0);
    check_draws("cpu", "x0", "ddim", 0.7f);
}

// Pixels are limited to their range, points of a plane are not.
static void test_only_images_are_clipped(void) {
    for (int image = 0; image < 2; ++image) {
        ProcessConfig config = config_gaussian("cosine", "x0", "fixed-small");
        ProcessCase c;
        process_case_open(&c, "cpu", &config, image ? shape_image(2) : shape_vector(4), 1);
        SamplerConfig sampler_config = {.solver = "ddim", .steps = 1, .guidance = 1, .clip = true};
        Sampler *sampler;
        EXPECT_OK(sampler_open(c.process, &sampler_config, &sampler));
        float out[4] = {-3, 0.5f, 1, 7}, x[4];
        case_number_samples(&c, 0, 1);
        sampler_begin(sampler, c.stream, &c.pass, 1, 1);
        case_upload(&c, c.pass.out, out, sizeof out);
        sampler_advance(sampler, c.stream, &c.pass, 1, 0, 1);
        case_download(&c, x, c.pass.x_t, sizeof x);
        EXPECT_NEAR((double)x[0], image ? -1 : -3, 1e-6);
        EXPECT_NEAR((double)x[1], 0.5, 1e-6);
        EXPECT_NEAR((double)x[3], image ? 1 : 7, 1e-6);
        sampler_close(sampler);
        process_case_close(&c);
    }
}

static void test_latents_have_no_levels(void) {
    for (int latent = 0; latent < 2; ++latent) {
        ProcessConfig config = config_gaussian("linear", "eps", "fixed-small");
        NetworkShape shape = shape_image(4);
        shape.latent = latent == 1;
        Process *process;
        EXPECT_OK(process_open(&config, &shape, &process));
        EXPECT(process->image == (latent == 0)); // decoded into levels, limited to [-1,1]
        GaussianNumbers numbers = gaussian_numbers(process, 1);
        EXPECT_EQ(numbers.term, latent == 0 ? GAUSSIAN_DECODER : GAUSSIAN_DENSITY);
        process_close(process);
    }
}

int main(void) {
    RUN(test_latents_have_no_levels);
    RUN(test_schedules);
    RUN(test_linear_schedule_scales_with_steps);
    RUN(test_heads_convert);
    RUN(test_ancestral_step_is_the_posterior);
    RUN(test_bound_terms);
    RUN(test_images_are_decoded);
    RUN(test_loss_of_the_best_denoiser);
    RUN(test_sampler_times);
    RUN(test_draws_have_the_right_spread);
    RUN(test_only_images_are_clipped);
    return test_report();
}
