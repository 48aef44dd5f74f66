// The Trainer's inside, shared by trainer.c (life), step.c (one step) and state.c (what is kept).
#pragma once

#include "base/journal.h"
#include "comm/reduce.h"
#include "data/loader.h"
#include "trainer/engine.h"
#include "trainer/trainer.h"

// A run of one tensor inside one of this rank's parts: the unit of the optimizer and fingerprint.
typedef struct {
    int tensor;
    bool decay;
    int64_t begin, end; // elements of the flat vector
    int64_t own;        // where `begin` lies in the own-state arrays
} OwnRange;

// One stream's share of this rank's grains and the buffers of gradients that its tree sum needs.
typedef struct {
    int begin, end;
    int first_buffer; // slot k of `sum` is buffer first_buffer + k
    int spare;        // one more slot, of a grain in several passes before the tree adds it
    TreeSum sum;
} GradLane;

// The reduction of a step. A bucket may start *early*, while the last grain's backward goes on.
typedef struct {
    bool early;       // a grain is being queued whose buckets may
    int first_buffer; // then `merge` is still to be done, bucket by bucket: see GradLane
    int merges;
    TreeMerge merge[TREE_COVER_MOST];
    int covers; // of this rank, once they are known; else 0
    float *cover[TREE_COVER_MOST];
    int unstarted; // buckets [0, unstarted) are
    Status status; // of starting
} Reduction;

// Other ranks' weights after an update. They may come while the next step's first grain is forward:
// bucket by bucket, each before what reads it.
typedef struct {
    bool due;      // `weights` of others are those before the last update
    bool on;       // the grain is being queued that waits for them
    int next;      // buckets [0, next) are queued
    Status status; // of queueing
} Fetch;

// What ranks tell each other once a step; each entry is written by one rank. It comes together in
// the device's memory, and the host reads it once the step is over.
typedef struct {
    double *mine, *all;  // device: what this rank writes, what all do; a rank alone: the same
    double *values;      // host: the same as `all`, of the step that was read last
    int count;           // of entries; behind them lies what the optimizer goes by
    double *loss_sum;    // [grains]
    double *square_sum;  // [parts] of the gradient
    double *sample_loss; // [batch], NaN: left out; NULL: the process does not ask
    double *rank;        // [world][BOARD_RANK_FIELDS]
    double *result;      // [GRAD_RESULTS]
} Board;
enum {
    BOARD_ACTIONS,
    BOARD_SECONDS_LEFT,
    BOARD_TIME, // [SLOW_CAUSES] until this rank arrived at the reduction
    BOARD_SAVE_SECONDS = BOARD_TIME + SLOW_CAUSES,
    BOARD_WRITTEN,     // 1: this rank's parts of the save under way
    BOARD_LOST,        // samples of this rank's share that could not be read
    BOARD_LOST_RANGES, // of samples that it has found to be lost since the last step
    BOARD_RANK_FIELDS
};

struct Trainer {
    RunSettings settings;
    RunContext context;
    Dataset *data, *held_out;
    Loader *loader;
    Engine engine;
    Ownership ownership;
    Reducer *reducer;
    Reduction reduction;
    Fetch fetch;
    Sampler *sampler; // previews
    Plan plan;

    int grain_begin, grain_end; // of this rank
    int64_t grain_samples;
    void *device_memory, *host_memory; // all that follows lies in these two blocks
    GradLane *grad_lane;               // [streams]
    float *gradients;                  // device, buffers of gradient_stride, one behind the other
    int64_t gradient_stride;           // params.size, rounded up
    Pass *pass;       // [grains of this rank]: the lane's device memory, host rows of their own
    float *host_loss; // [grains of this rank][grain_samples]

    float *weights, *average; // device, params.size: all weights; a gathered EMA, between steps
    float *own[STATE_KINDS];  // device, own parts one behind the other; no STATE_WEIGHT
    int *own_slot;            // [parts] place of an own part, or -1
    int own_parts;
    OwnRange *range;
    int ranges;
    double *norm, *host_norm;     // [own_parts * chunks in a part, or streams * tensors] squares
    uint64_t *print, *host_print; // [ranges]
    uint64_t *tensor_print;       // [tensors], all ranks
    uint64_t *replica_print;      // [world]
    float *host_part;             // [part_size]
    float *snapshot;              // [STATE_KINDS][own_parts * part_size]: what is being saved

    Board board;
    StepTotals totals;
    int64_t step;          // completed, but for `pending`
    bool pending;          // the last one has not been read: the device may still be at it
    bool bad;              // the last that was read is not finite: it changed nothing
    double device_seconds; // of its grains; where the host is ahead, as the device counts them
    double queued;         // clock_now() of all grains of the newest step being so
    int64_t skipped;
    int skips_in_row;
    SampleSet suspects;        // blamed for the skips in this row
    SampleSet left_out;        // contribute nothing
    SampleSet lost;            // could not be read, nor do they
    SampleSet lost_new;        // found by this rank since the last step
    int64_t back_from;         // step that the run went back from and has not passed yet; 0: none
    const char *bad_near;      // tensor of the last bad gradient
    int astray, astray_before; // 1 + rank that holds other weights, now and the last time; 0: none
    char astray_text[512];
    double last_lr;
    uint64_t fingerprint;
    int64_t print_step; // the step that `fingerprint` is of, -1: none
    double save_seconds, last_save, last_eval, last_sample; // clock_now() of the last ones
    int64_t saved_step;
    double save_failed_at; // clock_now() of a failed save that is to be tried again; 0: none
    int save_failures;     // since the last good one
    double save_held;      // seconds that saving held up this rank alone since the last step
    CheckpointSave *save;  // under way, on all ranks or none
    bool save_is_live;     // it reads the state itself, because training waits for it
    int64_t save_step;     // of the last one that was tried
    double save_started;   // clock_now() of it
    bool written;          // agreed in the last step: all ranks have written their parts
    int agreed;            // actions agreed in the last steps that were read
    double seconds_left;   // least over ranks, 0: no deadline
};

static inline bool is_rank_0(const Trainer *t) {
    return comm_rank(t->context.comm) == 0;
}

// Whether something with this interval in steps falls on the last one: so that all ranks agree
// without a message. Intervals in seconds are proposed by rank 0, see due_actions().
static inline bool falls_on(const Trainer *t, int64_t every) {
    return every > 0 && t->step % every == 0;
}

// The disk refuses: full, read-only, or not where it was.
static inline bool is_of_disk(Status status) {
    return status == STATUS_IO || status == STATUS_NOT_FOUND;
}

// ---- trainer.c ----
Status trainer_open_loader(Trainer *t, int64_t step); // anew, to begin with this step
// Actions that this rank proposes by the clock; seconds_left as from RunContext.signals,
// step_seconds of this step.
int due_actions(const Trainer *t, double seconds_left, double step_seconds);

// ---- state.c ----
Status state_open(Trainer *t); // memory of weights, optimizer, gradients; the plan
void state_close(Trainer *t);
Status state_draw(Trainer *t); // step 0: initial weights and averages
// All ranks, once a step: fills fingerprint, tensor_print, and compares the replicas (astray).
Status state_fingerprint(Trainer *t);
Status state_fetch(Trainer *t); // all ranks: the weights of others, if they are due
// A checkpoint of the completed step: what is to be saved is copied, the rest happens beside the
// training until the second half is called. BUSY on all ranks: lock lost.
Status state_save_start(Trainer *t);
Status state_save_finish(Trainer *t);
Status state_resume(Trainer *t, bool *found);            // the newest good one, if any
Status state_gather_average(Trainer *t, StateKind kind); // t->average <- an EMA, on all ranks

// ---- report.c ----
void report_say(const Trainer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_reset(Trainer *t);                                       // start a new stretch of steps
Status report_step(Trainer *t, bool last);                           // with a fingerprint when due
void report_progress(const Trainer *t, bool logged, bool print);     // RunContext.progress
Status report_show(Trainer *t, Status (*show)(const RunView *view)); // t->average as it is
// All ranks: RunContext.evaluate or preview, with the first average.
Status report_view(Trainer *t, Phase phase, Status (*show)(const RunView *view));

// ---- replica.c ----
// All ranks: does each hold the weights that the owners have? Fills astray, astray_text.
Status replica_check(Trainer *t);

// ---- lost.c ----
// What any rank has found to be lost counts for none from the next step on, though this one may be
// able to read it: a run that is resumed leaves it out everywhere, too.
void lost_mark(const Trainer *t, Batch *batch);
Status lost_note(Trainer *t, const Batch *batch, double *fields); // into this rank's board fields
// All ranks, after the board: joins what each has found, and tells of it.
Status lost_join(Trainer *t);

// ---- blame.c ----
// All ranks, after a step that is not finite: finds, names and agrees on the samples to blame, for
// which it loads the step's batch again.
Status blame_samples(Trainer *t);

// ---- step.c ----
// One optimizer step; one that is not finite changes nothing. Where the device goes on without the
// host (step_is_ahead) it is only queued, `pending`, and the step before is read in the meantime;
// if that is `bad`, this is all that is done.
Status step_run(Trainer *t);
bool step_is_ahead(const Trainer *t);
Status step_settle(Trainer *t);                   // waits for a pending step, and reads it
float *step_buffer(const Trainer *t, int number); // of gradients
// Queues a grain on a stream, its gradient written or added to `grads`; only >= 0: this sample of
// the grain alone.
void step_queue_grain(Trainer *t, int lane, int grain, const Batch *batch, float *grads, bool add,
                      int64_t only);
