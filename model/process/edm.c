// EDM (Karras et al., arXiv 2206.00364): x = y + sigma n, ln sigma normal in training, and a
// network F between c_in x and D = c_skip x + c_out F.
//
// It lives in coordinates of variance 1, c_in x = x / sqrt(sigma^2 + sigma_data^2), which is what
// the network sees: there D is linear in x and F as every head is, and the weight of their loss on
// F is 1. Time t in [0,1] is ln sigma from sigma_min to sigma_max, and so is what the network is
// told.
#include <math.h>

#include "model/process/family_gaussian.h"

static const double sigma_min = 0.002, sigma_max = 80, log_mean = -1.2, log_std = 1.2, rho = 7;
// The time at which the bound reads x_0 off: sigma_min, as the last step of a sampler.
#define EDM_FIRST 1e-9

// Of images in [-1,1] theirs; other data are meant to have variance 1 (process.data_std).
static double sigma_data(const Process *process) {
    return process->image ? 0.5 : 1;
}

static double sigma_at(double t) {
    return sigma_min * pow(sigma_max / sigma_min, t);
}

static double time_of(double sigma) {
    return log(sigma / sigma_min) / log(sigma_max / sigma_min);
}

// ---- times ------------------------------------------------------------------------------------

static double below(double t) { // of the normal law of ln sigma
    return 0.5 * erfc((log_mean - log(sigma_at(t))) / (log_std * M_SQRT2));
}

// Without the 1.6e-5 of the law that lie outside.
static double distribution(double t) {
    return (below(t) - below(0)) / (below(1) - below(0));
}

static double quantile(double point) {
    double low = 0, high = 1;
    for (int i = 0; i < 54; ++i) {
        double middle = 0.5 * (low + high);
        if (distribution(middle) < point)
            low = middle;
        else
            high = middle;
    }
    return fmax(high, 2 * EDM_FIRST);
}

// Eq. 5: of a sampler's steps.
static double grid(double share) {
    double first = pow(sigma_max, 1 / rho), last = pow(sigma_min, 1 / rho);
    return fmax(time_of(pow(first + share * (last - first), rho)), 2 * EDM_FIRST);
}

// ---- numbers ----------------------------------------------------------------------------------

static GaussianPoint point(const Process *process, double t) {
    double s = sigma_at(t), data = sigma_data(process), keep = 1 / (s * s + data * data);
    double grows = s * log(sigma_max / sigma_min) * keep * sqrt(keep); // d s/dt / (...)^1.5
    return (GaussianPoint){keep, s * s * keep, -s * grows, data * data * grows};
}

static double start(const Process *process) {
    return sqrt(point(process, 1).noise);
}

static const GaussianSystem own = {.point = point, .start = start, .straight = true};

const ProcessSystem system_edm = {
    .name = "edm",
    .family = &family_gaussian,
    .choices = {.head = "edm",
                .loss = "simple",
                .times = "lognormal, uniform, stratified",
                .solver = "heun, ddim, dpm-2m, dpm-3m, dpm-sde, pc, ddpm"},
    .first_time = 1,
    .begin = EDM_FIRST,
    .end = 1,
    .sample_end = 2 * EDM_FIRST,
    .grid = grid,
    .quantile = quantile,
    .distribution = distribution,
    .prior = gaussian_prior_nats,
    .own = &own,
};
