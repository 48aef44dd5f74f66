// DDIM on data N(0, s^2) with the best denoiser, where every step is linear: published spreads, its
// place between the flow and ancestral steps, its order, and inversion: up and down again.
#include <math.h>

#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

static void test_ddim_with_full_noise_is_ancestral(void) {
    Process *process = open_ddpm_vector("cosine", "v", "fixed-small");
    SamplerConfig ddim = {.solver = "ddim", .eta = 1}, ddpm = {.solver = "ddpm"};
    for (int t = 41; t <= 1000; t += 40) {
        GaussianStep a = gaussian_step(process, &ddim, t, t - 40);
        GaussianStep b = gaussian_step(process, &ddpm, t, t - 40);
        EXPECT_NEAR(a.by_x, b.by_x, 1e-11);
        EXPECT_NEAR(a.by_x0, b.by_x0, 1e-11);
        EXPECT_NEAR(a.std, b.std, 1e-11);
    }
    GaussianStep last = gaussian_step(process, &ddpm, 1, 0);
    EXPECT(last.by_x == 0 && last.std == 0);
    EXPECT_NEAR(last.by_x0, 1, 1e-12);
    Process *large = open_ddpm_vector("cosine", "v", "fixed-large");
    last = gaussian_step(large, &ddpm, 1, 0); // a mean: noise here would be seen in the picture
    EXPECT(last.by_x == 0 && last.std == 0);
    process_close(large);
    last = gaussian_step(process, &ddim, 1, 0);
    EXPECT(last.by_x == 0 && last.std == 0 && last.by_x0 == 1);
    process_close(process);
}

static void test_ddim_reaches_published_spread(void) {
    static const int steps[] = {10, 20, 50, 100, 1000};
    static const double plain[] = {.37413, .43373, .47244, .48598, .49850};
    static const double noisy[] = {.33326, .39146, .44412, .46826, .49611};
    Process *process = open_ddpm_vector("linear", "eps", "fixed-small");
    for (int i = 0; i < 5; ++i) {
        Sampler *sampler = open_ddpm_sampler(process, "ddim", steps[i], 0);
        EXPECT_NEAR(final_std(sampler, 0.5), plain[i], 5.1e-6);
        sampler_close(sampler);
        sampler = open_ddpm_sampler(process, "ddim", steps[i], 1);
        EXPECT_NEAR(final_std(sampler, 0.5), noisy[i], 5.1e-6);
        sampler_close(sampler);
    }
    process_close(process);
}

// ---- inversion --------------------------------------------------------------------------------

static Sampler *open_upwards(const Process *process, int steps) {
    SamplerConfig config = {.solver = "ddim", .steps = steps, .guidance = 1, .invert = true};
    Sampler *sampler;
    EXPECT_OK(sampler_open(process, &config, &sampler));
    return sampler;
}

// What a walk multiplies x by, without noise.
static double gain_of(const Sampler *sampler, double s) {
    double gain = 1;
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        double t = sampler->step[i].time;
        GaussianStep step =
            gaussian_step(sampler->process, &sampler->config, t, sampler->step[i].to);
        EXPECT_NEAR(step.std, 0, 0);
        gain *= step.by_x + step.by_x0 * best_gain(sampler->process, t, s);
    }
    return gain;
}

// Upwards the same times in turn, and what comes of N(0, s^2) is N(0, 1), as much as the last time
// is noise. Up and down the error falls with the first power of the step.
static void test_inversion(void) {
    static const int steps[] = {10, 20, 50, 100, 1000};
    Process *process = open_ddpm_vector("linear", "eps", "fixed-small");
    double before = 0, s = 0.5;
    for (int i = 0; i < 5; ++i) {
        Sampler *up = open_upwards(process, steps[i]);
        Sampler *down = open_ddpm_sampler(process, "ddim", steps[i], 0);
        EXPECT_EQ(sampler_steps(up), steps[i] - 1);
        for (int k = 0; k + 1 < steps[i]; ++k) {
            EXPECT_NEAR(up->step[k].time, down->step[steps[i] - 1 - k].time, 0);
            EXPECT_NEAR(up->step[k].to, down->step[steps[i] - 2 - k].time, 0);
        }
        double error = fabs(gain_of(up, s) * gain_of(down, s) - 1);
        EXPECT(i == 0 || error < before * 1.15 * steps[i - 1] / steps[i]);
        EXPECT(error < 6.0 / steps[i]);
        if (steps[i] == 1000) EXPECT_NEAR(gain_of(up, s) * s, 1, 0.006);
        before = error;
        sampler_close(up);
        sampler_close(down);
    }
    process_close(process);
}

static void test_inversion_is_of_ddim(void) {
    Process *process = open_ddpm_vector("linear", "eps", "fixed-small");
    SamplerConfig config = {.solver = "ddpm", .steps = 10, .guidance = 1, .invert = true};
    Sampler *sampler;
    EXPECT_FAIL(sampler_open(process, &config, &sampler), BAD_CONFIG, "sampler.solver: ddim");
    snprintf(config.solver, sizeof config.solver, "ddim");
    config.eta = 0.5f;
    EXPECT_FAIL(sampler_open(process, &config, &sampler), BAD_CONFIG, "sampler.eta");
    process_close(process);
}

// In continuous time too: straight paths, whose Euler steps are DDIM's.
static void test_inversion_of_a_flow(void) {
    ProcessConfig config = {.name = "flow", .steps = 1000};
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    double error[2];
    for (int i = 0; i < 2; ++i) {
        Sampler *up = open_upwards(process, 100 << i);
        Sampler *down = open_ddpm_sampler(process, "ddim", 100 << i, 0);
        error[i] = fabs(gain_of(up, 0.5) * gain_of(down, 0.5) - 1);
        sampler_close(up);
        sampler_close(down);
    }
    EXPECT(error[0] < 0.05 && error[1] < 0.6 * error[0]);
    process_close(process);
}

// ---- guidance in an interval ------------------------------------------------------------------

static void test_guidance_in_an_interval(void) {
    Process *process = open_ddpm_vector("linear", "eps", "fixed-small");
    SamplerConfig config = {
        .solver = "ddim", .steps = 10, .guidance = 3, .guide_from = 0.25f, .guide_to = 0.65f};
    Sampler *sampler;
    EXPECT_OK(sampler_open(process, &config, &sampler));
    for (int i = 0; i < 10; ++i) {
        double share = sampler_time(sampler, i) / 1000;
        EXPECT(sampler_guidance(sampler, i) == (share >= 0.25 && share <= 0.65 ? 3 : 1));
    }
    sampler_close(sampler);
    config.guide_from = config.guide_to = 0;
    EXPECT_OK(sampler_open(process, &config, &sampler));
    for (int i = 0; i < 10; ++i) EXPECT(sampler_guidance(sampler, i) == 3);
    sampler_close(sampler);
    process_close(process);
}

int main(void) {
    RUN(test_ddim_with_full_noise_is_ancestral);
    RUN(test_ddim_reaches_published_spread);
    RUN(test_inversion);
    RUN(test_inversion_is_of_ddim);
    RUN(test_inversion_of_a_flow);
    RUN(test_guidance_in_an_interval);
    return test_report();
}
