// Where the lanes of a warp share the classes of a token. What each of these is,
// model/math/token.h says.
#pragma once

#include "model/cuda/launch.cuh"
#include "model/math/f64.h"

#define TOKEN_FN          static inline __device__
#define TOKEN_ARRAY(name) *name
#define TOKEN_LANE        ((int)(threadIdx.x % WARP))
#define TOKEN_LANES       ((int)WARP)
#define token_sync        __syncwarp
#define token_largest     warp_largest

// Lane l of f64_sum is here both l and l + 16, so that all lanes end with the sum.
static inline __device__ double token_sum(const double *x, int n) {
    double sum = 0.0;
    token_sync();
    for (int i = TOKEN_LANE % F64_LANES; i < n; i += F64_LANES) sum += x[i];
    for (int half = F64_LANES / 2; half > 0; half /= 2) sum += __shfl_xor_sync(~0u, sum, half);
    token_sync();
    return sum;
}

static inline __device__ int token_likeliest(const double *p, int classes) {
    token_sync();
    double most = p[0]; // if it is NaN it stays
    int best = 0;
    for (int c = TOKEN_LANE; c < classes; c += WARP)
        if (p[c] > most) most = p[c], best = c;
    for (int other = WARP / 2; other > 0; other /= 2) {
        double more = __shfl_xor_sync(~0u, most, other);
        int at = __shfl_xor_sync(~0u, best, other);
        if (more > most || (more == most && at < best)) most = more, best = at;
    }
    return best;
}
