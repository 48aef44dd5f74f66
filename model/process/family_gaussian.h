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
    double target_x0, target_eps, hat_x, hat_out;
    double weight, term_weight; // of the simple loss, of the bound's term in the loss
    double slope, log_posterior;
    GaussianVariance variance;
    GaussianTerm term;
    bool mean_stops;
} GaussianNumbers;

// What tells one system from another.
typedef struct {
    // Fills everything but keep, noise, slope and log_posterior, which are there already.
    void (*numbers)(const Process *process, int t, GaussianNumbers *out);
    // Of the reverse step from t to s >= 1.
    GaussianVariance (*variance)(const Process *process, int t, int s);
    bool (*has_variance)(const ProcessConfig *config); // the network gives it: a second half of out
} GaussianSystem;

GaussianNumbers gaussian_numbers(const Process *process, int t);

// 1 - A_t / A_s: the noise of the composed step from s to t, without cancellation at either end.
double gaussian_step_noise(const Process *process, int t, int s);
double gaussian_posterior_variance(const Process *process, int t, int s); // of q(x_s|x_t,x_0)

// x_s = by_x x_t + by_x0 x0_hat + std z; has_variance: the network's variance instead of std.
typedef struct {
    double by_x, by_x0, std;
    bool has_variance;
    GaussianVariance variance;
} GaussianStep;
GaussianStep gaussian_step(const Process *process, const SamplerConfig *config, int t, int s);
