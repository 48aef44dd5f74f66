// A variational perspective on diffusion (Huang, Lim, Courville, arXiv 2106.02808): the VP-SDE, a
// network a = g score, and times by the density with which its loss is that of the ELBO.
#include <math.h>

#include "model/process/family_gaussian.h"

static const double flat = 1e-3; // the density does not grow below

// Integral of b over [0,t].
static double big(double t) {
    return 0.5 * t * t * (vp_beta_1 - vp_beta_0) + t * vp_beta_0;
}

// ---- times ------------------------------------------------------------------------------------

// g^2/sigma^2 = b/(1 - e^-B), which the density is in the ratio of, and its integral.
static double ratio(double t) {
    t = fmax(t, flat);
    return (vp_beta_0 + (vp_beta_1 - vp_beta_0) * t) / -expm1(-big(t));
}

static double integral(double t) {
    double first = ratio(flat) * fmin(t, flat);
    return t <= flat ? first : first + log(expm1(big(t)) / expm1(big(flat)));
}

static double density(double t) {
    return ratio(t) / integral(1);
}

static double distribution(UNUSED const Process *process, double t) {
    return integral(t) / integral(1);
}

static double quantile(UNUSED const Process *process, double point) {
    double goal = point * integral(1), beyond = goal - integral(flat),
           slope = vp_beta_1 - vp_beta_0;
    if (beyond <= 0) return goal / ratio(flat);
    double b = log1p(exp(beyond) * expm1(big(flat)));
    return fmin((sqrt(vp_beta_0 * vp_beta_0 + 2 * slope * b) - vp_beta_0) / slope, 1);
}

// ---- numbers ----------------------------------------------------------------------------------

// The loss is half the square of a sigma/g + eps.
static void numbers(UNUSED const Process *process, UNUSED double t, GaussianNumbers *out) {
    out->weight = 0.5 * out->noise * out->noise / out->diffusion;
}

static const GaussianSystem own = {.numbers = numbers, .point = vp_point};

const ProcessSystem system_variational_sde = {
    .name = "variational-sde",
    .family = &family_gaussian,
    .choices = {.schedule = "vp",
                .head = "score",
                .loss = "simple",
                .times = "debiased, uniform",
                .solver = "em, pc, heun, ddim, ddpm, dpm-2m, dpm-3m, dpm-sde"},
    .begin = 1e-5,
    .end = 1,
    .sample_end = 1e-3,
    .quantile = quantile,
    .distribution = distribution,
    .density = density,
    .prior = gaussian_prior_nats,
    .own = &own,
};
