// The held-out loss of an untrained network, whose logits are all zero, against the expectation
// over x_t computed by enumeration for one token.
#include "launch/evaluate.h"

#include "tests/test.h"
#include "tests/trainer/support_engine.h"

static void test_loss_by_level_is_its_expectation(void) {
    SmallModel model = {0};
    small_model_letters(&model, "evaluate", "multinomial", 2, 0);
    HeldOutLoss loss;
    EvalRequest request = {.data = model.data,
                           .length = LETTERS_LENGTH,
                           .draws = 7,
                           .seed = 5,
                           .weights = model.weights};
    EXPECT_OK(evaluate_loss(&model.engine, model.comm, &request, &loss));
    double mean = 0;
    for (int t = 1; t <= LETTERS_STEPS; ++t) {
        mean += letters_term(t);
        int level = (t - 1) * EVAL_LEVELS / LETTERS_STEPS;
        EXPECT(loss.level_count[level] > 0);
        EXPECT_NEAR(loss.level_loss[level], LETTERS_STEPS * letters_term(t),
                    0.05 * LETTERS_STEPS * letters_term(t));
    }
    EXPECT_NEAR(loss.loss, mean, 0.02 * mean);
    small_model_close(&model);
}

int main(void) {
    RUN(test_loss_by_level_is_its_expectation);
    return test_report();
}
