// Held-out evaluation: loss by noise level, and the variational bound in bits with its error.
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
    double loss;                    // mean over samples and draws, per item
    double level_loss[EVAL_LEVELS]; // the same by time: t in (T l/10, T (l+1)/10]
    int64_t level_count[EVAL_LEVELS];
    double pass_loss[PROCESS_PASSES_MOST]; // the same by pass: one, or those of an unrolled system
} HeldOutLoss;

// Times are spread evenly over 1..T by a golden-ratio sequence over (sample, draw).
Status evaluate_loss(Engine *engine, Comm *comm, const EvalRequest *request, HeldOutLoss *out);

typedef struct {
    int64_t count;
    double bits, standard_error; // per dim or token
    double null_bits;            // of the null model; NaN: the process has none
} Bound;

// Bits of -log p(x_0) <= prior + term(1) + sum over t = 2..T of term(t). The first term is computed
// for every sample; the sum is estimated without bias from `draws` times (process_bound_time). The
// standard error is the deviation over samples / sqrt(samples).
Status evaluate_bound(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out);
// The same of -log p along the probability flow (trainer/flow.h) in request->draws steps: no bound,
// but an estimate with the errors of Hutchinson's trace and of the solver.
Status evaluate_flow(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out);
// Bits of the ELBO of processes that have one (process_elbo_check), a bound, estimated without bias
// from request->draws times, noises and signs of each sample.
Status evaluate_elbo(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out);
