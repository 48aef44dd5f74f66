// Held-out evaluation: the loss by noise level, and the walk over a split that every evaluation is.
//
// Sample i of the split and draw k see times and noise that depend on (seed, i, k) alone; results
// are summed in the order of samples: the same numbers on any number of ranks.
#pragma once

#include "comm/comm.h"
#include "trainer/engine.h"

enum { EVAL_LEVELS = 10 };

typedef struct {
    Dataset *data;
    int32_t length;  // text: symbols of a sample
    int64_t samples; // the first so many of the split; 0: all
    int draws;       // times for each sample
    uint64_t seed;
    const float *weights; // device
} EvalRequest;

typedef struct {
    int64_t samples;
    double seconds;
    double loss;                    // mean over samples and draws, per item
    double level_loss[EVAL_LEVELS]; // the same by time: t in (T l/10, T (l+1)/10]
    int64_t level_count[EVAL_LEVELS];
    double pass_loss[PROCESS_PASSES_MOST]; // the same by pass: one, or those of an unrolled system
} HeldOutLoss;

// Times are spread evenly over 1..T by a golden-ratio sequence over (sample, draw).
Status evaluate_loss(Engine *engine, Comm *comm, const EvalRequest *request, HeldOutLoss *out);

// ---- walks ------------------------------------------------------------------------------------

// Samples that follow each other, on one stream.
typedef struct {
    GrainBatch batch;
    float *room; // host [capacity], for what a visit downloads
} WalkGroup;

// Every sample is visited so many times, each at a time of its own, and each visit gives a number.
typedef struct Walk Walk;
struct Walk {
    Engine *engine;
    const EvalRequest *request;
    int64_t total; // samples
    int visits;    // of each sample
    // Visit number `visit` of groups 0..busy-1, group i on stream i, from the first operation to
    // the last wait: puts what it gives into value.
    Status (*visit)(const Walk *walk, const WalkGroup *group, int busy, int visit);
    // Once for each sample, at rest[0] and rest[total]: two numbers more. NULL: there are none.
    void (*finish)(const Walk *walk, const void *x_0, double *rest);
    void *context;                        // of the two
    double *time, *weight, *value, *rest; // [visits][total] by visit; rest: [2][total]
};

// Afterwards time is to be filled in. Errors: NO_MEMORY; BAD_DATA, a split without a whole sample.
Status walk_open(Walk *walk, Engine *engine, const EvalRequest *request, int visits);
void walk_close(Walk *walk);
// A point of (0,1) for (sample, draw): golden-ratio steps fill the interval evenly.
double walk_point(const Walk *walk, int64_t sample, int draw);
// Visits all, with the weights as walk_open told the engine; afterwards value and rest are complete
// on every rank.
Status walk_all(const Walk *walk, Comm *comm);

// Of a visit: where a group's times and values are, ...
int64_t walk_place(const Walk *walk, const WalkGroup *group, int visit);
// ... and its x_t, of draw number `draw` at its times, queued on stream `lane`.
void walk_corrupt(const Walk *walk, int lane, const WalkGroup *group, int visit, int draw);
