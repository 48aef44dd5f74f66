// Held-out loss and walks behind launch/evaluate.h.
#include "launch/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "launch/console.h"
#include "comm/reduce.h"
#include "data/loader.h"
#include "launch/inference.h"

// ---- a visit ----------------------------------------------------------------------------------

int64_t walk_place(const Walk *walk, const WalkGroup *group, int visit) {
    return visit * walk->total + (int64_t)group->batch.sample[0];
}

void walk_corrupt(const Walk *walk, int lane, const WalkGroup *group, int visit, int draw) {
    EngineLane *own = &walk->engine->lane[lane];
    process_corrupt_at(walk->engine->process, walk->engine->network, own->stream, &own->pass,
                       &group->batch, walk->time + walk_place(walk, group, visit), (uint64_t)draw);
}

// ---- samples, over streams and ranks ------------------------------------------------------------

// The samples of one loader batch, dealt to the streams in groups of `capacity`.
static Status walk_batch(const Walk *walk, const Batch *batch, WalkGroup *group) {
    Engine *engine = walk->engine;
    int64_t item = engine_item(engine);
    int busy = (int)((batch->count - 1) / engine->capacity) + 1; // streams
    for (int i = 0; i < busy; ++i) {
        int64_t first = i * engine->capacity, count = batch->count - first;
        group[i].batch = (GrainBatch){
            .seed = walk->request->seed,
            .samples = count < engine->capacity ? count : engine->capacity,
            .x_0 = (const float *)batch->x + first * item, // 4 bytes either way
            .label = batch->label + first,
            .sample = batch->sample + first,
        };
    }
    for (int visit = 0; visit < walk->visits; ++visit) {
        TRY(walk->visit(walk, group, busy, visit));
        double part = (double)batch->count * (visit + 1) / walk->visits;
        console_done(fmin(((double)batch->sample[0] + part) / (double)walk->total, 1));
    }
    for (int64_t i = 0; i < batch->count && walk->finish != NULL; ++i)
        walk->finish(walk, (const float *)batch->x + i * item, walk->rest + batch->sample[i]);
    return STATUS_OK;
}

static Status walk_share(const Walk *walk, Loader *loader) {
    size_t capacity = (size_t)walk->engine->capacity, lanes = (size_t)walk->engine->lanes;
    WalkGroup *group = calloc(lanes, sizeof *group);
    float *room = calloc(lanes * capacity, sizeof *room);
    Status status = STATUS_OK;
    if (group == NULL || room == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory for %zu evaluation streams", lanes);
    for (size_t i = 0; i < lanes; ++i) group[i].room = room + i * capacity;
    for (;;) {
        Batch batch;
        TRY_OR(done, status, loader_next(loader, &batch));
        if (batch.count == 0 || (int64_t)batch.sample[0] >= walk->total) break;
        // The last batch may reach beyond the samples that were asked for.
        int64_t last = (int64_t)batch.sample[batch.count - 1];
        if (last >= walk->total) batch.count -= last - walk->total + 1;
        TRY_OR(done, status, walk_batch(walk, &batch, group));
        journal_proceed();
    }
done:
    free(group);
    free(room);
    return status;
}

Status walk_all(const Walk *walk, Comm *comm) {
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

Status walk_open(Walk *walk, Engine *engine, const EvalRequest *request, int visits) {
    *walk = (Walk){.request = request, .engine = engine, .visits = visits};
    walk->total = loader_samples(request->data, request->length);
    FAIL_IF(walk->total < 1, BAD_DATA, "the held-out split holds no whole sample");
    if (request->samples > 0 && request->samples < walk->total) walk->total = request->samples;
    TRY(engine_use(engine, request->weights)); // times may depend on them
    int64_t count = visits * walk->total;
    walk->time = calloc((size_t)(3 * count + 2 * walk->total), sizeof *walk->time);
    FAIL_IF(walk->time == NULL, NO_MEMORY, "no memory for the results of an evaluation");
    walk->weight = walk->time + count;
    walk->value = walk->weight + count;
    walk->rest = walk->value + count; // follows value, with which it crosses the board
    return STATUS_OK;
}

void walk_close(Walk *walk) {
    free(walk->time);
}

double walk_point(const Walk *walk, int64_t sample, int draw) {
    double at = (double)(sample * walk->request->draws + draw) + 0.5;
    return fmod(at * 0.61803398874989484820, 1.0);
}

// ---- loss by noise level ----------------------------------------------------------------------

static Status visit_loss(const Walk *walk, const WalkGroup *group, int busy, int visit) {
    const Process *process = walk->engine->process;
    int passes = process_passes(process);
    for (int i = 0; i < busy; ++i) {
        EngineLane *lane = &walk->engine->lane[i];
        int64_t samples = group[i].batch.samples;
        if (visit % passes > 0)
            process_next_pass(process, lane->stream, &lane->pass, samples);
        else
            walk_corrupt(walk, i, &group[i], visit, visit / passes);
        inference_forward(walk->engine, i, samples, lane->pass.out);
        process_loss(process, lane->stream, &lane->pass, samples, false);
        stream_download(lane->stream, group[i].room, lane->pass.loss,
                        (size_t)samples * sizeof(float));
    }
    TRY(engine_wait(walk->engine));
    for (int i = 0; i < busy; ++i)
        for (int64_t s = 0; s < group[i].batch.samples; ++s)
            walk->value[walk_place(walk, &group[i], visit) + s] = (double)group[i].room[s];
    return STATUS_OK;
}

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
    TRY(walk_open(&walk, engine, request, request->draws * passes));
    walk.visit = visit_loss;
    for (int visit = 0; visit < walk.visits; ++visit)
        for (int64_t i = 0; i < walk.total; ++i)
            walk.time[visit * walk.total + i] =
                process_time_at(engine->process, walk_point(&walk, i, visit / passes));
    Status status = walk_all(&walk, comm);
    if (status == STATUS_OK) sum_losses(&walk, out);
    walk_close(&walk);
    return status;
}
