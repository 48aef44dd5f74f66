// A made-up training state, and ranks as threads of one process.
#pragma once

#include "trainer/checkpoint.h"

// Numbers of all kinds for a small table of parameters. Each number is a function of (seed, kind,
// element), with the odd NaN, infinity, negative zero and denormal among them.
typedef struct {
    Params params;
    float *kind[STATE_KINDS]; // [params.size]
    int fail_part;            // `get` of this part fails with IO; -1: none
    int calls;                // of get and set
} State;

// Three tensors of `elements` numbers in all (>= 8), parts of `part_size`.
void state_make(State *state, int64_t elements, int64_t part_size);
void state_free(State *state);
void state_fill(State *state, uint64_t seed);
bool state_is(const State *state, uint64_t seed); // bit for bit what state_fill makes
// The state in a run folder, with parts owned by the ranks of comm; *ownership is filled in.
CheckpointRun state_lend(State *state, Comm *comm, const char *run_dir, Ownership *ownership);
// Step `step` of a run whose state was filled with seed = step; the caller owns meta.facts.
CheckpointMeta state_meta(const State *state, int64_t step);
// Both halves of a save.
Status checkpoint_save(const CheckpointRun *run, const CheckpointMeta *meta, int keep);
// Saves step `step` alone, after filling the state with it.
Status state_save_step(Comm *comm, const char *run_dir, State *state, int64_t step, int keep);

// Runs `work` on `world` threads at the same time, each with a Comm of its own.
void ranks_run(int world, void (*work)(Comm *comm, void *context), void *context);

// Both folders hold the same files with the same bytes; prints the first difference.
bool folders_equal(const char *a, const char *b);
