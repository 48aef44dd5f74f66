// Held-out loss and bound behind trainer/evaluate.h.
#include "trainer/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "comm/reduce.h"
#include "data/loader.h"
#include "trainer/flow.h"

// A *visit* is one forward pass of a group of samples at chosen times; its results are float64
// numbers, one for each sample.
typedef struct {
    const EvalRequest *request;
    Engine *engine;
    int64_t total; // samples
    int visits;    // of each sample
    bool bound;    // bound terms instead of losses
    Flow *flow;    // the likelihood along it instead of either, or
    bool elbo;     // its terms
    // [visits * total] by visit; value: then (bound only) the priors and the null model's nats, of
    // this rank's samples. One block, which begins with `time`.
    double *time, *weight, *value;
} Walk;

// ---- one group of samples on one stream -------------------------------------------------------

typedef struct {
    GrainBatch batch; // samples that follow each other
    float *loss;      // [capacity]
} LaneWork;

// Where the samples of a group have their times and values of a visit.
static int64_t place_of(const Walk *walk, const LaneWork *work, int visit) {
    return visit * walk->total + (int64_t)work->batch.sample[0];
}

static void queue_visit(const Walk *walk, int lane_index, LaneWork *work, int visit) {
    Engine *engine = walk->engine;
    EngineLane *lane = &engine->lane[lane_index];
    int64_t samples = work->batch.samples, place = place_of(walk, work, visit);
    int passes = process_passes(engine->process);
    if (visit % passes > 0)
        process_next_pass(engine->process, lane->stream, &lane->pass, samples);
    else
        process_corrupt_at(engine->process, engine->network, lane->stream, &lane->pass,
                           &work->batch, walk->time + place, (uint64_t)(visit / passes));
    if (walk->elbo) {
        flow_probe(walk->flow, lane_index, &work->batch, (uint64_t)visit);
        return;
    }
    NetworkInput input;
    process_network_input(engine->process, &lane->pass, &work->batch, false, &input);
    NetworkMemory memory = engine_memory(engine, lane_index);
    network_forward(engine->network, lane->stream, &memory, &input, lane->pass.out);
    if (walk->bound) {
        process_bound_terms(engine->process, lane->stream, &lane->pass, samples);
        stream_download(lane->stream, walk->value + place, lane->pass.error,
                        (size_t)samples * sizeof(double));
    } else {
        process_loss(engine->process, lane->stream, &lane->pass, samples, false);
        stream_download(lane->stream, work->loss, lane->pass.loss, (size_t)samples * sizeof(float));
    }
}

static void keep_values(const Walk *walk, int lane, const LaneWork *work, int visit) {
    int64_t place = place_of(walk, work, visit);
    for (int64_t i = 0; i < work->batch.samples && !walk->bound; ++i)
        walk->value[place + i] = walk->elbo ? flow_term(walk->flow, lane, i, walk->time[place + i])
                                            : (double)work->loss[i];
}

static Status walk_flow(const Walk *walk, const LaneWork *work, int busy) {
    for (int i = 0; i < busy; ++i) flow_put(walk->flow, i, &work[i].batch);
    TRY(flow_run(walk->flow, busy));
    for (int i = 0; i < busy; ++i)
        for (int64_t s = 0; s < work[i].batch.samples; ++s)
            walk->value[place_of(walk, &work[i], 0) + s] = flow_nats(walk->flow, i, s);
    return STATUS_OK;
}

// The samples of one loader batch, dealt to the streams in groups of `capacity`.
static Status walk_batch(const Walk *walk, const Batch *batch, LaneWork *work) {
    Engine *engine = walk->engine;
    int64_t item = engine_item(engine);
    int busy = (int)((batch->count - 1) / engine->capacity) + 1; // streams
    for (int i = 0; i < busy; ++i) {
        int64_t first = i * engine->capacity, count = batch->count - first;
        work[i].batch = (GrainBatch){
            .seed = walk->request->seed,
            .samples = count < engine->capacity ? count : engine->capacity,
            .x_0 = (const float *)batch->x + first * item, // 4 bytes either way
            .label = batch->label + first,
            .sample = batch->sample + first,
        };
    }
    if (walk->flow != NULL && !walk->elbo) return walk_flow(walk, work, busy);
    for (int visit = 0; visit < walk->visits; ++visit) {
        for (int i = 0; i < busy; ++i) queue_visit(walk, i, &work[i], visit);
        TRY(engine_wait(engine));
        for (int i = 0; i < busy; ++i) keep_values(walk, i, &work[i], visit);
    }
    for (int64_t i = 0; i < batch->count && (walk->bound || walk->elbo); ++i) {
        const void *x_0 = (const float *)batch->x + i * item;
        double *place = walk->value + walk->visits * walk->total + (int64_t)batch->sample[i];
        place[0] = (walk->elbo ? process_elbo_rest : process_bound_prior)(engine->process, x_0);
        place[walk->total] = process_null_nats(engine->process, x_0);
    }
    return STATUS_OK;
}

// ---- all samples, over all ranks --------------------------------------------------------------

static Status walk_share(const Walk *walk, Loader *loader) {
    size_t capacity = (size_t)walk->engine->capacity, lanes = (size_t)walk->engine->lanes;
    LaneWork *work = calloc(lanes, sizeof *work);
    float *losses = calloc(lanes * capacity, sizeof *losses);
    Status status = STATUS_OK;
    if (work == NULL || losses == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory for %zu evaluation streams", lanes);
    for (size_t i = 0; i < lanes; ++i) work[i].loss = losses + i * capacity;
    for (;;) {
        Batch batch;
        TRY_OR(done, status, loader_next(loader, &batch));
        if (batch.count == 0 || (int64_t)batch.sample[0] >= walk->total) break;
        // The last batch may reach beyond the samples that were asked for.
        int64_t last = (int64_t)batch.sample[batch.count - 1];
        if (last >= walk->total) batch.count -= last - walk->total + 1;
        TRY_OR(done, status, walk_batch(walk, &batch, work));
        journal_proceed();
    }
done:
    free(work);
    free(losses);
    return status;
}

// Afterwards walk->value is complete on every rank.
static Status walk_all(const Walk *walk, Comm *comm) {
    const Engine *engine = walk->engine;
    int world = comm_world(comm), rank = comm_rank(comm);
    int64_t share = engine->lanes * engine->capacity;
    TRY(engine_use(walk->engine, walk->request->weights));
    Loader *loader;
    LoaderConfig config = {.dataset = walk->request->data,
                           .length = walk->request->length,
                           .batch = share * world,
                           .share_begin = share * rank,
                           .share_end = share * (rank + 1),
                           .depth = 2,
                           .in_order = true};
    TRY(loader_open(&config, &loader));
    Status status = walk_share(walk, loader);
    loader_close(loader);
    TRY(status);
    int64_t count = (walk->visits + 2) * walk->total;
    enum { BOARD_MOST = 1 << 20 };
    for (int64_t at = 0; at < count; at += BOARD_MOST) {
        int64_t n = count - at < BOARD_MOST ? count - at : BOARD_MOST;
        TRY(comm_board(comm, walk->value + at, (int)n));
    }
    return STATUS_OK;
}

static Status take(int64_t count, double **out) {
    *out = calloc((size_t)count, sizeof **out);
    FAIL_IF(*out == NULL, NO_MEMORY, "no memory for the results of an evaluation");
    return STATUS_OK;
}

static Status walk_open(Walk *walk, Engine *engine, const EvalRequest *request, int visits) {
    *walk = (Walk){.request = request, .engine = engine, .visits = visits};
    walk->total = loader_samples(dataset_info(request->data), request->length);
    FAIL_IF(walk->total < 1, BAD_DATA, "the held-out split holds no whole sample");
    if (request->samples > 0 && request->samples < walk->total) walk->total = request->samples;
    int64_t count = visits * walk->total;
    TRY(take(3 * count + 2 * walk->total, &walk->time));
    walk->weight = walk->time + count;
    walk->value = walk->weight + count;
    return STATUS_OK;
}

// A point of (0,1) for (sample, draw): golden-ratio steps fill the interval evenly.
static double even_point(const Walk *walk, int64_t sample, int draw) {
    double at = (double)(sample * walk->request->draws + draw) + 0.5;
    return fmod(at * 0.61803398874989484820, 1.0);
}

// ---- loss by noise level ----------------------------------------------------------------------

static void sum_losses(const Walk *walk, HeldOutLoss *out) {
    double items = (double)process_loss_items(walk->engine->process);
    int64_t count = walk->visits * walk->total;
    int passes = process_passes(walk->engine->process);
    *out = (HeldOutLoss){.samples = walk->total};
    for (int64_t i = 0; i < count; ++i) {
        double loss = walk->value[i] / items;
        int level = (int)(process_time_point(walk->engine->process, walk->time[i]) * EVAL_LEVELS);
        out->loss += loss;
        out->pass_loss[i / walk->total % passes] += loss * passes / (double)count;
        out->level_loss[level] += loss;
        ++out->level_count[level];
    }
    out->loss /= (double)count;
    for (int level = 0; level < EVAL_LEVELS; ++level)
        if (out->level_count[level] > 0) out->level_loss[level] /= (double)out->level_count[level];
}

Status evaluate_loss(Engine *engine, Comm *comm, const EvalRequest *request, HeldOutLoss *out) {
    Walk walk;
    int passes = process_passes(engine->process);
    Status status = walk_open(&walk, engine, request, request->draws * passes);
    if (status == STATUS_OK) {
        for (int visit = 0; visit < walk.visits; ++visit)
            for (int64_t i = 0; i < walk.total; ++i)
                walk.time[visit * walk.total + i] =
                    process_time_at(engine->process, even_point(&walk, i, visit / passes));
        status = walk_all(&walk, comm);
    }
    if (status == STATUS_OK) sum_losses(&walk, out);
    free(walk.time);
    return status;
}

// ---- the bound --------------------------------------------------------------------------------

// Visit 0 is the first time, but of the ELBO; the others are drawn. The weight of a visit goes with
// its time.
static void draw_times(Walk *walk) {
    const Process *process = walk->engine->process;
    int sure = walk->elbo ? 0 : 1;
    for (int64_t i = 0; i < walk->total; ++i) {
        walk->time[i] = process_first_time(process);
        walk->weight[i] = 1;
        for (int visit = sure; visit < walk->visits; ++visit) {
            int64_t at = visit * walk->total + i;
            double point = even_point(walk, i, visit - sure), *weight = &walk->weight[at];
            walk->time[at] = walk->elbo ? process_elbo_time(process, point, weight)
                                        : process_bound_time(process, point, weight);
            *weight /= walk->request->draws;
        }
    }
}

static void sum_bound(const Walk *walk, Bound *out) {
    double sum = 0, squares = 0, null_sum = 0, n = (double)walk->total;
    double items = (double)process_loss_items(walk->engine->process);
    int64_t priors = walk->visits * walk->total, nulls = priors + walk->total;
    for (int64_t i = 0; i < walk->total; ++i) {
        double nats = walk->value[priors + i];
        for (int visit = 0; visit < walk->visits; ++visit) {
            int64_t at = visit * walk->total + i;
            if (walk->weight[at] > 0) nats += walk->value[at] * walk->weight[at];
        }
        double bits = nats / (items * M_LN2);
        sum += bits;
        squares += bits * bits;
        null_sum += walk->value[nulls + i] / (items * M_LN2);
    }
    double mean = sum / n;
    double variance = n > 1 ? fmax(0, squares / n - mean * mean) * n / (n - 1) : 0;
    *out = (Bound){.count = walk->total,
                   .bits = mean,
                   .standard_error = sqrt(variance / n),
                   .null_bits = null_sum / n};
}

Status evaluate_bound(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out) {
    Walk walk;
    Status status = walk_open(&walk, engine, request, request->draws + 1);
    walk.bound = true;
    if (status == STATUS_OK) {
        draw_times(&walk);
        status = walk_all(&walk, comm);
    }
    if (status == STATUS_OK) sum_bound(&walk, out);
    free(walk.time);
    return status;
}

// The likelihood along the flow, or the ELBO: neither has a null model.
static Status evaluate_along(Engine *engine, Comm *comm, const EvalRequest *request, bool elbo,
                             Bound *out) {
    Walk walk;
    Status status = walk_open(&walk, engine, request, elbo ? request->draws : 1);
    walk.elbo = elbo;
    if (status == STATUS_OK) status = flow_open(engine, request->draws, &walk.flow);
    if (status == STATUS_OK) {
        draw_times(&walk);
        status = walk_all(&walk, comm);
    }
    if (status == STATUS_OK) sum_bound(&walk, out);
    out->null_bits = NAN;
    flow_close(walk.flow);
    free(walk.time);
    return status;
}

Status evaluate_flow(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out) {
    return evaluate_along(engine, comm, request, false, out);
}

Status evaluate_elbo(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out) {
    TRY(process_elbo_check(engine->process));
    return evaluate_along(engine, comm, request, true, out);
}
