// Averages of a run's weights, out of its checkpoints: one of the two that training kept, or one of
// any width after training (EDM2, arXiv 2312.02696, sec. 3.2 and C.2) where it kept power
// functions.
#pragma once

#include "model/params.h"
#include "trainer/trainer.h"

// An average that weighs the weights after s samples by s^exponent, up to `samples`.
typedef struct {
    double samples, exponent;
} Profile;

// The weights [count] with which the profiles come nearest to the goal, and add up to 1. Returns
// the distance that is left, as a share of the goal's norm; NaN: NO_MEMORY.
double average_mix(const Profile *profile, int count, Profile goal, double *weight);

#define AVERAGE_RAW (-1.0)

// Of the newest good checkpoint: `average` 0 or 1 is what training kept as the first or second,
// AVERAGE_RAW the weights themselves;
// between 0.01 and 0.28 it is the width of a power function, mixed from all checkpoints that are
// there. numbers [params->size]; *step: of the newest. Broken checkpoints are passed over with a
// warning, and so is a mixture that is off by more than 5 %. Errors: NOT_FOUND, BAD_DATA,
// BAD_CONFIG (no power functions were kept), BAD_USAGE (another `average`).
Status average_read(const char *run_dir, const OptimConfig *optim, const Params *params,
                    double average, void (*warn)(const char *line), float *numbers, int64_t *step);
