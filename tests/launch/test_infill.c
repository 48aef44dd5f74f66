// Text with gaps: what is read, what is refused, and that what was given stays in what is drawn.
#include "launch/infill.h"

#include <stdlib.h>
#include <string.h>

#include "tests/test.h"
#include "tests/trainer/support_engine.h"
#include "launch/generate.h"

static Status read_gaps(const SmallModel *model, const char *text, int32_t **out) {
    return infill_read(dataset_info(model->data), model->engine.process, LETTERS_LENGTH, text, 9,
                       out);
}

static void test_gaps_become_masks(void) {
    SmallModel model = {0};
    int32_t *known;
    small_model_letters(&model, "infill", "mdlm", 1, 0);
    const char *alphabet = dataset_info(model.data)->alphabet;
    EXPECT_OK(read_gaps(&model, "ab_ z", &known));
    EXPECT_EQ(alphabet[known[0]], 'a');
    EXPECT_EQ(alphabet[known[1]], 'b');
    EXPECT_EQ(known[2], 27);
    EXPECT_EQ(alphabet[known[3]], ' ');
    EXPECT_EQ(alphabet[known[4]], 'z');
    for (int i = 5; i < LETTERS_LENGTH; ++i) EXPECT_EQ(known[i], 27);
    free(known);
    EXPECT_FAIL(read_gaps(&model, "abc\xc3\xa4", &known), BAD_USAGE, "no '\xc3\xa4' (character 4)");
    EXPECT_FAIL(read_gaps(&model, "an end that is too far away", &known), BAD_USAGE,
                "longer than the 16");
    small_model_close(&model);
    small_model_letters(&model, "infill", "multinomial", 1, 0);
    EXPECT_FAIL(read_gaps(&model, "a_", &known), BAD_USAGE, "has no masks");
    small_model_close(&model);
    small_model_letters(&model, "infill", "vq", 1, 0); // some of its noise is uniform
    EXPECT_FAIL(read_gaps(&model, "a_", &known), BAD_USAGE, "has no masks");
    small_model_close(&model);
    small_model_points(&model, "infill-points", "flow", NULL, 2, 1, 0);
    EXPECT_FAIL(read_gaps(&model, "a_", &known), BAD_USAGE, "is for text");
    small_model_close(&model);
}

static void check_drawn(const char *system, const char *solver) {
    SmallModel model = {0};
    int32_t *known, *drawn;
    Sampler *sampler;
    small_model_letters(&model, "infill", system, 2, 1);
    SamplerConfig config = {.steps = 5, .guidance = 1, .temperature = 1};
    snprintf(config.solver, sizeof config.solver, "%s", solver);
    EXPECT_OK(sampler_open(model.engine.process, &config, &sampler));
    EXPECT_OK(read_gaps(&model, "in the b_______s", &known));
    GenerateRequest request = {.sampler = sampler,
                               .weights = model.weights,
                               .seed = 3,
                               .first = 5,
                               .count = 9,
                               .label = LABEL_CYCLE,
                               .start = known};
    EXPECT_OK(generate(&model.engine, model.comm, &request, (void **)&drawn));
    int other = 0;
    for (int s = 0; s < 9; ++s)
        for (int i = 0; i < LETTERS_LENGTH; ++i) {
            int32_t symbol = drawn[s * LETTERS_LENGTH + i];
            EXPECT(symbol >= 0 && symbol < 27);
            if (known[i] < 27) EXPECT_EQ(symbol, known[i]);
            other += s > 0 && symbol != drawn[i];
        }
    EXPECT(other > 0);
    free(known), free(drawn);
    sampler_close(sampler);
    small_model_close(&model);
}

static void test_what_is_given_stays(void) {
    check_drawn("mdlm", "ancestral");
    check_drawn("mdlm", "remask");
    check_drawn("mdlm", "purity");
    check_drawn("sedd", "ancestral");
    check_drawn("d3pm", "ancestral");
}

int main(void) {
    RUN(test_gaps_become_masks);
    RUN(test_what_is_given_stays);
    return test_report();
}
