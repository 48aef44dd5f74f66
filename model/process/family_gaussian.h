// The Gaussian family: x_t = sqrt(A_t) x_0 + sqrt(1 - A_t) eps. Private to model/process/ and its
// tests.
//
// Everything that the network may predict is linear in x_0 and eps, and so converts to x0_hat;
// every reverse step is the posterior q(x_s|x_t,x_0) with x0_hat for x_0, and a variance.
#pragma once

#include "model/process/process_impl.h"

// Numbers of time t in float64; GaussianLevel is their image (model/ops.h).
typedef struct {
    double keep, noise; // x_t = keep x_0 + noise eps
    double diffusion;   // g^2 (continuous time only)
    double target_x0, target_eps, hat_x, hat_out;
    double weight, term_weight; // of the simple loss, of the bound's term in the loss
    double slope, log_posterior;
    GaussianVariance variance;
    GaussianTerm term;
    bool mean_stops;
} GaussianNumbers;

// Where a process stands at a time: A and 1 - A, the squares of what x_0 and eps are multiplied by
// (their sum need not be 1), and d sqrt(A)/dt, d sqrt(1 - A)/dt (continuous time only).
typedef struct {
    double keep, noise, keep_rate, noise_rate;
} GaussianPoint;

// What tells one system from another.
typedef struct {
    // Fills or changes what is not there already: keep, noise, slope and log_posterior, and where
    // the system has heads, a loss of weight 1 on what the head predicts, and the bound's term of
    // continuous time. NULL: nothing.
    void (*numbers)(const Process *process, double t, GaussianNumbers *out);
    // Of the reverse step from t to s > 0; NULL: that of q(x_s|x_t,x_0).
    GaussianVariance (*variance)(const Process *process, double t, double s);
    bool has_variance; // the network gives it, whatever process.variance: a second half of out
    // Continuous time, and the deviation of the start of a sampler (NULL: 1).
    GaussianPoint (*point)(const Process *process, double t);
    double (*start)(const Process *process);
    double (*stir)(const Process *process, double t); // g^2 of the SDE of `em`; NULL: that of x_t
    bool straight; // `heun` walks along x/alpha over sigma/alpha, in which x_0 alone bends it
} GaussianSystem;

static inline bool learns_variance(const ProcessConfig *config) {
    return word_is(config->variance, "learned") || word_is(config->variance, "learned-range");
}

GaussianNumbers gaussian_numbers(const Process *process, double t);
GaussianPoint gaussian_point(const Process *process, double t);
// Targets and x0_hat for a network that predicts "eps", "x0", "v", "velocity" (eps - x_0), "edm"
// (what is left to c_out, where the data have the variance that makes that of x_t 1), or "score"
// times g.
void gaussian_set_head(const char *head, GaussianNumbers *out);
// The SDE dx = - b x/2 dt + sqrt(b) dw, b from vp_beta_0 to vp_beta_1 (score_sde.c).
extern const double vp_beta_0, vp_beta_1;
GaussianPoint vp_point(const Process *process, double t);
// Mean over the noise of the sum of squares of a sample as the process sees it.
double gaussian_square_sum(const Process *process, const void *x_0);
// KL(q(x_T|x_0) || start of a sampler) in nats, T the last time.
double gaussian_prior_nats(const Process *process, const void *x_0);

// Noise of the composed step from s to t, 1 - A_t / A_s, without cancellation at either end.
double gaussian_step_noise(const Process *process, double t, double s);
double gaussian_posterior_variance(const Process *process, double t, double s); // of q(x_s|x_t,x_0)

// x_s = by_x x_t + by_x0 x0_hat + std z; has_variance: the network's variance instead of std.
typedef struct {
    double by_x, by_x0, std;
    bool has_variance;
    GaussianVariance variance;
} GaussianStep;
// The probability flow of continuous time, dx/dt = by_x x + by_x0 x0_hat.
GaussianStep gaussian_slope(const Process *process, double t);
// Half of what Euler's step from `from` to `to` adds, with the slope at t; `keep`: what it adds to
// is keep x. In the coordinates that `heun` walks along.
GaussianStep gaussian_half(const Process *process, double t, double from, double to, double *keep);
// DPM-Solver++ (arXiv 2211.01095): x_s = by_x x_t + sum of by_x0[k] x0_hat(k evaluations ago) + std
// z.
typedef struct {
    double by_x, by_x0[3], std;
} GaussianMultistep;
// "dpm-2m", "dpm-3m", "dpm-sde" from time[0] to `to`; time[1..known-1]: those of the evaluations
// before, of which as many count as the order has. The step to 0 gives the mean.
GaussianMultistep gaussian_multistep(const Process *process, const char *solver, const double *time,
                                     int known, double to);
GaussianStep gaussian_step(const Process *process, const SamplerConfig *config, double t, double s);
