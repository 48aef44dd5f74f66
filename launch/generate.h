// Drawing samples: sample i depends on (seed, i), the weights and the sampler alone, never on how
// many are drawn or by how many ranks.
#pragma once

#include "comm/comm.h"
#include "launch/guide.h"
#include "launch/infill.h"
#include "trainer/engine.h"

typedef struct {
    const Sampler *sampler;
    const float *weights; // device
    uint64_t seed;
    int64_t first, count; // sample numbers
    const Guide *guide;   // what guides; NULL: the null label
    const void *start;    // [count, in_item]: x_t to begin at, as the process sees it; NULL: noise
    int32_t label; // a class, LABEL_NONE: the null class, LABEL_CYCLE: sample number mod classes
    int frames;    // at least 2: x_t on the way too, at even steps, as the process sees it; else 0
    const Infill *infill; // of which places are held (infill->known); NULL: none
} GenerateRequest;

enum { LABEL_NONE = -1, LABEL_CYCLE = -2 };

// The class that a sample is drawn for, by GenerateRequest.label.
int32_t generate_label(const Engine *engine, int32_t label, uint64_t sample);

// How many steps are behind frame `frame` of `frames`: none behind the first, all behind the last.
static inline int generate_frame_step(const Sampler *sampler, int frame, int frames) {
    return (int)((int64_t)sampler_steps(sampler) * frame / (frames - 1));
}

// All samples on every rank: *out is [count][in_item] (float or int32, 4 bytes each), or
// [frames][count][in_item], the noise first and the samples last; malloc'ed, the caller frees.
// Errors: NO_MEMORY, COMM, BAD_USAGE (more than 2^32 numbers).
Status generate(Engine *engine, Comm *comm, const GenerateRequest *request, void **out);
