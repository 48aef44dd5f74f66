// A finished or running run, opened to be used: its configuration, data description, model and an
// average of its weights from the newest good checkpoint.
#pragma once

#include "comm/comm.h"
#include "launch/cores.h"
#include "launch/share/share.h"
#include "trainer/engine.h"
#include "trainer/trainer.h"

typedef struct {
    RunSettings settings; // RUN/config.yaml with overrides
    Share *share;         // what this host lacks comes from others
    Dataset *data;        // the split that was asked for
    Engine engine;
    float *weights; // device
    int64_t step;   // of the checkpoint
    Cores cores;
} Trained;

typedef struct {
    const char *run_dir, *split;
    const char *config_path; // not NULL: a run that is to come, with the weights it would begin at
    char *const *overrides;  // "key=value", e.g. data.path=... where the data has moved
    int override_count;
    double average;   // which of the weights: average_read
    int64_t capacity; // samples in flight on a stream
    bool backward;    // room for gradients with respect to x
    bool described;   // no samples will be read: what the run has kept of its data is enough
} TrainedConfig;

// All ranks together; each loads for itself, data that its host lacks from one that has them. Warns
// about broken checkpoints that it passes over. Errors, the same on all ranks: NOT_FOUND, BAD_DATA,
// BAD_CONFIG (also: ranks see different data), and those of share_start. trained_close is fine
// after a failure. Data must not be read any more once the first rank closes.
Status trained_open(const TrainedConfig *config, Comm *comm, void (*warn)(const char *line),
                    Trained *out);
void trained_close(Trained *trained);
// The configuration with the overrides, no more. Errors: NOT_FOUND, BAD_CONFIG.
Status trained_settings(const TrainedConfig *config, RunSettings *out);
// The first `count` samples of the split as they are stored: x [count, engine_item], numbers; label
// [count], or NULL. Errors: BAD_USAGE (the split has fewer), those of reading.
Status trained_read(const Trained *trained, int64_t count, float *x, int32_t *label);
