// A set of samples of a data set, as rising numbers without repeats: what training leaves out.
#pragma once

#include "base/json.h"

// Zeroed: empty. Memory is freed by sample_set_clear.
typedef struct {
    uint64_t *number; // [count]
    int64_t count, room;
} SampleSet;

void sample_set_clear(SampleSet *set);
bool sample_set_has(const SampleSet *set, uint64_t number);
Status sample_set_add(SampleSet *set, uint64_t number); // fine if it is there. Errors: NO_MEMORY
Status sample_set_join(SampleSet *set, const SampleSet *other);

json_t *sample_set_json(const SampleSet *set); // [3, 77]
// Adds the numbers of object[key] to `set`; a key that is absent adds none. Errors: BAD_DATA.
Status sample_set_read(const json_t *object, const char *key, const char *what, SampleSet *set);

// "no sample is", "sample 77 is", "samples 3, 77 are", "samples 3, 5, 7, ... and 90 more are".
void sample_set_text(const SampleSet *set, char *out, size_t bytes);
