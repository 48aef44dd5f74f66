// Operations over long vectors: sums, norm, fingerprint, dropout, the optimizer.
#include "model/math/f64.h"
#include "tests/model/support_ops.h"
#include "tests/test.h"

// ---- functions of one number ------------------------------------------------------------------

static void test_exp_and_log_are_accurate(void) {
    double worst_exp = 0, worst_log = 0;
    for (double x = -700; x <= 0; x += 0.00731) {
        double expected = exp(x);
        worst_exp = fmax(worst_exp, fabs(exp_f64(x) - expected) / expected);
        double y = expected * 3.7;
        worst_log = fmax(worst_log, fabs(log_f64(y) - log(y)) / (1 + fabs(log(y))));
    }
    for (double y = 0.3; y < 3; y += 1e-5)
        worst_log = fmax(worst_log, fabs(log_f64(y) - log(y)) / (1 + fabs(log(y))));
    EXPECT(worst_exp < 4e-16);
    EXPECT(worst_log < 4e-16);
    EXPECT(exp_f64(0) == 1 && log_f64(1) == 0);
    EXPECT(isnan(exp_f64(NAN)) && isnan(log_f64(NAN)));
    EXPECT(exp_f64(-1e300) > 0 && exp_f64(-1e300) < 1e-300);
}

// ---- axpby ------------------------------------------------------------------------------------

typedef struct {
    int64_t n;
    float a, b;
    bool in_place;
} AxpbyShape;

static void call_axpby(Stream *stream, OpBuffer *b, const void *shape) {
    const AxpbyShape *s = shape;
    axpby(stream, (Elementwise){.x = s->in_place ? b[1].device : b[0].device,
                                .y = b[1].device,
                                .n = s->n,
                                .a = s->a,
                                .b = s->b});
}

static void test_axpby(void) {
    static const AxpbyShape shapes[] = {
        {1000, 1, 1, false}, {37, 0.3f, -2, false}, {1000, 0.5f, 0, false}, {999, 2, 0.25f, true}};
    for (int i = 0; i < 4; ++i) {
        const AxpbyShape *s = &shapes[i];
        float *x = ops_numbers(s->n, 1), *y = ops_numbers(s->n, 2);
        if (s->b == 0) y[3] = NAN; // what is there does not matter
        double *expected = ops_memory(s->n, sizeof *expected);
        for (int64_t k = 0; k < s->n; ++k) {
            double other = s->b == 0 ? 0 : (double)s->b * (double)y[k];
            expected[k] = (double)s->a * (double)(s->in_place ? y : x)[k] + other;
        }
        OpBuffer b[] = {{x, s->n, OP_IN, NULL, OP_F32}, {y, s->n, OP_INOUT, NULL, OP_F32}};
        EXPECT_EQ(ops_run("axpby", call_axpby, s, b, 2), 0);
        EXPECT_ALL_NEAR(y, expected, s->n, 2e-7);
        free(x), free(y), free(expected);
    }
}

// The tree sum of gradients: left + right, rounded once, in either order.
static void test_axpby_adds_exactly_rounded(void) {
    AxpbyShape shape = {100, 1, 1, false};
    float *x = ops_numbers(100, 3), *y = ops_numbers(100, 4), expected[100];
    for (int i = 0; i < 100; ++i) expected[i] = y[i] + x[i];
    OpBuffer b[] = {{x, 100, OP_IN, NULL, OP_F32}, {y, 100, OP_INOUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("axpby", call_axpby, &shape, b, 2), 0);
    EXPECT(memcmp(y, expected, sizeof expected) == 0);
    free(x), free(y);
}

// ---- sums -------------------------------------------------------------------------------------

typedef struct {
    int64_t n, chunk;
} SumShape;

static void call_sum_squares(Stream *stream, OpBuffer *b, const void *shape) {
    const SumShape *s = shape;
    sum_squares(stream,
                (SumSquares){.x = b[0].device, .sum = b[1].device, .n = s->n, .chunk = s->chunk});
}

static void test_sum_squares(void) {
    SumShape shape = {10007, 1000};
    float *x = ops_numbers(shape.n, 5);
    x[17] = 3e20f; // its square is no fp32 number
    double sum[11], expected[11] = {0};
    for (int64_t i = 0; i < shape.n; ++i) expected[i / 1000] += (double)x[i] * (double)x[i];
    OpBuffer b[] = {{x, shape.n, OP_IN, NULL, OP_F32}, {sum, 22, OP_OUT, NULL, OP_F64}};
    EXPECT_EQ(ops_run("sum_squares", call_sum_squares, &shape, b, 2), 0);
    for (int i = 0; i < 11; ++i) EXPECT_NEAR(sum[i], expected[i], 1e-13 * expected[i]);
    x[5000] = INFINITY;
    EXPECT_EQ(ops_run("sum_squares", call_sum_squares, &shape, b, 2), 0);
    EXPECT(isinf(sum[5]) && isfinite(sum[4]));
    free(x);
}

static void call_fingerprint(Stream *stream, OpBuffer *b, const void *shape) {
    const SumShape *s = shape;
    fingerprint(stream,
                (Fingerprint){
                    .x = b[0].device, .sum = b[1].device, .n = s->n, .first = (uint64_t)s->chunk});
}

static uint64_t print_of(float *x, int64_t n, int64_t first) {
    SumShape shape = {n, first};
    uint64_t sum;
    OpBuffer b[] = {{x, n, OP_IN, NULL, OP_F32}, {&sum, 2, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("fingerprint", call_fingerprint, &shape, b, 2), 0);
    return sum;
}

static void test_fingerprint(void) {
    float *x = ops_numbers(1003, 6);
    uint64_t expected = 0;
    for (int i = 0; i < 1003; ++i) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        expected += mix_element(500 + (uint64_t)i, bits);
    }
    uint64_t whole = print_of(x, 1003, 500);
    EXPECT(whole == expected);
    EXPECT(print_of(x, 400, 500) + print_of(x + 400, 603, 900) == whole);
    x[7] = -x[7];
    EXPECT(print_of(x, 1003, 500) != whole);
    free(x);
}

// ---- dropout ----------------------------------------------------------------------------------

typedef struct {
    float rate;
    bool in_place;
} DropoutShape;

enum { SAMPLES = 3, ITEM = 333, DROPOUT_N = SAMPLES * ITEM };

static void call_dropout(Stream *stream, OpBuffer *b, const void *shape) {
    const DropoutShape *s = shape;
    dropout(stream, (Dropout){.x = s->in_place ? b[2].device : b[0].device,
                              .sample = b[1].device,
                              .y = b[2].device,
                              .samples = SAMPLES,
                              .item = ITEM,
                              .rate = s->rate,
                              .key = rng_key(2, RNG_DROPOUT, 5 << 8 | 3)});
}

static void test_dropout(void) {
    uint64_t sample[SAMPLES] = {4, 1, (uint64_t)1 << 47};
    for (int in_place = 0; in_place < 2; ++in_place) {
        DropoutShape shape = {0.3f, in_place};
        float *x = ops_numbers(DROPOUT_N, 7), *y = ops_numbers(DROPOUT_N, 7);
        OpBuffer b[] = {{x, DROPOUT_N, OP_IN, NULL, OP_F32},
                        {sample, 2 * SAMPLES, OP_IN, NULL, OP_F32},
                        {y, DROPOUT_N, OP_INOUT, NULL, OP_F32}};
        EXPECT_EQ(ops_run("dropout", call_dropout, &shape, b, 3), 0);
        int wrong = 0, kept = 0;
        for (int64_t i = 0; i < DROPOUT_N; ++i) {
            uint32_t bits[4];
            rng_block(rng_key(2, RNG_DROPOUT, 5 << 8 | 3), sample[i / ITEM],
                      (uint32_t)(i % ITEM / 4), bits);
            bool keep = rng_uniform(bits[i % ITEM % 4]) >= 0.3f;
            wrong += y[i] != (keep ? x[i] * (1 / (1 - 0.3f)) : 0.0f);
            kept += keep;
        }
        EXPECT_EQ(wrong, 0);
        EXPECT_NEAR(kept / (double)DROPOUT_N, 0.7, 0.06); // 4 standard deviations
        free(x), free(y);
    }
}

// ---- optimizer --------------------------------------------------------------------------------

typedef struct {
    int64_t n;
    int step;
    bool half; // the weights are wanted as bf16, too
} AdamwShape;

static AdamwEma adamw_numbers(int step) {
    return (AdamwEma){.lr = 1e-2f,
                      .beta1 = 0.9f,
                      .beta2 = 0.99f,
                      .eps = 1e-8f,
                      .decay = 0.1f,
                      .correct1 = (float)(1 / (1 - pow(0.9, step))),
                      .correct2 = (float)(1 / (1 - pow(0.99, step))),
                      .grad_scale = 0.5f,
                      .ema_rate_0 = 0.25f,
                      .ema_rate_1 = 1e-3f};
}

static void call_adamw(Stream *stream, OpBuffer *b, const void *shape) {
    const AdamwShape *s = shape;
    AdamwEma args = adamw_numbers(s->step);
    args.grad = b[0].device;
    args.w = b[1].device;
    args.m = b[2].device;
    args.v = b[3].device;
    args.ema_0 = b[4].device;
    args.ema_1 = b[5].device;
    args.half = s->half ? b[6].device : NULL;
    args.n = s->n;
    adamw_ema(stream, args);
}

// Ties go to the even one.
static uint16_t nearest_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Several steps against the paper's algorithm in float64, for which m and v are kept separately.
static void test_adamw_ema(void) {
    enum { N = 1204, STEPS = 5 };
    float *w = ops_numbers(N, 8), *m = ops_memory(N, 4), *v = ops_memory(N, 4);
    float *ema_0 = ops_numbers(N, 8), *ema_1 = ops_numbers(N, 8);
    double rw[N], rm[N] = {0}, rv[N] = {0}, r0[N], r1[N];
    for (int i = 0; i < N; ++i) rw[i] = r0[i] = r1[i] = (double)w[i];
    for (int step = 1; step <= STEPS; ++step) {
        float *grad = ops_numbers(N, 100 + (uint64_t)step);
        grad[0] = 0;
        for (int i = 0; i < N; ++i) {
            double g = 0.5 * (double)grad[i];
            rm[i] = 0.9 * rm[i] + 0.1 * g;
            rv[i] = 0.99 * rv[i] + 0.01 * g * g;
            double mean = rm[i] / (1 - pow(0.9, step)), square = rv[i] / (1 - pow(0.99, step));
            rw[i] -= 1e-2 * (mean / (sqrt(square) + 1e-8) + 0.1 * rw[i]);
            r0[i] += 0.25 * (rw[i] - r0[i]);
            r1[i] += 1e-3 * (rw[i] - r1[i]);
        }
        AdamwShape shape = {N, step, step % 2 == 0};
        uint16_t half[N], rounded[N];
        OpBuffer b[] = {{grad, N, OP_IN, NULL, OP_F32},      {w, N, OP_INOUT, NULL, OP_F32},
                        {m, N, OP_INOUT, NULL, OP_F32},      {v, N, OP_INOUT, NULL, OP_F32},
                        {ema_0, N, OP_INOUT, NULL, OP_F32},  {ema_1, N, OP_INOUT, NULL, OP_F32},
                        {half, N / 2, OP_OUT, NULL, OP_HALF}};
        EXPECT_EQ(ops_run("adamw_ema", call_adamw, &shape, b, shape.half ? 7 : 6), 0);
        for (int i = 0; i < N; ++i) rounded[i] = nearest_half(w[i]);
        EXPECT(!shape.half || memcmp(half, rounded, sizeof half) == 0);
        free(grad);
    }
    EXPECT_ALL_NEAR(w, rw, N, 1e-6);
    EXPECT_ALL_NEAR(m, rm, N, 1e-6);
    EXPECT_ALL_NEAR(v, rv, N, 1e-6);
    EXPECT_ALL_NEAR(ema_0, r0, N, 1e-6);
    EXPECT_ALL_NEAR(ema_1, r1, N, 1e-6);
    free(w), free(m), free(v), free(ema_0), free(ema_1);
}

int main(void) {
    RUN(test_exp_and_log_are_accurate);
    RUN(test_axpby);
    RUN(test_axpby_adds_exactly_rounded);
    RUN(test_sum_squares);
    RUN(test_fingerprint);
    RUN(test_dropout);
    RUN(test_adamw_ema);
    return test_report();
}
