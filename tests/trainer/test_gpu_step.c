// One step of training on the GPU, real or emulated, beside the same step on the CPU: what is drawn
// is the same to the last bit, loss and gradients to rounding. Prints the largest error of each
// tensor.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"
#include "tests/test.h"
#include "tests/trainer/support_engine.h"

enum { SAMPLES = 3, EXIT_SKIPPED = 77 };

typedef struct {
    const char *title;
    NetworkConfig network;
    ProcessConfig process;
    DatasetInfo data;
    int32_t length;
} StepCase;

typedef struct {
    Engine engine;
    int64_t in, out;
    uint32_t *x_t; // [SAMPLES, in], as bits
    float *target; // [SAMPLES, in], numbers
    float loss[SAMPLES];
    float *grads; // [params.size], of two grains, the second accumulated
    char description[160];
} StepResult;

// Uniform numbers in [-1,1), or ids below `symbols`.
static void *make_data(int64_t n, int32_t symbols) {
    float *numbers = calloc((size_t)n, sizeof *numbers);
    REQUIRE(numbers != NULL);
    for (int64_t i = 0; i < n; ++i) {
        uint64_t bits = mix64((uint64_t)i + 5);
        if (symbols > 0)
            ((int32_t *)numbers)[i] = (int32_t)(bits % (uint64_t)symbols);
        else
            numbers[i] = (float)(bits >> 40) * 0x1p-23f - 1.0f;
    }
    return numbers;
}

static void queue_grain(StepResult *r, const GrainBatch *batch, float *grads, bool accumulate) {
    Engine *engine = &r->engine;
    EngineLane *lane = &engine->lane[0];
    Pass *pass = &lane->pass;
    NetworkInput input;
    NetworkMemory memory = engine_memory(engine, 0);
    process_corrupt(engine->process, engine->network, lane->stream, pass, batch);
    process_network_input(engine->process, pass, batch, true, &input);
    network_forward(engine->network, lane->stream, &memory, &input, pass->out);
    process_loss(engine->process, lane->stream, pass, SAMPLES, true);
    network_backward(engine->network, lane->stream, &memory, &input, pass->dout, grads, accumulate,
                     pass->dx);
}

static void download(StepResult *r, void *host, const void *device, int64_t numbers) {
    if (device != NULL)
        stream_download(r->engine.lane[0].stream, host, device, (size_t)numbers * sizeof(float));
}

// false: there is no such backend here.
static bool run_step(const StepCase *c, const char *backend, StepResult *r) {
    EngineConfig config = {.network = &c->network,
                           .process = &c->process,
                           .data = &c->data,
                           .length = c->length,
                           .device = {.backend = backend, .streams = 1},
                           .capacity = SAMPLES,
                           .backward = true};
    *r = (StepResult){0};
    Status status = engine_open(&config, &r->engine);
    if (status == STATUS_BAD_CONFIG || status == STATUS_NOT_FOUND) {
        printf("  %s\n", error_get()->text);
        engine_close(&r->engine);
        return false;
    }
    EXPECT_OK(status);
    Engine *engine = &r->engine;
    r->in = engine_item(engine), r->out = network_out_item(engine->network);
    int64_t size = engine->params.size;
    void *weights = engine_draw(engine, 0.2f), *grads,
         *x_0 = make_data(SAMPLES * r->in, c->data.symbols);
    EXPECT_OK(device_alloc(engine->device, (size_t)size * sizeof(float), &grads));
    EXPECT_OK(engine_use(engine, weights));
    r->x_t = calloc((size_t)(SAMPLES * r->in), sizeof *r->x_t);
    r->target = calloc((size_t)(SAMPLES * r->in), sizeof *r->target);
    r->grads = calloc((size_t)size, sizeof *r->grads);
    REQUIRE(r->x_t != NULL && r->target != NULL && r->grads != NULL);
    int32_t label[SAMPLES] = {0};
    for (int i = 0; i < SAMPLES && c->data.classes > 0; ++i) label[i] = (i * 2) % c->data.classes;
    uint64_t sample[SAMPLES] = {7, (uint64_t)1 << 33, 12};
    GrainBatch batch = {
        .seed = 3, .step = 5, .samples = SAMPLES, .x_0 = x_0, .label = label, .sample = sample};
    queue_grain(r, &batch, grads, false);
    EXPECT_OK(stream_wait(engine->lane[0].stream));
    batch.step = 6;
    queue_grain(r, &batch, grads, true);
    const Pass *pass = &engine->lane[0].pass;
    download(r, r->x_t, pass->x_t, SAMPLES * r->in);
    download(r, r->target, c->data.symbols > 0 ? NULL : pass->target, SAMPLES * r->in);
    download(r, r->loss, pass->loss, SAMPLES);
    download(r, r->grads, grads, size);
    EXPECT_OK(stream_wait(engine->lane[0].stream));
    snprintf(r->description, sizeof r->description, "%s", engine->device->description);
    device_release(engine->device, weights);
    device_release(engine->device, grads);
    free(x_0);
    return true;
}

static void close_step(StepResult *r) {
    engine_close(&r->engine);
    free(r->x_t), free(r->target), free(r->grads);
}

// The largest difference of a tensor's gradients, as a share of its largest one.
static double tensor_error(const Param *param, const float *a, const float *b) {
    double gap = 0, largest = 0;
    for (int64_t i = param->offset; i < param->offset + param->size; ++i) {
        gap = fmax(gap, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)a[i]));
        if (!isfinite((double)b[i])) return INFINITY;
    }
    return largest > 0 ? gap / largest : gap;
}

static void compare(const StepCase *c, double most) {
    StepResult cpu, gpu;
    if (!run_step(c, "cuda", &gpu)) exit(EXIT_SKIPPED);
    EXPECT(run_step(c, "cpu", &cpu));
    printf("%s on %s\n", c->title, gpu.description);
    EXPECT(memcmp(cpu.x_t, gpu.x_t, (size_t)(SAMPLES * cpu.in) * sizeof *cpu.x_t) == 0);
    EXPECT(memcmp(cpu.target, gpu.target, (size_t)(SAMPLES * cpu.in) * sizeof *cpu.target) == 0);
    for (int i = 0; i < SAMPLES; ++i)
        EXPECT_NEAR(gpu.loss[i], cpu.loss[i], most * fabs((double)cpu.loss[i]));
    for (int i = 0; i < cpu.engine.params.count; ++i) {
        const Param *param = &cpu.engine.params.list[i];
        double error = tensor_error(param, cpu.grads, gpu.grads);
        printf("  %9.2e  %s\n", error, param->name);
        EXPECT(error <= most);
    }
    close_step(&cpu);
    close_step(&gpu);
}

static StepCase pictures(const char *precision) {
    StepCase c = {.title = "pictures, ddpm",
                  .network = {.family = "dit",
                              .width = 32,
                              .depth = 2,
                              .heads = 2,
                              .patch = 2,
                              .mlp_ratio = 2,
                              .dropout = 0.1f,
                              .timestep_freq = "div-127"},
                  .process = {.name = "ddpm",
                              .steps = 1000,
                              .schedule = "cosine",
                              .head = "v",
                              .variance = "fixed-small",
                              .loss = "simple",
                              .times = "uniform"},
                  .data = {.kind = KIND_IMAGE, .classes = 3}};
    snprintf(c.network.precision, sizeof c.network.precision, "%s", precision);
    c.data.column[0] = (Column){.name = "image", .dims = 3, .dim = {2, 8, 8}};
    return c;
}

static StepCase letters(const char *precision) {
    StepCase c = pictures(precision);
    c.title = "letters, multinomial";
    c.network.patch = 1;
    c.process = (ProcessConfig){.name = "multinomial", .steps = 50};
    c.data = (DatasetInfo){.kind = KIND_TEXT, .symbols = 27};
    c.length = 24;
    return c;
}

// Sums in another order, in fp32: of thousands of terms, each rounded to 6e-8.
static void test_fp32(void) {
    StepCase picture = pictures("fp32"), text = letters("fp32");
    compare(&picture, 2e-5);
    compare(&text, 2e-5);
}

// Each number of the blocks is rounded to 8 bits, on another side now and then.
static void test_bf16(void) {
    StepCase picture = pictures("bf16"), text = letters("bf16");
    compare(&picture, 5e-2);
    compare(&text, 5e-2);
}

int main(void) {
    RUN(test_fp32);
    RUN(test_bf16);
    return test_report();
}
