// Operations of Gaussian diffusion: noise bit by bit against the generator one number at a time,
// losses and bounds against long double.
#include <math.h>

#include "tests/model/support_ops.h"
#include "tests/test.h"

// Odd sizes, and sample numbers that need more than 32 bits.
enum { SAMPLES = 3, ITEM = 333 };
static uint64_t sample_numbers[SAMPLES] = {0, 77, ((uint64_t)1 << 40) + 5};

static float normal_of(RngKey key, uint64_t sample, int64_t element) {
    uint32_t bits[4];
    rng_block(key, sample, (uint32_t)(element / 4), bits);
    return rng_normal(bits[element % 4]);
}

static int differ(const float *a, const float *b, int64_t n) {
    return memcmp(a, b, (size_t)n * sizeof *a) != 0;
}

// ---- gaussian: corruption, prior, steps -------------------------------------------------------

static GaussianLevel some_level(int i) {
    return (GaussianLevel){.keep = 0.9f - 0.3f * (float)i,
                           .noise = 0.2f + 0.3f * (float)i,
                           .target_x0 = -0.5f,
                           .target_eps = 0.8f,
                           .hat_x = 1.25f,
                           .hat_out = -0.75f + 0.1f * (float)i,
                           .weight = 0.5f + (float)i,
                           .std = 0.01f,
                           .error_scale = 3,
                           .error_offset = 7};
}

static GaussianLevel *levels(void) {
    static GaussianLevel row[SAMPLES];
    for (int i = 0; i < SAMPLES; ++i) row[i] = some_level(i);
    return row;
}

enum { LEVEL_WORDS = SAMPLES * sizeof(GaussianLevel) / 4 };

static void call_corrupt(Stream *stream, OpBuffer *b, const void *shape) {
    const RngKey *key = shape;
    gaussian_corrupt(stream, (GaussianCorrupt){.x_0 = b[0].device,
                                               .sample = b[1].device,
                                               .level = b[2].device,
                                               .x_t = b[3].device,
                                               .target = b[4].device,
                                               .samples = SAMPLES,
                                               .item = ITEM,
                                               .key = *key});
}

static void test_gaussian_corrupt_is_the_generator(void) {
    RngKey key = rng_key(5, RNG_NOISE, ((uint64_t)1 << 33) + 3);
    enum { N = SAMPLES * ITEM };
    float *x_0 = ops_numbers(N, 1), *x_t = ops_memory(N, 4), *target = ops_memory(N, 4);
    float *expected = ops_memory(N, 4), *expected_target = ops_memory(N, 4);
    for (int64_t s = 0; s < SAMPLES; ++s)
        for (int64_t e = 0; e < ITEM; ++e) {
            GaussianLevel l = levels()[s];
            float eps = normal_of(key, sample_numbers[s], e), x = x_0[s * ITEM + e];
            expected[s * ITEM + e] = fmaf(l.noise, eps, l.keep * x);
            expected_target[s * ITEM + e] = fmaf(l.target_eps, eps, l.target_x0 * x);
        }
    for (int with_target = 0; with_target < 2; ++with_target) {
        OpBuffer b[] = {{x_0, N, OP_IN, NULL},
                        {sample_numbers, 2 * SAMPLES, OP_IN, NULL},
                        {levels(), LEVEL_WORDS, OP_IN, NULL},
                        {x_t, N, OP_OUT, NULL},
                        {with_target ? target : NULL, N, OP_OUT, NULL}};
        EXPECT_EQ(ops_run("gaussian_corrupt", call_corrupt, &key, b, 5), 0);
        EXPECT(!differ(x_t, expected, N));
    }
    EXPECT(!differ(target, expected_target, N));
    free(x_0), free(x_t), free(target), free(expected), free(expected_target);
}

static void call_prior(Stream *stream, OpBuffer *b, const void *shape) {
    const RngKey *key = shape;
    gaussian_prior(stream, (GaussianPrior){.sample = b[0].device,
                                           .x = b[1].device,
                                           .samples = SAMPLES,
                                           .item = ITEM,
                                           .std = 3,
                                           .key = *key});
}

static void test_gaussian_prior(void) {
    RngKey key = rng_key(9, RNG_PRIOR, 0);
    enum { N = SAMPLES * ITEM };
    float *x = ops_memory(N, 4), *expected = ops_memory(N, 4);
    for (int64_t i = 0; i < N; ++i)
        expected[i] = 3.0f * normal_of(key, sample_numbers[i / ITEM], i % ITEM);
    OpBuffer b[] = {{sample_numbers, 2 * SAMPLES, OP_IN, NULL}, {x, N, OP_OUT, NULL}};
    EXPECT_EQ(ops_run("gaussian_prior", call_prior, &key, b, 2), 0);
    EXPECT(!differ(x, expected, N));
    free(x), free(expected);
}

typedef struct {
    double std;
    bool clip, in_place;
    RngKey key;
} AdvanceShape;

static void call_advance(Stream *stream, OpBuffer *b, const void *shape) {
    const AdvanceShape *s = shape;
    gaussian_advance(stream, (GaussianAdvance){.x = b[0].device,
                                               .out = b[1].device,
                                               .sample = b[2].device,
                                               .next = s->in_place ? b[0].device : b[3].device,
                                               .samples = SAMPLES,
                                               .item = ITEM,
                                               .hat_x = 1.1,
                                               .hat_out = -0.7,
                                               .by_x = 0.6,
                                               .by_x0 = 0.3,
                                               .std = s->std,
                                               .clip = s->clip,
                                               .key = s->key});
}

static void check_advance(const AdvanceShape *shape) {
    enum { N = SAMPLES * ITEM };
    float *x = ops_numbers(N, 3), *out = ops_numbers(N, 4), *next = ops_memory(N, 4);
    float *expected = ops_memory(N, 4);
    for (int64_t i = 0; i < N; ++i) {
        float hat = fmaf(1.1f, x[i], -0.7f * out[i]);
        if (shape->clip) hat = fminf(fmaxf(hat, -1), 1);
        expected[i] = fmaf(0.6f, x[i], 0.3f * hat);
        if (shape->std > 0)
            expected[i] =
                fmaf((float)shape->std, normal_of(shape->key, sample_numbers[i / ITEM], i % ITEM),
                     expected[i]);
    }
    OpBuffer b[] = {{x, N, shape->in_place ? OP_INOUT : OP_IN, NULL},
                    {out, N, OP_IN, NULL},
                    {sample_numbers, 2 * SAMPLES, OP_IN, NULL},
                    {shape->in_place ? NULL : next, N, OP_OUT, NULL}};
    EXPECT_EQ(ops_run("gaussian_advance", call_advance, shape, b, 4), 0);
    EXPECT(!differ(shape->in_place ? x : next, expected, N));
    free(x), free(out), free(next), free(expected);
}

static void test_gaussian_advance(void) {
    RngKey key = rng_key(1, RNG_ANCESTRAL, 17);
    check_advance(&(AdvanceShape){0, false, false, key});
    check_advance(&(AdvanceShape){0.4, true, false, key});
    check_advance(&(AdvanceShape){0.4, false, true, key});
}

// ---- gaussian: loss and bound -----------------------------------------------------------------

static void call_loss(Stream *stream, OpBuffer *b, const void *shape) {
    (void)shape;
    gaussian_loss(stream, (GaussianLoss){.out = b[0].device,
                                         .target = b[1].device,
                                         .level = b[2].device,
                                         .dout = b[3].device,
                                         .loss = b[4].device,
                                         .samples = SAMPLES,
                                         .item = ITEM});
}

static void test_gaussian_loss(void) {
    enum { N = SAMPLES * ITEM };
    float *out = ops_numbers(N, 6), *target = ops_numbers(N, 7), *dout = ops_memory(N, 4);
    double *expected = ops_memory(N, sizeof *expected);
    double expected_loss[SAMPLES] = {0};
    float loss[SAMPLES], alone[SAMPLES];
    for (int64_t i = 0; i < N; ++i) {
        double weight = (double)levels()[i / ITEM].weight, d = (double)out[i] - (double)target[i];
        expected[i] = 2 * weight * d;
        expected_loss[i / ITEM] += weight * d * d;
    }
    for (int with_gradient = 1; with_gradient >= 0; --with_gradient) {
        OpBuffer b[] = {{out, N, OP_IN, NULL},
                        {target, N, OP_IN, NULL},
                        {levels(), LEVEL_WORDS, OP_IN, NULL},
                        {with_gradient ? dout : NULL, N, OP_OUT, NULL},
                        {with_gradient ? loss : alone, SAMPLES, OP_OUT, NULL}};
        EXPECT_EQ(ops_run("gaussian_loss", call_loss, NULL, b, 5), 0);
    }
    EXPECT_ALL_NEAR(loss, expected_loss, SAMPLES, 1e-6);
    EXPECT_ALL_NEAR(dout, expected, N, 1e-6);
    EXPECT(!differ(loss, alone, SAMPLES));
    free(out), free(target), free(dout), free(expected);
}

typedef struct {
    int64_t samples, item;
    bool clip;
} ErrorShape;

static void call_error(Stream *stream, OpBuffer *b, const void *shape) {
    const ErrorShape *s = shape;
    gaussian_error(stream, (GaussianError){.x_0 = b[0].device,
                                           .x_t = b[1].device,
                                           .out = b[2].device,
                                           .level = b[3].device,
                                           .error = b[4].device,
                                           .samples = s->samples,
                                           .item = s->item,
                                           .clip = s->clip});
}

static void test_gaussian_error(void) {
    enum { N = SAMPLES * ITEM };
    float *x_0 = ops_numbers(N, 11), *x_t = ops_numbers(N, 12), *out = ops_numbers(N, 13);
    for (int clip = 0; clip < 2; ++clip) {
        double expected[SAMPLES] = {0}, error[SAMPLES];
        for (int64_t i = 0; i < N; ++i) {
            GaussianLevel l = levels()[i / ITEM];
            double hat = (double)l.hat_x * (double)x_t[i] + (double)l.hat_out * (double)out[i];
            if (clip) hat = fmin(fmax(hat, -1), 1);
            expected[i / ITEM] += ((double)x_0[i] - hat) * ((double)x_0[i] - hat);
        }
        ErrorShape shape = {SAMPLES, ITEM, clip};
        OpBuffer b[] = {{x_0, N, OP_IN, NULL},
                        {x_t, N, OP_IN, NULL},
                        {out, N, OP_IN, NULL},
                        {levels(), LEVEL_WORDS, OP_IN, NULL},
                        {error, 2 * SAMPLES, OP_OUT, NULL}};
        EXPECT_EQ(ops_run("gaussian_error", call_error, &shape, b, 5), 0);
        for (int s = 0; s < SAMPLES; ++s)
            EXPECT_NEAR(error[s], 7 + 3 * expected[s], 1e-5 * expected[s]);
    }
    free(x_0), free(x_t), free(out);
}

// -log P of each of the 256 levels, as 256 samples of one element.
static void decode_all(float mean, float std, double nats[256]) {
    static float x_0[256], x_t[256], out[256];
    static GaussianLevel level[256];
    for (int v = 0; v < 256; ++v) {
        x_0[v] = (float)v / 127.5f - 1;
        out[v] = mean;
        level[v] = (GaussianLevel){.hat_out = 1, .std = std, .decode = 1};
    }
    ErrorShape shape = {256, 1, false};
    OpBuffer b[] = {{x_0, 256, OP_IN, NULL},
                    {x_t, 256, OP_IN, NULL},
                    {out, 256, OP_IN, NULL},
                    {level, 256 * sizeof *level / 4, OP_IN, NULL},
                    {nats, 512, OP_OUT, NULL}};
    EXPECT_EQ(ops_run("gaussian_error", call_error, &shape, b, 5), 0);
}

static long double upper_tail(long double z) {
    return erfcl(z * (long double)M_SQRT1_2) / 2;
}

// By tails in long double, whose range reaches 150 deviations.
static double mass_reference(int v, float mean, float std) {
    long double center = v / 127.5L - 1, half = 1 / 255.0L;
    long double low = v == 0 ? -INFINITY : (center - half - mean) / std;
    long double high = v == 255 ? INFINITY : (center + half - mean) / std;
    if (low > 0) return (double)-logl(upper_tail(low) - upper_tail(high));
    if (high < 0) return (double)-logl(upper_tail(-high) - upper_tail(-low));
    return (double)-logl(1 - upper_tail(-low) - upper_tail(high));
}

static void test_decoder_masses(void) {
    static const float means[] = {0, -1, 0.9973f, 0.31f, 1.2f}, stds[] = {0.0064f, 0.02f, 0.5f};
    for (int m = 0; m < 5; ++m)
        for (int s = 0; s < 3; ++s) {
            double nats[256], total = 0;
            decode_all(means[m], stds[s], nats);
            for (int v = 0; v < 256; ++v) {
                total += exp(-nats[v]);
                double expected = mass_reference(v, means[m], stds[s]);
                if (expected > 11000) continue; // the reference ends here
                EXPECT_NEAR(nats[v], expected, 1e-9 * (1 + expected));
            }
            EXPECT_NEAR(total, 1, 1e-12);
        }
}

static void test_decoder_far_tails(void) {
    double nats[256];
    decode_all(-1, 0.0064f, nats);
    EXPECT(isfinite(nats[255]));
    double z = (2 - 1 / 255.0) / (double)0.0064f; // leading terms of the tail
    EXPECT_NEAR(nats[255], z * z / 2 + log(z) + 0.5 * log(2 * M_PI), 1e-3);
    for (int v = 2; v < 256; ++v) EXPECT(nats[v] > nats[v - 1] || v == 255);
    decode_all(0, 1e-4f, nats);
    for (int v = 0; v < 256; ++v) EXPECT(isfinite(nats[v]) && nats[v] >= 0);
}

int main(void) {
    RUN(test_gaussian_corrupt_is_the_generator);
    RUN(test_gaussian_prior);
    RUN(test_gaussian_advance);
    RUN(test_gaussian_loss);
    RUN(test_gaussian_error);
    RUN(test_decoder_masses);
    RUN(test_decoder_far_tails);
    return test_report();
}
