// SiLU and GELU with their derivatives, for loops that the compiler vectorizes.
#pragma once

#include "model/cpu/kernels/simd.h"
#include "model/ops.h"

static inline float sigmoid_f32(float x) {
    return 1.0f / (1.0f + exp_f32(-x));
}

// x sigmoid(x)
static inline float silu_f32(float x, float *slope) {
    float s = sigmoid_f32(x);
    *slope = s * fmaf(x, 1.0f - s, 1.0f);
    return x * s;
}

// x (1 + tanh(u)) / 2 = x sigmoid(2u) with 2u = 2 sqrt(2/pi) (x + 0.044715 x^3): one exponential
// for both results, and no cancellation for negative x.
static inline float gelu_f32(float x, float *slope) {
    float s = sigmoid_f32(x * fmaf(0.0713548162726f, x * x, 1.59576912161f));
    float inner = fmaf(0.214064448818f, x * x, 1.59576912161f); // derivative of 2u
    *slope = fmaf(x * s * (1.0f - s), inner, s);
    return x * s;
}

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
