// How good a model is, in bits per dimension or token of held-out data: three ways, each with its
// standard error, the deviation over samples / sqrt(samples). Times and noise are those of
// launch/evaluate.h: the same figure on any number of ranks.
#pragma once

#include "launch/evaluate.h"

typedef struct {
    int64_t count;
    double bits, standard_error; // per dim or token
    double null_bits;            // of the null model; NaN: the process has none
} Bound;

// Bits of -log p(x_0) <= prior + term(1) + sum over t = 2..T of term(t). The first term is computed
// for every sample; the sum is estimated without bias from `draws` times (process_bound_time).
Status likelihood_bound(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out);
// The same of -log p along the probability flow (launch/flow.h) in request->draws steps: no bound,
// but an estimate with the errors of Hutchinson's trace and of the solver.
Status likelihood_flow(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out);
// Bits of the ELBO of processes that have one (process_elbo_check), a bound, estimated without bias
// from request->draws times, noises and signs of each sample.
Status likelihood_elbo(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out);

typedef struct {
    int64_t count;
    double right, standard_error; // share
} Accuracy;

// Of a classifier, which has no likelihood: how often the likeliest class is the label. Takes no
// draws.
Status likelihood_accuracy(Engine *engine, Comm *comm, const EvalRequest *request, Accuracy *out);
