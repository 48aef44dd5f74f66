// Score-based SDEs (Song et al., arXiv 2011.13456): VP, VE and sub-VP in continuous time, with the
// constants of the authors' code. The network predicts eps = - sigma score.
//
// VE lives in coordinates of variance 1 for data of variance 1, x / sqrt(1 + sigma^2): what the
// network sees. Bounds, DDIM, ancestral steps and correctors do not depend on that; Euler's do.
#include <math.h>

#include "model/process/family_gaussian.h"

const double vp_beta_0 = 0.1, vp_beta_1 = 20;
static const double sigma_0 = 0.01, sigma_1 = 50;

// VP: alpha = e^c, sigma^2 = 1 - e^{2c}, c = -t^2 (vp_beta_1 - vp_beta_0)/4 - t vp_beta_0/2.
GaussianPoint vp_point(UNUSED const Process *process, double t) {
    double c = -0.25 * t * t * (vp_beta_1 - vp_beta_0) - 0.5 * t * vp_beta_0, noise = -expm1(2 * c);
    double half_beta = 0.5 * (vp_beta_0 + t * (vp_beta_1 - vp_beta_0)), keep = exp(2 * c);
    return (GaussianPoint){keep, noise, -half_beta * sqrt(keep), half_beta * keep / sqrt(noise)};
}

// The same alpha, sigma = 1 - e^{2c}.
static GaussianPoint sub_vp_point(const Process *process, double t) {
    GaussianPoint at = vp_point(process, t);
    double beta = vp_beta_0 + t * (vp_beta_1 - vp_beta_0);
    at.noise_rate = beta * at.keep;
    at.noise *= at.noise;
    return at;
}

// s = sigma_0 (sigma_1/sigma_0)^t; A = 1/(1 + s^2).
static GaussianPoint ve_point(double t) {
    double rate = log(sigma_1 / sigma_0), s = sigma_0 * exp(t * rate), keep = 1 / (1 + s * s);
    double root = sqrt(keep), grows = s * rate * keep * root; // d (s/sqrt(1+s^2))/dt
    return (GaussianPoint){keep, s * s * keep, -s * grows, grows};
}

static GaussianPoint point(const Process *process, double t) {
    const char *schedule = process->config.schedule;
    return word_is(schedule, "vp")   ? vp_point(process, t)
           : word_is(schedule, "ve") ? ve_point(t)
                                     : sub_vp_point(process, t);
}

static double start(const Process *process) {
    return word_is(process->config.schedule, "ve") ? sqrt(ve_point(1).noise) : 1;
}

static Status check(const ProcessConfig *config, UNUSED const NetworkShape *shape) {
    FAIL_IF(word_is(config->loss, "likelihood") && !word_is(config->head, "eps"), BAD_CONFIG,
            "process.loss is \"likelihood\", which is for process.head: eps");
    return STATUS_OK;
}

static void numbers(const Process *process, double t, GaussianNumbers *out) {
    GaussianPoint at = point(process, t);
    if (word_is(process->config.loss, "likelihood")) // g^2 / sigma^2
        out->weight = 2 * at.noise_rate / out->noise - 2 * (at.keep_rate / out->keep);
}

static const GaussianSystem own = {.numbers = numbers, .point = point, .start = start};

const ProcessSystem system_score_sde = {
    .name = "score-sde",
    .family = &family_gaussian,
    .choices = {.schedule = "vp, ve, sub-vp",
                .head = "eps, x0, v",
                .loss = "simple, likelihood",
                .solver = "pc, em, heun, ddim, ddpm, dpm-2m, dpm-3m, dpm-sde"},
    .begin = 1e-5,
    .end = 1,
    .sample_end = 1e-3,
    .check = check,
    .prior = gaussian_prior_nats,
    .own = &own,
};
