// Passes of a classifier behind launch/features.h.
#include "launch/features.h"

#include <stdlib.h>

#include "launch/console.h"

Status features_open(const TrainedConfig *config, Comm *comm, const NetworkShape *pictures,
                     Trained *out) {
    TRY(trained_open(config, comm, console_warn, out));
    const NetworkShape *shape = &out->engine.shape;
    FAIL_IF(!process_is_classifier(out->engine.process), BAD_USAGE,
            "--features: %s is no classifier: its process.name must be classifier",
            config->run_dir);
    FAIL_IF(shape->channels != pictures->channels || shape->height != pictures->height ||
                shape->width != pictures->width,
            BAD_USAGE,
            "--features: %s has learned pictures of %d x %d x %d, but these are of %d x %d x %d:"
            " train a classifier on their data set",
            config->run_dir, shape->channels, shape->height, shape->width, pictures->channels,
            pictures->height, pictures->width);
    return STATUS_OK;
}

// Pictures first .. first + samples of a call, on one stream.
typedef struct {
    GrainBatch batch;
    int64_t first, tokens;
    float *stream; // host [capacity, tokens, width]
    double *wrong; // host [capacity]
} Group;

typedef struct {
    Trained *classifier;
    const float *x;
    const int32_t *label;
    int64_t count;
    float *out, *wrong; // [count, width], [count]
    uint64_t *number;   // [count]
    double *time;       // [capacity]
    Group *group;       // [lanes]
} Taking;

static Status queue_group(const Taking *taking, int lane_index, int64_t first) {
    Engine *engine = &taking->classifier->engine;
    EngineLane *lane = &engine->lane[lane_index];
    Group *group = &taking->group[lane_index];
    int64_t left = taking->count - first, width = taking->classifier->settings.model.width;
    group->first = first;
    group->batch = (GrainBatch){.samples = left < engine->capacity ? left : engine->capacity,
                                .x_0 = taking->x + first * engine_item(engine),
                                .label = taking->label + first,
                                .sample = taking->number + first};
    process_corrupt_at(engine->process, engine->network, lane->stream, &lane->pass, &group->batch,
                       taking->time, 0);
    NetworkInput input;
    process_network_input(engine->process, &lane->pass, &group->batch, false, &input);
    NetworkMemory memory = engine_memory(engine, lane_index);
    network_forward(engine->network, lane->stream, &memory, &input, lane->pass.out);
    const float *stream = network_stream(engine->network, &memory, &input, &group->tokens);
    REQUIRE(stream != NULL);
    size_t numbers = (size_t)(group->batch.samples * group->tokens * width);
    free(group->stream);
    group->stream = malloc(numbers * sizeof *stream);
    FAIL_IF(group->stream == NULL, NO_MEMORY, "no memory for %zu features", numbers);
    stream_download(lane->stream, group->stream, stream, numbers * sizeof *stream);
    process_bound_terms(engine->process, lane->stream, &lane->pass, group->batch.samples);
    stream_download(lane->stream, group->wrong, lane->pass.error,
                    (size_t)group->batch.samples * sizeof *group->wrong);
    return STATUS_OK;
}

static void keep_group(const Taking *taking, const Group *group) {
    int64_t width = taking->classifier->settings.model.width, tokens = group->tokens;
    for (int64_t i = 0; i < group->batch.samples; ++i) {
        taking->wrong[group->first + i] = (float)group->wrong[i];
        for (int64_t k = 0; k < width; ++k) {
            double sum = 0;
            for (int64_t t = 0; t < tokens; ++t)
                sum += (double)group->stream[(i * tokens + t) * width + k];
            taking->out[(group->first + i) * width + k] = (float)(sum / (double)tokens);
        }
    }
}

// Every world-th group is this rank's.
static Status take_share(const Taking *taking, Comm *comm) {
    Engine *engine = &taking->classifier->engine;
    int64_t stride = comm_world(comm) * engine->capacity,
            first = comm_rank(comm) * engine->capacity;
    while (first < taking->count) {
        int busy = 0;
        Status status = STATUS_OK;
        for (; busy < engine->lanes && first < taking->count && status == STATUS_OK;
             first += stride)
            status = queue_group(taking, busy++, first);
        Status waited = engine_wait(engine);
        TRY(status);
        TRY(waited);
        for (int i = 0; i < busy; ++i) keep_group(taking, &taking->group[i]);
    }
    return STATUS_OK;
}

static Status taking_open(Taking *taking) {
    const Engine *engine = &taking->classifier->engine;
    size_t count = (size_t)taking->count, capacity = (size_t)engine->capacity;
    size_t numbers = count * (size_t)(taking->classifier->settings.model.width + 1);
    taking->out = calloc((numbers + 1) / 2, 2 * sizeof *taking->out);
    taking->number = calloc(count, sizeof *taking->number);
    taking->time = calloc(capacity * (size_t)(1 + engine->lanes), sizeof *taking->time);
    taking->group = calloc((size_t)engine->lanes, sizeof *taking->group);
    FAIL_IF(!taking->out || !taking->number || !taking->time || !taking->group, NO_MEMORY,
            "no memory for features of %zu pictures", count);
    taking->wrong = taking->out + taking->count * taking->classifier->settings.model.width;
    for (size_t i = 0; i < count; ++i) taking->number[i] = i;
    for (size_t i = 0; i < capacity; ++i) taking->time[i] = process_first_time(engine->process);
    for (int i = 0; i < engine->lanes; ++i)
        taking->group[i].wrong = taking->time + capacity * (size_t)(1 + i);
    return STATUS_OK;
}

static void taking_close(Taking *taking) {
    for (int i = 0; i < taking->classifier->engine.lanes && taking->group != NULL; ++i)
        free(taking->group[i].stream);
    free(taking->group);
    free(taking->time);
    free(taking->number);
}

Status features_take(Trained *classifier, Comm *comm, const float *x, const int32_t *label,
                     int64_t count, float **out, double *right) {
    Taking taking = {.classifier = classifier, .x = x, .label = label, .count = count};
    int64_t numbers = count * (classifier->settings.model.width + 1);
    Status status = engine_use(&classifier->engine, classifier->weights);
    if (status == STATUS_OK) status = taking_open(&taking);
    if (status == STATUS_OK) status = take_share(&taking, comm);
    // Four-byte numbers travel as words of eight; each group is zero on all ranks but one.
    if (status == STATUS_OK)
        status = comm_sum_u64(comm, (uint64_t *)(void *)taking.out, (int)((numbers + 1) / 2));
    double wrong = 0;
    for (int64_t i = 0; i < count && status == STATUS_OK; ++i) wrong += (double)taking.wrong[i];
    *right = 1 - wrong / (double)count;
    taking_close(&taking);
    *out = taking.out;
    if (status != STATUS_OK) free(taking.out), *out = NULL;
    return status;
}

Status features_fingerprint(Trained *classifier, uint64_t *out) {
    Engine *engine = &classifier->engine;
    Stream *stream = engine->lane[0].stream;
    uint64_t *sum = (uint64_t *)(void *)engine->lane[0].pass.error; // room for the work
    fingerprint(stream,
                (Fingerprint){.x = classifier->weights, .sum = sum, .n = engine->params.size});
    stream_download(stream, out, sum, sizeof *out);
    return stream_wait(stream);
}
