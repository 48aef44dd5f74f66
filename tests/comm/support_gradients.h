// Made-up gradients, their sum by definition, and one rank's way there through the Reducer.
#pragma once

#include "comm/reduce.h"

// What to run: how many parts of how many elements (the last one ragged), grains, rounds.
typedef struct {
    int parts, part_size, bucket_parts, grains, rounds;
    int group;            // ranks of a group; 0: all
    bool at_once;         // start all buckets, then wait backwards; else one ahead
    bool on_host;         // of the device
    const char *exchange; // of the GPU's; NULL: the late device (support_fake_backend.h), over MPI
    bool loose;           // close sums are good enough: exchange "nccl-sum"
} GradientCase;

// Reduces and gathers: *wrong counts elements that differ from the definition in any bit (loose: by
// more than rounding), *hash is
// the fingerprint of all rounds' results. The same on all ranks.
Status gradients_check(Comm *comm, const GradientCase *config, int64_t *wrong, uint64_t *hash);
