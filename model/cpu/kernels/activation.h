// Activations of many numbers, in loops that the compiler vectorizes.
#pragma once

#include "model/cpu/kernels/half.h"
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

// y = act(x), and the slope there; slope NULL, in fp32 alone: nobody wants it. x may be one of
// both.
static inline void activate(Activation act, const void *x, void *slope, void *y, bool half,
                            int64_t n) {
    float room[PIECE], y_room[PIECE];
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t piece = n - at < PIECE ? n - at : PIECE;
        const float *from = half_get(x, half, at, piece, room);
        float *slopes = slope == NULL ? room : half_room(slope, half, at, room);
        float *to = half_room(y, half, at, y_room);
        act_with_slope(act, from, slopes, to, piece);
        half_put(slope, half, at, piece, slopes);
        half_put(y, half, at, piece, to);
    }
}
