// Ranking of candidates against cross entropies of the network's logits, computed here.
#include "launch/candidates.h"

#include <math.h>

#include "tests/test.h"
#include "tests/trainer/support_engine.h"

enum { COUNT = 5, EACH = 7, ROWS = COUNT * EACH, LETTERS = 27 };

static void draw_lines(int32_t line[ROWS][LETTERS_LENGTH]) {
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < LETTERS_LENGTH; ++i)
            line[r][i] = (int32_t)((unsigned)((r + 1) * (i + 3) * 2654435761u) >> 7) % LETTERS;
}

// Nats a token between a line and what the network says of it.
static double cross_entropy(SmallModel *model, const int32_t *line) {
    Engine *engine = &model->engine;
    EngineLane *lane = &engine->lane[0];
    float logits[LETTERS_LENGTH * LETTERS];
    uint64_t sample = 0;
    GrainBatch batch = {.samples = 1, .sample = &sample};
    stream_upload(lane->stream, lane->pass.x_t, line, LETTERS_LENGTH * sizeof *line);
    stream_upload(lane->stream, lane->pass.label, lane->null_label, sizeof(int32_t));
    NetworkInput input;
    process_network_input(engine->process, &lane->pass, &batch, false, &input);
    NetworkMemory memory = engine_memory(engine, 0);
    network_forward(engine->network, lane->stream, &memory, &input, lane->pass.out);
    stream_download(lane->stream, logits, lane->pass.out, sizeof logits);
    EXPECT_OK(stream_wait(lane->stream));
    double nats = 0;
    for (int i = 0; i < LETTERS_LENGTH; ++i) {
        double sum = 0;
        for (int k = 0; k < LETTERS; ++k) sum += exp((double)logits[i * LETTERS + k]);
        nats += log(sum) - (double)logits[i * LETTERS + line[i]];
    }
    return nats / LETTERS_LENGTH;
}

static void test_best_is_kept(void) {
    SmallModel model = {0};
    small_model_letters(&model, "candidates", "sundae", 3, 2);
    int32_t line[ROWS][LETTERS_LENGTH], drawn[ROWS][LETTERS_LENGTH];
    double nats[COUNT], least = INFINITY, most = -INFINITY;
    draw_lines(line);
    memcpy(drawn, line, sizeof drawn);
    EXPECT_OK(candidates_choose(&model.engine, drawn[0], COUNT, EACH, nats));
    for (int s = 0; s < COUNT; ++s) {
        int best = 0;
        double entropy[EACH];
        for (int i = 0; i < EACH; ++i) {
            entropy[i] = cross_entropy(&model, line[s * EACH + i]);
            if (entropy[i] < entropy[best]) best = i;
            least = fmin(least, entropy[i]), most = fmax(most, entropy[i]);
        }
        EXPECT_NEAR(nats[s], entropy[best], 1e-5);
        EXPECT(memcmp(drawn[s], line[s * EACH + best], sizeof drawn[s]) == 0);
    }
    EXPECT(most - least > 0.05); // there was a choice
    small_model_close(&model);
}

static void test_streams_do_not_matter(void) {
    double nats[2][COUNT];
    for (int i = 0; i < 2; ++i) {
        SmallModel model = {0};
        int32_t line[ROWS][LETTERS_LENGTH];
        small_model_letters(&model, "candidates", "sundae", i == 0 ? 1 : 2, 2);
        draw_lines(line);
        EXPECT_OK(candidates_choose(&model.engine, line[0], COUNT, EACH, nats[i]));
        small_model_close(&model);
    }
    EXPECT(memcmp(nats[0], nats[1], sizeof nats[0]) == 0);
}

static void test_systems_with_a_likelihood_refuse(void) {
    SmallModel model = {0};
    small_model_letters(&model, "candidates", "multinomial", 1, 0);
    EXPECT_FAIL(candidates_check(model.engine.process), BAD_USAGE, "sundae");
    small_model_close(&model);
}

int main(void) {
    RUN(test_best_is_kept);
    RUN(test_streams_do_not_matter);
    RUN(test_systems_with_a_likelihood_refuse);
    return test_report();
}
