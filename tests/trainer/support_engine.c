// Engines of tests/trainer/support_engine.h.
#include "tests/trainer/support_engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mix.h"
#include "data/pack/pack.h"
#include "tests/test.h"

void *engine_draw(Engine *engine, float noise) {
    const Params *params = &engine->params;
    size_t bytes = (size_t)params->size * sizeof(float);
    void *weights;
    float *host = malloc(bytes);
    REQUIRE(host != NULL && device_alloc(engine->device, bytes, &weights) == STATUS_OK);
    params_draw(params, 0, 0, params->size, host);
    for (int64_t i = 0; i < params->size; ++i)
        host[i] += noise * ((float)(mix64((uint64_t)i) >> 40) * 0x1p-24f - 0.5f);
    stream_upload(engine->lane[0].stream, weights, host, bytes);
    REQUIRE(stream_wait(engine->lane[0].stream) == STATUS_OK);
    free(host);
    return weights;
}

// ---- points -----------------------------------------------------------------------------------

static void pack_and_open(SmallModel *model, const char *test, PackConfig config) {
    char out[PATH_BYTES];
    REQUIRE(path_format(out, "%s/set", test_folder(test)) == STATUS_OK);
    config.out = out;
    REQUIRE(pack(&config) == STATUS_OK);
    REQUIRE(dataset_open(&(DatasetConfig){.path = out, .split = "train", .cache_bytes = 1 << 20},
                         &model->data) == STATUS_OK);
    REQUIRE(comm_open("local", &model->comm) == STATUS_OK);
}

static void open_engine(SmallModel *model, const EngineConfig *config, float noise) {
    REQUIRE(engine_open(config, &model->engine) == STATUS_OK);
    model->weights = engine_draw(&model->engine, noise);
    REQUIRE(engine_use(&model->engine, model->weights) == STATUS_OK);
}

void small_model_points(SmallModel *model, const char *test, const char *system,
                        const char *schedule, int dims, int streams, float noise) {
    pack_and_open(model, test,
                  (PackConfig){.input = &(PackInput){"swiss-roll", NULL},
                               .inputs = 1,
                               .source.toy_items = 200,
                               .force = true});
    DatasetInfo info = *dataset_info(model->data);
    info.column[0].dim[0] = dims;
    NetworkConfig network = {.family = "mlp", .width = 16, .depth = 2, .timestep_freq = "div-127"};
    ProcessConfig process = {.steps = 1000};
    snprintf(process.name, sizeof process.name, "%s", system);
    snprintf(process.schedule, sizeof process.schedule, "%s", schedule != NULL ? schedule : "");
    EngineConfig config = {.network = &network,
                           .process = &process,
                           .data = &info,
                           .device = {.backend = "cpu", .streams = streams},
                           .capacity = 8,
                           .backward = true};
    open_engine(model, &config, noise);
}

void small_model_close(SmallModel *model) {
    device_release(model->engine.device, model->weights);
    engine_close(&model->engine);
    dataset_close(model->data);
    comm_close(model->comm);
}

// ---- letters ----------------------------------------------------------------------------------

void small_model_letters(SmallModel *model, const char *test, const char *system, int streams,
                         float noise) {
    char source[PATH_BYTES], text[LETTERS_TEXT];
    for (size_t i = 0; i < sizeof text; ++i) text[i] = (char)('a' + i * 7 % 26);
    REQUIRE(path_format(source, "%s/text", test_folder(test)) == STATUS_OK);
    REQUIRE(file_write_atomic(source, text, sizeof text) == STATUS_OK);
    pack_and_open(model, test,
                  (PackConfig){.input = &(PackInput){source, NULL},
                               .inputs = 1,
                               .source.form = FORM_LETTERS27,
                               .force = true});
    NetworkConfig network = {.family = "dit",
                             .width = 16,
                             .depth = 1,
                             .heads = 2,
                             .patch = 1,
                             .mlp_ratio = 2,
                             .timestep_freq = "div-127"};
    ProcessConfig process = {.steps = LETTERS_STEPS, .unroll = 2, .batch = 8};
    snprintf(process.name, sizeof process.name, "%s", system);
    EngineConfig config = {.network = &network,
                           .process = &process,
                           .data = dataset_info(model->data),
                           .length = LETTERS_LENGTH,
                           .device = {.backend = "cpu", .streams = streams},
                           .capacity = 8};
    open_engine(model, &config, noise);
}

enum { LETTERS = 27 };

typedef struct {
    double a, A, A_before; // a_t, A_t, A_{t-1}
} Level;

// arXiv 2102.05379's cosine without the square, each squared ratio at least 0.001.
static Level level_at(int t) {
    double A = 1, a = 1, before = 1;
    for (int s = 1; s <= t; ++s) {
        double up = cos(((double)s / LETTERS_STEPS + 0.008) / 1.008 * M_PI / 2);
        double down = cos(((double)(s - 1) / LETTERS_STEPS + 0.008) / 1.008 * M_PI / 2);
        a = sqrt(fmax(up * up / (down * down), 0.001));
        before = A;
        A *= a;
    }
    return (Level){a, A, before};
}

// KL(theta(x_t, x_0 = 0) || theta(x_t, uniform)) in nats.
static double kl_given(Level level, int x_t) {
    double truth[LETTERS], model[LETTERS], truth_sum = 0, model_sum = 0, kl = 0;
    for (int k = 0; k < LETTERS; ++k) {
        double step = (k == x_t ? level.a : 0) + (1 - level.a) / LETTERS;
        truth[k] = step * ((k == 0 ? level.A_before : 0) + (1 - level.A_before) / LETTERS);
        model[k] = step / LETTERS;
        truth_sum += truth[k];
        model_sum += model[k];
    }
    for (int k = 0; k < LETTERS; ++k)
        if (truth[k] > 0)
            kl += truth[k] / truth_sum * log(truth[k] / truth_sum * model_sum / model[k]);
    return kl;
}

double letters_term(int t) {
    Level level = level_at(t);
    double stay = level.A + (1 - level.A) / LETTERS, other = (1 - level.A) / LETTERS;
    return stay * kl_given(level, 0) + (LETTERS - 1) * other * kl_given(level, 1);
}

double letters_prior(void) {
    double A = level_at(LETTERS_STEPS).A, kl = 0;
    for (int k = 0; k < LETTERS; ++k) {
        double q = (k == 0 ? A : 0) + (1 - A) / LETTERS;
        kl += q * log(q * LETTERS);
    }
    return kl;
}
