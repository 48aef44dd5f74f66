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
} Tour;

static Status queue_group(const Tour *tour, int lane_index, int64_t first) {
    Engine *engine = &tour->classifier->engine;
    EngineLane *lane = &engine->lane[lane_index];
    Group *group = &tour->group[lane_index];
    int64_t left = tour->count - first, width = tour->classifier->settings.model.width;
    group->first = first;
    group->batch = (GrainBatch){.samples = left < engine->capacity ? left : engine->capacity,
                                .x_0 = tour->x + first * engine_item(engine),
                                .label = tour->label + first,
                                .sample = tour->number + first};
    process_corrupt_at(engine->process, engine->network, lane->stream, &lane->pass, &group->batch,
                       tour->time, 0);
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

static void keep_group(const Tour *tour, const Group *group) {
    int64_t width = tour->classifier->settings.model.width, tokens = group->tokens;
    for (int64_t i = 0; i < group->batch.samples; ++i) {
        tour->wrong[group->first + i] = (float)group->wrong[i];
        for (int64_t k = 0; k < width; ++k) {
            double sum = 0;
            for (int64_t t = 0; t < tokens; ++t)
                sum += (double)group->stream[(i * tokens + t) * width + k];
            tour->out[(group->first + i) * width + k] = (float)(sum / (double)tokens);
        }
    }
}

// Every world-th group is this rank's.
static Status tour_share(const Tour *tour, Comm *comm) {
    Engine *engine = &tour->classifier->engine;
    int64_t stride = comm_world(comm) * engine->capacity,
            first = comm_rank(comm) * engine->capacity;
    while (first < tour->count) {
        int busy = 0;
        Status status = STATUS_OK;
        for (; busy < engine->lanes && first < tour->count && status == STATUS_OK; first += stride)
            status = queue_group(tour, busy++, first);
        Status waited = engine_wait(engine);
        TRY(status);
        TRY(waited);
        for (int i = 0; i < busy; ++i) keep_group(tour, &tour->group[i]);
    }
    return STATUS_OK;
}

static Status tour_open(Tour *tour) {
    const Engine *engine = &tour->classifier->engine;
    size_t count = (size_t)tour->count, capacity = (size_t)engine->capacity;
    size_t numbers = count * (size_t)(tour->classifier->settings.model.width + 1);
    tour->out = calloc((numbers + 1) / 2, 2 * sizeof *tour->out);
    tour->number = calloc(count, sizeof *tour->number);
    tour->time = calloc(capacity * (size_t)(1 + engine->lanes), sizeof *tour->time);
    tour->group = calloc((size_t)engine->lanes, sizeof *tour->group);
    FAIL_IF(!tour->out || !tour->number || !tour->time || !tour->group, NO_MEMORY,
            "no memory for features of %zu pictures", count);
    tour->wrong = tour->out + tour->count * tour->classifier->settings.model.width;
    for (size_t i = 0; i < count; ++i) tour->number[i] = i;
    for (size_t i = 0; i < capacity; ++i) tour->time[i] = process_first_time(engine->process);
    for (int i = 0; i < engine->lanes; ++i)
        tour->group[i].wrong = tour->time + capacity * (size_t)(1 + i);
    return STATUS_OK;
}

static void tour_close(Tour *tour) {
    for (int i = 0; i < tour->classifier->engine.lanes && tour->group != NULL; ++i)
        free(tour->group[i].stream);
    free(tour->group);
    free(tour->time);
    free(tour->number);
}

Status features_take(Trained *classifier, Comm *comm, const float *x, const int32_t *label,
                     int64_t count, float **out, double *right) {
    Tour tour = {.classifier = classifier, .x = x, .label = label, .count = count};
    int64_t numbers = count * (classifier->settings.model.width + 1);
    Status status = engine_use(&classifier->engine, classifier->weights);
    if (status == STATUS_OK) status = tour_open(&tour);
    if (status == STATUS_OK) status = tour_share(&tour, comm);
    // Four-byte numbers travel as words of eight; each group is zero on all ranks but one.
    if (status == STATUS_OK)
        status = comm_sum_u64(comm, (uint64_t *)(void *)tour.out, (int)((numbers + 1) / 2));
    double wrong = 0;
    for (int64_t i = 0; i < count && status == STATUS_OK; ++i) wrong += (double)tour.wrong[i];
    *right = 1 - wrong / (double)count;
    tour_close(&tour);
    *out = tour.out;
    if (status != STATUS_OK) free(tour.out), *out = NULL;
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
