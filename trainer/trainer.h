// One training run: opened from plain values, stepped to its end, remembered in a run folder.
//
//   RUN/config.yaml       the resolved configuration        RUN/run.json   versions and machine
//   RUN/metrics.jsonl     one object a logged step          RUN/eval.jsonl held-out loss
//   RUN/step-000000500/   checkpoints                       RUN/samples/   grids or texts
//
// A step: load -> for each grain: corrupt, forward, loss, backward, tree sum -> ordered reduction
// -> board (loss, norm, times, proposed actions) -> AdamW + EMA on own parts -> gather weights.
#pragma once

#include "base/clock.h"
#include "data/dataset.h"
#include "model/network.h"
#include "model/process.h"
#include "trainer/checkpoint.h"
#include "trainer/engine.h"

typedef struct {
    char path[2048];   // of the data set, or of several: "A, B"
    char weights[256]; // of several: "0.7, 0.3"; "": in proportion to samples
    int32_t length;    // text: symbols of a sample
    char order[8];     // "full", "window"; "auto" before the data are known: one of the two
    int32_t window;    // groups
    bool flip;
    int32_t crop;        // pixels
    char held_out[8];    // "valid", "test", "none", "auto": the first that is there
    char lost[8];        // "stop", "skip": what follows on a group that cannot be read
    int64_t cache;       // bytes for decoded groups
    int32_t read_ahead;  // batches
    int32_t threads;     // that read
    bool share;          // ranks without the data get them from those that have them
    char cache_dir[256]; // for what they get; "": the node's own
    int64_t cache_limit; // bytes of it
} DataConfig;

typedef struct {
    int64_t steps, batch;
    int32_t grains;
    uint64_t seed;
} TrainConfig;

typedef struct {
    double lr, lr_final; // peak after warm-up; share of the peak that cosine ends at
    char schedule[12];   // "cosine" or "constant"
    int64_t warmup;      // samples
    double beta1, beta2, eps, decay;
    double clip;             // global gradient norm; 0: off
    int64_t ema_halflife[2]; // samples
    double ema_ramp;         // half-life is at most this share of the samples seen
    double ema_power[2];     // of a power-function average: its width; 0: by half-life
    int32_t skips_most;      // non-finite steps in a row before the run goes back
    int64_t left_out_most;   // samples that may be left out before the run stops
    int64_t bucket;          // bytes of a reduction bucket
} OptimConfig;

typedef struct {
    Interval every;
    int32_t keep;
    double retry; // seconds between tries to save while the disk refuses
} CheckpointConfig;

typedef struct {
    int64_t every, fingerprint_every; // steps
    double plain_seconds;             // without a terminal: a progress line each so many seconds
    bool tensorboard;                 // event files too
} LogConfig;

typedef struct {
    Interval every;
    int64_t samples; // held-out samples, 0: all
    int32_t draws;   // times drawn for each sample
} EvalConfig;

typedef struct {
    Interval every;
    int32_t count;
} SampleConfig;

typedef struct {
    char backend[12];
    int32_t threads;    // per rank; 0: this rank's share of the cores that it may use
    char exchange[12];  // "auto", "nccl", "nccl-sum", "host" (comm_open_device)
    char attention[10]; // DeviceConfig.attention
    bool share_gpu;     // several ranks on one
    char products[12];  // "measured", "heuristic": how a GPU's algorithms are chosen
} ComputeConfig;

// How ranks are watched (launch/watch/control.h).
typedef struct {
    int32_t port;           // on each host, plus the rank's number there; 0: any
    double patience, grace; // seconds: least deadline of work; from an alarm to the end, 0: never
} ControlConfig;

// Everything that a run is made of, without pointers: it can be copied, compared and broadcast.
typedef struct {
    struct {
        char dir[512];
    } run;
    DataConfig data;
    NetworkConfig model;
    ProcessConfig process;
    TrainConfig train;
    OptimConfig optim;
    CheckpointConfig checkpoint;
    LogConfig log;
    EvalConfig eval;
    SampleConfig sample;
    SamplerConfig sampler;
    ComputeConfig device;
    ControlConfig control;
} RunSettings;

// A rank's time to arrive at the reduction is what it spent in reading data, computing, and saving
// since the last step. Of a GPU computing is what its own clock tells, and data are waited for only
// if that was over.
typedef enum { SLOW_DATA, SLOW_COMPUTE, SLOW_SAVE, SLOW_CAUSES } SlowCause;
// Sums over some steps.
typedef struct {
    int64_t steps;
    double loss_sum, loss_items, grad_norm; // loss: numerator and denominator
    double started;                         // clock_now()
    double data_wait;                       // seconds, of the last rank of each step
    double *time;                           // [world][SLOW_CAUSES] seconds
} StepTotals;
// A run after a step, all lent.
typedef struct {
    const RunSettings *settings;
    const Comm *comm;
    const Params *params;
    const StepTotals *totals; // since the last report that was `logged`
    bool logged;              // is to be written down
    int64_t step;
    double lr, saved;             // clock_now() of the last checkpoint; NAN: there is none
    int64_t skipped;              // non-finite steps so far
    int64_t left_out, lost;       // samples that count no more: not finite, unreadable
    const uint64_t *fingerprints; // of each tensor; NULL: none of this step
    uint64_t fingerprint;         // of all
} StepReport;
// A place at which tests disturb a run.
typedef enum { DRILL_LOSS, DRILL_GRADIENT, DRILL_WEIGHT } DrillPoint;
typedef struct {
    DrillPoint point;
    int rank;
    int64_t step;    // that is being made; of a weight: completed
    uint64_t sample; // of the data set; not for a weight
    Stream *stream;
    float *number; // device: the sample's loss, the first number of its gradient, a weight that
                   // this rank does not own
} DrillPlace;

// A run before its first step. What is pointed to is lent until trainer_close.
typedef struct {
    const Engine *engine;
    const Plan *plan;
    const Dataset *data;
    const char *exchange; // what gradients travel by
    bool resumed;         // from the checkpoint of `step`, of this fingerprint
    int64_t step;
    uint64_t fingerprint;
    double opened, loaded; // clock_now() when memory was there, and weights
} RunStart;

// A run between two steps, all lent: what may be looked at with the first average of its weights.
typedef struct {
    const RunSettings *settings;
    Comm *comm;
    Engine *engine;
    Dataset *data, *held_out; // held_out NULL: there is none
    const Sampler *sampler;   // of previews
    float *average;           // device
    int64_t step;
} RunView;

// What the outside world gives to a run. All pointers are borrowed.
typedef struct {
    Comm *comm;
    const DatasetFetch *fetch; // for data that are not on this node; NULL: all are
    DeviceConfig device;       // scratch_bytes is filled in here
    uint64_t fixed_hash;       // of the keys that may not change
    bool fresh;                // start over: older checkpoints are removed
    // On all ranks, with the weights in use, before anything is trained; `average` is room for a
    // gradient. NULL: there is nothing to prepare.
    Status (*prepare)(const RunView *view);
    void (*started)(const RunStart *start); // before trainer_open returns
    void (*say)(const char *line);          // one line for people; set on all ranks, told by rank 0
    void (*warn)(const char *line);         // told by the rank that sees it
    void (*progress)(const StepReport *report); // each step, once it is over; rank 0
    int (*signals)(double *seconds_left);       // pending actions of this rank, see below
    // Make this process the run folder's only writer, and see that it still is (BUSY: somebody
    // else); called on rank 0, NULL: nobody minds. What was taken is released by the caller.
    Status (*folder_take)(const char *run_dir);
    Status (*folder_check)(void);
    void (*good_checkpoint)(const char *path); // after each save and load: the last good one
    // Where reports are written down, rank 0: cut back to `step` at first. What the disk refuses is
    // for the callee to bear.
    Status (*records_open)(const char *run_dir, int64_t step);
    // When they fall due, on all ranks: how good the model is, and samples of it.
    Status (*evaluate)(const RunView *view);
    Status (*preview)(const RunView *view);
    void (*drill)(const DrillPlace *place); // NULL, but in tests
} RunContext;

// Actions, proposed by any rank and agreed through the step's board. RunContext.signals tells each
// once, and the seconds until this rank is ended (0: not known), whether it was asked to stop or
// not. They take effect after the same step, or, where steps are queued ahead, two steps later.
// PAUSE: no further step before a save has succeeded.
enum { ACTION_STOP = 1, ACTION_SAVE = 2, ACTION_EVAL = 4, ACTION_SAMPLE = 8, ACTION_PAUSE = 16 };

typedef struct Trainer Trainer;

// Opens data, network, process, memory, and resumes from the newest good checkpoint, or starts at
// step 0 where the run folder holds none. Called by all ranks, after their settings, data sets and
// devices have been compared (launch/doctor/doctor.h): others would break the promise of equal bits
// in silence. Errors are this rank's own and must be agreed by the caller (comm_agree) before
// anybody leaves.
Status trainer_open(const RunSettings *settings, const RunContext *context, Trainer **out);
void trainer_close(Trainer *trainer);

// Runs to train.steps or to an agreed stop. OK: finished. UNFINISHED: saved (or named the last good
// checkpoint) and stopped early. Any other status is this rank's own: abort the job. While the disk
// refuses the last save, that of a stop, or one that is overdue, training pauses and tries again.
Status trainer_run(Trainer *trainer);

// What a run would take on one of `world` ranks in groups (comm_group), with a model that may have
// no device: before the first step, without what is read ahead. Each of its `streams` has a grain.
void trainer_foresee(const RunSettings *settings, const Engine *model, int world, int group,
                     int rank, int streams, bool on_host, Plan *out);

int64_t trainer_step(const Trainer *trainer); // completed steps
