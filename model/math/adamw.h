// The update of one weight, number i of each array.
#pragma once

#include <math.h>

#include "base/kernel.h"
#include "model/ops.h"

KERNEL_FN void adamw_number(const AdamwEma *a, int64_t i) {
    float g = a->grad_scale * a->grad[i], m = fmaf(a->beta1, a->m[i], (1.0f - a->beta1) * g);
    float v = fmaf(a->beta2, a->v[i], (1.0f - a->beta2) * g * g);
    float direction = m * a->correct1 / (sqrtf(v * a->correct2) + a->eps);
    float w = fmaf(-a->lr, fmaf(a->decay, a->w[i], direction), a->w[i]);
    a->m[i] = m;
    a->v[i] = v;
    a->w[i] = w;
    a->ema_0[i] = fmaf(a->ema_rate_0, w - a->ema_0[i], a->ema_0[i]);
    a->ema_1[i] = fmaf(a->ema_rate_1, w - a->ema_1[i], a->ema_1[i]);
}
