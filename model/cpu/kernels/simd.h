// Arithmetic for kernels that must give the same bits on every instruction set.
//
// Elementwise loops need nothing from here but exp_f32: plain C over `restrict` pointers is
// vectorized by the compiler, and each element is the same IEEE operations whatever the width. A
// logarithm is rng_log of base/rng.h. Sums need a fixed order: a v16 is 16 lanes of fp32 on every
// machine (one register of v4, two of v3, four of v2), and v16_sum folds them in one fixed way, as
// in row_sum below.
#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include "model/math/f32.h"

// Before a loop whose elements do not depend on each other, though its pointers may be equal.
#ifdef __clang__
#define LOOP_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#pragma clang diagnostic ignored "-Wpass-failed" // below -O2 no loop becomes vectors
#else
#define LOOP_INDEPENDENT _Pragma("GCC ivdep")
#endif

#if defined(__AVX512F__)
typedef __m512 vec;
#define VEC_OP(name) _mm512_##name##_ps
#elif defined(__AVX2__)
typedef __m256 vec;
#define VEC_OP(name) _mm256_##name##_ps
#else
typedef __m128 vec;
#define VEC_OP(name) _mm_##name##_ps
#endif

// The same at any address, over floats.
typedef vec vec_loose __attribute__((aligned(4), may_alias));

enum { VEC_LANES = sizeof(vec) / sizeof(float), V16_PARTS = 16 / VEC_LANES };

typedef struct {
    vec part[V16_PARTS];
} v16;

static inline vec vec_fma(vec a, vec b, vec c) {
#ifdef __FMA__
    return VEC_OP(fmadd)(a, b, c);
#else
    for (int i = 0; i < VEC_LANES; ++i) c[i] = fmaf(a[i], b[i], c[i]);
    return c;
#endif
}

#define V16_EACH(expression)                                                                       \
    v16 out;                                                                                       \
    for (int p = 0; p < V16_PARTS; ++p) out.part[p] = (expression);                                \
    return out

static inline v16 v16_set(float value) {
    V16_EACH(value - (vec){0});
}
static inline v16 v16_add(v16 a, v16 b) {
    V16_EACH(a.part[p] + b.part[p]);
}
static inline v16 v16_sub(v16 a, v16 b) {
    V16_EACH(a.part[p] - b.part[p]);
}
static inline v16 v16_mul(v16 a, v16 b) {
    V16_EACH(a.part[p] * b.part[p]);
}
static inline v16 v16_max(v16 a, v16 b) {
    V16_EACH(VEC_OP(max)(a.part[p], b.part[p]));
}
// a b + c, rounded once.
static inline v16 v16_fma(v16 a, v16 b, v16 c) {
    V16_EACH(vec_fma(a.part[p], b.part[p], c.part[p]));
}

// x[0..15]; with fewer than 16 numbers `left` the other lanes are `fill`.
static inline v16 v16_load_or(const float *x, int64_t left, float fill) {
    float lane[16];
    if (left < 16) {
        for (int i = 0; i < 16; ++i) lane[i] = i < left ? x[i] : fill;
        x = lane;
    }
    V16_EACH(*(const vec_loose *)(x + p * VEC_LANES));
}
static inline v16 v16_load(const float *x, int64_t left) {
    return v16_load_or(x, left, 0.0f);
}

static inline void v16_store(float lane[16], v16 a) {
    for (int p = 0; p < V16_PARTS; ++p) *(vec_loose *)(lane + p * VEC_LANES) = a.part[p];
}

// Lane i meets lane i+8, then i+4, i+2, i+1.
static inline float v16_sum(v16 a) {
    float lane[16];
    v16_store(lane, a);
    for (int i = 0; i < 8; ++i) lane[i] += lane[i + 8];
    for (int i = 0; i < 4; ++i) lane[i] += lane[i + 4];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

static inline float v16_largest(v16 a) {
    float lane[16];
    v16_store(lane, a);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i)
            lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
    return lane[0];
}

// ---- rows -------------------------------------------------------------------------------------

// y = x + add; y may be either.
static inline void row_add(const float *x, const float *add, float *y, int64_t n) {
    LOOP_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] + add[i];
}

static inline float row_sum(const float *x, int64_t n) {
    v16 sum = v16_set(0);
    for (int64_t i = 0; i < n; i += 16) sum = v16_add(sum, v16_load(x + i, n - i));
    return v16_sum(sum);
}
