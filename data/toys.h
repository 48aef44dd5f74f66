// Made-up points in the plane, for tests and pictures of 2-D diffusion.
#pragma once

#include <stdbool.h>
#include <stdint.h>

bool toy_find(const char *name, int *out); // number of "swiss-roll", "two-moons", "checkerboard"
// Point `sample` of toy `toy`, from Philox (RNG_DATA) alone: mean near 0, standard deviation
// near 1.
void toy_point(int toy, uint64_t seed, uint64_t sample, float out[2]);
