// The best denoiser of data N(0, s^2), for any Gaussian process at any time.
#pragma once

#include "model/process/family_gaussian.h"

// x0_hat is gain * x_t; its error has this variance.
double best_gain(const Process *process, double t, double s);
double best_error(const Process *process, double t, double s);
