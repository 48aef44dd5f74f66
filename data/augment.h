// Flips and shifts of pictures: pure functions of seed and position, so that any rank, thread or
// resumed run sees the same.
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    bool flip;    // mirrored left to right with probability 1/2
    int32_t crop; // shifted by up to so many pixels each way, as if cut from a picture with a black
                  // frame of that width (the usual CIFAR recipe); 0: not
} Augment;

// From in[channels, height, width] to `out`, which must not overlap. `position` counts samples of
// the whole training; random numbers are Philox (RNG_AUGMENT).
void augment_image(const Augment *augment, uint64_t seed, uint64_t position, const uint8_t *in,
                   int64_t channels, int64_t height, int64_t width, uint8_t *out);
