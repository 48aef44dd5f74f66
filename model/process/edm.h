// The noise levels of EDM (arXiv 2206.00364), which consistency models walk along as well: sigma
// from EDM_LEAST to EDM_MOST, ln sigma even in time, in coordinates of variance 1.
#pragma once

#include "model/process/family_gaussian.h"

#define EDM_LEAST 0.002
#define EDM_MOST  80.0
// The time at which the bound reads x_0 off: EDM_LEAST, as the last step of a sampler.
#define EDM_FIRST 1e-9

double edm_sigma_data(const Process *process);
double edm_sigma(double t);
// The law of t where ln sigma is normal (process.level_mean, level_std, or the system's own),
// without what lies outside; and its inverse.
double edm_distribution(const Process *process, double t);
double edm_quantile(const Process *process, double point);
double edm_grid(double share); // eq. 5: the time of a sampler's walk from EDM_MOST
GaussianPoint edm_point(const Process *process, double t);
double edm_start(const Process *process);
