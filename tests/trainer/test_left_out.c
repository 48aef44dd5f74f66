// A sample that is left out contributes exactly nothing to a grain: what it holds changes no bit,
// and the gradient is the sum of those of the other samples, each computed alone.
#include "tests/test.h"
#include "trainer/engine.h"

enum { SAMPLES = 4, OUT = 2, LENGTH = 12, SIDE = 8 };

typedef struct {
    Engine engine;
    float *weights, *grads; // device memory that the host may use (cpu)
    float x[2 * SAMPLES][SIDE * SIDE];
    int32_t label[2 * SAMPLES];
    uint64_t sample[SAMPLES];
} Model;

static void open_model(Model *model, bool text) {
    DatasetInfo info = {.kind = text ? KIND_TEXT : KIND_IMAGE, .symbols = 27, .classes = 3};
    info.column[0] = (Column){.dims = 3, .dim = {1, SIDE, SIDE}};
    NetworkConfig network = {.family = "dit",
                             .width = 32,
                             .depth = 2,
                             .heads = 2,
                             .patch = text ? 1 : 2,
                             .mlp_ratio = 2,
                             .dropout = 0.1f,
                             .timestep_freq = "div-127"};
    ProcessConfig gaussian = {.name = "ddpm",
                              .steps = 50,
                              .schedule = "cosine",
                              .head = "eps",
                              .variance = "fixed-small"};
    ProcessConfig multinomial = {.name = "multinomial", .steps = 50, .schedule = "cosine"};
    EngineConfig config = {.network = &network,
                           .process = text ? &multinomial : &gaussian,
                           .data = &info,
                           .length = text ? LENGTH : 0,
                           .device = {.backend = "cpu", .streams = 1},
                           .capacity = SAMPLES,
                           .backward = true};
    *model = (Model){0};
    EXPECT_OK(engine_open(&config, &model->engine));
    const Params *params = &model->engine.params;
    EXPECT_OK(device_alloc(model->engine.device, 2 * (size_t)params->size * sizeof(float),
                           (void **)&model->weights));
    model->grads = model->weights + params->size;
    // Initial weights have layers of zeros, which would hide what passes through them.
    for (int64_t i = 0; i < params->size; ++i)
        model->weights[i] = (float)((i * 7919 % 1001) - 500) / 4000;
    EXPECT_OK(engine_use(&model->engine, model->weights));
    for (int i = 0; i < 2 * SAMPLES; ++i) {
        model->label[i] = i % 3;
        for (int k = 0; k < SIDE * SIDE; ++k) {
            int32_t symbol = (i * 31 + k * 7) % 27;
            if (text)
                memcpy(&model->x[i][k], &symbol, sizeof symbol);
            else
                model->x[i][k] = (float)symbol / 13 - 1;
        }
    }
    for (int i = 0; i < SAMPLES; ++i) model->sample[i] = 1000 + (uint64_t)i;
}

static void close_model(Model *model) {
    device_release(model->engine.device, model->weights);
    engine_close(&model->engine);
}

// The gradient of samples [begin, end), whose x are those at `from`; `out` (-1: none) left out.
static float *gradient(Model *model, int begin, int end, const int from[SAMPLES], int out,
                       float loss[SAMPLES]) {
    Engine *engine = &model->engine;
    int64_t item = engine_item(engine);
    float x[SAMPLES * SIDE * SIDE];
    int32_t label[SAMPLES];
    for (int i = begin; i < end; ++i) {
        memcpy(x + (i - begin) * item, model->x[from[i]], (size_t)item * sizeof *x);
        label[i - begin] = model->label[from[i]];
    }
    GrainBatch batch = {.seed = 1,
                        .step = 2,
                        .samples = end - begin,
                        .x_0 = x,
                        .label = label,
                        .sample = model->sample + begin};
    Stream *stream = engine->lane[0].stream;
    Pass *pass = &engine->lane[0].pass;
    NetworkInput input;
    NetworkMemory memory = engine_memory(engine, 0);
    process_corrupt(engine->process, engine->network, stream, pass, &batch);
    process_network_input(engine->process, pass, &batch, true, &input);
    network_forward(engine->network, stream, &memory, &input, pass->out);
    process_loss(engine->process, stream, pass, batch.samples, true);
    if (out >= 0) process_leave_out(engine->network, stream, pass, out);
    stream_download(stream, loss, pass->loss, (size_t)batch.samples * sizeof *loss);
    network_backward(engine->network, stream, &memory, &input, pass->dout, model->grads, false,
                     NULL);
    EXPECT_OK(engine_wait(engine));
    size_t bytes = (size_t)engine->params.size * sizeof(float);
    float *copy = malloc(bytes);
    memcpy(copy, model->grads, bytes);
    return copy;
}

static void check(bool text) {
    static const int own[SAMPLES] = {0, 1, 2, 3}, other[SAMPLES] = {0, 1, SAMPLES + 2, 3};
    Model model;
    open_model(&model, text);
    int64_t size = model.engine.params.size, nonzero = 0;
    float loss[SAMPLES], loss_other[SAMPLES], loss_alone[SAMPLES];
    float *with = gradient(&model, 0, SAMPLES, own, OUT, loss);
    float *again = gradient(&model, 0, SAMPLES, other, OUT, loss_other);
    float *whole = gradient(&model, 0, SAMPLES, own, -1, loss_alone);
    EXPECT(memcmp(with, again, (size_t)size * sizeof *with) == 0);
    EXPECT(memcmp(with, whole, (size_t)size * sizeof *with) != 0);
    EXPECT(memcmp(loss, loss_other, sizeof loss) == 0 && loss[OUT] == 0 && loss_alone[OUT] > 0);
    double *sum = calloc((size_t)size, sizeof *sum);
    for (int i = 0; i < SAMPLES; ++i) {
        if (i == OUT) continue;
        float *alone = gradient(&model, i, i + 1, own, -1, loss_alone);
        for (int64_t k = 0; k < size; ++k) sum[k] += (double)alone[k];
        EXPECT_NEAR(loss[i], loss_alone[0], 1e-5 * (double)loss[i]);
        free(alone);
    }
    for (int64_t k = 0; k < size; ++k) nonzero += sum[k] != 0;
    EXPECT(nonzero > size / 2);
    EXPECT_ALL_NEAR(with, sum, size, 2e-5);
    free(with), free(again), free(whole), free(sum);
    close_model(&model);
}

static void test_pictures(void) {
    check(false);
}

static void test_text(void) {
    check(true);
}

int main(void) {
    RUN(test_pictures);
    RUN(test_text);
    return test_report();
}
