// A finished or running run, opened to be used: its configuration, data description, model and an
// average of its weights from the newest good checkpoint.
#pragma once

#include "comm/comm.h"
#include "launch/cores.h"
#include "trainer/engine.h"
#include "trainer/trainer.h"

typedef struct {
    RunSettings settings; // RUN/config.yaml with overrides
    Dataset *data;        // the split that was asked for
    Engine engine;
    float *weights; // device
    int64_t step;   // of the checkpoint
    Cores cores;
} Trained;

typedef struct {
    const char *run_dir, *split;
    char *const *overrides; // "key=value", e.g. data.path=... where the data has moved
    int override_count;
    int average;      // which EMA: 0 or 1
    int64_t capacity; // samples in flight on a stream
    bool backward;    // room for gradients with respect to x
} TrainedConfig;

// Called by all ranks; each loads for itself. Warns about broken checkpoints that it passes over.
// Errors: NOT_FOUND, BAD_DATA, BAD_CONFIG. trained_close is fine after a failure.
Status trained_open(const TrainedConfig *config, Comm *comm, void (*warn)(const char *line),
                    Trained *out);
void trained_close(Trained *trained);
