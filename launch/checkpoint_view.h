// One checkpoint, read by one process without a run: its weights and averages, and whether it is
// whole.
#pragma once

#include "trainer/checkpoint.h"

// Reads the manifest of one checkpoint folder and rebuilds what it says; `meta->facts` is owned by
// the caller. Errors: BAD_DATA, NOT_FOUND (no such folder), BAD_CONFIG (another format version).
Status checkpoint_read_meta(const char *folder, CheckpointMeta *meta);
// Reads one kind of all parts into numbers[params->size] (sample, eval). Errors: as above.
Status checkpoint_read_kind(const char *folder, const Params *params, StateKind kind,
                            float *numbers);
// Checks manifest, sizes, hashes, every block and tensor, the fingerprint of the weights, and that
// nothing else lies in one checkpoint folder. Errors: BAD_DATA names the file.
Status checkpoint_verify(const char *folder);
