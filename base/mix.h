// The SplitMix64 finalizer: a bijection of 64-bit words that spreads every bit. Used for keys, the
// order of samples and the weight fingerprint.
#pragma once

#include <stdint.h>

#include "base/kernel.h"

#define MIX_GOLDEN 0x9E3779B97F4A7C15u

KERNEL_FN uint64_t mix64(uint64_t z) {
    z ^= z >> 30;
    z *= 0xBF58476D1CE4E5B9u;
    z ^= z >> 27;
    z *= 0x94D049BB133111EBu;
    z ^= z >> 31;
    return z;
}

// What one fp32 number, given as its bits, at a global element index adds to a fingerprint. The sum
// is modulo 2^64, so any split of the elements gives the same one.
KERNEL_FN uint64_t mix_element(uint64_t index, uint32_t bits) {
    return mix64(index * MIX_GOLDEN ^ mix64((uint64_t)bits + MIX_GOLDEN));
}
