// Activations of many numbers, in loops that the compiler vectorizes.
#pragma once

#include "model/cpu/kernels/simd.h"
#include "model/ops.h"

// x may be slope or y: each element is read before it is written, which LOOP_INDEPENDENT says.
static inline void act_with_slope(Activation act, const float *x, float *slope, float *y,
                                  int64_t n) {
    if (act == ACT_NONE) {
        LOOP_INDEPENDENT
        for (int64_t i = 0; i < n; ++i) y[i] = x[i], slope[i] = 1.0f;
    } else if (act == ACT_SILU) {
        LOOP_INDEPENDENT
        for (int64_t i = 0; i < n; ++i) y[i] = silu_f32(x[i], &slope[i]);
    } else {
        LOOP_INDEPENDENT
        for (int64_t i = 0; i < n; ++i) y[i] = gelu_f32(x[i], &slope[i]);
    }
}
