// The discrete autoencoder: codes and their values, a whole pass against the two DiTs it is made
// of in float64, its gradient against differences of the surrogate that rounds nothing, refusals.
#include "tests/model/support_late.h"
#include "tests/model/support_network.h"
#include "tests/model/support_ops.h"
#include "tests/test.h"

enum { SAMPLES = 3, DIGITS = 2, PATCH = 2, CHANNELS = 3, OUT = 2, HEIGHT = 6, WIDTH = 4 };
enum { PLACES = HEIGHT * WIDTH / PATCH / PATCH, AREA = PATCH * PATCH };

// ---- operations -------------------------------------------------------------------------------

static void call_quantise(Stream *stream, OpBuffer *b, const void *shape) {
    const int64_t *s = shape;
    quantise(stream, (Quantise){.x = b[0].device,
                                .y = b[1].device,
                                .slope = b[2].device,
                                .ids = b[3].device,
                                .samples = s[0],
                                .digits = s[1],
                                .places = s[2]});
}

static void call_code_values(Stream *stream, OpBuffer *b, const void *shape) {
    const int64_t *s = shape;
    code_values(
        stream,
        (CodeValues){
            .ids = b[0].device, .y = b[1].device, .samples = s[0], .digits = s[1], .places = s[2]});
}

static void test_codes_and_their_values(void) {
    static const int64_t shape[3] = {5, 4, 21};
    int64_t codes = shape[0] * shape[2], n = codes * shape[1];
    float *x = ops_numbers(n, 3), *y = ops_memory(n, 4), *slope = ops_memory(n, 4);
    float *back = ops_memory(n, 4);
    int32_t *ids = ops_memory(codes, 4), *expected = ops_memory(codes, 4);
    for (int64_t i = 0; i < n; ++i) x[i] *= 5;
    x[0] = 0, x[1] = -200, x[2] = 200;
    OpBuffer buffers[] = {{x, n, OP_IN, NULL, OP_F32},
                          {y, n, OP_OUT, NULL, OP_F32},
                          {slope, n, OP_OUT, NULL, OP_F32},
                          {ids, codes, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("quantise", call_quantise, shape, buffers, 4), 0);
    for (int64_t i = 0; i < n; ++i) {
        double bounded = tanh((double)x[i] / 2);
        int level = (int)fmin(floor((bounded + 1) * 2), 3);
        EXPECT(y[i] == (float)(level * 0.5 - 0.75));
        EXPECT_NEAR((double)slope[i], 0.5 * (1 - bounded * bounded), 1e-6);
        int64_t code = i / shape[2] / shape[1] * shape[2] + i % shape[2];
        expected[code] += level << (2 * (i / shape[2] % shape[1]));
    }
    for (int64_t i = 0; i < codes; ++i) EXPECT_EQ(ids[i], expected[i]);
    OpBuffer values[] = {{ids, codes, OP_IN, NULL, OP_F32}, {back, n, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("code_values", call_code_values, shape, values, 2), 0);
    EXPECT(memcmp(back, y, (size_t)n * 4) == 0);
    free(x), free(y), free(slope), free(back), free(ids), free(expected);
}

// ---- network ----------------------------------------------------------------------------------

static const NetworkConfig config = {.family = "fsq",
                                     .width = 12,
                                     .depth = 2,
                                     .heads = 3,
                                     .patch = PATCH,
                                     .mlp_ratio = 2,
                                     .codes = 16,
                                     .timestep_freq = "div-127"};
static const NetworkShape image = {.channels = CHANNELS,
                                   .height = HEIGHT,
                                   .width = WIDTH,
                                   .out_channels = OUT,
                                   .classes = 4,
                                   .autoencoder = true};

// The autoencoder, its halves as DiTs, and these in float64.
typedef struct {
    NetworkCase whole, encoder, decoder;
    ReferenceCase encode, decode;
    double *number; // the encoder's answer at the given weights
} Halves;

// Number of an image of `channels` where its patch has it: [channels * AREA, places].
static int64_t place_of(int64_t i, int64_t channels) {
    int64_t x = i % WIDTH, y = i / WIDTH % HEIGHT, c = i / WIDTH / HEIGHT % channels;
    int64_t sample = i / WIDTH / HEIGHT / channels;
    int64_t channel = c * AREA + y % PATCH * PATCH + x % PATCH;
    return (sample * channels * AREA + channel) * PLACES + y / PATCH * (WIDTH / PATCH) + x / PATCH;
}

static void open_half(NetworkCase *half, int32_t in, int32_t out, const float *weights) {
    NetworkConfig dit = config;
    NetworkShape shape = {
        .channels = in, .height = HEIGHT / PATCH, .width = WIDTH / PATCH, .out_channels = out};
    snprintf(dit.family, sizeof dit.family, "dit");
    dit.patch = 1;
    network_case_open(half, &dit, &shape, SAMPLES, 1);
    memcpy(half->weights, weights, (size_t)half->params.size * sizeof *weights);
}

static double value_of(double number) {
    return floor((tanh(number / 2) + 1) * 2) * 0.5 - 0.75;
}

static void open_halves(Halves *h) {
    network_case_open(&h->whole, &config, &image, SAMPLES, 7);
    open_half(&h->encoder, CHANNELS * AREA, DIGITS, h->whole.weights);
    open_half(&h->decoder, DIGITS, OUT * AREA, h->whole.weights + h->encoder.params.size);
    EXPECT_EQ(h->encoder.params.size + h->decoder.params.size, h->whole.params.size);
    for (int64_t i = 0; i < SAMPLES * h->whole.in_item; ++i)
        h->encoder.x[place_of(i, CHANNELS)] = h->whole.x[i];
    for (int64_t i = 0; i < SAMPLES * h->whole.out_item; ++i)
        h->decoder.direction[place_of(i, OUT)] = h->whole.direction[i];
    reference_case_open(&h->encoder, &h->encode);
    reference_case_open(&h->decoder, &h->decode);
    reference_forward(&h->encode.reference, h->encode.out);
    h->number = ops_memory(SAMPLES * DIGITS * PLACES, sizeof *h->number);
    for (int i = 0; i < SAMPLES * DIGITS * PLACES; ++i) {
        h->number[i] = h->encode.out[i];
        h->decode.x[i] = value_of(h->number[i]);
    }
}

static void close_halves(Halves *h) {
    reference_case_close(&h->encode), reference_case_close(&h->decode);
    network_case_close(&h->whole), network_case_close(&h->encoder), network_case_close(&h->decoder);
    free(h->number);
}

// The loss where the value moves as the bounded number does.
static double surrogate(Halves *h) {
    reference_forward(&h->encode.reference, h->encode.out);
    for (int i = 0; i < SAMPLES * DIGITS * PLACES; ++i)
        h->decode.x[i] =
            value_of(h->number[i]) + tanh(h->encode.out[i] / 2) - tanh(h->number[i] / 2);
    return reference_case_loss(&h->decoder, &h->decode);
}

static void test_pass_is_that_of_the_halves(void) {
    Halves h;
    open_halves(&h);
    reference_forward(&h.decode.reference, h.decode.out);
    NetworkResult result = network_case_run(&h.whole, (NetworkRunOptions){.backend = "cpu"});
    for (int64_t i = 0; i < SAMPLES * h.whole.out_item; ++i)
        EXPECT_NEAR((double)result.out[i], h.decode.out[place_of(i, OUT)], 6e-6);
    network_result_close(&result);
    close_halves(&h);
}

// Every stride-th number of `at` against `gradient`, relative to the largest slope.
static void check_slopes(Halves *h, double *at, const float *gradient, int64_t n,
                         const char *what) {
    double largest = 0, worst = 0, step = 1e-4;
    for (int64_t e = 0; e<n; e += n> 400 ? 37 : 1) {
        double was = at[e];
        at[e] = was + step;
        double above = surrogate(h);
        at[e] = was - step;
        double slope = (above - surrogate(h)) / (2 * step);
        at[e] = was;
        largest = fmax(largest, fabs(slope));
        worst = fmax(worst, fabs(slope - (double)gradient[e]));
    }
    ++test_checks;
    if (!(worst <= 1e-5 * largest + 1e-7) || largest == 0)
        TEST_FAIL("gradient of %s is off by %.3g, largest slope %.3g", what, worst, largest);
}

static void test_gradient_passes_the_rounding(void) {
    Halves h;
    open_halves(&h);
    NetworkResult result =
        network_case_run(&h.whole, (NetworkRunOptions){.backend = "late", .passes = 1});
    int64_t first = h.encoder.params.size;
    check_slopes(&h, h.encode.weights, result.grads, first, "the encoder");
    check_slopes(&h, h.decode.weights, result.grads + first, h.decoder.params.size, "the decoder");
    float *dx = ops_memory(SAMPLES * h.whole.in_item, sizeof *dx);
    for (int64_t i = 0; i < SAMPLES * h.whole.in_item; ++i)
        dx[place_of(i, CHANNELS)] = result.dx[i];
    check_slopes(&h, h.encode.x, dx, SAMPLES * h.whole.in_item, "the image");
    free(dx);
    network_result_close(&result);
    close_halves(&h);
}

// Both halves compute blocks again, to the same bits and in less memory.
static void test_recompute(void) {
    NetworkConfig deeper = config;
    NetworkResult kept = {0};
    size_t bytes[4];
    deeper.depth = 3;
    for (int32_t n = 0; n <= deeper.depth; ++n) {
        NetworkCase c;
        deeper.recompute = n;
        network_case_open(&c, &deeper, &image, SAMPLES, 7);
        NetworkResult result =
            network_case_run(&c, (NetworkRunOptions){.backend = "cpu", .passes = 2});
        bytes[n] = network_activation_bytes(c.network, SAMPLES, true);
        if (n == 0) kept = result;
        EXPECT(memcmp(kept.grads, result.grads, (size_t)c.params.size * sizeof(float)) == 0);
        EXPECT(memcmp(kept.dx, result.dx, (size_t)(SAMPLES * c.in_item) * sizeof(float)) == 0);
        if (n > 0) network_result_close(&result);
        network_case_close(&c);
    }
    network_result_close(&kept);
    EXPECT(bytes[1] == bytes[0] && bytes[2] < bytes[1]);
    EXPECT(bytes[2] - bytes[3] == bytes[1] - bytes[2]);
}

// ---- refusals ---------------------------------------------------------------------------------

static Status try_open(const NetworkConfig *given, const NetworkShape *shape) {
    Params params;
    Network *network = NULL;
    params_init(&params);
    Status status = network_open(given, shape, &params, &network);
    network_close(network);
    params_close(&params);
    return status;
}

static void test_refusals(void) {
    NetworkConfig wrong = config;
    NetworkShape shape = image;
    wrong.codes = 100;
    EXPECT_FAIL(try_open(&wrong, &image), BAD_CONFIG, "it must be 4, 16, 64, 256 or 1024");
    wrong = config;
    wrong.patch = 4;
    EXPECT_FAIL(try_open(&wrong, &image), BAD_CONFIG, "model.patch = 4");
    wrong = config;
    wrong.dropout = 0.1f;
    EXPECT_FAIL(try_open(&wrong, &image), BAD_CONFIG, "the fsq family has none");
    wrong = config;
    wrong.heads = 5;
    EXPECT_FAIL(try_open(&wrong, &image), BAD_CONFIG, "model.heads is 5");
    shape.autoencoder = false;
    EXPECT_FAIL(try_open(&config, &shape), BAD_CONFIG, "fsq and autoencoder go together");
    snprintf(wrong.family, sizeof wrong.family, "dit");
    EXPECT_FAIL(try_open(&wrong, &image), BAD_CONFIG, "fsq and autoencoder go together");
}

int main(void) {
    late_register();
    RUN(test_codes_and_their_values);
    RUN(test_pass_is_that_of_the_halves);
    RUN(test_gradient_passes_the_rounding);
    RUN(test_recompute);
    RUN(test_refusals);
    return test_report();
}
