// Where one lane has all classes of a token: on a CPU. What each of these is, model/math/token.h
// says.
#pragma once

#include "model/math/f64.h"
#include "model/ops.h"

#define TOKEN_FN static inline
// Aligned as vectors, and a length that is no multiple of a page.
#define TOKEN_ARRAY(T, name) _Alignas(64) T name[CATEGORICAL_CLASSES_MOST + 16]
#define TOKEN_LANE           0
#define TOKEN_LANES          1
#define token_sync()         ((void)0)
#define token_sum            f64_sum
#define token_largest(x)     (x)

static inline int token_likeliest(const double *p, int classes) {
    int best = 0;
    for (int c = 1; c < classes; ++c) best = p[c] > p[best] ? c : best;
    return best;
}
