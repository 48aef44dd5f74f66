// Text of any length from a system of blocks (process.block). Blocks are drawn one after the other,
// each from a network that remembers the finished ones (NetworkShape.cached). Once the window of
// data.length symbols is full, its second half becomes the first of the next.
#pragma once

#include "comm/comm.h"
#include "launch/trained.h"

typedef struct {
    const Sampler *sampler;
    uint64_t seed;
    int64_t first, count, length; // sample numbers; symbols of each
    int32_t label;                // as in GenerateRequest
    const int32_t *start; // [count, data.length]: what the first window begins at; NULL: masks
} LongTextRequest;

// All samples on every rank: *out is [count][length], malloc'ed, the caller frees. Sample i depends
// on (seed, i), the weights and the sampler alone; with length data.length it is what generate
// draws, up to what rounding does to a draw. Errors: BAD_USAGE (the system has no blocks, the data
// are drawn as pictures, or it is to be guided), NO_MEMORY, COMM.
Status long_text(Trained *trained, Comm *comm, const LongTextRequest *request, int32_t **out);
