// Polynomials by Horner's rule, each step rounded once:
//   factor[0] x^(count-1) + ... + factor[count-1]
// Where factors and count are constants, nothing of the loop is left, and loops around it
// vectorize.
#pragma once

#include <math.h>

#include "base/kernel.h"

KERNEL_FN float polynomial_f32(const float *factor, int count, float x) {
    float p = factor[0];
    for (int i = 1; i < count; ++i) p = fmaf(p, x, factor[i]);
    return p;
}

KERNEL_FN double polynomial_f64(const double *factor, int count, double x) {
    double p = factor[0];
    for (int i = 1; i < count; ++i) p = fma(p, x, factor[i]);
    return p;
}
