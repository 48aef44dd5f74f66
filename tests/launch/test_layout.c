// Weights in other layouts: every number has its place, copies are of one number, and the rotation
// of the time embedding is that of one step.
#include "launch/layout.h"

#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

static RunSettings settings_of(void) {
    RunSettings settings = {
        .model = {.family = "dit",
                  .width = 32,
                  .depth = 3,
                  .heads = 2,
                  .patch = 2,
                  .mlp_ratio = 4,
                  .timestep_freq = "div-127"},
        .process = {.name = "ddpm", .steps = 1000},
    };
    return settings;
}

static void open_engine(const RunSettings *settings, Engine *engine) {
    DatasetInfo info = {.kind = KIND_IMAGE, .classes = 5};
    info.column[0] = (Column){.dims = 3, .dim = {3, 8, 8}};
    EngineConfig config = {.network = &settings->model,
                           .process = &settings->process,
                           .data = &info,
                           .device = {.backend = "cpu", .streams = 1},
                           .capacity = 1};
    EXPECT_OK(engine_open(&config, engine));
}

static const LayoutPiece *find(const LayoutPieces *pieces, const char *name) {
    for (int i = 0; i < pieces->count; ++i)
        if (strcmp(pieces->list[i].name, name) == 0) return &pieces->list[i];
    TEST_FAIL("there is no %s", name);
    return &pieces->list[0];
}

// Sizes of formats: 10 tensors a block and 12 of the original, 19 a block and 6 of diffusers.
static void test_every_number_has_its_place(void) {
    static const struct {
        Layout layout;
        int tensors;
    } cases[] = {
        {LAYOUT_DYE, 10 * 3 + 11}, {LAYOUT_DIT, 10 * 3 + 12}, {LAYOUT_DIFFUSERS, 19 * 3 + 6}};
    RunSettings settings = settings_of();
    Engine engine = {0};
    open_engine(&settings, &engine);
    for (int k = 0; k < 3; ++k) {
        LayoutPieces pieces;
        EXPECT_OK(layout_open(cases[k].layout, &settings, &engine, &pieces));
        EXPECT_EQ(pieces.count, cases[k].tensors);
        int *seen = calloc((size_t)engine.params.size, sizeof *seen);
        for (int i = 0; i < pieces.count; ++i) {
            const LayoutPiece *piece = &pieces.list[i];
            int64_t size = 1;
            for (int d = 0; d < piece->dims; ++d) size *= piece->dim[d];
            EXPECT_EQ(size, piece->size);
            for (int64_t n = 0; n < size && piece->offset != LAYOUT_POSITIONS; ++n)
                ++seen[piece->offset + n];
        }
        int64_t once = 0, copies = 0;
        for (int64_t n = 0; n < engine.params.size; ++n)
            once += seen[n] == 1, copies += seen[n] == 3;
        EXPECT_EQ(once + copies, engine.params.size);
        int64_t embedders = 32 * 256 + 32 + 32 * 32 + 32 + 6 * 32;
        EXPECT_EQ(copies, k == 2 ? embedders : 0);
        free(seen);
        layout_close(&pieces);
    }
    engine_close(&engine);
}

static void test_queries_are_rows(void) {
    RunSettings settings = settings_of();
    Engine engine = {0};
    LayoutPieces pieces;
    open_engine(&settings, &engine);
    EXPECT_OK(layout_open(LAYOUT_DIFFUSERS, &settings, &engine, &pieces));
    int64_t weight = params_find(&engine.params, "blocks.1.attn.qkv.weight")->offset;
    int64_t bias = params_find(&engine.params, "blocks.1.attn.qkv.bias")->offset;
    EXPECT_EQ(find(&pieces, "transformer_blocks.1.attn1.to_q.weight")->offset, weight);
    EXPECT_EQ(find(&pieces, "transformer_blocks.1.attn1.to_k.weight")->offset, weight + 32 * 32);
    EXPECT_EQ(find(&pieces, "transformer_blocks.1.attn1.to_v.weight")->offset, weight + 64 * 32);
    EXPECT_EQ(find(&pieces, "transformer_blocks.1.attn1.to_v.bias")->offset, bias + 64);
    EXPECT_EQ(find(&pieces, "transformer_blocks.1.attn1.to_v.bias")->dims, 1);
    layout_close(&pieces);
    engine_close(&engine);
}

// What stands behind the embedding gives at step i, turned, what it gave at step i + 1; and back.
static void check_turned(const char *process, int32_t steps, double shift) {
    RunSettings settings = settings_of();
    Engine engine = {0};
    float before[TIME_FEATURES], after[TIME_FEATURES];
    snprintf(settings.process.name, sizeof settings.process.name, "%s", process);
    settings.process.steps = steps;
    open_engine(&settings, &engine);
    int64_t size = engine.params.size;
    float *weights = malloc((size_t)size * sizeof *weights),
          *turned = malloc((size_t)size * sizeof *turned);
    params_draw(&engine.params, 7, 0, size, weights);
    memcpy(turned, weights, (size_t)size * sizeof *turned);
    layout_turn_time(LAYOUT_DIFFUSERS, &settings, &engine, turned);
    int64_t first = params_find(&engine.params, "t_embedder.mlp.0.weight")->offset;
    for (int t = 0; t < 1000; t += 111) {
        network_time_features(engine.network, t + shift, before);
        network_time_features(engine.network, t, after);
        for (int row = 0; row < 32; ++row) {
            double was = 0, is = 0;
            for (int k = 0; k < TIME_FEATURES; ++k) {
                was += (double)weights[first + row * TIME_FEATURES + k] * (double)before[k];
                is += (double)turned[first + row * TIME_FEATURES + k] * (double)after[k];
            }
            EXPECT_NEAR(is, was, 1e-6);
        }
    }
    layout_turn_time(LAYOUT_DYE, &settings, &engine, turned);
    for (int64_t i = 0; i < size; ++i) EXPECT_NEAR((double)turned[i], (double)weights[i], 1e-8);
    free(weights), free(turned);
    engine_close(&engine);
}

static void test_times_are_turned(void) {
    check_turned("ddpm", 1000, 1);
    check_turned("ddpm", 250, 4);
    check_turned("flow", 1000, 0);
}

static void test_what_has_no_place(void) {
    RunSettings settings = settings_of();
    Engine engine = {0};
    LayoutPieces pieces;
    open_engine(&settings, &engine);
    settings.model.mlp_ratio = 3;
    EXPECT_FAIL(layout_open(LAYOUT_DIFFUSERS, &settings, &engine, &pieces), BAD_CONFIG,
                "mlp_ratio");
    EXPECT_OK(layout_open(LAYOUT_DIT, &settings, &engine, &pieces));
    layout_close(&pieces);
    settings = settings_of();
    settings.process.steps = 100;
    EXPECT_FAIL(layout_open(LAYOUT_DIFFUSERS, &settings, &engine, &pieces), BAD_CONFIG,
                "process.steps is 100");
    settings = settings_of();
    settings.process.logit = 0.1f;
    EXPECT_FAIL(layout_open(LAYOUT_DIT, &settings, &engine, &pieces), BAD_CONFIG, "process.logit");
    settings = settings_of();
    snprintf(settings.model.timestep_freq, sizeof settings.model.timestep_freq, "div-128");
    EXPECT_FAIL(layout_open(LAYOUT_DIFFUSERS, &settings, &engine, &pieces), BAD_CONFIG,
                "timestep_freq");
    Layout layout;
    EXPECT_FAIL(layout_read("pt", &layout), BAD_USAGE, "choose safetensors, dit or diffusers");
    engine_close(&engine);
}

int main(void) {
    RUN(test_every_number_has_its_place);
    RUN(test_queries_are_rows);
    RUN(test_times_are_turned);
    RUN(test_what_has_no_place);
    return test_report();
}
