// Arrays that an operation keeps in fp32, or in bf16 where it is told `half`. Kernels compute in
// fp32 either way: a piece is widened into local room, or used where it stands.
//
//   float room[PIECE];
//   const float *x = half_get(args->x, half, at, n, room);
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/cpu/kernels/simd.h"

enum { PIECE = 512 }; // numbers that a loop over a long array takes at a time

// x[at, at + n) as fp32, in `room` if it is bf16.
static inline const float *half_get(const void *x, bool half, int64_t at, int64_t n, float *room) {
    if (!half) return (const float *)x + at;
    const uint16_t *from = (const uint16_t *)x + at;
    for (int64_t i = 0; i < n; ++i) room[i] = half_widen(from[i]);
    return room;
}

// Where to write y[at, at + n) as fp32; half_put then stores what stands in `room`.
static inline float *half_room(void *y, bool half, int64_t at, float *room) {
    return half ? room : (float *)y + at;
}
static inline void half_put(void *y, bool half, int64_t at, int64_t n, const float *room) {
    if (!half) return;
    uint16_t *to = (uint16_t *)y + at;
    for (int64_t i = 0; i < n; ++i) to[i] = half_round(room[i]);
}
