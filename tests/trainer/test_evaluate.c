// The bound and the held-out loss of an untrained network, whose logits are all zero, against the
// expectation over x_t computed by enumeration for one token.
#include "trainer/evaluate.h"

#include "base/file.h"
#include "data/pack.h"
#include "tests/test.h"
#include "tests/trainer/support_engine.h"

enum { STEPS = 7, LETTERS = 27, LENGTH = 16 };

typedef struct {
    double a, A, A_before; // a_t, A_t, A_{t-1}
} Level;

// arXiv 2102.05379's cosine without the square, each squared ratio at least 0.001.
static Level level_at(int t) {
    double A = 1, a = 1, before = 1;
    for (int s = 1; s <= t; ++s) {
        double up = cos(((double)s / STEPS + 0.008) / 1.008 * M_PI / 2);
        double down = cos(((double)(s - 1) / STEPS + 0.008) / 1.008 * M_PI / 2);
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

static double expected_term(int t) {
    Level level = level_at(t);
    double stay = level.A + (1 - level.A) / LETTERS, other = (1 - level.A) / LETTERS;
    return stay * kl_given(level, 0) + (LETTERS - 1) * other * kl_given(level, 1);
}

static double expected_prior(void) {
    double A = level_at(STEPS).A, kl = 0;
    for (int k = 0; k < LETTERS; ++k) {
        double q = (k == 0 ? A : 0) + (1 - A) / LETTERS;
        kl += q * log(q * LETTERS);
    }
    return kl;
}

// ---- an untrained model -----------------------------------------------------------------------

typedef struct {
    Comm *comm;
    Dataset *data;
    Engine engine;
    void *weights;
} Model;

static void open_model(Model *model, int streams) {
    char source[PATH_BYTES], out[PATH_BYTES], text[20000];
    const char *work = test_folder("evaluate");
    for (size_t i = 0; i < sizeof text; ++i) text[i] = (char)('a' + i * 7 % 26);
    EXPECT_OK(path_format(source, "%s/text", work));
    EXPECT_OK(path_format(out, "%s/set", work));
    EXPECT_OK(file_write_atomic(source, text, sizeof text));
    PackConfig pack_config = {.source = source, .out = out, .form = FORM_LETTERS27};
    EXPECT_OK(pack(&pack_config));
    EXPECT_OK(dataset_open(out, "train", 1 << 20, &model->data));
    EXPECT_OK(comm_open("local", &model->comm));
    NetworkConfig network = {.family = "dit",
                             .width = 16,
                             .depth = 1,
                             .heads = 2,
                             .patch = 1,
                             .mlp_ratio = 2,
                             .timestep_freq = "div-127"};
    ProcessConfig process = {.name = "multinomial", .steps = STEPS, .schedule = "cosine"};
    EngineConfig config = {.network = &network,
                           .process = &process,
                           .data = dataset_info(model->data),
                           .length = LENGTH,
                           .device = {.backend = "cpu", .streams = streams},
                           .capacity = 8};
    EXPECT_OK(engine_open(&config, &model->engine));
    model->weights = engine_draw(&model->engine, 0);
}

static void close_model(Model *model) {
    device_release(model->engine.device, model->weights);
    engine_close(&model->engine);
    dataset_close(model->data);
    comm_close(model->comm);
}

static EvalRequest request_of(const Model *model, int64_t samples, int draws) {
    return (EvalRequest){.data = model->data,
                         .length = LENGTH,
                         .samples = samples,
                         .draws = draws,
                         .seed = 5,
                         .weights = model->weights};
}

static void test_bound_is_its_expectation(void) {
    Model model = {0};
    open_model(&model, 2);
    Bound bound;
    EvalRequest request = request_of(&model, 0, 6);
    EXPECT_OK(evaluate_bound(&model.engine, model.comm, &request, &bound));
    double nats = expected_prior();
    for (int t = 1; t <= STEPS; ++t) nats += expected_term(t);
    EXPECT_EQ(bound.count, 20000 * 9 / 10 / LENGTH);
    EXPECT_NEAR(bound.bits, nats / M_LN2, 4 * bound.standard_error);
    EXPECT(bound.standard_error > 0 && bound.standard_error < 0.02 * bound.bits);
    close_model(&model);
}

// Streams, groups and the number of samples asked for must not matter to a sample's share.
static void test_bound_is_the_same_on_any_number_of_streams(void) {
    Bound bound[2];
    for (int i = 0; i < 2; ++i) {
        Model model = {0};
        open_model(&model, i == 0 ? 1 : 3);
        EvalRequest request = request_of(&model, 101, 2);
        EXPECT_OK(evaluate_bound(&model.engine, model.comm, &request, &bound[i]));
        EXPECT_EQ(bound[i].count, 101);
        close_model(&model);
    }
    EXPECT(bound[0].bits == bound[1].bits);
    EXPECT(bound[0].standard_error == bound[1].standard_error);
}

static void test_loss_by_level_is_its_expectation(void) {
    Model model = {0};
    open_model(&model, 2);
    HeldOutLoss loss;
    EvalRequest request = request_of(&model, 0, 7);
    EXPECT_OK(evaluate_loss(&model.engine, model.comm, &request, &loss));
    double mean = 0;
    for (int t = 1; t <= STEPS; ++t) {
        mean += expected_term(t);
        int level = (t - 1) * EVAL_LEVELS / STEPS;
        EXPECT(loss.level_count[level] > 0);
        EXPECT_NEAR(loss.level_loss[level], STEPS * expected_term(t),
                    0.05 * STEPS * expected_term(t));
    }
    EXPECT_NEAR(loss.loss, mean, 0.02 * mean);
    close_model(&model);
}

int main(void) {
    RUN(test_bound_is_its_expectation);
    RUN(test_bound_is_the_same_on_any_number_of_streams);
    RUN(test_loss_by_level_is_its_expectation);
    return test_report();
}
