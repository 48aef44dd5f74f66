// How far a set of drawn things is from a set of real ones, both told by their features: vectors
// [count, width] of a network's. In float64 and in a fixed order: equal sets give equal bits.
#pragma once

#include <stdint.h>

#include "base/status.h"

enum { DISTANCE_NEIGHBOURS = 3 };

// Frechet distance of the Gaussians with the sets' means and (unbiased) covariances:
//   |m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)
// Errors: BAD_USAGE: a set has fewer than 2; NUMERIC: a feature is not finite; NO_MEMORY.
Status distance_frechet(const float *a, int64_t count_a, const float *b, int64_t count_b, int width,
                        double *out);

// arXiv 1904.06991: a set covers what lies no farther from one of its points than that point's
// third nearest neighbour in the set. Precision is the share of the drawn that the real cover,
// recall the share of the real that the drawn cover. Takes time with the product of the counts.
// Errors: BAD_USAGE: a set has fewer than 4; NUMERIC: a feature is not finite; NO_MEMORY.
Status distance_precision_recall(const float *real, int64_t count_real, const float *drawn,
                                 int64_t count_drawn, int width, double *precision, double *recall);
