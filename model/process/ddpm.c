// DDPM (arXiv 2006.11239) and improved DDPM (2102.09672): schedules, heads, learned variance, the
// hybrid and the variational loss. The reverse variance at t = 1 is b_1 where it is not learned:
// the variance of x_0 given x_1 wherever data is smooth at that scale (b~_2, which the released
// code takes, costs 0.16 bits a dimension on Gaussian data).
#include <math.h>

#include "model/process/family_gaussian.h"

// ---- schedule ---------------------------------------------------------------------------------

static double half_circle(double share) { // share = t/T; the iDDPM offset s = 0.008
    return cos((share + 0.008) / 1.008 * M_PI_2);
}

static void fill(const ProcessConfig *config, double *step_noise) {
    int steps = config->steps;
    double scale = 1000.0 / steps;
    for (int t = 1; t <= steps; ++t) {
        if (word_is(config->schedule, "cosine")) {
            double ratio = half_circle((double)t / steps) / half_circle((double)(t - 1) / steps);
            step_noise[t] = fmin(1 - ratio * ratio, 0.999);
        } else {
            double share = steps > 1 ? (double)(t - 1) / (steps - 1) : 0;
            step_noise[t] = scale * (1e-4 + share * (0.02 - 1e-4));
        }
    }
}

static Status check(const ProcessConfig *config, UNUSED const NetworkShape *shape) {
    FAIL_IF(word_is(config->schedule, "linear") && config->steps <= 20, BAD_CONFIG,
            "process.steps is %d; the linear schedule needs at least 21, or its last step keeps"
            " nothing",
            config->steps);
    FAIL_IF(learns_variance(config) && word_is(config->loss, "simple"), BAD_CONFIG,
            "process.variance is \"%s\", which the simple loss does not train; set process.loss to"
            " hybrid or vlb",
            config->variance);
    FAIL_IF(!learns_variance(config) && word_is(config->loss, "hybrid"), BAD_CONFIG,
            "process.loss is \"hybrid\", which trains a variance; set process.variance to"
            " learned-range");
    FAIL_IF(word_is(config->times, "second-moment") && !word_is(config->loss, "vlb"), BAD_CONFIG,
            "process.times is \"second-moment\", which is for process.loss: vlb");
    return STATUS_OK;
}

// ---- numbers ----------------------------------------------------------------------------------

// Improved DDPM, eq. 15: log variance = v' log b + (1 - v') log b~, v' = (v + 1)/2.
static GaussianVariance variance(const Process *process, double t, double s) {
    const char *kind = process->config.variance;
    double large = log(gaussian_step_noise(process, t, s));
    double small = log(gaussian_posterior_variance(process, t, s));
    if (word_is(kind, "fixed-large")) return (GaussianVariance){.add = large};
    if (word_is(kind, "fixed-small")) return (GaussianVariance){.add = small};
    if (word_is(kind, "learned")) return (GaussianVariance){.mul = 1};
    return (GaussianVariance){.add = 0.5 * (large + small), .mul = 0.5 * (large - small)};
}

// Of the decoder. Its range is [b~_2, b_1]: b~_1 would be 0.
static GaussianVariance first_variance(const Process *process) {
    const char *kind = process->config.variance;
    double large = log(process->table.step_noise[1]);
    if (word_is(kind, "learned")) return (GaussianVariance){.mul = 1};
    if (!word_is(kind, "learned-range") || process->config.steps == 1)
        return (GaussianVariance){.add = large};
    double small = log(gaussian_posterior_variance(process, 2, 1));
    return (GaussianVariance){.add = 0.5 * (large + small), .mul = 0.5 * (large - small)};
}

static void numbers(const Process *process, double t, GaussianNumbers *out) {
    const ProcessConfig *config = &process->config;
    out->term = t > 1 ? GAUSSIAN_KL : process->image ? GAUSSIAN_DECODER : GAUSSIAN_DENSITY;
    out->variance = t > 1 ? variance(process, t, t - 1) : first_variance(process);
    // The hybrid loss adds T/1000 of the bound's term in bits, through the variance alone.
    bool hybrid = word_is(config->loss, "hybrid"), vlb = word_is(config->loss, "vlb");
    out->weight = vlb ? 0 : 1;
    out->term_weight = vlb ? config->steps : hybrid ? config->steps / (1000 * M_LN2) : 0;
    out->mean_stops = hybrid;
}

static const GaussianSystem own = {.numbers = numbers, .variance = variance};

const ProcessSystem system_ddpm = {
    .name = "ddpm",
    .family = &family_gaussian,
    .choices = {.schedule = "cosine, linear",
                .head = "eps, x0, v",
                .variance = "fixed-small, fixed-large, learned, learned-range",
                .loss = "simple, hybrid, vlb",
                .times = "uniform, second-moment, stratified",
                .solver = "ddim, ddpm, dpm-2m, dpm-3m, dpm-sde"},
    .check = check,
    .fill = fill,
    .prior = gaussian_prior_nats,
    .own = &own,
};
