// The update of one weight.
#pragma once

#include <math.h>

#include "base/kernel.h"
#include "model/ops.h"

// rest_i = 1 - beta_i
KERNEL_FN void adamw_number(const AdamwEma *a, float rest1, float rest2, float grad, float *w,
                            float *m, float *v, float *ema_0, float *ema_1) {
    float g = a->grad_scale * grad;
    *m = fmaf(a->beta1, *m, rest1 * g);
    *v = fmaf(a->beta2, *v, rest2 * g * g);
    float direction = *m * a->correct1 / (sqrtf(*v * a->correct2) + a->eps);
    *w = fmaf(-a->lr, fmaf(a->decay, *w, direction), *w);
    *ema_0 = fmaf(a->ema_rate_0, *w - *ema_0, *ema_0);
    *ema_1 = fmaf(a->ema_rate_1, *w - *ema_1, *ema_1);
}
