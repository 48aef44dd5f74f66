// fp32 of every backend: the exponential, activations with their slopes, bf16.
#pragma once

#include "base/polynomial.h"

// e^x with relative error below 2e-7; 1 at 0; 0 below -87.7, infinity above 88.3; NaN stays NaN.
// x = n ln 2 + r, |r| <= ln(2)/2, and a polynomial in r. Without branches, so that loops vectorize.
KERNEL_FN float exp_f32(float x) {
    x = x < -88.0f ? -88.0f : x;
    x = x > 88.72f ? 88.72f : x;
    // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits of the sum.
    F32Bits shifted = {fmaf(x, 1.44269504f, 0x1.8p23f)};
    float n = shifted.f - 0x1.8p23f;
    float r = fmaf(n, -0.693359375f, x); // ln 2 in two parts, the first with few bits
    r = fmaf(n, 2.12194440e-4f, r);
    const float series[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                            4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    float p = polynomial_f32(series, 6, r);
    p = fmaf(p * r, r, r) + 1.0f;
    F32Bits scale = {.u = (shifted.u + 127u) << 23};
    return p * scale.f;
}

// ---- activations ------------------------------------------------------------------------------

KERNEL_FN float sigmoid_f32(float x) {
    return 1.0f / (1.0f + exp_f32(-x));
}

// x sigmoid(x)
KERNEL_FN float silu_f32(float x, float *slope) {
    float s = sigmoid_f32(x);
    *slope = s * fmaf(x, 1.0f - s, 1.0f);
    return x * s;
}

// x (1 + tanh(u)) / 2 = x sigmoid(2u) with 2u = 2 sqrt(2/pi) (x + 0.044715 x^3): one exponential
// for both results, and no cancellation for negative x.
KERNEL_FN float gelu_f32(float x, float *slope) {
    float s = sigmoid_f32(x * fmaf(0.0713548162726f, x * x, 1.59576912161f));
    float inner = fmaf(0.214064448818f, x * x, 1.59576912161f); // derivative of 2u
    *slope = fmaf(x * s * (1.0f - s), inner, s);
    return x * s;
}

// ---- bf16 -------------------------------------------------------------------------------------

KERNEL_FN float half_widen(uint16_t x) {
    return (F32Bits){.u = (uint32_t)x << 16}.f;
}

// To the nearest bf16, ties to even; NaN stays NaN.
KERNEL_FN uint16_t half_round(float x) {
    F32Bits bits = {x};
    uint32_t rounded = bits.u + 0x7FFFu + (bits.u >> 16 & 1);
    return (uint16_t)((x != x ? bits.u | 0x400000u : rounded) >> 16);
}
