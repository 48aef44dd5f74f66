// What a run writes down: metrics.jsonl and eval.jsonl, one object a line, rank 0 only.
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "model/params.h"

// Opens RUN/NAME for appending after removing every line whose "step" is beyond `step` and any
// half-written last line: a resumed run has no doubled points. The rewrite is atomic.
Status metrics_open(const char *run_dir, const char *name, int64_t step, FILE **out);

typedef struct {
    int64_t step, samples;
    double loss, grad_norm, lr, samples_per_s;
    double data_wait_s;      // waited for data since the last record, by the last rank of each step
    int slowest_rank;        // in this record's steps, by time to arrive at the reduction
    double slowest_excess_s; // over the median rank, per step
    int64_t skipped;         // non-finite steps so far
    bool has_fingerprint;
    uint64_t fingerprint;
    const uint64_t *tensors; // fingerprint of each tensor, with has_fingerprint
} MetricsRecord;

Status metrics_write(FILE *file, const Params *params, const MetricsRecord *record);
