// The best denoiser of tests/model/support_gaussian.h.
#include "tests/model/support_gaussian.h"

#include <math.h>

#include "tests/model/support_process.h"
#include "tests/test.h"

double best_gain(const Process *process, double t, double s) {
    GaussianPoint at = gaussian_point(process, t);
    return sqrt(at.keep) * s * s / (at.keep * s * s + at.noise);
}

double best_error(const Process *process, double t, double s) {
    GaussianPoint at = gaussian_point(process, t);
    return s * s * at.noise / (at.keep * s * s + at.noise);
}

double drawn_spread(const ProcessConfig *config, const SamplerConfig *sampler_config, double s) {
    enum { N = 12800, DIMS = 64, DRAWS = N / DIMS };
    static float x[N];
    ProcessCase c;
    Sampler *sampler;
    process_case_open(&c, "late", config, shape_vector(DIMS), DRAWS);
    EXPECT_OK(sampler_open(c.process, sampler_config, &sampler));
    case_number_samples(&c, 100, DRAWS);
    sampler_begin(sampler, c.stream, &c.pass, DRAWS, 3);
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        double t = sampler_time(sampler, i);
        GaussianNumbers n = gaussian_numbers(c.process, t);
        double out = (best_gain(c.process, t, s) - n.hat_x) / n.hat_out;
        axpby(c.stream, (Elementwise){.x = c.pass.x_t, .y = c.pass.out, .n = N, .a = (float)out});
        sampler_advance(sampler, c.stream, &c.pass, DRAWS, i, 3);
    }
    double squares = 0;
    case_download(&c, x, c.pass.x_t, sizeof x);
    for (int64_t i = 0; i < N; ++i) squares += (double)x[i] * (double)x[i] / N;
    sampler_close(sampler);
    process_case_close(&c);
    return sqrt(squares);
}

double best_bound(const Process *process, double s) {
    enum { POINTS = 20000 };
    float x_0[3] = {(float)s, (float)s, (float)-s};
    double nats = process_bound_prior(process, x_0) / 3;
    GaussianNumbers first = gaussian_numbers(process, process_first_time(process));
    EXPECT_EQ(first.term, GAUSSIAN_DENSITY);
    double error = first.hat_x * first.hat_x * first.noise * first.noise;
    nats += 0.5 * (log(2 * M_PI) + first.variance.add + error * exp(-first.variance.add));
    for (int i = 0; i < POINTS; ++i) {
        double weight, t = process_bound_time(process, (i + 0.5) / POINTS, &weight);
        GaussianNumbers n = gaussian_numbers(process, t);
        EXPECT(n.term == GAUSSIAN_KL && n.variance.add == 0 && n.log_posterior == 0);
        nats += weight * 0.5 * n.slope * n.slope * best_error(process, t, s) / POINTS;
    }
    return nats / M_LN2;
}

double final_std(const Sampler *sampler, double s) {
    double variance = 1;
    for (int i = 0; i < sampler->steps; ++i) {
        double t = sampler->step[i].time;
        GaussianStep step =
            gaussian_step(sampler->process, &sampler->config, t, sampler->step[i].to);
        double factor = step.by_x + step.by_x0 * best_gain(sampler->process, t, s);
        variance = factor * factor * variance + step.std * step.std;
    }
    return sqrt(variance);
}

Process *open_ddpm_vector(const char *schedule, const char *head, const char *variance) {
    ProcessConfig config = config_gaussian(schedule, head, variance);
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

Sampler *open_ddpm_sampler(const Process *process, const char *solver, int steps, float eta) {
    SamplerConfig config = {.steps = steps, .guidance = 1, .eta = eta};
    snprintf(config.solver, sizeof config.solver, "%s", solver);
    Sampler *sampler;
    EXPECT_OK(sampler_open(process, &config, &sampler));
    return sampler;
}
