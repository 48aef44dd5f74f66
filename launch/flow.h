// Likelihood along the probability flow of a process in continuous time (Song et al., arXiv
// 2011.13456, eq. 39): the ODE takes a sample to the noise, and the integral of its divergence is
// the change of log density. The divergence is Hutchinson's estimate with one vector of signs a
// sample; the ODE is solved by RK4 in steps that are even in log SNR (process_bound_time), as the
// flow runs fastest near the data, and fixed, so that a result does not depend on its company.
#pragma once

#include "trainer/engine.h"

typedef struct Flow Flow;

// The engine must have been opened for backward. Errors: BAD_CONFIG (no flow in discrete time;
// images whose levels were not made continuous), NO_MEMORY.
Status flow_open(Engine *engine, int steps, Flow **out);
void flow_close(Flow *flow);
// The samples that stream `lane` is to take along (copied; what it points to is lent until
// flow_run has returned), then a run of streams 0 to busy - 1, then nats of -log p of each.
void flow_put(Flow *flow, int lane, const GrainBatch *batch);
Status flow_run(Flow *flow, int busy);
double flow_nats(const Flow *flow, int lane, int64_t sample);

// One evaluation for the ELBO of processes that have one: queues the network at the x_t and times
// that the stream's pass holds, and its gradient along signs of draw `draw`; after a wait,
// process_elbo_term of a sample and its time, with the estimated trace.
void flow_probe(Flow *flow, int lane, const GrainBatch *batch, uint64_t draw);
double flow_term(const Flow *flow, int lane, int64_t sample, double time);
