// The categorical family: a token keeps its class with probability A_t, else it is drawn from a
// base distribution, or masked. Private to model/process/ and its tests.
#pragma once

#include "model/process/process_impl.h"

// Probabilities of a token at t: of its class, of a draw from the base, of the mask; sum 1.
typedef struct {
    double keep, spread, mask;
} CategoricalMass;

// What tells one system from another.
typedef struct {
    CategoricalForm form; // where training begins later (starts_late) the first step has none
    double (*base)(const Process *process, int k); // probability of class k; NULL: uniform
    // Systems with a mask (of the mixture form where time is discrete), and all of continuous time:
    // 0 <= t <= T or 1, in the place of the table; keep > 0 where t < T. Zeros may be exact: no
    // mask, no spread. NULL: no mask.
    CategoricalMass (*mass)(const ProcessConfig *config, double t);
    double (*aux)(const Process *process, double t); // of the loss; NULL: 0
    // Where there is process->dense [T+1,K,K], the kernels from 0 to each time: that from one time
    // to another.
    void (*between)(const Process *process, int from, int to, double *kernel);
    // Continuous time: by what the error at t is multiplied so that its integral over (0,1] is the
    // bound, NULL: none; and whether that is the weight of the loss, else 1. Where there is a mask,
    // t is the share of tokens that have it.
    double (*rate)(const ProcessConfig *config, double t);
    bool weighted;
} CategoricalSystem;

// The kernel from s to t > s, composed: step_keep = A_t / A_s, keep_before = A_s.
CategoricalLevel categorical_numbers(const Process *process, double t, double s);
// The base distribution, or the kernels of the pass's host levels, to where operations read them.
void categorical_upload_base(const Process *process, Stream *stream, Pass *pass, int64_t samples);
// KL(A x_0 + (1-A)/K || 1/K) of all tokens, A at the last time; the same whatever x_0 is.
double categorical_prior_nats(const Process *process, const void *x_0);
