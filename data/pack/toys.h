// Made-up data for tests and first looks: points in the plane, and sequences of bits.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { HEARTBEAT_BITS = 20, HEARTBEAT_PERIOD = 5 };

// Number of "swiss-roll", "two-moons", "checkerboard" or "heartbeat".
bool toy_find(const char *name, int *out);
bool toy_is_bits(int toy); // heartbeat; the others are points
// Point `sample` of toy `toy`, from Philox (RNG_DATA) alone: mean near 0, standard deviation
// near 1.
void toy_point(int toy, uint64_t seed, uint64_t sample, float out[2]);
// Heartbeat `sample`, from the same: a 1 every HEARTBEAT_PERIOD bits, the phase uniform
// (Sohl-Dickstein et al. 2015, arXiv 1503.03585; log2(5) bits of entropy a sequence).
void toy_bits(uint64_t seed, uint64_t sample, uint8_t out[HEARTBEAT_BITS]);
