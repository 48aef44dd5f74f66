// Learning rate and averaging as functions of samples seen: never of ranks, steps or time.
#pragma once

#include <stdint.h>

#include "trainer/trainer.h"

// Linear warm-up to optim.lr over optim.warmup samples, then constant, or a cosine that ends at
// lr * lr_final when all `total` samples have been seen.
double schedule_lr(const OptimConfig *optim, int64_t samples, int64_t total);

// Share of the way that average k moves towards the weights in a step of `batch` samples, after
// `samples` samples: 1 - 2^(-batch / h), h = min(half-life, ema_ramp * samples) as in EDM
// (arXiv 2206.00364, training code's ramp). 1 at the start: the average begins at the weights.
// With ema_power: 1 - (1 - batch/samples)^(e + 1), which weighs the weights after s samples by s^e.
double schedule_ema_rate(const OptimConfig *optim, int k, int64_t samples, int64_t batch);
// That e: the average has this standard deviation, as a share of the samples seen, (e + 1)/((e +
// 2)^2 (e + 3)) squared (EDM2, arXiv 2312.02696, eq. 125); above 0, at most 0.288 (e = 0).
double schedule_ema_exponent(double power);
