// EDM (Karras et al., arXiv 2206.00364): x = y + sigma n, ln sigma normal in training, and a
// network F between c_in x and D = c_skip x + c_out F.
//
// It lives in coordinates of variance 1, c_in x = x / sqrt(sigma^2 + sigma_data^2), which is what
// the network sees: there D is linear in x and F as every head is, and the weight of their loss on
// F is 1. Time t in [0,1] is ln sigma from sigma_min to sigma_max, and so is what the network is
// told.
#include <math.h>

#include "model/process/edm.h"

static const double rho = 7;

// Of images in [-1,1] theirs; other data are meant to have variance 1 (process.data_std).
double edm_sigma_data(const Process *process) {
    return process->image ? 0.5 : 1;
}

double edm_sigma(double t) {
    return EDM_LEAST * pow(EDM_MOST / EDM_LEAST, t);
}

static double time_of(double sigma) {
    return log(sigma / EDM_LEAST) / log(EDM_MOST / EDM_LEAST);
}

// ---- times ------------------------------------------------------------------------------------

static double below(const Process *process, double t) { // of the normal law of ln sigma
    const ProcessConfig *config = &process->config;
    bool own = config->level_std == 0;
    double mean = own ? process->system->log_mean : (double)config->level_mean;
    double std = own ? process->system->log_std : (double)config->level_std;
    return 0.5 * erfc((mean - log(edm_sigma(t))) / (std * M_SQRT2));
}

double edm_distribution(const Process *process, double t) {
    double first = below(process, 0);
    return (below(process, t) - first) / (below(process, 1) - first);
}

double edm_quantile(const Process *process, double point) {
    double low = 0, high = 1;
    for (int i = 0; i < 54; ++i) {
        double middle = 0.5 * (low + high);
        if (edm_distribution(process, middle) < point)
            low = middle;
        else
            high = middle;
    }
    return fmax(high, 2 * EDM_FIRST);
}

// Eq. 5: of a sampler's steps.
double edm_grid(double share) {
    double first = pow(EDM_MOST, 1 / rho), last = pow(EDM_LEAST, 1 / rho);
    return fmax(time_of(pow(first + share * (last - first), rho)), 2 * EDM_FIRST);
}

// Algorithm 2: sigma grows by churn/steps, at most sqrt(2) - 1 of it, within an interval.
static double churn(const SamplerConfig *config, int steps, double t) {
    double grows = fmin((double)config->churn / steps, M_SQRT2 - 1), sigma = edm_sigma(t);
    bool inside = sigma >= (double)config->churn_from && sigma <= (double)config->churn_to;
    return inside && grows > 0 ? fmin(time_of((1 + grows) * sigma), 1) : t;
}

// ---- numbers ----------------------------------------------------------------------------------

GaussianPoint edm_point(const Process *process, double t) {
    double s = edm_sigma(t), data = edm_sigma_data(process), keep = 1 / (s * s + data * data);
    double grows = s * log(EDM_MOST / EDM_LEAST) * keep * sqrt(keep); // d s/dt / (...)^1.5
    return (GaussianPoint){keep, s * s * keep, -s * grows, data * data * grows};
}

double edm_start(const Process *process) {
    return sqrt(edm_point(process, 1).noise);
}

static const GaussianSystem own = {.point = edm_point, .start = edm_start, .straight = true};

const ProcessSystem system_edm = {
    .name = "edm",
    .family = &family_gaussian,
    .choices = {.head = "edm",
                .loss = "simple",
                .times = "lognormal, uniform, stratified",
                .solver = "heun, ddim, dpm-2m, dpm-3m, dpm-sde, pc, ddpm"},
    .begin = EDM_FIRST,
    .end = 1,
    .sample_end = 2 * EDM_FIRST,
    .grid = edm_grid,
    .churn = churn,
    .quantile = edm_quantile,
    .distribution = edm_distribution,
    .log_mean = -1.2,
    .log_std = 1.2,
    .prior = gaussian_prior_nats,
    .own = &own,
};
