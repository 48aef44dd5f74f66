// The likelihood along the probability flow: with a network that says 0 in closed form; with one
// that says something against RK4 in float64 with the trace by differences; the same on any
// streams.
#include "launch/flow.h"

#include "launch/likelihood.h"
#include "launch/inference.h"
#include "tests/test.h"
#include "tests/trainer/support_engine.h"

enum { DIMS = 2, SAMPLES = 12, STEPS = 6 };

static const float points[SAMPLES][DIMS] = {
    {0.1f, -0.7f}, {1.3f, 0.2f},  {-0.9f, -1.1f}, {0, 0},        {2, -2},      {0.5f, 0.5f},
    {-1.5f, 1},    {0.8f, -0.3f}, {-0.2f, 0.9f},  {1.1f, -1.2f}, {0.3f, 0.4f}, {-0.6f, 0.1f}};

static void run_flow(SmallModel *model, int steps, double nats[SAMPLES]) {
    static uint64_t sample[SAMPLES];
    static int32_t label[SAMPLES];
    Flow *flow;
    int64_t capacity = model->engine.capacity;
    for (int i = 0; i < SAMPLES; ++i) sample[i] = (uint64_t)i;
    EXPECT_OK(flow_open(&model->engine, steps, &flow));
    int lanes = model->engine.lanes;
    for (int64_t first = 0; first < SAMPLES;) {
        int busy = 0;
        int64_t begin[8], count[8];
        for (; busy < lanes && first < SAMPLES; ++busy) {
            begin[busy] = first;
            count[busy] = SAMPLES - first < capacity ? SAMPLES - first : capacity;
            GrainBatch batch = {5, 0, count[busy], points[first], label + first, sample + first};
            flow_put(flow, busy, &batch);
            first += count[busy];
        }
        EXPECT_OK(flow_run(flow, busy));
        for (int i = 0; i < busy; ++i)
            for (int64_t s = 0; s < count[i]; ++s) nats[begin[i] + s] = flow_nats(flow, i, s);
    }
    flow_close(flow);
}

static double noise_nats(const double *x) {
    return DIMS * 0.5 * log(2 * M_PI) + 0.5 * (x[0] * x[0] + x[1] * x[1]);
}

// eps_hat = 0: x only shrinks with alpha, whose logarithm falls by 5.025 (the first time left out).
static void test_flow_of_a_silent_network(void) {
    SmallModel model = {0};
    double nats[SAMPLES];
    small_model_points(&model, "flow", "score-sde", "vp", DIMS, 2, 0);
    run_flow(&model, 100, nats);
    double shrinks = -19.9 / 4 - 0.05 + 1e-5 * 0.05;
    for (int i = 0; i < SAMPLES; ++i) {
        double x[DIMS] = {(double)points[i][0] * exp(shrinks), (double)points[i][1] * exp(shrinks)};
        EXPECT_NEAR(nats[i], noise_nats(x) - DIMS * shrinks, 1e-4);
    }
    small_model_close(&model);
}

// ---- a reference ------------------------------------------------------------------------------

// dx/dt at one point, by a forward pass.
static void slope_at(SmallModel *model, double time, const double x[DIMS], double slope[DIMS]) {
    Engine *engine = &model->engine;
    EngineLane *lane = &engine->lane[0];
    float at[DIMS] = {(float)x[0], (float)x[1]}, out[DIMS];
    int32_t label = 0;
    uint64_t sample = 0;
    GrainBatch batch = {5, 0, 1, at, &label, &sample};
    stream_upload(lane->stream, lane->pass.x_t, at, sizeof at);
    inference_upload_time(engine, 0, 1, time);
    NetworkInput input;
    process_network_input(engine->process, &lane->pass, &batch, false, &input);
    NetworkMemory memory = engine_memory(engine, 0);
    network_forward(engine->network, lane->stream, &memory, &input, lane->pass.out);
    stream_download(lane->stream, out, lane->pass.out, sizeof out);
    EXPECT_OK(stream_wait(lane->stream));
    // Song et al.: f x - g^2/2 score, VP: f = -beta/2, g^2 = beta, score = - out/sigma.
    double beta = 0.1 + 19.9 * time, c = -time * time * 19.9 / 4 - time * 0.05;
    for (int i = 0; i < DIMS; ++i)
        slope[i] = -0.5 * beta * x[i] + 0.5 * beta * (double)out[i] / sqrt(-expm1(2 * c));
}

static double trace_at(SmallModel *model, double time, const double x[DIMS],
                       const double sign[DIMS]) {
    double h = 2e-2, trace = 0, up[DIMS], down[DIMS], above[DIMS], below[DIMS];
    for (int i = 0; i < DIMS; ++i) up[i] = x[i] + h * sign[i], down[i] = x[i] - h * sign[i];
    slope_at(model, time, up, above);
    slope_at(model, time, down, below);
    for (int i = 0; i < DIMS; ++i) trace += sign[i] * (above[i] - below[i]) / (2 * h);
    return trace;
}

// Where the share `point` of the way in log(noise/signal) is passed, of VP from 1e-5 to 1.
static double even_time(double point) {
    double low = 1e-5, high = 1, end[2], goal;
    for (int i = 0; i < 2; ++i) {
        double t = i == 0 ? low : high;
        end[i] = log(expm1(t * t * 19.9 / 2 + 0.1 * t));
    }
    goal = end[0] + point * (end[1] - end[0]);
    for (int i = 0; i < 100; ++i) {
        double t = 0.5 * (low + high);
        if (log(expm1(t * t * 19.9 / 2 + 0.1 * t)) < goal)
            low = t;
        else
            high = t;
    }
    return low;
}

static double reference_nats(SmallModel *model, int sample) {
    double x[DIMS] = {(double)points[sample][0], (double)points[sample][1]}, divergence = 0;
    double sign[DIMS];
    uint32_t bits[4];
    rng_block(rng_key(5, RNG_HUTCHINSON, 0), (uint64_t)sample, 0, bits);
    for (int i = 0; i < DIMS; ++i) sign[i] = bits[0] >> i & 1 ? 1 : -1;
    for (int step = 0; step < STEPS; ++step) {
        static const double at[4] = {0, 0.5, 0.5, 1}, weight[4] = {1, 2, 2, 1};
        double slope[DIMS] = {0}, moved[DIMS], sum[DIMS] = {0};
        double first = even_time((double)step / STEPS);
        double h = even_time((step + 1.0) / STEPS) - first;
        for (int stage = 0; stage < 4; ++stage) {
            double time = first + at[stage] * h;
            for (int i = 0; i < DIMS; ++i) moved[i] = x[i] + at[stage] * h * slope[i];
            slope_at(model, time, moved, slope);
            divergence += h / 6 * weight[stage] * trace_at(model, time, moved, sign);
            for (int i = 0; i < DIMS; ++i) sum[i] += h / 6 * weight[stage] * slope[i];
        }
        for (int i = 0; i < DIMS; ++i) x[i] += sum[i];
    }
    return noise_nats(x) - divergence;
}

static void test_flow_against_differences(void) {
    SmallModel model = {0};
    double nats[SAMPLES];
    small_model_points(&model, "flow", "score-sde", "vp", DIMS, 2, 0.5f);
    run_flow(&model, STEPS, nats);
    double spread = 0;
    for (int i = 0; i < SAMPLES; ++i) {
        double expected = reference_nats(&model, i);
        spread = fmax(spread, fabs(expected - nats[0]));
        EXPECT_NEAR(nats[i], expected, 2e-2 * (1 + fabs(expected)));
    }
    EXPECT(spread > 0.1); // the samples differ
    small_model_close(&model);
}

static void test_streams_do_not_matter(void) {
    double nats[2][SAMPLES];
    for (int i = 0; i < 2; ++i) {
        SmallModel model = {0};
        small_model_points(&model, "flow", "score-sde", "ve", DIMS, i == 0 ? 1 : 3, 0.5f);
        run_flow(&model, STEPS, nats[i]);
        small_model_close(&model);
    }
    EXPECT(memcmp(nats[0], nats[1], sizeof nats[0]) == 0);
}

static void test_evaluation(void) {
    SmallModel model = {0};
    Bound bound;
    small_model_points(&model, "flow", "score-sde", "sub-vp", DIMS, 2, 0.2f);
    EvalRequest request = {
        .data = model.data, .samples = 50, .draws = 20, .seed = 5, .weights = model.weights};
    EXPECT_OK(likelihood_flow(&model.engine, model.comm, &request, &bound));
    EXPECT_EQ(bound.count, 50);
    EXPECT(isfinite(bound.bits) && bound.standard_error > 0 && isnan(bound.null_bits));
    small_model_close(&model);
}

int main(void) {
    RUN(test_flow_of_a_silent_network);
    RUN(test_flow_against_differences);
    RUN(test_streams_do_not_matter);
    RUN(test_evaluation);
    return test_report();
}
