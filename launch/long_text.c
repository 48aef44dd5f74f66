// The loop over windows, blocks and steps behind launch/long_text.h.
#include "launch/long_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/mix.h"
#include "launch/console.h"
#include "launch/generate.h"

typedef struct {
    Trained *trained;
    const LongTextRequest *request;
    Params params; // only counted: the weights are those of the engine's network
    Network *network;
    void **activations; // device [lanes]
    int32_t *window;    // host [lanes][capacity][symbols of a window]
    int32_t *text;      // [count][length] of the request
} LongText;

static int64_t window_length(const LongText *t) {
    return engine_item(&t->trained->engine);
}

static int32_t *window_of(const LongText *t, int lane) {
    return t->window + lane * t->trained->engine.capacity * window_length(t);
}

static Status open_memory(LongText *t) {
    const Engine *engine = &t->trained->engine;
    NetworkShape shape = engine->shape;
    shape.cached = true;
    params_init(&t->params);
    TRY(network_open(&t->trained->settings.model, &shape, &t->params, &t->network));
    params_finish(&t->params);
    REQUIRE(t->params.size == engine->params.size);
    size_t lanes = (size_t)engine->lanes;
    t->activations = calloc(lanes, sizeof *t->activations);
    t->window = calloc(lanes * (size_t)(engine->capacity * window_length(t)), sizeof *t->window);
    t->text = calloc((size_t)(t->request->count * t->request->length + 2), sizeof *t->text);
    FAIL_IF(t->activations == NULL || t->window == NULL || t->text == NULL, NO_MEMORY,
            "no memory for %lld symbols", (long long)(t->request->count * t->request->length));
    for (size_t i = 0; i < lanes; ++i)
        TRY(device_alloc(engine->device,
                         network_activation_bytes(t->network, engine->capacity, false),
                         &t->activations[i]));
    return STATUS_OK;
}

static void close_memory(LongText *t) {
    for (int i = 0; t->activations != NULL && i < t->trained->engine.lanes; ++i)
        device_release(t->trained->engine.device, t->activations[i]);
    free(t->activations);
    free(t->window);
    network_close(t->network);
    params_close(&t->params);
}

// The network on a block as it stands in x_t; what it says goes to the block's place in pass->out.
static void queue_block(const LongText *t, int lane_index, int block) {
    const Engine *engine = &t->trained->engine;
    Pass *pass = &engine->lane[lane_index].pass;
    NetworkMemory memory = engine_memory(engine, lane_index);
    memory.activations = t->activations[lane_index];
    memory.backward = false;
    NetworkInput input;
    process_network_input(engine->process, pass, &(GrainBatch){.samples = engine->capacity}, false,
                          &input);
    input.at = (int64_t)block * engine->shape.block;
    network_forward(t->network, engine->lane[lane_index].stream, &memory, &input, pass->out);
}

// ---- windows ----------------------------------------------------------------------------------

typedef struct {
    int64_t begin;  // of the window in the text
    int kept, ends; // its blocks that are there before, and those that are there afterwards
    uint64_t seed;
} Window;

static Window window_at(const LongText *t, int number) {
    int64_t length = window_length(t), size = t->trained->engine.shape.block;
    int blocks = (int)(length / size), kept = number == 0 ? 0 : blocks / 2;
    int64_t begin = number * (length - blocks / 2 * size), left = t->request->length - begin;
    return (Window){.begin = begin,
                    .kept = kept,
                    .ends = left < length ? (int)((left + size - 1) / size) : blocks,
                    .seed = number == 0 ? t->request->seed
                                        : mix64(t->request->seed + (uint64_t)number)};
}

// Masks, behind what is kept of the window before.
static void begin_window(const LongText *t, int lane_index, const Window *window, int64_t group) {
    const Engine *engine = &t->trained->engine;
    EngineLane *lane = &engine->lane[lane_index];
    int64_t length = window_length(t), kept = (int64_t)window->kept * engine->shape.block;
    int32_t *tokens = window_of(t, lane_index);
    for (int64_t i = 0; i < engine->capacity; ++i) {
        uint64_t sample = lane->pass.host_sample[i] = (uint64_t)(group * engine->capacity + i);
        lane->pass.host_label[i] = generate_label(engine, t->request->label, sample);
        memmove(tokens + i * length, tokens + (i + 1) * length - kept,
                (size_t)kept * sizeof *tokens);
    }
    stream_upload(lane->stream, lane->pass.sample, lane->pass.host_sample,
                  (size_t)engine->capacity * sizeof *lane->pass.sample);
    stream_upload(lane->stream, lane->pass.label, lane->pass.host_label,
                  (size_t)engine->capacity * sizeof *lane->pass.label);
    sampler_begin(t->request->sampler, lane->stream, &lane->pass, engine->capacity, window->seed);
    for (int64_t i = 0; i < engine->capacity; ++i) {
        int64_t at = (int64_t)lane->pass.host_sample[i] - t->request->first, n = kept;
        const int32_t *from = tokens + i * length;
        if (window->begin == 0 && t->request->start != NULL && at >= 0 && at < t->request->count)
            from = t->request->start + at * length, n = length;
        stream_upload(lane->stream, (int32_t *)lane->pass.x_t + i * length, from,
                      (size_t)n * sizeof *from);
    }
    for (int block = 0; block < window->kept; ++block) queue_block(t, lane_index, block);
}

// What the window has added, of the samples that are wanted.
static void end_window(const LongText *t, int lane, const Window *window, int64_t group) {
    const Engine *engine = &t->trained->engine;
    int64_t length = window_length(t), from = (int64_t)window->kept * engine->shape.block;
    int64_t to =
        t->request->length - window->begin < length ? t->request->length - window->begin : length;
    for (int64_t i = 0; i < engine->capacity; ++i) {
        int64_t at = group * engine->capacity + i - t->request->first;
        if (at >= 0 && at < t->request->count)
            memcpy(t->text + at * t->request->length + window->begin + from,
                   window_of(t, lane) + i * length + from, (size_t)(to - from) * sizeof *t->text);
    }
}

// Groups of this rank, one on each stream, through one window.
static Status run_window(const LongText *t, const Window *window, int64_t group, int world,
                         int groups) {
    Engine *engine = &t->trained->engine;
    int steps = sampler_steps(t->request->sampler), finished = window->kept;
    for (int i = 0; i < groups; ++i) begin_window(t, i, window, group + i * world);
    TRY(engine_wait(engine));
    for (int step = 0; step < steps && sampler_block(t->request->sampler, step) < window->ends;
         ++step) {
        int block = sampler_block(t->request->sampler, step);
        if (block < window->kept) continue;
        for (int i = 0; i < groups; ++i) {
            if (block > finished) queue_block(t, i, block - 1);
            queue_block(t, i, block);
            sampler_advance(t->request->sampler, engine->lane[i].stream, &engine->lane[i].pass,
                            engine->capacity, step, window->seed);
        }
        finished = block;
        TRY(engine_wait(engine));
        journal_proceed();
    }
    for (int i = 0; i < groups; ++i)
        stream_download(engine->lane[i].stream, window_of(t, i), engine->lane[i].pass.x_t,
                        (size_t)(engine->capacity * window_length(t)) * sizeof *t->window);
    TRY(engine_wait(engine));
    for (int i = 0; i < groups; ++i) end_window(t, i, window, group + i * world);
    return STATUS_OK;
}

static Status run_all(const LongText *t, Comm *comm) {
    const Engine *engine = &t->trained->engine;
    int world = comm_world(comm);
    int64_t end = (t->request->first + t->request->count - 1) / engine->capacity + 1;
    int64_t first = t->request->first / engine->capacity, group = first + comm_rank(comm);
    for (; group < end; group += engine->lanes * world) {
        int64_t left = (end - group - 1) / world + 1;
        int groups = left < engine->lanes ? (int)left : engine->lanes;
        for (int number = 0;; ++number) {
            Window window = window_at(t, number);
            TRY(run_window(t, &window, group, world, groups));
            double done = (double)(window.begin + window_length(t)) / (double)t->request->length;
            console_done(((double)(group - first) + groups * world * fmin(done, 1)) /
                         (double)(end - first));
            if (window.begin + window_length(t) >= t->request->length) break;
        }
    }
    // Words of eight bytes; each group is zero on all ranks but one.
    return comm_sum_u64(comm, (uint64_t *)(void *)t->text,
                        (int)(t->request->count * t->request->length + 1) / 2);
}

Status long_text(Trained *trained, Comm *comm, const LongTextRequest *request, int32_t **out) {
    FAIL_IF(dataset_is_drawn(dataset_info(trained->data)), BAD_USAGE,
            "--length is for text, and %s is drawn as pictures of one size",
            dataset_info(trained->data)->name);
    FAIL_IF(trained->engine.shape.block == 0, BAD_USAGE,
            "--length is for text that is drawn in blocks: process.name: mdlm with process.block");
    FAIL_IF(trained->engine.shape.classes > 0 && trained->settings.sampler.guidance != 1, BAD_USAGE,
            "--length knows no guidance; set sampler.guidance to 1");
    FAIL_IF(request->count * request->length > INT32_MAX, BAD_USAGE,
            "%lld symbols are too many at a time: lower -n or --length",
            (long long)(request->count * request->length));
    LongText text = {.trained = trained, .request = request};
    TRY(engine_use(&trained->engine, trained->weights));
    Status status = open_memory(&text);
    if (status == STATUS_OK) status = run_all(&text, comm);
    close_memory(&text);
    if (status != STATUS_OK) free(text.text), text.text = NULL;
    *out = text.text;
    return status;
}
