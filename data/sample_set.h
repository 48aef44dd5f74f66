// A set of samples of a data set, as rising ranges with gaps between them: what training leaves
// out. A lost group is hundreds of neighbours, a lost shard tens of thousands.
#pragma once

#include "base/json.h"

typedef struct {
    uint64_t begin, end; // begin < end
} SampleRange;

// Zeroed: empty. Memory is freed by sample_set_clear.
typedef struct {
    SampleRange *range; // [ranges]
    int64_t ranges, room;
    int64_t count; // samples
} SampleSet;

void sample_set_clear(SampleSet *set);
bool sample_set_has(const SampleSet *set, uint64_t number);
uint64_t sample_set_last(const SampleSet *set); // the largest of a set that is not empty
// Fine if it is there, or a part of it. Errors: NO_MEMORY.
Status sample_set_add(SampleSet *set, uint64_t number);
Status sample_set_add_range(SampleSet *set, uint64_t begin, uint64_t end);
Status sample_set_join(SampleSet *set, const SampleSet *other);

json_t *sample_set_json(const SampleSet *set); // [3, [77, 100]]: sample 3, and 77 to 99
// Adds the samples of object[key] to `set`; a key that is absent adds none. Errors: BAD_DATA.
Status sample_set_read(const json_t *object, const char *key, const char *what, SampleSet *set);

// "no sample is", "sample 77 is", "samples 3, 77-99 are", "samples 3, 5, 7, ... and 90 more are".
void sample_set_text(const SampleSet *set, char *out, size_t bytes);
