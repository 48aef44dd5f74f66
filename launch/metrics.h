// What a run writes down: metrics.jsonl and eval.jsonl, one object a line, rank 0 only. A disk that
// takes no line ends no run: launch/lines.h.
#pragma once

#include "launch/evaluate.h"
#include "launch/lines.h"
#include "model/params.h"
#include "trainer/trainer.h"

// A record of metrics.jsonl: the steps since the one before.
typedef struct {
    int64_t step, steps, samples; // of `steps` in all; samples so far
    int world;
    double loss, grad_norm, lr, samples_per_s, samples_left;
    double saved_s;              // since the last checkpoint; NAN: there is none
    double data_wait_s;          // waited for data in all, by the last rank of each step
    double data_wait_each_s;     // per step
    double arrival_s, compute_s; // of the median rank, per step: to arrive; computing alone
    int slowest_rank;            // by time to arrive
    const char *slowest_host;
    double slowest_excess_s; // over the median rank, per step
    SlowCause slowest_cause; // most of the excess
    int64_t skipped;         // non-finite steps so far
    int64_t left_out, lost;  // samples that count no more: not finite, unreadable
    bool has_fingerprint;
    uint64_t fingerprint;
    const uint64_t *tensors; // fingerprint of each tensor, with has_fingerprint
} MetricsRecord;
// Of the steps since the last report that was logged; tensors are lent by the report.
MetricsRecord metrics_sum_up(const StepReport *report);

// Opens RUN/NAME for appending after removing every line whose "step" is beyond `step` and any
// half-written last line: a resumed run has no doubled points. The rewrite is atomic.
Status metrics_open(const char *run_dir, const char *name, int64_t step,
                    void (*warn)(const char *message), Lines **out);
// "step 1200 of 5000, 307200 samples, 24 %, ETA 3 min 20 s | 512 samples/s | loss 0.0412 ..."
void metrics_format(const MetricsRecord *record, char *out, size_t bytes);
const char *slow_cause_name(SlowCause cause); // "data", "compute", "save"
void metrics_write(Lines *lines, const Params *params, const MetricsRecord *record);

// Those of this process, for RunContext, with console_warn. Opening again begins anew at `step`.
Status process_metrics_open(const char *run_dir, int64_t step);
void process_metrics_record(const MetricsRecord *record, const Params *params);
// Also tells of it, by console_say.
void process_metrics_held_out(int64_t step, const HeldOutLoss *result);
void process_metrics_close(void); // fine if none are open
