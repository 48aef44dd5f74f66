// The bound, the flow and the ELBO behind launch/likelihood.h, each as a walk.
#include "launch/likelihood.h"

#include <math.h>

#include "launch/flow.h"
#include "launch/inference.h"

// ---- the bound --------------------------------------------------------------------------------

static Status visit_bound(const Walk *walk, const WalkGroup *group, int busy, int visit) {
    for (int i = 0; i < busy; ++i) {
        EngineLane *lane = &walk->engine->lane[i];
        int64_t samples = group[i].batch.samples;
        walk_corrupt(walk, i, &group[i], visit, visit);
        inference_forward(walk->engine, i, samples, lane->pass.out);
        process_bound_terms(walk->engine->process, lane->stream, &lane->pass, samples);
        stream_download(lane->stream, walk->value + walk_place(walk, &group[i], visit),
                        lane->pass.error, (size_t)samples * sizeof(double));
    }
    return engine_wait(walk->engine);
}

static void finish_bound(const Walk *walk, const void *x_0, double *rest) {
    rest[0] = process_bound_prior(walk->engine->process, x_0);
    rest[walk->total] = process_null_nats(walk->engine->process, x_0);
}

static void sum_bits(const Walk *walk, Bound *out) {
    double sum = 0, squares = 0, null_sum = 0, n = (double)walk->total;
    double items = (double)process_loss_items(walk->engine->process);
    for (int64_t i = 0; i < walk->total; ++i) {
        double nats = walk->rest[i];
        for (int visit = 0; visit < walk->visits; ++visit) {
            int64_t at = visit * walk->total + i;
            if (walk->weight[at] > 0) nats += walk->value[at] * walk->weight[at];
        }
        double bits = nats / (items * M_LN2);
        sum += bits;
        squares += bits * bits;
        null_sum += walk->rest[walk->total + i] / (items * M_LN2);
    }
    double mean = sum / n;
    double variance = n > 1 ? fmax(0, squares / n - mean * mean) * n / (n - 1) : 0;
    *out = (Bound){.count = walk->total,
                   .bits = mean,
                   .standard_error = sqrt(variance / n),
                   .null_bits = null_sum / n};
}

// Visit 0 is the first time; the others are drawn. The weight of a visit goes with its time.
Status likelihood_bound(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out) {
    Walk walk;
    TRY(walk_open(&walk, engine, request, request->draws + 1));
    walk.visit = visit_bound;
    walk.finish = finish_bound;
    for (int64_t i = 0; i < walk.total; ++i) {
        walk.time[i] = process_first_time(engine->process);
        walk.weight[i] = 1;
        for (int draw = 0; draw < request->draws; ++draw) {
            int64_t at = (draw + 1) * walk.total + i;
            double point = walk_point(&walk, i, draw);
            walk.time[at] = process_bound_time(engine->process, point, &walk.weight[at]);
            walk.weight[at] /= request->draws;
        }
    }
    Status status = walk_all(&walk, comm);
    if (status == STATUS_OK) sum_bits(&walk, out);
    walk_close(&walk);
    return status;
}

// ---- along the flow, and the ELBO ---------------------------------------------------------------

static Status visit_flow(const Walk *walk, const WalkGroup *group, int busy, int visit) {
    Flow *flow = walk->context;
    for (int i = 0; i < busy; ++i) flow_put(flow, i, &group[i].batch);
    TRY(flow_run(flow, busy));
    for (int i = 0; i < busy; ++i)
        for (int64_t s = 0; s < group[i].batch.samples; ++s)
            walk->value[walk_place(walk, &group[i], visit) + s] = flow_nats(flow, i, s);
    return STATUS_OK;
}

static Status visit_elbo(const Walk *walk, const WalkGroup *group, int busy, int visit) {
    for (int i = 0; i < busy; ++i) {
        walk_corrupt(walk, i, &group[i], visit, visit);
        flow_probe(walk->context, i, &group[i].batch, (uint64_t)visit);
    }
    TRY(engine_wait(walk->engine));
    for (int i = 0; i < busy; ++i)
        for (int64_t s = 0; s < group[i].batch.samples; ++s) {
            int64_t at = walk_place(walk, &group[i], visit) + s;
            walk->value[at] = flow_term(walk->context, i, s, walk->time[at]);
        }
    return STATUS_OK;
}

static void finish_elbo(const Walk *walk, const void *x_0, double *rest) {
    rest[0] = process_elbo_rest(walk->engine->process, x_0);
}

// Neither has a null model.
static Status walk_along(Walk *walk, Comm *comm, int steps, Bound *out) {
    Flow *flow;
    TRY(flow_open(walk->engine, steps, &flow));
    walk->context = flow;
    Status status = walk_all(walk, comm);
    flow_close(flow);
    TRY(status);
    sum_bits(walk, out);
    out->null_bits = NAN;
    return STATUS_OK;
}

Status likelihood_flow(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out) {
    Walk walk;
    TRY(walk_open(&walk, engine, request, 1));
    walk.visit = visit_flow;
    for (int64_t i = 0; i < walk.total; ++i) {
        walk.time[i] = process_first_time(engine->process);
        walk.weight[i] = 1;
    }
    Status status = walk_along(&walk, comm, request->draws, out);
    walk_close(&walk);
    return status;
}

Status likelihood_elbo(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out) {
    TRY(process_elbo_check(engine->process));
    Walk walk;
    TRY(walk_open(&walk, engine, request, request->draws));
    walk.visit = visit_elbo;
    walk.finish = finish_elbo;
    for (int64_t i = 0; i < walk.total; ++i)
        for (int draw = 0; draw < request->draws; ++draw) {
            int64_t at = draw * walk.total + i;
            double point = walk_point(&walk, i, draw);
            walk.time[at] = process_elbo_time(engine->process, point, &walk.weight[at]);
            walk.weight[at] /= request->draws;
        }
    Status status = walk_along(&walk, comm, request->draws, out);
    walk_close(&walk);
    return status;
}

// ---- classifiers --------------------------------------------------------------------------------

Status likelihood_accuracy(Engine *engine, Comm *comm, const EvalRequest *request, Accuracy *out) {
    Walk walk;
    TRY(walk_open(&walk, engine, request, 1));
    walk.visit = visit_bound;
    for (int64_t i = 0; i < walk.total; ++i) walk.time[i] = process_first_time(engine->process);
    Status status = walk_all(&walk, comm);
    double wrong = 0, n = (double)walk.total;
    for (int64_t i = 0; i < walk.total; ++i) wrong += walk.value[i] / n;
    *out = (Accuracy){walk.total, 1 - wrong, sqrt(wrong * (1 - wrong) / n)};
    walk_close(&walk);
    return status;
}
