// The best denoiser of data N(0, s^2), for any Gaussian process at any time.
#pragma once

#include "model/process/family_gaussian.h"

// x0_hat is gain * x_t; its error has this variance.
double best_gain(const Process *process, double t, double s);
double best_error(const Process *process, double t, double s);

// The deviation of 12800 numbers that a sampler draws with it, in samples of 64, through the
// operations of the CPU. Its own error is `spread_noise` of s: false alarms at 6e-7.
static const double spread_noise = 0.0312;
double drawn_spread(const ProcessConfig *config, const SamplerConfig *sampler_config, double s);
// The bound with it in bits a number of N(0,s^2): of the first term, the prior, and the mean of
// 20000 terms between.
double best_bound(const Process *process, double s);
// Standard deviation at the end of a sampler from N(0,1) with it: every step is linear.
double final_std(const Sampler *sampler, double s);

// ddpm on vectors of 3, and a sampler of it; both end the program on failure.
Process *open_ddpm_vector(const char *schedule, const char *head, const char *variance);
Sampler *open_ddpm_sampler(const Process *process, const char *solver, int steps, float eta);
