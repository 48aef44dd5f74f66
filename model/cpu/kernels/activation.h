// Activation functions and their derivatives, for loops that the compiler vectorizes.
#ifndef MODEL_CPU_KERNELS_ACTIVATION_H
#define MODEL_CPU_KERNELS_ACTIVATION_H

#include "model/cpu/kernels/simd.h"

static inline float sigmoid_f32(float x) {
    return 1.0f / (1.0f + exp_f32(-x));
}

static inline float silu_f32(float x) {
    return x / (1.0f + exp_f32(-x));
}

static inline float silu_slope_f32(float x) {
    float s = sigmoid_f32(x);
    return s * fmaf(x, 1.0f - s, 1.0f);
}

// x (1 + tanh(u)) / 2 = x sigmoid(2u) with 2u = 2 sqrt(2/pi) (x + 0.044715 x^3): one exponential,
// and no cancellation for negative x.
static inline float gelu_argument(float x) {
    return x * fmaf(0.0713548162726f, x * x, 1.59576912161f);
}

static inline float gelu_f32(float x) {
    return x / (1.0f + exp_f32(-gelu_argument(x)));
}

static inline float gelu_slope_f32(float x) {
    float s = sigmoid_f32(gelu_argument(x));
    float slope = fmaf(0.214064448818f, x * x, 1.59576912161f); // of the argument
    return fmaf(x * s * (1.0f - s), slope, s);
}

#endif
