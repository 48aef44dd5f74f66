// Operations of Gaussian diffusion: noise bit by bit against the generator one number at a time,
// losses against long double.
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
                           .weight = 0.5f + (float)i};
}

static GaussianLevel *levels(void) {
    static GaussianLevel row[SAMPLES];
    for (int i = 0; i < SAMPLES; ++i) row[i] = some_level(i);
    return row;
}

enum { LEVEL_WORDS = SAMPLES * sizeof(GaussianLevel) / 4 };

static void call_corrupt(Stream *stream, OpBuffer *b, const void *shape) {
    const RngKey *key = shape;
    gaussian_corrupt(stream, (Gaussian){.x_0 = b[0].device,
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
        OpBuffer b[] = {{x_0, N, OP_IN, NULL, OP_F32},
                        {sample_numbers, 2 * SAMPLES, OP_IN, NULL, OP_F32},
                        {levels(), LEVEL_WORDS, OP_IN, NULL, OP_F32},
                        {x_t, N, OP_OUT, NULL, OP_F32},
                        {with_target ? target : NULL, N, OP_OUT, NULL, OP_F32}};
        EXPECT_EQ(ops_run("gaussian_corrupt", call_corrupt, &key, b, 5), 0);
        EXPECT(!differ(x_t, expected, N));
    }
    EXPECT(!differ(target, expected_target, N));
    free(x_0), free(x_t), free(target), free(expected), free(expected_target);
}

static void call_prior(Stream *stream, OpBuffer *b, const void *shape) {
    const RngKey *key = shape;
    gaussian_prior(stream, (Gaussian){.sample = b[0].device,
                                      .x_t = b[1].device,
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
    OpBuffer b[] = {{sample_numbers, 2 * SAMPLES, OP_IN, NULL, OP_F32},
                    {x, N, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("gaussian_prior", call_prior, &key, b, 2), 0);
    EXPECT(!differ(x, expected, N));
    free(x), free(expected);
}

static void call_rescale(Stream *stream, OpBuffer *b, const void *shape) {
    const Rescale *args = shape;
    Rescale call = *args;
    call.x = call.y = b[0].device;
    call.sample = b[1].device;
    rescale(stream, call);
}

// In place, with and without the noise of a level's width.
static void test_rescale(void) {
    enum { N = SAMPLES * ITEM };
    for (int width = 0; width < 2; ++width) {
        Rescale args = {.samples = SAMPLES,
                        .item = ITEM,
                        .scale = 1.5f,
                        .width = 0.25f * (float)width,
                        .shift = -0.4f,
                        .key = rng_key(2, RNG_DEQUANTISE, 5)};
        float *x = ops_numbers(N, 31), *expected = ops_memory(N, 4);
        for (int64_t i = 0; i < N; ++i) {
            uint32_t bits[4];
            int64_t e = i % ITEM;
            rng_block(args.key, sample_numbers[i / ITEM], (uint32_t)(e / 4), bits);
            float at = width ? fmaf(args.width, rng_uniform(bits[e % 4]) - 0.5f, x[i]) : x[i];
            expected[i] = fmaf(args.scale, at, args.shift);
        }
        OpBuffer b[] = {{x, N, OP_INOUT, NULL, OP_F32},
                        {sample_numbers, 2 * SAMPLES, OP_IN, NULL, OP_F32}};
        EXPECT_EQ(ops_run("rescale", call_rescale, &args, b, 2), 0);
        EXPECT(!differ(x, expected, N));
        free(x), free(expected);
    }
}

static void call_logit(Stream *stream, OpBuffer *b, const void *shape) {
    const bool *inverse = shape;
    logit(stream,
          (Elementwise){
              .x = b[0].device, .y = b[0].device, .n = SAMPLES * ITEM, .inverse = *inverse});
}

// In place, both ways, also where the answer is next to 0 or 1.
static void test_logit(void) {
    enum { N = SAMPLES * ITEM };
    for (int inverse = 0; inverse < 2; ++inverse) {
        float *x = ops_numbers(N, 37);
        double *expected = ops_memory(N, 8);
        bool back = inverse == 1;
        for (int i = 0; i < N; ++i) {
            if (back)
                x[i] *= i % 2 == 0 ? 4.0f : 40.0f;
            else
                x[i] = 0.5f + 0.49f * tanhf(x[i]);
            double at = (double)x[i];
            expected[i] = back ? 1 / (1 + exp(-at)) : log(at / (1 - at));
        }
        OpBuffer b[] = {{x, N, OP_INOUT, NULL, OP_F32}};
        EXPECT_EQ(ops_run("logit", call_logit, &back, b, 1), 0);
        for (int i = 0; i < N; ++i)
            EXPECT_NEAR(x[i], expected[i], 6e-8 * fabs(expected[i]) + 1e-30);
        free(x), free(expected);
    }
}

typedef struct {
    double std;
    bool clip, in_place, has_variance;
    RngKey key;
} AdvanceShape;

static const GaussianVariance some_variance = {-1.5, 0.7, true};

static void call_advance(Stream *stream, OpBuffer *b, const void *shape) {
    const AdvanceShape *s = shape;
    gaussian_advance(stream, (GaussianAdvance){.x = b[0].device,
                                               .out = b[1].device,
                                               .sample = b[2].device,
                                               .next = s->in_place ? b[0].device : b[3].device,
                                               .samples = SAMPLES,
                                               .item = ITEM,
                                               .out_item = ITEM * (s->has_variance ? 2 : 1),
                                               .variance = some_variance,
                                               .has_variance = s->has_variance,
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
    int halves = shape->has_variance ? 2 : 1;
    float *x = ops_numbers(N, 3), *out = ops_numbers(halves * N, 4), *next = ops_memory(N, 4);
    float *expected = ops_memory(N, 4), *after = shape->in_place ? x : next;
    for (int64_t i = 0; i < N; ++i) {
        float y = out[i / ITEM * ITEM * halves + i % ITEM], hat = fmaf(1.1f, x[i], -0.7f * y);
        if (shape->clip) hat = fminf(fmaxf(hat, -1), 1);
        expected[i] = fmaf(0.6f, x[i], 0.3f * hat);
        if (shape->has_variance) {
            double v = (double)out[i / ITEM * ITEM * 2 + ITEM + i % ITEM];
            double variance = 1 / (1 + exp(1.5 - 0.7 * v));
            expected[i] +=
                (float)sqrt(variance) * normal_of(shape->key, sample_numbers[i / ITEM], i % ITEM);
        } else if (shape->std > 0)
            expected[i] =
                fmaf((float)shape->std, normal_of(shape->key, sample_numbers[i / ITEM], i % ITEM),
                     expected[i]);
    }
    OpBuffer b[] = {{x, N, shape->in_place ? OP_INOUT : OP_IN, NULL, OP_F32},
                    {out, halves * N, OP_IN, NULL, OP_F32},
                    {sample_numbers, 2 * SAMPLES, OP_IN, NULL, OP_F32},
                    {shape->in_place ? NULL : next, N, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("gaussian_advance", call_advance, shape, b, 4), 0);
    if (!shape->has_variance) EXPECT(!differ(after, expected, N));
    for (int64_t i = 0; i < N && shape->has_variance; ++i) EXPECT_NEAR(after[i], expected[i], 1e-6);
    free(x), free(out), free(next), free(expected);
}

static void test_gaussian_advance(void) {
    RngKey key = rng_key(1, RNG_ANCESTRAL, 17);
    check_advance(&(AdvanceShape){.key = key});
    check_advance(&(AdvanceShape){0.4, .clip = true, .key = key});
    check_advance(&(AdvanceShape){0.4, .in_place = true, .key = key});
    check_advance(&(AdvanceShape){.in_place = true, .has_variance = true, .key = key});
}

// ---- gaussian: loss and bound -----------------------------------------------------------------

static void call_loss(Stream *stream, OpBuffer *b, const void *shape) {
    const int64_t *item = shape;
    gaussian_loss(stream, (Gaussian){.out = b[0].device,
                                     .target = b[1].device,
                                     .level = b[2].device,
                                     .dout = b[3].device,
                                     .loss = b[4].device,
                                     .samples = SAMPLES,
                                     .item = *item});
}

static void loss_case(int64_t item) {
    int64_t N = SAMPLES * item;
    float *out = ops_numbers(N, 6), *target = ops_numbers(N, 7), *dout = ops_memory(N, 4);
    double *expected = ops_memory(N, sizeof *expected);
    double expected_loss[SAMPLES] = {0};
    float loss[SAMPLES], alone[SAMPLES];
    for (int64_t i = 0; i < N; ++i) {
        double weight = (double)levels()[i / item].weight, d = (double)out[i] - (double)target[i];
        expected[i] = 2 * weight * d;
        expected_loss[i / item] += weight * d * d;
    }
    for (int with_gradient = 1; with_gradient >= 0; --with_gradient) {
        OpBuffer b[] = {{out, N, OP_IN, NULL, OP_F32},
                        {target, N, OP_IN, NULL, OP_F32},
                        {levels(), LEVEL_WORDS, OP_IN, NULL, OP_F32},
                        {with_gradient ? dout : NULL, N, OP_OUT, NULL, OP_F32},
                        {with_gradient ? loss : alone, SAMPLES, OP_OUT, NULL, OP_F32}};
        EXPECT_EQ(ops_run("gaussian_loss", call_loss, &item, b, 5), 0);
    }
    EXPECT_ALL_NEAR(loss, expected_loss, SAMPLES, 1e-6);
    EXPECT_ALL_NEAR(dout, expected, N, 1e-6);
    EXPECT(!differ(loss, alone, SAMPLES));
    free(out), free(target), free(dout), free(expected);
}

// Also where a GPU takes a sample in pieces, and four numbers at once.
static void test_gaussian_loss(void) {
    static const int64_t items[] = {1, 37, ITEM, 5000, 70001};
    for (int i = 0; i < 5; ++i) loss_case(items[i]);
}

enum { PAIR_ITEM = 2071, PAIR_N = SAMPLES * PAIR_ITEM };

static void call_hat(Stream *stream, OpBuffer *b, const void *shape) {
    const bool *huber = shape;
    Gaussian args = {.x_t = b[0].device,
                     .out = b[1].device,
                     .level = b[2].device,
                     .target = b[3].device,
                     .dout = b[4].device,
                     .loss = b[5].device,
                     .samples = SAMPLES,
                     .item = PAIR_ITEM,
                     .std = 0.3f};
    if (*huber)
        gaussian_huber(stream, args);
    else
        gaussian_hat(stream, args);
}

static void test_gaussian_hat_and_huber(void) {
    enum { N = PAIR_N };
    float *x_t = ops_numbers(N, 11), *out = ops_numbers(N, 12), *target = ops_memory(N, 4);
    float *dout = ops_memory(N, 4), loss[SAMPLES];
    double *gap = ops_memory(N, sizeof *gap), square[SAMPLES] = {0}, expected_loss[SAMPLES];
    bool huber = false;
    OpBuffer b[] = {{x_t, N, OP_IN, NULL, OP_F32},
                    {out, N, OP_IN, NULL, OP_F32},
                    {levels(), LEVEL_WORDS, OP_IN, NULL, OP_F32},
                    {target, N, OP_OUT, NULL, OP_F32},
                    {NULL, N, OP_OUT, NULL, OP_F32},
                    {NULL, SAMPLES, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("gaussian_hat", call_hat, &huber, b, 6), 0);
    for (int64_t i = 0; i < N; ++i) {
        GaussianLevel l = levels()[i / PAIR_ITEM];
        double hat = (double)l.hat_x * (double)x_t[i] + (double)l.hat_out * (double)out[i];
        EXPECT_NEAR(target[i], hat, 2e-7);
        target[i] = 0.1f * (float)(i % 7);
        gap[i] = hat - (double)target[i];
        square[i / PAIR_ITEM] += gap[i] * gap[i];
    }
    for (int64_t i = 0; i < N; ++i) {
        GaussianLevel l = levels()[i / PAIR_ITEM];
        double c = (double)0.3f, root = sqrt(square[i / PAIR_ITEM] + c * c);
        expected_loss[i / PAIR_ITEM] = (double)l.weight * (root - c);
        gap[i] *= (double)l.weight * (double)l.hat_out / root;
    }
    huber = true;
    b[3].kind = OP_IN, b[4].host = dout, b[5].host = loss;
    EXPECT_EQ(ops_run("gaussian_huber", call_hat, &huber, b, 6), 0);
    EXPECT_ALL_NEAR(loss, expected_loss, SAMPLES, 3e-7 * expected_loss[SAMPLES - 1]);
    EXPECT_ALL_NEAR(dout, gap, N, 1e-8);
    b[4].host = NULL;
    EXPECT_EQ(ops_run("gaussian_huber", call_hat, &huber, b, 6), 0);
    EXPECT_ALL_NEAR(loss, expected_loss, SAMPLES, 3e-7 * expected_loss[SAMPLES - 1]);
    free(x_t), free(out), free(target), free(dout), free(gap);
}

// ---- a schedule that is learned ---------------------------------------------------------------

enum { FEATURES = 37, PARAMETERS = 5, SLOPES = 3 * PARAMETERS + FEATURES };

static void call_schedule(Stream *stream, OpBuffer *b, const void *shape) {
    const bool *accumulate = shape;
    schedule_grad(stream, (ScheduleGrad){.dx = b[0].device,
                                         .out = b[1].device,
                                         .target = b[2].device,
                                         .x_t = b[3].device,
                                         .x_0 = b[4].device,
                                         .dtime = b[5].device,
                                         .loss = b[6].device,
                                         .level = b[7].device,
                                         .slopes = b[8].device,
                                         .room = b[9].device,
                                         .grads = b[10].device,
                                         .samples = SAMPLES,
                                         .item = PAIR_ITEM,
                                         .features = FEATURES,
                                         .parameters = PARAMETERS,
                                         .by_x = 0.25f,
                                         .accumulate = *accumulate});
}

// The formula of model/ops.h; the second sample was left out.
static void schedule_reference(float *const x[5], const float *dtime, const double *slopes,
                               double grads[PARAMETERS]) {
    for (int s = 0; s < SAMPLES; s += 2) {
        double keep = (double)levels()[s].keep, noise = (double)levels()[s].noise, square = 0;
        double weight = (double)levels()[s].weight, by_g = 0;
        const double *row = slopes + (int64_t)s * SLOPES;
        for (int64_t i = s * PAIR_ITEM; i < (s + 1) * PAIR_ITEM; ++i) {
            double gap = (double)x[1][i] - (double)x[2][i];
            double eps = (double)x[2][i] + 0.25 * (double)x[3][i];
            by_g += ((double)x[0][i] + 2 * weight * 0.25 * gap) * keep * noise *
                    (keep * eps - noise * (double)x[4][i]) / 2;
            square += gap * gap;
        }
        for (int k = 0; k < FEATURES; ++k)
            by_g += (double)dtime[s * FEATURES + k] * row[3 * PARAMETERS + k];
        for (int k = 0; k < PARAMETERS; ++k)
            grads[k] += by_g * row[k] + square * row[PARAMETERS + k] + row[2 * PARAMETERS + k];
    }
}

static void test_schedule_grad(void) {
    float *x[5], *dtime = ops_numbers(SAMPLES * FEATURES, 26), loss[SAMPLES] = {1, 0, 2};
    double slopes[SAMPLES * SLOPES], room[PARAMETERS];
    for (int i = 0; i < 5; ++i) x[i] = ops_numbers(PAIR_N, 21 + (uint64_t)i);
    for (int i = 0; i < SAMPLES * SLOPES; ++i) slopes[i] = cos(i);
    for (int accumulate = 0; accumulate < 2; ++accumulate) {
        float grads[PARAMETERS] = {1, 2, 3, 4, 5};
        double expected[PARAMETERS] = {0};
        for (int k = 0; k < PARAMETERS && accumulate; ++k) expected[k] = (double)grads[k];
        schedule_reference(x, dtime, slopes, expected);
        bool adds = accumulate == 1;
        OpBuffer b[11] = {[5] = {dtime, SAMPLES * FEATURES, OP_IN, NULL, OP_F32},
                          [6] = {loss, SAMPLES, OP_IN, NULL, OP_F32},
                          [7] = {levels(), LEVEL_WORDS, OP_IN, NULL, OP_F32},
                          [8] = {slopes, 2 * SAMPLES * SLOPES, OP_IN, NULL, OP_F64},
                          [9] = {room, 2 * PARAMETERS, OP_OUT, NULL, OP_F64},
                          [10] = {grads, PARAMETERS, adds ? OP_INOUT : OP_OUT, NULL, OP_F32}};
        for (int i = 0; i < 5; ++i) b[i] = (OpBuffer){x[i], PAIR_N, OP_IN, NULL, OP_F32};
        EXPECT_EQ(ops_run("schedule_grad", call_schedule, &adds, b, 11), 0);
        EXPECT_ALL_NEAR(grads, expected, PARAMETERS, 1e-4);
    }
    for (int i = 0; i < 5; ++i) free(x[i]);
    free(dtime);
}

int main(void) {
    RUN(test_gaussian_corrupt_is_the_generator);
    RUN(test_gaussian_prior);
    RUN(test_rescale);
    RUN(test_logit);
    RUN(test_gaussian_advance);
    RUN(test_gaussian_loss);
    RUN(test_gaussian_hat_and_huber);
    RUN(test_schedule_grad);
    return test_report();
}
