// What a classifier that Dye has trained makes of pictures: vectors for launch/distance.h.
#pragma once

#include "launch/trained.h"

// Opens the run, which must be a classifier of pictures of this shape. Errors: BAD_USAGE, and those
// of trained_open.
Status features_open(const TrainedConfig *config, Comm *comm, const NetworkShape *pictures,
                     Trained *out);

// Called by all ranks, which share the work and all get the whole. x [count, engine_item] are
// numbers as they are stored, in [-1,1], label [count] below the classifier's classes. *out
// [count, model.width], malloc'ed, the caller frees: the mean over tokens of what the last layer
// reads. *right is the share whose likeliest class is the label. Pictures go in groups of
// `capacity` from the first on, so that the bits depend on neither ranks nor threads. Errors:
// NO_MEMORY, COMM.
Status features_take(Trained *classifier, Comm *comm, const float *x, const int32_t *label,
                     int64_t count, float **out, double *right);

// A fingerprint of the weights: two distances compare where it is equal.
Status features_fingerprint(Trained *classifier, uint64_t *out);
