// Checkpoints that cannot be wrong. docs/checkpoint-format.md is the specification.
//
//   RUN/step-000000500/
//     part-000.safetensors.zst ...   one file a part: weight, adam_m, adam_v, ema_0, ema_1
//     manifest.json                  written last: step, samples, tensors, parts, hashes, facts
//
// A part file (data/plane_file.h) is a block file whose decoded content is one safetensors file, of
// which one kind is read without the others. Nothing in a checkpoint depends on the number of ranks
// that wrote it: equal state gives equal bytes.
//
// Save: a thread of each rank writes its parts into RUN/.saving-step-N, fsync, reads them again;
// rank 0 writes the manifest, fsync, renames the folder, fsync; only then the oldest beyond `keep`
// are removed.
#pragma once

#include "base/file.h"
#include "base/json.h"
#include "comm/comm.h"
#include "comm/reduce.h"
#include "model/params.h"

typedef enum {
    STATE_WEIGHT,
    STATE_ADAM_M,
    STATE_ADAM_V,
    STATE_EMA_0,
    STATE_EMA_1,
    STATE_KINDS
} StateKind;
const char *state_kind_name(StateKind kind); // "weight", "adam_m", ...

// Where a part's numbers come from or go to: host memory lent by the callee until the next call.
// `get` is called by the thread of a save.
// `numbers` [n] of `kind`, elements [begin, begin + n) of the flat vector.
typedef struct {
    void *context;
    Status (*get)(void *context, StateKind kind, int part, const float **numbers);
    Status (*set)(void *context, StateKind kind, int part, const float *numbers);
} StateAccess;

typedef struct {
    int64_t step, samples;
    uint64_t fingerprint; // of the weights: sum of mix_element (base/mix.h), checked on both ways
    json_t *facts;        // config, versions, data identity...: stored and returned as it is; owned
} CheckpointMeta;

// The run folder of a training state that lies on all ranks. All pointers are borrowed.
typedef struct {
    Comm *comm;
    const char *run_dir;
    const Params *params;
    const Ownership *ownership;
    StateAccess access;
} CheckpointRun;

// A save has two halves; all ranks call each together, one save at a time. Between the halves a
// thread of each rank writes the parts that the rank owns, and lends them through run->access.get:
// what it lends, and what `run` points to, must stay as it is. A rank that cannot go on waits for
// its thread with checkpoint_save_abandon; what was written is left, hidden (NULL is fine).
//
// Errors are agreed: every rank returns the same status and sentence, and a failed half ends the
// save and leaves no folder behind but older checkpoints intact. Errors: IO (also a full disk, with
// what is missing), FAILED (the weights that `get` lends do not have meta->fingerprint), NO_MEMORY,
// whatever `get` returns. IO is returned also if the new checkpoint is complete but an old one
// cannot be removed. `keep` >= 1 counts the new one; damaged ones do not count, and of a step that
// was saved before the new one takes the place.
typedef struct CheckpointSave CheckpointSave;
Status checkpoint_save_start(const CheckpointRun *run, const CheckpointMeta *meta, int keep,
                             CheckpointSave **out);
bool checkpoint_save_written(const CheckpointSave *save); // this rank's parts, or it has failed
double checkpoint_save_wait(CheckpointSave *save);        // until then; clock_now() of that moment
Status checkpoint_save_finish(CheckpointSave *save);      // waits; it is gone also after a failure
void checkpoint_save_abandon(CheckpointSave *save);

// Names of the checkpoints in a run folder, oldest first (free with folder_names_free).
Status checkpoint_list(const char *run_dir, char ***names, int *count);
Status checkpoint_remove(const char *run_dir, const char *name); // gone, or there as it was
Status checkpoint_remove_all(const char *run_dir);

// Loads the newest good checkpoint, all ranks together: each reads the manifest and checks and
// loads the parts that it owns; a damaged one is reported through `warn` and the one before it is
// tried. *found is false only if the run folder holds no checkpoint at all. All broken: BAD_DATA
// with the list of what was found. A whole one of another model or format stops: BAD_CONFIG. `set`
// may have seen parts of a broken checkpoint; those of the good one come later and replace all of
// them. `meta->facts` is owned by the caller. `warn` is called on rank 0 and may be NULL.
Status checkpoint_load(const CheckpointRun *run, void (*warn)(const char *message),
                       CheckpointMeta *meta, bool *found);
