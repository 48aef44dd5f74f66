// Variational diffusion models (Kingma et al., arXiv 2107.00630), with the constants of the
// authors' code: log of noise over signal is g(t), t in [0,1], and the loss is the bound. g is
// linear, or learned (learned.c). What no network has a part in, p(x|z_0) and the prior, is told by
// the bound alone where g is linear.
#include <math.h>

#include "model/process/family_gaussian.h"

const double vdm_g_min = -13.3, vdm_g_max = 5;

static GaussianPoint point(const Process *process, double t) {
    double rate, g = vdm_g(process, t, &rate), half = 0.5 * rate;
    double keep = 1 / (1 + exp(g)), noise = 1 / (1 + exp(-g));
    return (GaussianPoint){keep, noise, -half * noise * sqrt(keep), half * keep * sqrt(noise)};
}

// Half a square of eps, by the rise of g: g', or with T steps T (e^(g_t - g_s) - 1). At the first
// time x_0 is read off z_0.
static void numbers(const Process *process, double t, GaussianNumbers *out) {
    double rise, unused, g = vdm_g(process, t, &rise);
    if (process->grid > 0) {
        double rate = rise / process->grid; // of linear g
        if (process->own_count > 0) rate = g - vdm_g(process, t - 1.0 / process->grid, &unused);
        rise = process->grid * expm1(rate);
        out->slope *= sqrt(rise); // a term of T, of which the bound takes the mean
    }
    out->weight = 0.5 * rise;
    if (t > process->system->begin) return;
    if (process->image) out->term = GAUSSIAN_LEVELS;
    out->variance.add = g;
}

static const GaussianSystem own = {.numbers = numbers, .point = point};

const ProcessSystem system_vdm = {
    .name = "vdm",
    .family = &family_gaussian,
    .choices = {.schedule = "linear, scalar, net",
                .head = "residual, eps",
                .loss = "continuous, discrete",
                .times = "stratified, uniform",
                .solver = "ddpm, ddim"},
    .begin = 0x1p-40, // time 0 of the paper; our 0 is the data itself
    .end = 1,
    .sample_end = 0x1p-40,
    .level_centers = true,
    .prior = gaussian_prior_nats,
    .own = &own,
};
