// The bound of an untrained network, whose logits are all zero, against the expectation over x_t
// computed by enumeration for one token.
#include "launch/likelihood.h"

#include <math.h>

#include "tests/test.h"
#include "tests/trainer/support_engine.h"

static EvalRequest request_of(const SmallModel *model, int64_t samples, int draws) {
    return (EvalRequest){.data = model->data,
                         .length = LETTERS_LENGTH,
                         .samples = samples,
                         .draws = draws,
                         .seed = 5,
                         .weights = model->weights};
}

static void test_bound_is_its_expectation(void) {
    SmallModel model = {0};
    small_model_letters(&model, "likelihood", "multinomial", 2, 0);
    Bound bound;
    EvalRequest request = request_of(&model, 0, 6);
    EXPECT_OK(likelihood_bound(&model.engine, model.comm, &request, &bound));
    double nats = letters_prior();
    for (int t = 1; t <= LETTERS_STEPS; ++t) nats += letters_term(t);
    EXPECT_EQ(bound.count, LETTERS_TEXT * 9 / 10 / LETTERS_LENGTH);
    EXPECT_NEAR(bound.bits, nats / M_LN2, 4 * bound.standard_error);
    EXPECT(bound.standard_error > 0 && bound.standard_error < 0.02 * bound.bits);
    small_model_close(&model);
}

// With masks, logits of zero cost log 27 for each letter whatever is masked.
static void test_bound_of_masks(void) {
    static const char *const systems[] = {"mdlm", "sedd"};
    for (int i = 0; i < 2; ++i) {
        SmallModel model = {0};
        small_model_letters(&model, "likelihood", systems[i], 2, 0);
        Bound bound;
        EvalRequest request = request_of(&model, 77, 2);
        EXPECT_OK(likelihood_bound(&model.engine, model.comm, &request, &bound));
        EXPECT_NEAR(bound.bits, log2(27), 1e-6);
        EXPECT(bound.standard_error < 1e-6);
        small_model_close(&model);
    }
}

// Streams, groups and the number of samples asked for must not matter to a sample's share.
static void test_bound_is_the_same_on_any_number_of_streams(void) {
    Bound bound[2];
    for (int i = 0; i < 2; ++i) {
        SmallModel model = {0};
        small_model_letters(&model, "likelihood", "multinomial", i == 0 ? 1 : 3, 0);
        EvalRequest request = request_of(&model, 101, 2);
        EXPECT_OK(likelihood_bound(&model.engine, model.comm, &request, &bound[i]));
        EXPECT_EQ(bound[i].count, 101);
        small_model_close(&model);
    }
    EXPECT(bound[0].bits == bound[1].bits);
    EXPECT(bound[0].standard_error == bound[1].standard_error);
}

int main(void) {
    RUN(test_bound_is_its_expectation);
    RUN(test_bound_of_masks);
    RUN(test_bound_is_the_same_on_any_number_of_streams);
    return test_report();
}
