// The optimizer: what its step is scaled by, and the update of one weight.
#pragma once

#include <math.h>

#include "base/kernel.h"
#include "model/ops.h"

// What the three sums come to.
KERNEL_FN void grad_scale_write(const GradScale *a, double loss, double squares, double lost) {
    double samples = a->samples - lost, items = (samples > 1 ? samples : 1) * a->terms;
    double norm = sqrt(squares) / items, scale = 1 / items;
    if (a->clip > 0 && norm > a->clip) scale *= a->clip / norm;
    a->result[GRAD_SCALE] = isfinite(norm) && isfinite(loss) ? scale : 0;
    a->result[GRAD_NORM] = norm;
    a->result[GRAD_LOSS] = loss;
    a->result[GRAD_ITEMS] = items;
}

// Number i of each array, by a gradient that is to be multiplied by `scale`.
KERNEL_FN void adamw_number(const AdamwEma *a, float scale, int64_t i) {
    float g = scale * a->grad[i], m = fmaf(a->beta1, a->m[i], (1.0f - a->beta1) * g);
    float v = fmaf(a->beta2, a->v[i], (1.0f - a->beta2) * g * g);
    float direction = m * a->correct1 / (sqrtf(v * a->correct2) + a->eps);
    float w = fmaf(-a->lr, fmaf(a->decay, a->w[i], direction), a->w[i]);
    a->m[i] = m;
    a->v[i] = v;
    a->w[i] = w;
    a->ema_0[i] = fmaf(a->ema_rate_0, w - a->ema_0[i], a->ema_0[i]);
    a->ema_1[i] = fmaf(a->ema_rate_1, w - a->ema_1[i], a->ema_1[i]);
}
