// The ELBO of variational-sde: a network that says 0 in closed form; the estimated trace against
// differences, without variance where the Jacobian is diagonal; the same on any streams.
#include "launch/likelihood.h"
#include "tests/test.h"
#include "tests/trainer/support_engine.h"
#include "launch/flow.h"

enum { SAMPLES = 12, DIMS_MOST = 2 };

static Bound evaluate(SmallModel *model, int draws) {
    Bound bound;
    EvalRequest request = {
        .data = model->data, .samples = 100, .draws = draws, .seed = 5, .weights = model->weights};
    EXPECT_OK(likelihood_elbo(&model->engine, model->comm, &request, &bound));
    EXPECT_EQ(bound.count, 100);
    EXPECT(isnan(bound.null_bits));
    return bound;
}

// a = 0: the integral is that of - f, b/2, which is B(1)/2 = 5.025 a dimension; the rest is, with
// the mean alpha x_0 next to nothing, that of log N(x_T; 0, I).
static void test_silent_network(void) {
    SmallModel model = {0};
    small_model_points(&model, "elbo", "variational-sde", NULL, 2, 2, 0);
    Bound bound = evaluate(&model, 200);
    EXPECT_NEAR(bound.bits, (5.025 + 0.5 * log(2 * M_PI * M_E)) / M_LN2, 2e-3);
    EXPECT_NEAR(bound.standard_error, 0, 5e-3);
    small_model_close(&model);
}

// ---- traces -----------------------------------------------------------------------------------

// a at one point, by a forward pass with time features that are there.
static void ask(SmallModel *model, const float *x, int dims, float *out) {
    Engine *engine = &model->engine;
    EngineLane *lane = &engine->lane[0];
    GrainBatch batch = {.seed = 5, .samples = 1};
    stream_upload(lane->stream, lane->pass.x_t, x, (size_t)dims * sizeof *x);
    NetworkInput input;
    process_network_input(engine->process, &lane->pass, &batch, false, &input);
    NetworkMemory memory = engine_memory(engine, 0);
    network_forward(engine->network, lane->stream, &memory, &input, lane->pass.out);
    stream_download(lane->stream, out, lane->pass.out, (size_t)dims * sizeof *out);
    EXPECT_OK(stream_wait(lane->stream));
}

enum { AT = 3 }; // tenths

// The term of sample 3 at a time, with signs of `draw`; the noise is that of draw 0. x: where it
// is.
static double probe(SmallModel *model, Flow *flow, uint64_t draw, float x[DIMS_MOST]) {
    static const float x_0[DIMS_MOST] = {0.4f, -0.9f};
    static const uint64_t sample = 3;
    static const int32_t label = 0;
    double time = AT / 10.0;
    Engine *engine = &model->engine;
    EngineLane *lane = &engine->lane[0];
    GrainBatch batch = {5, 0, 1, x_0, &label, &sample};
    process_corrupt_at(engine->process, engine->network, lane->stream, &lane->pass, &batch, &time,
                       0);
    stream_download(lane->stream, x, lane->pass.x_t, (size_t)engine_item(engine) * sizeof *x);
    flow_probe(flow, 0, &batch, draw);
    EXPECT_OK(engine_wait(engine));
    return flow_term(flow, 0, 0, time);
}

// 0.5 |a|^2 + g tr da/dx + b dims/2.
static void test_terms_against_differences(void) {
    enum { DRAWS = 16 };
    SmallModel model = {0};
    Flow *flow;
    small_model_points(&model, "elbo", "variational-sde", NULL, 2, 1, 0.5f);
    EXPECT_OK(flow_open(&model.engine, 1, &flow));
    double seen[2] = {0, 0}, b = 0.1 + 19.9 * AT / 10.0;
    for (uint64_t draw = 0; draw < DRAWS; ++draw) {
        float x[DIMS_MOST], at[DIMS_MOST], up[DIMS_MOST], down[DIMS_MOST], out[DIMS_MOST];
        uint32_t bits[4];
        double term = probe(&model, flow, draw, x), trace = 0;
        ask(&model, x, 2, out);
        rng_block(rng_key(5, RNG_HUTCHINSON, draw), 3, 0, bits);
        float sign[2], h = 1e-2f;
        for (int i = 0; i < 2; ++i) sign[i] = bits[0] >> i & 1 ? 1 : -1;
        for (int i = 0; i < 2; ++i) at[i] = x[i] + h * sign[i];
        ask(&model, at, 2, up);
        for (int i = 0; i < 2; ++i) at[i] = x[i] - h * sign[i];
        ask(&model, at, 2, down);
        for (int i = 0; i < 2; ++i)
            trace += (double)(sign[i] * (up[i] - down[i])) / (2 * (double)h);
        double expected = 0.5 * (double)(out[0] * out[0] + out[1] * out[1]) + sqrt(b) * trace + b;
        EXPECT_NEAR(term, expected, 5e-3 * (1 + fabs(sqrt(b) * trace)));
        seen[sign[0] * sign[1] > 0] = term;
    }
    EXPECT(fabs(seen[0] - seen[1]) > 1e-3); // a Jacobian that is not diagonal
    flow_close(flow);
    small_model_close(&model);
}

static void test_diagonal_jacobian_has_no_variance(void) {
    SmallModel model = {0};
    Flow *flow;
    small_model_points(&model, "elbo", "variational-sde", NULL, 1, 1, 0.5f);
    EXPECT_OK(flow_open(&model.engine, 1, &flow));
    float x[DIMS_MOST], out[DIMS_MOST];
    double first = probe(&model, flow, 0, x), b = 0.1 + 19.9 * AT / 10.0;
    ask(&model, x, 1, out);
    EXPECT(fabs(first - 0.5 * (double)(out[0] * out[0]) - 0.5 * b) > 1e-3); // a trace
    for (uint64_t draw = 1; draw < 16; ++draw) EXPECT_NEAR(probe(&model, flow, draw, x), first, 0);
    flow_close(flow);
    small_model_close(&model);
}

// ---- of a run ---------------------------------------------------------------------------------

// Two ways to the same number, whatever the network says: the bound by squares and the ELBO.
static void test_elbo_is_the_bound(void) {
    enum { DRAWS = 3000 };
    SmallModel model = {0};
    small_model_points(&model, "elbo", "variational-sde", NULL, 2, 2, 0.3f);
    Bound elbo = evaluate(&model, DRAWS), bound;
    EvalRequest request = {
        .data = model.data, .samples = 100, .draws = DRAWS, .seed = 5, .weights = model.weights};
    EXPECT_OK(likelihood_bound(&model.engine, model.comm, &request, &bound));
    EXPECT_NEAR(elbo.bits, bound.bits, 0.15);
    small_model_close(&model);
}

static void test_streams_do_not_matter(void) {
    Bound bound[2];
    for (int i = 0; i < 2; ++i) {
        SmallModel model = {0};
        small_model_points(&model, "elbo", "variational-sde", NULL, 2, i == 0 ? 1 : 3, 0.3f);
        bound[i] = evaluate(&model, 3);
        small_model_close(&model);
    }
    EXPECT_NEAR(bound[0].bits, bound[1].bits, 0);
    EXPECT_NEAR(bound[0].standard_error, bound[1].standard_error, 0);
    EXPECT(bound[0].standard_error > 0);
}

static void test_others_have_none(void) {
    SmallModel model = {0};
    small_model_points(&model, "elbo", "score-sde", NULL, 2, 1, 0);
    Bound bound;
    EvalRequest request = {.data = model.data, .draws = 1, .weights = model.weights};
    EXPECT_FAIL(likelihood_elbo(&model.engine, model.comm, &request, &bound), BAD_CONFIG,
                "variational-sde");
    small_model_close(&model);
}

int main(void) {
    RUN(test_silent_network);
    RUN(test_terms_against_differences);
    RUN(test_diagonal_jacobian_has_no_variance);
    RUN(test_elbo_is_the_bound);
    RUN(test_streams_do_not_matter);
    RUN(test_others_have_none);
    return test_report();
}
