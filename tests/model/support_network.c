// Runs a whole network on a backend for tests.
#include "tests/model/support_network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(Status status) {
    if (status == STATUS_OK) return;
    fprintf(stderr, "%s: %s\n", status_info(status)->name, error_get()->text);
    exit(1);
}

static void *room(int64_t n, size_t bytes) {
    void *p = calloc((size_t)n + 1, bytes);
    REQUIRE(p != NULL);
    return p;
}

static void draw_normal(uint64_t seed, uint64_t sample, int64_t n, float scale, float *x) {
    RngKey key = rng_key(seed, RNG_DATA, 0);
    for (int64_t e = 0; e < n; ++e) {
        uint32_t bits[4];
        rng_block(key, sample, (uint32_t)e, bits);
        x[e] = scale * rng_normal(bits[0]);
    }
}

// ---- the case ---------------------------------------------------------------------------------

void network_case_open(NetworkCase *c, const NetworkConfig *config, const NetworkShape *shape,
                       int64_t samples, uint64_t seed) {
    *c = (NetworkCase){.config = *config, .shape = *shape, .samples = samples};
    params_init(&c->params);
    must(network_open(config, shape, &c->params, &c->network));
    params_finish(&c->params);
    c->in_item = network_in_item(c->network);
    c->out_item = network_out_item(c->network);
    c->weights = room(c->params.size, sizeof(float));
    c->direction = room(samples * c->out_item, sizeof(float));
    c->x = room(samples * c->in_item, sizeof(float));
    c->ids = room(samples * c->in_item, sizeof(int32_t));
    c->context = room(samples * c->in_item, sizeof(int32_t));
    c->time = room(samples, sizeof(double));
    c->label = room(samples, sizeof(int32_t));
    c->sample = room(samples, sizeof(uint64_t));
    draw_normal(seed, 1, c->params.size, 0.25f, c->weights);
    draw_normal(seed, 2, samples * c->out_item, 1.0f, c->direction);
    draw_normal(seed, 3, samples * c->in_item, 1.0f, c->x);
    RngKey key = rng_key(seed, RNG_DATA, 1);
    for (int64_t e = 0; shape->tokens && e < samples * c->in_item; ++e) {
        uint32_t bits[4];
        rng_block(key, 4, (uint32_t)e, bits);
        c->ids[e] = (int32_t)rng_below(bits[0], (uint32_t)shape->vocabulary);
        c->context[e] = (int32_t)rng_below(bits[1], (uint32_t)shape->vocabulary);
    }
    for (int64_t s = 0; s < samples; ++s) {
        c->time[s] = 3.0 + 311.0 * (double)s;
        c->label[s] = (int32_t)(s % (shape->classes + 1));
        c->sample[s] = ((uint64_t)1 << 33) + 17 * (uint64_t)s;
    }
    c->dropout = rng_key(seed, RNG_DROPOUT, 12345);
}

void network_case_close(NetworkCase *c) {
    network_close(c->network);
    params_close(&c->params);
    free(c->weights), free(c->direction), free(c->x), free(c->ids);
    free(c->context);
    free(c->time), free(c->label), free(c->sample);
}

// ---- a run ------------------------------------------------------------------------------------

typedef struct {
    const NetworkCase *c;
    Device *device;
    Stream *stream;
    void *block[16];
    int blocks;
} Rig;

static void *rig_alloc(Rig *rig, size_t bytes) {
    REQUIRE(rig->blocks < 16);
    must(device_alloc(rig->device, bytes + 64, &rig->block[rig->blocks]));
    return rig->block[rig->blocks++];
}

static void *rig_upload(Rig *rig, const void *host, size_t bytes) {
    void *memory = rig_alloc(rig, bytes);
    stream_upload(rig->stream, memory, host, bytes);
    must(stream_wait(rig->stream));
    return memory;
}

// Memory full of NaN: whatever is read before it was written shows.
static void *rig_poisoned(Rig *rig, size_t bytes, bool clean) {
    if (clean) return rig_alloc(rig, bytes);
    float *nan = room((int64_t)(bytes / sizeof(float)), sizeof(float));
    for (size_t i = 0; i < bytes / sizeof(float); ++i) nan[i] = NAN;
    void *memory = rig_upload(rig, nan, bytes);
    free(nan);
    return memory;
}

static float *rig_download(Rig *rig, const float *memory, int64_t n) {
    float *host = room(n, sizeof(float));
    stream_download(rig->stream, host, memory, (size_t)n * sizeof(float));
    must(stream_wait(rig->stream));
    return host;
}

static void rig_open(Rig *rig, const NetworkCase *c, const char *backend) {
    *rig = (Rig){.c = c};
    DeviceConfig config = {.backend = backend,
                           .streams = 1,
                           .scratch_bytes = network_scratch_bytes(c->network),
                           .wide_bytes = network_wide_bytes(c->network, c->samples)};
    must(device_open(&config, &rig->device));
    rig->stream = device_stream(rig->device, 0);
}

static void rig_close(Rig *rig) {
    for (int i = 0; i < rig->blocks; ++i) device_release(rig->device, rig->block[i]);
    device_close(rig->device);
}

static NetworkMemory memory_place(Rig *rig, const NetworkRunOptions *options) {
    const NetworkCase *c = rig->c;
    bool backward = !options->inference;
    int64_t capacity = options->capacity > 0 ? options->capacity : c->samples;
    size_t table_bytes = network_table_bytes(c->network);
    float *table = room((int64_t)table_bytes, 1);
    network_table_fill(c->network, table);
    size_t bytes = network_activation_bytes(c->network, capacity, backward);
    NetworkMemory memory = {
        .weights = rig_upload(rig, options->weights != NULL ? options->weights : c->weights,
                              (size_t)c->params.size * sizeof(float)),
        .half_weights = rig_alloc(rig, (size_t)c->params.size * sizeof(uint16_t)),
        .table = rig_upload(rig, table, table_bytes),
        .activations = rig_poisoned(rig, bytes, options->clean),
        .backward = backward};
    halve(rig->stream, (Elementwise){.x = memory.weights,
                                     .y = (void *)(uintptr_t)memory.half_weights,
                                     .n = c->params.size});
    free(table);
    return memory;
}

static NetworkInput input_place(Rig *rig) {
    const NetworkCase *c = rig->c;
    int64_t n = c->samples;
    bool blocks = c->shape.block > 0;
    size_t items = (size_t)(n * c->in_item);
    float *features = room(n * TIME_FEATURES, sizeof(float));
    for (int64_t s = 0; s < n; ++s)
        network_time_features(c->network, c->time[s], features + s * TIME_FEATURES);
    NetworkInput input = {
        .samples = n,
        .x = c->shape.tokens ? NULL : rig_upload(rig, c->x, items * sizeof(float)),
        .ids = c->shape.tokens ? rig_upload(rig, c->ids, items * sizeof(int32_t)) : NULL,
        .context = blocks ? rig_upload(rig, c->context, items * sizeof(int32_t)) : NULL,
        .time = rig_upload(rig, features, (size_t)n * TIME_FEATURES * sizeof(float)),
        .label = rig_upload(rig, c->label, (size_t)n * sizeof(int32_t)),
        .sample = rig_upload(rig, c->sample, (size_t)n * sizeof(uint64_t)),
        .dropout = c->dropout,
        .dropout_on = c->dropout_on};
    free(features);
    return input;
}

typedef struct {
    Stream *stream;
    NetworkResult *result;
    const float *grads;
    int64_t size;
} Told;

// Copies what is said to be written now and was not before.
static void note_written(void *context, int64_t from) {
    Told *told = context;
    NetworkResult *result = told->result;
    must(stream_wait(told->stream));
    REQUIRE(result->told == 0 || from < result->told_from);
    int64_t end = result->told == 0 ? told->size : result->told_from;
    stream_download(told->stream, result->told_grads + from, told->grads + from,
                    (size_t)(end - from) * sizeof(float));
    must(stream_wait(told->stream));
    result->told_from = from;
    ++result->told;
}

NetworkResult network_case_run(const NetworkCase *c, NetworkRunOptions options) {
    Rig rig;
    NetworkResult result = {0};
    rig_open(&rig, c, options.backend);
    NetworkMemory memory = memory_place(&rig, &options);
    NetworkInput input = input_place(&rig);
    int64_t outs = c->samples * c->out_item, ins = c->samples * c->in_item;
    float *out = rig_poisoned(&rig, (size_t)outs * sizeof(float), options.clean);
    float *dout = rig_alloc(&rig, (size_t)outs * sizeof(float));
    float *grads = rig_poisoned(&rig, (size_t)c->params.size * sizeof(float), options.clean);
    float *dx = c->shape.tokens ? NULL : rig_poisoned(&rig, (size_t)ins * 4, options.clean);
    size_t times = (size_t)c->samples * TIME_FEATURES * sizeof(float);
    if (c->shape.time_input) input.dtime = rig_poisoned(&rig, times, options.clean);
    network_forward(c->network, rig.stream, &memory, &input, out);
    const float *stream = network_stream(c->network, &memory, &input, &result.tokens);
    if (stream != NULL)
        result.stream = rig_download(&rig, stream, c->samples * result.tokens * c->config.width);
    result.told_grads = room(c->params.size, sizeof(float));
    Told told = {rig.stream, &result, grads, c->params.size};
    for (int i = 0; i < options.passes; ++i) {
        if (i + 1 == options.passes) memory.written = note_written, memory.context = &told;
        if (i > 0) network_forward(c->network, rig.stream, &memory, &input, out);
        stream_upload(rig.stream, dout, c->direction, (size_t)outs * sizeof(float));
        network_backward(c->network, rig.stream, &memory, &input, dout, grads, i > 0, dx);
    }
    must(stream_wait(rig.stream));
    result.out = rig_download(&rig, out, outs);
    if (options.passes > 0) result.grads = rig_download(&rig, grads, c->params.size);
    if (options.passes > 0 && dx != NULL) result.dx = rig_download(&rig, dx, ins);
    if (options.passes > 0 && input.dtime != NULL)
        result.dtime = rig_download(&rig, input.dtime, c->samples * TIME_FEATURES);
    rig_close(&rig);
    return result;
}

void network_result_close(NetworkResult *result) {
    free(result->out), free(result->grads), free(result->dx), free(result->dtime);
    free(result->stream), free(result->told_grads);
}

// ---- the reference ----------------------------------------------------------------------------

static double *doubles(const float *x, int64_t n) {
    double *copy = room(n, sizeof(double));
    for (int64_t i = 0; i < n; ++i) copy[i] = (double)x[i];
    return copy;
}

void reference_case_open(const NetworkCase *c, ReferenceCase *out) {
    out->weights = doubles(c->weights, c->params.size);
    out->x = doubles(c->x, c->samples * c->in_item);
    out->out = room(c->samples * c->out_item, sizeof(double));
    out->reference = (Reference){.config = &c->config,
                                 .shape = &c->shape,
                                 .params = &c->params,
                                 .weights = out->weights,
                                 .samples = c->samples,
                                 .x = out->x,
                                 .ids = c->ids,
                                 .context = c->context,
                                 .time = c->time,
                                 .label = c->label,
                                 .sample = c->sample,
                                 .dropout = c->dropout,
                                 .dropout_on = c->dropout_on};
}

void reference_case_close(ReferenceCase *reference) {
    free(reference->weights), free(reference->x), free(reference->out);
}

double reference_case_loss(const NetworkCase *c, ReferenceCase *reference) {
    reference_forward(&reference->reference, reference->out);
    double loss = 0;
    for (int64_t i = 0; i < c->samples * c->out_item; ++i)
        loss += reference->out[i] * (double)c->direction[i];
    return loss;
}
