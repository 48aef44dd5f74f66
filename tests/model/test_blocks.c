// Networks of blocks: what a block may read, and that a cached network, block by block, gives what
// the whole pass gives.
#include <string.h>

#include "tests/model/support_late.h"
#include "tests/model/support_network.h"
#include "tests/test.h"

enum { LENGTH = 12, CLASSES = 5, SAMPLES = 3 };

static void open_case(NetworkCase *c, int32_t block, int32_t patch, const char *precision) {
    NetworkConfig config = {.family = "dit",
                            .width = 16,
                            .depth = 4,
                            .heads = 2,
                            .patch = patch,
                            .mlp_ratio = 2,
                            .timestep_freq = "div-127"};
    NetworkShape shape = {.tokens = true,
                          .length = LENGTH,
                          .vocabulary = CLASSES + 1,
                          .out_channels = CLASSES,
                          .block = block};
    snprintf(config.precision, sizeof config.precision, "%s", precision);
    network_case_open(c, &config, &shape, SAMPLES, 7);
}

static float *run(const NetworkCase *c) {
    NetworkResult result = network_case_run(c, (NetworkRunOptions){.backend = "cpu"});
    float *out = result.out;
    result.out = NULL;
    network_result_close(&result);
    return out;
}

static float distance(const float *a, const float *b, int64_t n) {
    float most = 0;
    for (int64_t i = 0; i < n; ++i) most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

// All in one block reads nothing of the context.
static void test_one_block_is_the_plain_network(void) {
    NetworkCase plain, one;
    open_case(&plain, 0, 2, "fp32");
    open_case(&one, LENGTH, 2, "fp32");
    EXPECT_EQ(plain.params.size, one.params.size);
    float *a = run(&plain), *b = run(&one);
    EXPECT_NEAR((double)distance(a, b, SAMPLES * plain.out_item), 0, 2e-6);
    free(a), free(b);
    network_case_close(&plain);
    network_case_close(&one);
}

// Which blocks of the output a change of one block of `row` moves, as bits.
static unsigned moved_by(NetworkCase *c, int32_t *row, int block) {
    float *before = run(c);
    int size = c->shape.block;
    unsigned moved = 0;
    row[block * size] = (row[block * size] + 1) % CLASSES;
    float *after = run(c);
    row[block * size] = (row[block * size] + CLASSES - 1) % CLASSES;
    for (int b = 0; b < LENGTH / size; ++b) {
        int64_t at = (int64_t)b * size * CLASSES;
        moved |= (unsigned)(distance(before + at, after + at, size * CLASSES) > 0) << b;
    }
    EXPECT(memcmp(before + c->out_item, after + c->out_item, (size_t)c->out_item * 4) == 0);
    free(before), free(after);
    return moved;
}

static void test_a_block_reads_itself_and_what_is_finished(void) {
    NetworkCase c;
    open_case(&c, 4, 1, "fp32");
    for (int i = 0; i < LENGTH; ++i) c.ids[i] %= CLASSES, c.context[i] %= CLASSES;
    EXPECT_EQ(moved_by(&c, c.ids, 0), 1);
    EXPECT_EQ(moved_by(&c, c.ids, 1), 2);
    EXPECT_EQ(moved_by(&c, c.ids, 2), 4);
    EXPECT_EQ(moved_by(&c, c.context, 0), 6);
    EXPECT_EQ(moved_by(&c, c.context, 1), 4);
    EXPECT_EQ(moved_by(&c, c.context, 2), 0);
    network_case_close(&c);
}

// ---- cached -----------------------------------------------------------------------------------

typedef struct {
    Params params;
    Network *network;
    Device *device;
    Stream *stream;
    NetworkMemory memory;
    NetworkInput input;
    void *ids, *out, *block[8];
    int blocks;
} Cached;

static void *put(Cached *cached, const void *host, size_t bytes) {
    void *memory;
    REQUIRE(cached->blocks < 8);
    EXPECT_OK(device_alloc(cached->device, bytes, &memory));
    cached->block[cached->blocks++] = memory;
    if (host == NULL) return memory;
    stream_upload(cached->stream, memory, host, bytes);
    EXPECT_OK(stream_wait(cached->stream));
    return memory;
}

static void open_cached(const NetworkCase *c, const char *backend, Cached *cached) {
    NetworkShape shape = c->shape;
    shape.cached = true;
    *cached = (Cached){0};
    params_init(&cached->params);
    EXPECT_OK(network_open(&c->config, &shape, &cached->params, &cached->network));
    params_finish(&cached->params);
    EXPECT_EQ(cached->params.size, c->params.size);
    EXPECT_EQ(network_table_bytes(cached->network), network_table_bytes(c->network));
    DeviceConfig config = {.backend = backend,
                           .streams = 1,
                           .scratch_bytes = network_scratch_bytes(cached->network),
                           .wide_bytes = network_wide_bytes(cached->network, c->samples)};
    EXPECT_OK(device_open(&config, &cached->device));
    cached->stream = device_stream(cached->device, 0);
    static float table[LENGTH * 16];
    EXPECT(network_table_bytes(cached->network) <= sizeof table);
    network_table_fill(cached->network, table);
    size_t size = (size_t)c->params.size;
    cached->memory = (NetworkMemory){
        .weights = put(cached, c->weights, size * sizeof(float)),
        .half_weights = put(cached, NULL, size * sizeof(uint16_t)),
        .table = put(cached, table, sizeof table),
        .activations =
            put(cached, NULL, network_activation_bytes(cached->network, SAMPLES, false))};
    halve(cached->stream, (Elementwise){.x = cached->memory.weights,
                                        .y = (void *)(uintptr_t)cached->memory.half_weights,
                                        .n = c->params.size});
    cached->ids = put(cached, NULL, sizeof(int32_t[SAMPLES * LENGTH]));
    cached->out = put(cached, NULL, sizeof(float[SAMPLES * LENGTH * CLASSES]));
    cached->input = (NetworkInput){.samples = SAMPLES,
                                   .ids = cached->ids,
                                   .label = put(cached, c->label, sizeof(int32_t[SAMPLES])),
                                   .sample = put(cached, c->sample, sizeof(uint64_t[SAMPLES]))};
}

static void close_cached(Cached *cached) {
    for (int i = 0; i < cached->blocks; ++i) device_release(cached->device, cached->block[i]);
    device_close(cached->device);
    network_close(cached->network);
    params_close(&cached->params);
}

// Block number `b` of `ids` [SAMPLES, LENGTH]: into that of out.
static void forward(Cached *cached, const int32_t *ids, int32_t block, int b, float *out) {
    stream_upload(cached->stream, cached->ids, ids, sizeof(int32_t[SAMPLES * LENGTH]));
    cached->input.at = b * block;
    network_forward(cached->network, cached->stream, &cached->memory, &cached->input, cached->out);
    stream_download(cached->stream, out, cached->out, sizeof(float[SAMPLES * LENGTH * CLASSES]));
    EXPECT_OK(stream_wait(cached->stream));
}

static void check_cached(const char *backend, int32_t block, int32_t patch, const char *precision,
                         double tolerance) {
    NetworkCase c;
    Cached cached;
    open_case(&c, block, patch, precision);
    open_cached(&c, backend, &cached);
    float *whole = run(&c), out[SAMPLES * LENGTH * CLASSES], drawn[SAMPLES * LENGTH * CLASSES];
    for (int b = 0; b < LENGTH / block; ++b) {
        forward(&cached, c.context, block, b, out); // what was drawn before it leaves no trace
        forward(&cached, c.ids, block, b, out);
        memcpy(drawn, out, sizeof drawn);
        forward(&cached, c.context, block, b, out); // finished
        EXPECT(distance(drawn, out, SAMPLES * LENGTH * CLASSES) > 0);
        for (int s = 0; s < SAMPLES; ++s) {
            int64_t at = s * c.out_item + b * block * CLASSES;
            EXPECT_NEAR((double)distance(drawn + at, whole + at, block * CLASSES), 0, tolerance);
        }
    }
    free(whole);
    close_cached(&cached);
    network_case_close(&c);
}

static void test_cached(void) {
    late_register();
    check_cached("cpu", 4, 1, "fp32", 3e-6);
    check_cached("cpu", 4, 2, "fp32", 3e-6);
    check_cached("late", 1, 1, "fp32", 3e-6);
    check_cached("late", 12, 4, "fp32", 3e-6);
    check_cached("cpu", 2, 2, "bf16", 0.05);
}

static void test_refusals(void) {
    NetworkConfig config = {.family = "dit",
                            .width = 16,
                            .depth = 1,
                            .heads = 2,
                            .patch = 4,
                            .mlp_ratio = 2,
                            .timestep_freq = "div-127",
                            .precision = "fp32"};
    NetworkShape shape = {
        .tokens = true, .length = 12, .vocabulary = 3, .out_channels = 2, .block = 6};
    Params params;
    Network *network;
    params_init(&params);
    EXPECT_FAIL(network_open(&config, &shape, &params, &network), BAD_CONFIG,
                "process.block is 6; it must be a multiple of model.patch 4");
    params_close(&params);
}

int main(void) {
    RUN(test_one_block_is_the_plain_network);
    RUN(test_a_block_reads_itself_and_what_is_finished);
    RUN(test_cached);
    RUN(test_refusals);
    return test_report();
}
