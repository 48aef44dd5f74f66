// Whole networks: outputs and the gradient of every tensor against the float64 reference, and the
// promises of network.h about memory.
#include "tests/model/support_late.h"
#include "tests/model/support_network.h"
#include "tests/test.h"

// ---- cases ------------------------------------------------------------------------------------

typedef struct {
    const char *name;
    NetworkConfig config;
    NetworkShape shape;
    int64_t samples;
    bool dropout_on;
} Scenario;

#define DIT(p, rate, freq)                                                                         \
    {                                                                                              \
        .family = "dit", .width = 12, .depth = 3, .heads = 3, .patch = p, .mlp_ratio = 2,          \
        .dropout = rate, .timestep_freq = freq                                                     \
    }
#define MLP(depth_, rate)                                                                          \
    { .family = "mlp", .width = 20, .depth = depth_, .dropout = rate, .timestep_freq = "div-127" }
#define DIT_FOURIER(p)                                                                             \
    {                                                                                              \
        .family = "dit", .width = 12, .depth = 1, .heads = 3, .patch = p, .mlp_ratio = 2,          \
        .fourier = true, .timestep_freq = "div-127"                                                \
    }
#define MLP_FOURIER(depth_)                                                                        \
    { .family = "mlp", .width = 20, .depth = depth_, .fourier = true, .timestep_freq = "div-127" }
#define IMAGE(channels_, out, classes_, time)                                                      \
    {                                                                                              \
        .channels = channels_, .height = 6, .width = 4, .out_channels = out, .classes = classes_,  \
        .time_input = time                                                                         \
    }
#define TOKENS(classes_, time)                                                                     \
    {                                                                                              \
        .tokens = true, .length = 6, .vocabulary = 7, .out_channels = 7, .classes = classes_,      \
        .time_input = time                                                                         \
    }
#define BLOCKS(block_, classes_)                                                                   \
    {                                                                                              \
        .tokens = true, .length = 8, .vocabulary = 7, .out_channels = 6, .classes = classes_,      \
        .block = block_                                                                            \
    }
#define VECTOR(classes_, time)                                                                     \
    {                                                                                              \
        .channels = 2, .height = 1, .width = 1, .out_channels = 3, .classes = classes_,            \
        .time_input = time                                                                         \
    }

static const Scenario scenarios[] = {
    {"image", DIT(2, 0.0f, "div-127"), IMAGE(3, 2, 4, true), 3, false},
    {"image, dropout", DIT(2, 0.25f, "div-128"), IMAGE(1, 1, 0, true), 2, true},
    {"image, dropout not on", DIT(1, 0.25f, "div-127"), IMAGE(1, 2, 2, false), 2, false},
    {"tokens", DIT(1, 0.0f, "div-127"), TOKENS(2, true), 3, false},
    {"tokens, dropout", DIT(2, 0.1f, "div-127"), TOKENS(0, true), 2, true},
    {"tokens without time", DIT(3, 0.0f, "div-127"), TOKENS(0, false), 2, false},
    {"blocks", DIT(1, 0.0f, "div-127"), BLOCKS(2, 0), 3, false},
    {"blocks of patches, dropout", DIT(2, 0.1f, "div-127"), BLOCKS(4, 2), 2, true},
    {"one block", DIT(2, 0.0f, "div-127"), BLOCKS(8, 0), 2, false},
    {"vector", MLP(3, 0.0f), VECTOR(0, true), 5, false},
    {"vector, dropout", MLP(2, 0.3f), VECTOR(3, true), 4, true},
    {"image, fourier", DIT_FOURIER(2), IMAGE(2, 1, 0, true), 2, false},
    {"vector, fourier", MLP_FOURIER(2), VECTOR(0, true), 3, false},
    {"vector without time", MLP(1, 0.0f), VECTOR(2, false), 3, false},
};
enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

static void scenario_open(int i, NetworkCase *c) {
    const Scenario *scenario = &scenarios[i];
    network_case_open(c, &scenario->config, &scenario->shape, scenario->samples, 100 + (uint64_t)i);
    c->dropout_on = scenario->dropout_on;
}

static bool same(const float *a, const float *b, int64_t n) {
    if (a == NULL || b == NULL) return a == b;
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

static bool same_result(const NetworkCase *c, const NetworkResult *a, const NetworkResult *b) {
    return same(a->out, b->out, c->samples * c->out_item) &&
           same(a->grads, b->grads, c->params.size) &&
           same(a->dx, b->dx, c->samples * c->in_item) &&
           same(a->dtime, b->dtime, c->samples * TIME_FEATURES);
}

// ---- values -----------------------------------------------------------------------------------

static void test_outputs(void) {
    for (int i = 0; i < SCENARIOS; ++i) {
        NetworkCase c;
        ReferenceCase reference;
        scenario_open(i, &c);
        reference_case_open(&c, &reference);
        NetworkResult result = network_case_run(&c, (NetworkRunOptions){.backend = "cpu"});
        int64_t stream = c.samples * result.tokens * c.config.width;
        reference.reference.stream = calloc((size_t)stream + 1, sizeof(double));
        reference_forward(&reference.reference, reference.out);
        EXPECT_ALL_NEAR(result.out, reference.out, c.samples * c.out_item, 6e-6);
        EXPECT((result.stream != NULL) == (strcmp(c.config.family, "dit") == 0));
        if (result.stream != NULL) // not normalised yet: errors are as large as its numbers
            EXPECT_ALL_NEAR(result.stream, reference.reference.stream, stream, 3e-5);
        free(reference.reference.stream);
        network_result_close(&result);
        reference_case_close(&reference);
        network_case_close(&c);
    }
}

// Central difference of the loss in the number that `where` points at.
static double slope(const NetworkCase *c, ReferenceCase *reference, double *where) {
    double at = *where, h = c->config.fourier ? 1e-6 : 1e-4; // 128 turns of x are quick
    *where = at + h;
    double above = reference_case_loss(c, reference);
    *where = at - h;
    double below = reference_case_loss(c, reference);
    *where = at;
    return (above - below) / (2 * h);
}

// Compares gradient[n] with slopes in where[n]: all of them, or about `most` spread over the range.
// Errors count relative to the largest slope seen.
static void expect_slopes(const NetworkCase *c, ReferenceCase *reference, const char *scenario,
                          const char *name, const float *gradient, double *where, int64_t n,
                          int64_t most) {
    int64_t step = n > most ? n / most : 1;
    if (step > 1 && step % 2 == 0) ++step; // odd: not always the same column
    double largest = 0, worst = 0;
    for (int64_t e = 0; e < n; e += step) {
        double expected = slope(c, reference, where + e);
        double error = fabs((double)gradient[e] - expected);
        if (fabs(expected) > largest) largest = fabs(expected);
        if (!(error <= worst)) worst = error;
    }
    ++test_checks;
    if (!(worst <= 1e-5 * largest + 1e-7) || largest == 0)
        TEST_FAIL("%s: gradient of %s is off by %.3g, largest slope %.3g", scenario, name, worst,
                  largest);
}

// By the time, through its features.
static void expect_time_slopes(const NetworkCase *c, ReferenceCase *reference, const char *scenario,
                               const float *dtime) {
    float by_time[8], slopes[TIME_FEATURES];
    REQUIRE(c->samples <= 8);
    for (int64_t s = 0; s < c->samples; ++s) {
        double sum = 0;
        network_time_slope(c->network, c->time[s], slopes);
        for (int k = 0; k < TIME_FEATURES; ++k)
            sum += (double)dtime[s * TIME_FEATURES + k] * (double)slopes[k];
        by_time[s] = (float)sum;
    }
    expect_slopes(c, reference, scenario, "time", by_time, c->time, c->samples, c->samples);
}

static void test_gradients(void) {
    for (int i = 0; i < SCENARIOS; ++i) {
        NetworkCase c;
        ReferenceCase reference;
        scenario_open(i, &c);
        reference_case_open(&c, &reference);
        NetworkResult result =
            network_case_run(&c, (NetworkRunOptions){.backend = "cpu", .passes = 1});
        for (int k = 0; k < c.params.count; ++k) {
            const Param *param = &c.params.list[k];
            expect_slopes(&c, &reference, scenarios[i].name, param->name,
                          result.grads + param->offset, reference.weights + param->offset,
                          param->size, 96);
        }
        if (!c.shape.tokens)
            expect_slopes(&c, &reference, scenarios[i].name, "x", result.dx, reference.x,
                          c.samples * c.in_item, 96);
        if (c.shape.time_input) expect_time_slopes(&c, &reference, scenarios[i].name, result.dtime);
        network_result_close(&result);
        reference_case_close(&reference);
        network_case_close(&c);
    }
}

// A label that does not occur has no gradient; tokens neither.
static void test_absent_rows_have_no_gradient(void) {
    NetworkCase c;
    scenario_open(3, &c);
    for (int64_t s = 0; s < c.samples; ++s) c.label[s] = 2;
    for (int64_t e = 0; e < c.samples * c.in_item; ++e) c.ids[e] = (int32_t)(e % 6);
    NetworkResult result = network_case_run(&c, (NetworkRunOptions){.backend = "cpu", .passes = 1});
    int64_t label = params_find(&c.params, "y_embedder.embedding_table.weight")->offset;
    int64_t token = params_find(&c.params, "x_embedder.table.weight")->offset;
    for (int d = 0; d < 12; ++d) {
        EXPECT(result.grads[label + d] == 0 && result.grads[label + 12 + d] == 0);
        EXPECT(result.grads[label + 24 + d] != 0);
        EXPECT(result.grads[token + 6 * 12 + d] == 0 && result.grads[token + d] != 0);
    }
    network_result_close(&result);
    network_case_close(&c);
}

// ---- promises ---------------------------------------------------------------------------------

// Each gradient is added in one rounding, as a sum over grains in another order would have it: that
// of the same pass again makes it exactly twice as large.
static void test_accumulation(void) {
    for (int i = 0; i < SCENARIOS; ++i) {
        NetworkCase c;
        scenario_open(i, &c);
        NetworkResult one =
            network_case_run(&c, (NetworkRunOptions){.backend = "cpu", .passes = 1});
        NetworkResult two =
            network_case_run(&c, (NetworkRunOptions){.backend = "cpu", .passes = 2});
        int64_t off = 0;
        for (int64_t e = 0; e < c.params.size; ++e) {
            if (!(two.grads[e] == 2 * one.grads[e])) ++off;
        }
        EXPECT_EQ(off, 0);
        EXPECT(same(one.dx, two.dx, one.dx == NULL ? 0 : c.samples * c.in_item));
        network_result_close(&one);
        network_result_close(&two);
        network_case_close(&c);
    }
}

// Memory that was planned for more samples, that held other things, or that has no room for
// backward changes no bit.
static void test_memory(void) {
    for (int i = 0; i < SCENARIOS; ++i) {
        NetworkCase c;
        scenario_open(i, &c);
        NetworkRunOptions options = {.backend = "cpu", .passes = 1};
        NetworkResult plain = network_case_run(&c, options);
        options.capacity = 11;
        NetworkResult roomy = network_case_run(&c, options);
        options.clean = true;
        NetworkResult clean = network_case_run(&c, options);
        options = (NetworkRunOptions){.backend = "cpu", .inference = true};
        NetworkResult inference = network_case_run(&c, options);
        EXPECT(same_result(&c, &plain, &roomy));
        EXPECT(same_result(&c, &plain, &clean));
        EXPECT(same(plain.out, inference.out, c.samples * c.out_item));
        network_result_close(&plain);
        network_result_close(&roomy);
        network_result_close(&clean);
        network_result_close(&inference);

        size_t less = 0;
        for (int64_t g = 1; g <= 11; ++g) {
            size_t bytes = network_activation_bytes(c.network, g, true);
            EXPECT(bytes > less);
            EXPECT(network_activation_bytes(c.network, g, false) < bytes);
            less = bytes;
        }
        network_case_close(&c);
    }
}

static size_t up(int64_t numbers, size_t bytes_each) { // a piece of memory
    return ((size_t)numbers * bytes_each + 63) / 64 * 64;
}

// All of a block of a transformer but its entry (residual stream, statistics and modulation): two
// norms, two branches, the stream between them and its statistics; attention; the MLP.
static size_t block_bytes(const NetworkCase *c, int64_t tokens) {
    int64_t rows = c->samples * tokens, n = rows * c->config.width;
    size_t wide = strcmp(c->config.precision, "bf16") == 0 ? 2 : 4;
    return 4 * up(n, wide) + up(n, 4) + up(2 * rows, 4) + up(3 * n, wide) + up(n, wide) +
           up(rows * c->config.heads, 4) + 2 * up(n * c->config.mlp_ratio, wide);
}

// Blocks that are computed again change no bit, on any backend, and take the memory of one. A
// network that has none of them does not look at the number.
static void expect_recompute(int i, const char *precision, const char *backend) {
    NetworkCase c;
    NetworkConfig config = scenarios[i].config;
    snprintf(config.precision, sizeof config.precision, "%s", precision);
    if (strcmp(config.family, "dit") == 0) config.depth = 3;
    NetworkResult kept = {0};
    size_t bytes = 0, inference = 0;
    for (config.recompute = 0; config.recompute <= config.depth; ++config.recompute) {
        network_case_open(&c, &config, &scenarios[i].shape, scenarios[i].samples,
                          100 + (uint64_t)i);
        c.dropout_on = scenarios[i].dropout_on;
        NetworkRunOptions options = {.backend = backend, .passes = 2};
        NetworkResult result = network_case_run(&c, options);
        size_t now = network_activation_bytes(c.network, c.samples, true);
        size_t drawing = network_activation_bytes(c.network, c.samples, false);
        if (config.recompute == 0) kept = result, bytes = now, inference = drawing;
        EXPECT_EQ((int64_t)drawing, (int64_t)inference);
        if (config.recompute > 1 && result.stream != NULL) bytes -= block_bytes(&c, result.tokens);
        EXPECT(same_result(&c, &kept, &result));
        EXPECT(same(kept.stream, result.stream, c.samples * result.tokens * config.width));
        EXPECT_EQ((int64_t)now, (int64_t)bytes);
        if (config.recompute > 0) network_result_close(&result);
        if (config.recompute == config.depth) network_result_close(&kept);
        network_case_close(&c);
    }
}

static void test_recompute(void) {
    static const char *const backends[] = {"cpu", "late", "cuda"};
    late_register();
    for (int b = 0; b < 3; ++b) {
        Device *device;
        DeviceConfig config = {.backend = backends[b], .streams = 1};
        if (device_open(&config, &device) != STATUS_OK) {
            printf("  %s: %s\n", backends[b],
                   error_get()->text); // no GPU, not even an emulated one
            EXPECT(b == 2);
            continue;
        }
        bool half = device->has_half;
        device_close(device);
        for (int i = 0; i < SCENARIOS; ++i) {
            if (b == 2 && !scenarios[i].dropout_on) continue; // emulated, it takes its time
            expect_recompute(i, "fp32", backends[b]);
            if (half && strcmp(scenarios[i].config.family, "dit") == 0)
                expect_recompute(i, "bf16", backends[b]);
        }
    }
}

// The weights are an argument: an average of them gives what a network of its own would give.
static void test_other_weights(void) {
    for (int i = 0; i < SCENARIOS; ++i) {
        NetworkCase c, other;
        scenario_open(i, &c);
        scenario_open(i, &other);
        for (int64_t e = 0; e < c.params.size; ++e) other.weights[e] *= 0.5f;
        NetworkRunOptions options = {.backend = "cpu", .inference = true};
        NetworkResult expected = network_case_run(&other, options);
        NetworkResult first = network_case_run(&c, options);
        options.weights = other.weights;
        NetworkResult given = network_case_run(&c, options);
        EXPECT(same(given.out, expected.out, c.samples * c.out_item));
        EXPECT(!same(given.out, first.out, c.samples * c.out_item));
        network_result_close(&expected);
        network_result_close(&first);
        network_result_close(&given);
        network_case_close(&c);
        network_case_close(&other);
    }
}

// A sample's output does not depend on its neighbours in the grain.
static void test_samples_are_independent(void) {
    for (int i = 0; i < SCENARIOS; ++i) {
        NetworkCase c;
        scenario_open(i, &c);
        NetworkRunOptions options = {.backend = "cpu"};
        NetworkResult all = network_case_run(&c, options);
        int64_t samples = c.samples, last = samples - 1;
        c.samples = 1;
        c.time[0] = c.time[last];
        c.label[0] = c.label[last];
        c.sample[0] = c.sample[last];
        memcpy(c.x, c.x + last * c.in_item, (size_t)c.in_item * sizeof *c.x);
        memcpy(c.ids, c.ids + last * c.in_item, (size_t)c.in_item * sizeof *c.ids);
        memcpy(c.context, c.context + last * c.in_item, (size_t)c.in_item * sizeof *c.ids);
        NetworkResult alone = network_case_run(&c, options);
        for (int64_t e = 0; e < c.out_item; ++e)
            EXPECT_NEAR((double)alone.out[e], (double)all.out[last * c.out_item + e], 2e-6);
        network_result_close(&all);
        network_result_close(&alone);
        c.samples = samples;
        network_case_close(&c);
    }
}

// Dropout is a function of step, site and sample number, and off where dropout_on is false.
static void test_dropout_keys(void) {
    NetworkCase c;
    scenario_open(1, &c);
    int64_t n = c.samples * c.out_item;
    NetworkRunOptions options = {.backend = "cpu"};
    NetworkResult base = network_case_run(&c, options), again = network_case_run(&c, options);
    EXPECT(same(base.out, again.out, n));
    network_result_close(&again);
    c.dropout.step += 1;
    again = network_case_run(&c, options);
    EXPECT(!same(base.out, again.out, n));
    network_result_close(&again);
    c.dropout.step -= 1;
    c.sample[1] += 1;
    again = network_case_run(&c, options);
    EXPECT(same(base.out, again.out, c.out_item));
    EXPECT(!same(base.out, again.out, n));
    network_result_close(&again);
    network_result_close(&base);
    network_case_close(&c);
}

// Nothing relies on memory that the host can see or on work that is done at once.
static void test_late(void) {
    late_register();
    for (int i = 0; i < SCENARIOS; ++i) {
        NetworkCase c;
        scenario_open(i, &c);
        NetworkRunOptions options = {.backend = "cpu", .passes = 2};
        NetworkResult cpu = network_case_run(&c, options);
        options.backend = "late";
        NetworkResult late = network_case_run(&c, options);
        EXPECT(same_result(&c, &cpu, &late));
        network_result_close(&cpu);
        network_result_close(&late);
        options = (NetworkRunOptions){.backend = "late", .inference = true};
        late = network_case_run(&c, options);
        options.backend = "cpu";
        cpu = network_case_run(&c, options);
        EXPECT(same_result(&c, &cpu, &late));
        network_result_close(&cpu);
        network_result_close(&late);
        network_case_close(&c);
    }
}

// What NetworkMemory.written says to be written is, and a DiT says it block by block.
static void test_written(void) {
    for (int i = 0; i < SCENARIOS; ++i) {
        NetworkCase c;
        scenario_open(i, &c);
        bool told = strcmp(c.config.family, "dit") == 0;
        for (int passes = 1; passes <= 2 && told; ++passes) {
            NetworkRunOptions options = {.backend = passes == 1 ? "late" : "cpu", .passes = passes};
            NetworkResult result = network_case_run(&c, options);
            EXPECT_EQ(result.told, c.config.depth + 1);
            const Param *first = c.params.list;
            while (strncmp(first->name, "blocks.0.", 9) != 0) ++first;
            EXPECT_EQ(result.told_from, first->offset);
            EXPECT(same(result.told_grads + first->offset, result.grads + first->offset,
                        c.params.size - first->offset));
            network_result_close(&result);
        }
        network_case_close(&c);
    }
}

int main(void) {
    RUN(test_outputs);
    RUN(test_gradients);
    RUN(test_absent_rows_have_no_gradient);
    RUN(test_accumulation);
    RUN(test_memory);
    RUN(test_recompute);
    RUN(test_other_weights);
    RUN(test_samples_are_independent);
    RUN(test_dropout_keys);
    RUN(test_late);
    RUN(test_written);
    return test_report();
}
