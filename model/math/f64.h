// float64 for kernels that must give the same bits on every instruction set: sums over a fixed
// number of lanes, and functions of our own.
#pragma once

#include <stdint.h>

#include "base/polynomial.h"

// Sums go to lane i % F64_LANES, then f64_fold: lane i meets lane i+8, i+4, i+2, i+1.
enum { F64_LANES = 16 };

KERNEL_FN double f64_fold(const double lane[F64_LANES]) {
    double sum[F64_LANES];
    for (int i = 0; i < F64_LANES; ++i) sum[i] = lane[i];
    for (int half = F64_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
    return sum[0];
}

KERNEL_FN double f64_sum(const double *x, int64_t n) {
    double lane[F64_LANES] = {0};
    int64_t i = 0;
    for (; i + F64_LANES <= n; i += F64_LANES)
        for (int l = 0; l < F64_LANES; ++l) lane[l] += x[i + l];
    for (int l = 0; i + l < n; ++l) lane[l] += x[i + l];
    return f64_fold(lane);
}

typedef union {
    double f;
    int64_t i;
} F64Bits;

// e^x, relative error below 3e-16; below -708 it is e^-708 (3e-308), above 709 e^709 (8e307). NaN
// stays NaN.
// x = n ln 2 + r, |r| <= ln(2)/2, and the Taylor polynomial of degree 13. No branches.
KERNEL_FN double exp_f64(double x) {
    x = x < -708.0 ? -708.0 : x > 709.0 ? 709.0 : x;
    // Adding 1.5 * 2^52 leaves round(x / ln 2) in the low bits of the sum.
    F64Bits shifted = {fma(x, 0x1.71547652b82fep0, 0x1.8p52)};
    double n = shifted.f - 0x1.8p52;
    double r = fma(n, -0x1.62e42fefa39efp-1, x);
    r = fma(n, -0x1.abc9e3b39803fp-56, r);
    const double taylor[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0,
                             1.0 / 3628800.0,    1.0 / 362880.0,    1.0 / 40320.0,
                             1.0 / 5040.0,       1.0 / 720.0,       1.0 / 120.0,
                             1.0 / 24.0,         1.0 / 6.0,         0.5};
    double p = polynomial_f64(taylor, 12, r);
    p = fma(p * r, r, r) + 1.0;
    F64Bits scale = {.i = (int64_t)(((uint64_t)shifted.i + 1023u) << 52)};
    return p * scale.f;
}

// Natural logarithm of a positive normal number, error below 4e-16 (1 + |log x|). NaN stays NaN.
// x = 2^e m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)) as a series.
KERNEL_FN double log_f64(double x) {
    F64Bits v = {x};
    // Biased so that the exponent is a positive number at the top; sqrt(1/2) = 0x3FE6A09E....
    uint64_t biased = (uint64_t)v.i - 0x3FE6A09E667F3BCDu + ((uint64_t)1023 << 52);
    uint64_t exponent = biased >> 52;
    F64Bits as_double = {.i = (int64_t)(exponent | 0x4330000000000000u)}; // 2^52 + exponent
    double e = as_double.f - (0x1p52 + 1023.0);
    F64Bits m = {.i = (int64_t)((uint64_t)v.i - ((exponent - 1023u) << 52))};
    double s = (m.f - 1.0) / (m.f + 1.0);
    double z = s * s;
    const double series[] = {2.0 / 23.0, 2.0 / 21.0, 2.0 / 19.0, 2.0 / 17.0, 2.0 / 15.0, 2.0 / 13.0,
                             2.0 / 11.0, 2.0 / 9.0,  2.0 / 7.0,  2.0 / 5.0,  2.0 / 3.0};
    double p = polynomial_f64(series, 11, z);
    double log_m = fma(s * z, p, 2.0 * s);
    return fma(e, 0x1.62e42fefa39efp-1, log_m) + x * 0.0;
}
