// Random numbers of many elements at a time, so that the compiler vectorizes over blocks.
#pragma once

#include <stdint.h>
#include <string.h>

#include "base/rng.h"

enum {
    NOISE_BLOCKS = 32,
    NOISE_CHUNK = 4 * NOISE_BLOCKS, // numbers of one call
};

// Elements of one sample are worked on NOISE_CHUNK at a time.
static inline int64_t chunk_size(int64_t item, int64_t first) {
    return item - first < NOISE_CHUNK ? item - first : NOISE_CHUNK;
}

static inline void chunk_load(float to[NOISE_CHUNK], const float *from, int64_t n) {
    if (n < NOISE_CHUNK) memset(to, 0, NOISE_CHUNK * sizeof *to);
    memcpy(to, from, (size_t)n * sizeof *to);
}

// bits[n]: number n%4 of block first_block + n/4 of `sample`, as rng_block gives them.
static inline void noise_bits(RngKey key, uint64_t sample, int64_t first_block,
                              uint32_t bits[NOISE_CHUNK]) {
    uint32_t c0[NOISE_BLOCKS], c1[NOISE_BLOCKS], c2[NOISE_BLOCKS], c3[NOISE_BLOCKS];
    for (int i = 0; i < NOISE_BLOCKS; ++i) {
        uint32_t out[4];
        rng_block(key, sample, (uint32_t)first_block + (uint32_t)i, out);
        c0[i] = out[0], c1[i] = out[1], c2[i] = out[2], c3[i] = out[3];
    }
    for (int i = 0; i < NOISE_BLOCKS; ++i) {
        bits[4 * i] = c0[i], bits[4 * i + 1] = c1[i];
        bits[4 * i + 2] = c2[i], bits[4 * i + 3] = c3[i];
    }
}

// Standard normal deviates of elements first..first+NOISE_CHUNK-1; first is a multiple of 4.
static inline void noise_normal(RngKey key, uint64_t sample, int64_t first,
                                float normal[NOISE_CHUNK]) {
    uint32_t bits[NOISE_CHUNK];
    noise_bits(key, sample, first / 4, bits);
    for (int i = 0; i < NOISE_CHUNK; ++i) normal[i] = rng_normal(bits[i]);
}
