// Gaussian diffusion of 2015 against closed forms: on N(0,1) the forward kernel backwards is the
// best reverse, and K is minus the entropy for any number of steps; on N(0,s^2) the best m and v
// are known, and the bound closes in on the entropy as steps grow.
#include "model/process/family_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

static Process *open_process(int steps) {
    ProcessConfig config = {.name = "gaussian2015", .steps = steps};
    NetworkShape shape = shape_vector(2);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    EXPECT_EQ(shape.out_channels, 4);
    return process;
}

static void test_schedule(void) {
    Process *process = open_process(1000);
    const double *b = process->table.step_noise;
    EXPECT_NEAR(b[1], 1e-3 + 1e-6 + 1e-3 * (1 - 1e-3 - 1e-6 - 1e-5), 1e-15);
    EXPECT_NEAR(b[1000], 1e-6 + 0.5 * (1 - 1e-6 - 1e-5), 1e-15);
    EXPECT_NEAR(b[500], 1e-6 + (1 - 1e-6 - 1e-5) / (1000 - 499 * 998.0 / 999), 1e-15);
    for (int t = 3; t <= 1000; ++t) EXPECT(b[t] > b[t - 1] && b[t] < 1);
    process_close(process);
}

// Mean over N(0,s^2) of the term at t where the network answers m = gain x_t and this v.
static double term_mean(const Process *process, int t, double s, double gain, double v) {
    GaussianNumbers n = gaussian_numbers(process, t);
    double slope = n.hat_x + n.hat_out * gain; // x0_hat = slope x_t
    double x_t = n.keep * n.keep * s * s + n.noise * n.noise;
    double error = slope * slope * x_t - 2 * slope * n.keep * s * s + s * s;
    double z = n.variance.add + n.variance.mul * v, variance = 1 / (1 + exp(-z));
    return 0.5 * (log(variance) - n.log_posterior - 1 +
                  (exp(n.log_posterior) + n.slope * n.slope * error) / variance);
}

// x_0 whose squares have mean s^2.
static double prior_mean(const Process *process, double s) {
    float x_0[2] = {(float)(s * sqrt(2)), 0};
    return process_bound_prior(process, x_0) / 2;
}

static void test_bound_on_the_noise_itself(void) {
    static const int steps[] = {2, 3, 10, 40, 1000};
    for (int k = 0; k < 5; ++k) {
        Process *process = open_process(steps[k]);
        double nats = prior_mean(process, 1);
        for (int t = 2; t <= steps[k]; ++t) nats += term_mean(process, t, 1, 0, 0);
        EXPECT_NEAR(-nats / M_LN2, -2.047096, 1e-6);
        float x_0[2] = {1, -1};
        EXPECT_NEAR((process_null_nats(process, x_0) / 2 - nats) / M_LN2, 0, 1e-6);
        process_close(process);
    }
}

// The best reverse step on N(0,s^2): mean E[x_{t-1}|x_t], its own variance.
static double best_bound(int steps, double s) {
    Process *process = open_process(steps);
    const NoiseTable *table = &process->table;
    double nats = prior_mean(process, s);
    for (int t = 2; t <= steps; ++t) {
        double b = table->step_noise[t], before = table->keep[t - 1] * s * s + table->noise[t - 1];
        double now = (1 - b) * before + b, mean = sqrt(1 - b) * before / now;
        double variance = before * b / now, gain = (mean - sqrt(1 - b)) / sqrt(b);
        GaussianNumbers n = gaussian_numbers(process, t);
        double v = (log(variance / (1 - variance)) - n.variance.add) / n.variance.mul;
        nats += term_mean(process, t, s, gain, v);
    }
    process_close(process);
    return nats / M_LN2;
}

// For a Gaussian chain the exact reverse is Gaussian too, so only the first step and the end of the
// chain cost anything: on s != 1 that is (log s^2 + 1/s^2 - 1)/2 of b_1 and little of A_T.
static void test_bound_of_the_best_network(void) {
    double s = 0.5, entropy = 0.5 * log2(2 * M_PI * M_E * s * s), last = 1e9;
    for (int steps = 10; steps <= 1000; steps *= 10) {
        double excess = best_bound(steps, s) - entropy;
        EXPECT(excess > 0 && excess < last);
        last = excess;
    }
    EXPECT(last < 0.01);
    EXPECT_NEAR(best_bound(1000, 1), 2.047096, 1e-6);
}

// The numbers above through the operations: mean over many samples of what the device computes,
// and a descent on v by its gradient that ends at the best variance.
static void test_terms_through_the_operations(void) {
    enum { DIMS = 2000, T = 40 };
    ProcessConfig config = {.name = "gaussian2015", .steps = T};
    ProcessCase c;
    process_case_open(&c, "late", &config, shape_vector(DIMS), 1);
    static float x_0[DIMS], out[2 * DIMS], slope[2 * DIMS];
    int32_t label[1] = {0};
    uint64_t sample[1] = {7};
    double time[1] = {20}, error, s = 0.5;
    for (int i = 0; i < DIMS; ++i) x_0[i] = (float)s * rng_normal((uint32_t)mix64((uint64_t)i + 5));
    GrainBatch batch = {3, 0, 1, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
    float v = 0;
    for (int round = 0; round < 200; ++round) {
        for (int i = 0; i < DIMS; ++i) out[i] = 0, out[DIMS + i] = v;
        case_upload(&c, c.pass.out, out, sizeof out);
        process_loss(c.process, c.stream, &c.pass, 1, true);
        case_download(&c, slope, c.pass.dout, sizeof slope);
        double sum = 0;
        for (int i = 0; i < DIMS; ++i) sum += (double)slope[DIMS + i];
        v -= (float)(30 * sum / (DIMS * (T - 1.0)));
    }
    process_bound_terms(c.process, c.stream, &c.pass, 1);
    case_download(&c, &error, c.pass.error, sizeof error);
    double best = 1e9;
    for (double at = -20; at < 20; at += 0.01)
        best = fmin(best, term_mean(c.process, 20, s, 0, at));
    EXPECT_NEAR(error / DIMS, best, 5 * 0.05 / sqrt(DIMS));
    process_case_close(&c);
}

// With x_0 all 0 and a perfect answer, every kept noise must lead back to it.
static void test_sampler_with_a_perfect_network(void) {
    enum { DRAWS = 4000, T = 40 };
    ProcessConfig config = {.name = "gaussian2015", .steps = T};
    SamplerConfig sampler_config = {.solver = "ddpm", .guidance = 1};
    ProcessCase c;
    Sampler *sampler;
    process_case_open(&c, "cpu", &config, shape_vector(1), DRAWS);
    EXPECT_OK(sampler_open(c.process, &sampler_config, &sampler));
    case_number_samples(&c, 0, DRAWS);
    sampler_begin(sampler, c.stream, &c.pass, DRAWS, 5);
    static float x[DRAWS], out[DRAWS][2];
    const NoiseTable *table = &c.process->table;
    double s = 0.5, squares = 0;
    for (int i = 0; i < T; ++i) {
        int t = T - i;
        double b = table->step_noise[t], before = table->keep[t - 1] * s * s + table->noise[t - 1];
        double now = (1 - b) * before + b, variance = before * b / now;
        double gain = (sqrt(1 - b) * before / now - sqrt(1 - b)) / sqrt(b);
        double v = (log(variance / (1 - variance)) - log(b / (1 - b))) * sqrt(T);
        case_download(&c, x, c.pass.x_t, sizeof x);
        for (int k = 0; k < DRAWS; ++k) out[k][0] = (float)gain * x[k], out[k][1] = (float)v;
        case_upload(&c, c.pass.out, out, sizeof out);
        sampler_advance(sampler, c.stream, &c.pass, DRAWS, i, 5);
    }
    case_download(&c, x, c.pass.x_t, sizeof x);
    for (int k = 0; k < DRAWS; ++k) squares += (double)x[k] * (double)x[k] / DRAWS;
    // The last step is the mean of N(sqrt(1-b_1) x_1, b_1), and x_1 has this variance.
    double b = table->step_noise[1], expected = (1 - b) * ((1 - b) * s * s + b);
    EXPECT_NEAR(squares, expected, 5 * expected * sqrt(2.0 / DRAWS)); // 5 sigma: 6e-7
    sampler_close(sampler);
    process_case_close(&c);
}

int main(void) {
    RUN(test_schedule);
    RUN(test_bound_on_the_noise_itself);
    RUN(test_bound_of_the_best_network);
    RUN(test_terms_through_the_operations);
    RUN(test_sampler_with_a_perfect_network);
    return test_report();
}
