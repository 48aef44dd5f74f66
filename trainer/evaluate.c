// Held-out loss and bound behind trainer/evaluate.h.
#include "trainer/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/reduce.h"
#include "data/loader.h"

// Calls that differ between the two evaluations. A *visit* is one forward pass of a group of
// samples at chosen times; its results are float64 numbers, one for each sample.
typedef struct {
    const EvalRequest *request;
    Engine *engine;
    int visits; // forward passes of each sample
    double (*time_of)(const void *context, uint64_t sample, int visit);
    bool bound; // bound terms instead of losses
    const void *context;
} Walk;

// ---- one group of samples on one stream -------------------------------------------------------

typedef struct {
    GrainBatch batch;
    double *time;  // [capacity]
    float *loss;   // [capacity]
    double *error; // [capacity]
} LaneWork;

static void queue_visit(const Walk *walk, int lane_index, LaneWork *work, int visit) {
    Engine *engine = walk->engine;
    EngineLane *lane = &engine->lane[lane_index];
    int64_t samples = work->batch.samples;
    for (int64_t i = 0; i < samples; ++i)
        work->time[i] = walk->time_of(walk->context, work->batch.sample[i], visit);
    process_corrupt_at(engine->process, engine->network, lane->stream, &lane->pass, &work->batch,
                       work->time, (uint64_t)visit);
    NetworkInput input;
    process_network_input(engine->process, &lane->pass, &work->batch, false, &input);
    NetworkMemory memory = engine_memory(engine, lane_index, walk->request->weights);
    network_forward(engine->network, lane->stream, &memory, &input, lane->pass.out);
    if (walk->bound) {
        process_bound_terms(engine->process, lane->stream, &lane->pass, samples);
        stream_download(lane->stream, work->error, lane->pass.error,
                        (size_t)samples * sizeof(double));
    } else {
        process_loss(engine->process, lane->stream, &lane->pass, samples, false);
        stream_download(lane->stream, work->loss, lane->pass.loss, (size_t)samples * sizeof(float));
    }
}

// values[visit * total + sample] of the lane's group.
static void keep_visit(const Walk *walk, const LaneWork *work, int visit, int64_t total,
                       double *values) {
    for (int64_t i = 0; i < work->batch.samples; ++i)
        values[visit * total + (int64_t)work->batch.sample[i]] =
            walk->bound ? work->error[i] : (double)work->loss[i];
}

// The samples of one loader batch, dealt to the streams in groups of `capacity`.
static Status walk_batch(const Walk *walk, const Batch *batch, LaneWork *work, int64_t total,
                         double *values) {
    Engine *engine = walk->engine;
    int64_t item = engine_item(engine);
    int busy = 0;
    for (int i = 0; i < engine->lanes; ++i) {
        int64_t first = i * engine->capacity, count = batch->count - first;
        if (count <= 0) break;
        ++busy;
        work[i].batch = (GrainBatch){
            .seed = walk->request->seed,
            .samples = count < engine->capacity ? count : engine->capacity,
            .x_0 = (const float *)batch->x + first * item, // 4 bytes either way
            .label = batch->label + first,
            .sample = batch->sample + first,
        };
    }
    for (int visit = 0; visit < walk->visits; ++visit) {
        for (int i = 0; i < busy; ++i) queue_visit(walk, i, &work[i], visit);
        TRY(engine_wait(engine));
        for (int i = 0; i < busy; ++i) keep_visit(walk, &work[i], visit, total, values);
    }
    if (!walk->bound) return STATUS_OK;
    for (int64_t i = 0; i < batch->count; ++i)
        values[walk->visits * total + (int64_t)batch->sample[i]] =
            process_bound_prior(engine->process, (const float *)batch->x + i * item);
    return STATUS_OK;
}

// ---- all samples, over all ranks --------------------------------------------------------------

static Status walk_share(const Walk *walk, Loader *loader, int64_t total, double *values) {
    Engine *engine = walk->engine;
    size_t capacity = (size_t)engine->capacity, lanes = (size_t)engine->lanes;
    LaneWork *work = calloc(lanes, sizeof *work);
    char *rows = calloc(lanes * capacity, 2 * sizeof(double) + sizeof(float));
    Status status = STATUS_OK;
    if (work == NULL || rows == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory for %d evaluation streams", engine->lanes);
    for (size_t i = 0; i < lanes; ++i) {
        work[i].time = (double *)rows + i * capacity;
        work[i].error = (double *)rows + (lanes + i) * capacity;
        work[i].loss = (float *)((double *)rows + 2 * lanes * capacity) + i * capacity;
    }
    for (;;) {
        Batch batch;
        TRY_OR(done, status, loader_next(loader, &batch));
        if (batch.count == 0 || (int64_t)batch.sample[0] >= total) break;
        // The last batch may reach beyond the samples that were asked for.
        int64_t last = (int64_t)batch.sample[batch.count - 1];
        if (last >= total) batch.count -= last - total + 1;
        TRY_OR(done, status, walk_batch(walk, &batch, work, total, values));
    }
done:
    free(work);
    free(rows);
    return status;
}

// values[(visits + 1) * total]: by visit, then (bound only) the priors; complete on every rank.
static Status walk_all(const Walk *walk, Comm *comm, int64_t total, double *values) {
    const Engine *engine = walk->engine;
    int world = comm_world(comm), rank = comm_rank(comm);
    int64_t share = engine->lanes * engine->capacity;
    Loader *loader;
    LoaderConfig config = {.dataset = walk->request->data,
                           .length = walk->request->length,
                           .batch = share * world,
                           .share_begin = share * rank,
                           .share_end = share * (rank + 1),
                           .depth = 2,
                           .in_order = true};
    TRY(loader_open(&config, &loader));
    Status status = walk_share(walk, loader, total, values);
    loader_close(loader);
    TRY(status);
    int64_t count = (walk->visits + 1) * total;
    enum { BOARD_MOST = 1 << 20 };
    for (int64_t at = 0; at < count; at += BOARD_MOST) {
        int64_t n = count - at < BOARD_MOST ? count - at : BOARD_MOST;
        TRY(comm_board(comm, values + at, (int)n));
    }
    return STATUS_OK;
}

static Status request_total(const EvalRequest *request, int64_t *total) {
    *total = loader_samples(dataset_info(request->data), request->length);
    FAIL_IF(*total < 1, BAD_DATA, "the held-out split holds no whole sample");
    if (request->samples > 0 && request->samples < *total) *total = request->samples;
    return STATUS_OK;
}

static Status take_values(int64_t count, double **out) {
    *out = calloc((size_t)count, sizeof **out);
    FAIL_IF(*out == NULL, NO_MEMORY, "no memory for the results of an evaluation");
    return STATUS_OK;
}

// A point of (0,1) for (sample, visit): golden-ratio steps fill the interval evenly.
static double even_point(uint64_t sample, int visit, int visits) {
    double at = (double)(sample * (uint64_t)visits + (uint64_t)visit) + 0.5;
    return fmod(at * 0.61803398874989484820, 1.0);
}

// ---- loss by noise level ----------------------------------------------------------------------

typedef struct {
    int steps, visits;
} LossTimes;

static double loss_time(const void *context, uint64_t sample, int visit) {
    const LossTimes *times = context;
    return 1 + floor(times->steps * even_point(sample, visit, times->visits));
}

Status evaluate_loss(Engine *engine, Comm *comm, const EvalRequest *request, HeldOutLoss *out) {
    int64_t total;
    TRY(request_total(request, &total));
    double *values;
    TRY(take_values((request->draws + 1) * total, &values));
    LossTimes times = {process_steps(engine->process), request->draws};
    Walk walk = {.request = request,
                 .engine = engine,
                 .visits = request->draws,
                 .time_of = loss_time,
                 .context = &times};
    Status status = walk_all(&walk, comm, total, values);
    *out = (HeldOutLoss){.samples = total};
    double items = (double)process_loss_items(engine->process);
    for (int visit = 0; visit < request->draws; ++visit)
        for (int64_t i = 0; i < total; ++i) {
            double loss = values[visit * total + i] / items;
            double t = loss_time(&times, (uint64_t)i, visit);
            int level = (int)((t - 1) * EVAL_LEVELS / times.steps);
            out->loss += loss;
            out->level_loss[level] += loss;
            ++out->level_count[level];
        }
    out->loss /= (double)(total * request->draws);
    for (int level = 0; level < EVAL_LEVELS; ++level)
        if (out->level_count[level] > 0) out->level_loss[level] /= (double)out->level_count[level];
    free(values);
    return status;
}

// ---- the bound --------------------------------------------------------------------------------

// Visit 0 is t = 1; visits 1.. are drawn from the proposal through its distribution function.
typedef struct {
    int steps, draws;
    double *cumulative, *weight; // [steps + 1]: sum of p up to t; 1 / p(t)
} BoundTimes;

static double bound_time(const void *context, uint64_t sample, int visit) {
    const BoundTimes *times = context;
    if (visit == 0 || times->steps == 1) return 1;
    double u = even_point(sample, visit - 1, times->draws) * times->cumulative[times->steps];
    int low = 2, high = times->steps;
    while (low < high) {
        int middle = (low + high) / 2;
        if (times->cumulative[middle] > u)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static Status bound_times_open(BoundTimes *times, int steps, int draws) {
    *times = (BoundTimes){.steps = steps, .draws = draws};
    TRY(take_values(2 * (steps + 1), &times->cumulative));
    times->weight = times->cumulative + steps + 1;
    double harmonic = 0;
    for (int t = 2; t <= steps; ++t) harmonic += 1.0 / t;
    for (int t = 2; t <= steps; ++t) {
        double p = 0.5 / (steps - 1) + 0.5 / (t * harmonic);
        times->cumulative[t] = times->cumulative[t - 1] + p;
        times->weight[t] = 1 / p;
    }
    return STATUS_OK;
}

static void sum_bound(const BoundTimes *times, const double *values, int64_t total, double items,
                      Bound *out) {
    int visits = times->draws + 1;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < total; ++i) {
        double nats = values[visits * total + i] + values[i];
        for (int visit = 1; visit < visits && times->steps > 1; ++visit) {
            int t = (int)bound_time(times, (uint64_t)i, visit);
            nats += values[visit * total + i] * times->weight[t] / times->draws;
        }
        double bits = nats / (items * M_LN2);
        sum += bits;
        squares += bits * bits;
    }
    double n = (double)total, mean = sum / n;
    double variance = n > 1 ? fmax(0, squares / n - mean * mean) * n / (n - 1) : 0;
    *out = (Bound){.count = total, .bits = mean, .standard_error = sqrt(variance / n)};
}

Status evaluate_bound(Engine *engine, Comm *comm, const EvalRequest *request, Bound *out) {
    int64_t total;
    TRY(request_total(request, &total));
    BoundTimes times = {0};
    double *values = NULL;
    int visits = request->draws + 1;
    Status status = STATUS_OK;
    TRY_OR(done, status, bound_times_open(&times, process_steps(engine->process), request->draws));
    TRY_OR(done, status, take_values((visits + 1) * total, &values));
    Walk walk = {.request = request,
                 .engine = engine,
                 .visits = visits,
                 .time_of = bound_time,
                 .bound = true,
                 .context = &times};
    TRY_OR(done, status, walk_all(&walk, comm, total, values));
    sum_bound(&times, values, total, (double)process_bound_items(engine->process), out);
done:
    free(values);
    free(times.cumulative);
    return status;
}
