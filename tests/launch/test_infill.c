// What is given of a sample: what is read, what is refused, and that it stays in what is drawn.
#include "launch/infill.h"

#include <stdlib.h>
#include <string.h>

#include "tests/test.h"
#include "tests/trainer/support_engine.h"
#include "launch/generate.h"

static Status read_gaps(const SmallModel *model, const char *text, Infill *out) {
    return infill_read(dataset_info(model->data), &model->engine, text, NULL, 9, out);
}

static void test_gaps_become_masks(void) {
    SmallModel model = {0};
    Infill given;
    small_model_letters(&model, "infill", "mdlm", 1, 0);
    const char *alphabet = dataset_info(model.data)->alphabet;
    EXPECT_OK(read_gaps(&model, "ab_ z", &given));
    EXPECT(given.known == NULL);
    EXPECT_EQ(alphabet[given.start[0]], 'a');
    EXPECT_EQ(alphabet[given.start[1]], 'b');
    EXPECT_EQ(given.start[2], 27);
    EXPECT_EQ(alphabet[given.start[3]], ' ');
    EXPECT_EQ(alphabet[given.start[4]], 'z');
    for (int i = 5; i < LETTERS_LENGTH; ++i) EXPECT_EQ(given.start[i], 27);
    infill_close(&given);
    EXPECT_FAIL(read_gaps(&model, "abc\xc3\xa4", &given), BAD_USAGE, "no '\xc3\xa4' (character 4)");
    infill_close(&given);
    EXPECT_FAIL(read_gaps(&model, "an end that is too far away", &given), BAD_USAGE,
                "longer than the 16");
    infill_close(&given);
    small_model_close(&model);
}

static void test_numbers_with_gaps(void) {
    SmallModel model = {0};
    Infill given;
    small_model_points(&model, "infill-points", "flow", NULL, 2, 1, 0);
    EXPECT_OK(read_gaps(&model, "_, -1.5", &given));
    EXPECT(given.start == NULL && given.known[0] == 0 && given.known[1] == 1);
    EXPECT_NEAR(((float *)given.x_0)[1], -1.5, 0);
    char solver[12] = "auto";
    EXPECT_OK(infill_solver(&given, &model.engine, solver));
    EXPECT_TEXT(solver, "ddpm");
    snprintf(solver, sizeof solver, "heun");
    EXPECT_FAIL(infill_solver(&given, &model.engine, solver), BAD_USAGE, "solver heun");
    infill_close(&given);
    static const struct {
        const char *text, *error;
    } wrong[] = {{"1 2 3", "more than the 2"}, {"1 b", "'b' is no number"}, {"nan", "no number"}};
    for (int i = 0; i < 3; ++i) {
        EXPECT_FAIL(read_gaps(&model, wrong[i].text, &given), BAD_USAGE, wrong[i].error);
        infill_close(&given);
    }
    EXPECT_FAIL(infill_read(dataset_info(model.data), &model.engine, "1", "m.png", 9, &given),
                BAD_USAGE, "--mask is for pictures");
    infill_close(&given);
    small_model_close(&model);
}

// ---- drawing ----------------------------------------------------------------------------------

enum { STEPS = 5, COUNT = 9, FIRST = 5 };

// [STEPS + 1][count][item], from sample `first` on.
static void *draw_ways(SmallModel *model, const char *solver, const char *text, int64_t first,
                       int64_t count) {
    Infill given;
    Sampler *sampler;
    void *drawn = NULL;
    SamplerConfig config = {.steps = STEPS, .guidance = 1, .temperature = 1};
    snprintf(config.solver, sizeof config.solver, "%s", solver);
    EXPECT_OK(read_gaps(model, text, &given));
    EXPECT_OK(infill_solver(&given, &model->engine, config.solver));
    EXPECT_OK(sampler_open(model->engine.process, &config, &sampler));
    GenerateRequest request = {.sampler = sampler,
                               .weights = model->weights,
                               .seed = 3,
                               .first = first,
                               .count = count,
                               .label = LABEL_CYCLE,
                               .frames = STEPS + 1,
                               .infill = &given};
    EXPECT_OK(generate(&model->engine, model->comm, &request, &drawn));
    sampler_close(sampler);
    infill_close(&given);
    return drawn;
}

// One coordinate is held: it is the data at the end, noise at the beginning, and the other
// coordinate learns from it.
static void check_held(const char *system, const char *solver) {
    SmallModel model = {0};
    small_model_points(&model, "infill-held", system, NULL, 2, 2, 1);
    float *near = draw_ways(&model, solver, "0.25 _", FIRST, COUNT);
    float *far = draw_ways(&model, solver, "2 _", FIRST, COUNT);
    float *alone = draw_ways(&model, solver, "0.25 _", FIRST + 7, 1);
    const float *end = near + (size_t)STEPS * COUNT * 2, *other = far + (size_t)STEPS * COUNT * 2;
    int learned = 0, spread = 0, noisy = 0;
    for (int i = 0; i < COUNT; ++i) {
        EXPECT_EQ(end[2 * i] == 0.25f, 1);
        EXPECT_EQ(other[2 * i] == 2, 1);
        learned += end[2 * i + 1] != other[2 * i + 1];
        spread += i > 0 && end[2 * i + 1] != end[1];
        noisy += fabsf(near[2 * i] - 0.25f) > 0.1f;
    }
    EXPECT_EQ(learned, COUNT);
    EXPECT_EQ(spread, COUNT - 1);
    EXPECT(noisy > COUNT / 2);
    for (int frame = 0; frame <= STEPS; ++frame)
        for (int k = 0; k < 2; ++k)
            EXPECT(alone[2 * frame + k] == near[2 * (frame * COUNT + 7) + k]);
    free(near), free(far), free(alone);
    small_model_close(&model);
}

static void test_what_is_held(void) {
    check_held("ddpm", "ddim");
    check_held("ddpm", "dpm-2m");
    check_held("flow", "em");
    check_held("edm", "auto");
}

// Between noise and data it is what the process makes of it: of one number alone x_t has the mean
// keep x_0 and the deviation sigma over many samples.
static void test_held_on_the_way(void) {
    enum { MANY = 4000 };
    SmallModel model = {0};
    small_model_points(&model, "infill-way", "flow", "linear", 2, 2, 0);
    float *x = draw_ways(&model, "ddim", "2 _", 0, MANY);
    for (int frame = 0; frame < STEPS; ++frame) {
        double t = 0.999 + (0.002 - 0.999) * frame / (STEPS - 1), sum = 0, squares = 0;
        for (int i = 0; i < MANY; ++i) {
            double value = (double)x[2 * (frame * MANY + i)];
            sum += value, squares += value * value;
        }
        double mean = sum / MANY, variance = squares / MANY - mean * mean;
        EXPECT_NEAR(mean, 2 * (1 - t), 5 * t / sqrt(MANY) + 1e-6);
        EXPECT_NEAR(variance / (t * t), 1, 5 * sqrt(2.0 / MANY) + 1e-3);
    }
    free(x);
    small_model_close(&model);
}

static void check_drawn(const char *system, const char *solver) {
    SmallModel model = {0};
    static const char text[] = "in the b_______s";
    Infill given;
    int32_t *drawn;
    Sampler *sampler;
    small_model_letters(&model, "infill", system, 2, 1);
    const char *alphabet = dataset_info(model.data)->alphabet;
    SamplerConfig config = {.steps = 5, .guidance = 1, .temperature = 1};
    snprintf(config.solver, sizeof config.solver, "%s", solver);
    EXPECT_OK(read_gaps(&model, text, &given));
    EXPECT_OK(infill_solver(&given, &model.engine, config.solver));
    EXPECT_OK(sampler_open(model.engine.process, &config, &sampler));
    GenerateRequest request = {.sampler = sampler,
                               .weights = model.weights,
                               .seed = 3,
                               .first = 5,
                               .count = 9,
                               .label = LABEL_CYCLE,
                               .start = given.start,
                               .infill = &given};
    EXPECT_OK(generate(&model.engine, model.comm, &request, (void **)&drawn));
    int other = 0;
    for (int s = 0; s < 9; ++s)
        for (int i = 0; i < LETTERS_LENGTH; ++i) {
            int32_t symbol = drawn[s * LETTERS_LENGTH + i];
            EXPECT(symbol >= 0 && symbol < 27);
            if (text[i] != '_') EXPECT_EQ(alphabet[symbol], text[i]);
            other += s > 0 && symbol != drawn[i];
        }
    EXPECT(other > 0);
    free(drawn);
    infill_close(&given);
    sampler_close(sampler);
    small_model_close(&model);
}

static void test_what_is_given_stays(void) {
    check_drawn("mdlm", "ancestral");
    check_drawn("mdlm", "remask");
    check_drawn("mdlm", "purity");
    check_drawn("sedd", "ancestral");
    check_drawn("d3pm", "ancestral");
    check_drawn("multinomial", "auto"); // without masks: held
    check_drawn("vq", "auto");
}

int main(void) {
    RUN(test_gaps_become_masks);
    RUN(test_numbers_with_gaps);
    RUN(test_what_is_given_stays);
    RUN(test_what_is_held);
    RUN(test_held_on_the_way);
    return test_report();
}
