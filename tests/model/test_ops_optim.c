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

typedef struct {
    int64_t n, chunk;
    bool wide;
} AddShape;

static void call_add_up(Stream *stream, OpBuffer *b, const void *shape) {
    const AddShape *s = shape;
    add_up(
        stream,
        (AddUp){
            .x = b[0].device, .sum = b[1].device, .n = s->n, .chunk = s->chunk, .wide = s->wide});
}

// In their order: here that alone decides what is left of the small ones.
static void test_add_up(void) {
    double wide[7] = {1e17, 1, -1e17, 3, 4, 5, 6}, sum[3];
    float narrow[7] = {16777216.0f, 1.0f, -16777216.0f, 3.0f, 4.0f, 5.0f, 6.5f};
    double of_wide[3] = {0, 12, 6}, of_narrow[3] = {1, 12, 6.5};
    for (int k = 0; k < 2; ++k) {
        AddShape shape = {7, 3, k == 1};
        OpBuffer b[] = {{k == 1 ? (void *)wide : narrow, k == 1 ? 14 : 7, OP_IN, NULL,
                         k == 1 ? OP_F64 : OP_F32},
                        {sum, 6, OP_OUT, NULL, OP_F64}};
        EXPECT_EQ(ops_run("add_up", call_add_up, &shape, b, 2), 0);
        for (int i = 0; i < 3; ++i) EXPECT(sum[i] == (k == 1 ? of_wide[i] : of_narrow[i]));
    }
}

static void call_grad_scale(Stream *stream, OpBuffer *b, const void *shape) {
    GradScale args = *(const GradScale *)shape;
    args.loss = b[0].device;
    args.square = b[1].device;
    args.lost = b[2].device;
    args.result = b[3].device;
    grad_scale(stream, args);
}

// Numbers whose sums are exact in any order.
static void test_grad_scale(void) {
    double loss[300], square[400], lost[6] = {2, 99, 0, 99, 1, 99}, out[GRAD_RESULTS];
    GradScale shape = {.losses = 300,
                       .squares = 400,
                       .ranks = 3,
                       .stride = 2,
                       .samples = 19,
                       .terms = 10,
                       .clip = 0};
    for (int i = 0; i < 300; ++i) loss[i] = i + 0.25;
    for (int i = 0; i < 400; ++i) square[i] = 64;
    OpBuffer b[] = {{loss, 600, OP_IN, NULL, OP_F64},
                    {square, 800, OP_IN, NULL, OP_F64},
                    {lost, 12, OP_IN, NULL, OP_F64},
                    {out, 2 * GRAD_RESULTS, OP_OUT, NULL, OP_F64}};
    EXPECT_EQ(ops_run("grad_scale", call_grad_scale, &shape, b, 4), 0);
    EXPECT(out[GRAD_ITEMS] == 160 && out[GRAD_LOSS] == 299 * 150 + 75);
    EXPECT(out[GRAD_NORM] == 1 && out[GRAD_SCALE] == 1.0 / 160);
    shape.clip = 0.25; // a quarter of the norm
    EXPECT_EQ(ops_run("grad_scale", call_grad_scale, &shape, b, 4), 0);
    EXPECT(out[GRAD_NORM] == 1 && out[GRAD_SCALE] == 0.25 / 160);
    shape.samples = 2; // all are lost
    EXPECT_EQ(ops_run("grad_scale", call_grad_scale, &shape, b, 4), 0);
    EXPECT(out[GRAD_ITEMS] == 10);
    loss[299] = NAN;
    EXPECT_EQ(ops_run("grad_scale", call_grad_scale, &shape, b, 4), 0);
    EXPECT(out[GRAD_SCALE] == 0 && out[GRAD_NORM] == 16 && isnan(out[GRAD_LOSS]));
    loss[299] = 0, square[399] = INFINITY;
    EXPECT_EQ(ops_run("grad_scale", call_grad_scale, &shape, b, 4), 0);
    EXPECT(out[GRAD_SCALE] == 0 && isinf(out[GRAD_NORM]));
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
    int scale; // buffer of the scale
} AdamwShape;

static AdamwEma adamw_numbers(int step) {
    return (AdamwEma){.lr = 1e-2f,
                      .beta1 = 0.9f,
                      .beta2 = 0.99f,
                      .eps = 1e-8f,
                      .decay = 0.1f,
                      .correct1 = (float)(1 / (1 - pow(0.9, step))),
                      .correct2 = (float)(1 / (1 - pow(0.99, step))),
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
    args.grad_scale = b[s->scale].device;
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
        AdamwShape shape = {N, step, step % 2 == 0, step % 2 == 0 ? 7 : 6};
        double scale = 0.5;
        uint16_t half[N], rounded[N];
        OpBuffer b[] = {{grad, N, OP_IN, NULL, OP_F32},       {w, N, OP_INOUT, NULL, OP_F32},
                        {m, N, OP_INOUT, NULL, OP_F32},       {v, N, OP_INOUT, NULL, OP_F32},
                        {ema_0, N, OP_INOUT, NULL, OP_F32},   {ema_1, N, OP_INOUT, NULL, OP_F32},
                        {half, N / 2, OP_OUT, NULL, OP_HALF}, {&scale, 2, OP_IN, NULL, OP_F64}};
        if (!shape.half) b[6] = b[7];
        EXPECT_EQ(ops_run("adamw_ema", call_adamw, &shape, b, shape.scale + 1), 0);
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

// A scale of 0, also one that fp32 takes for 0: nothing is touched, whatever the gradient is.
static void test_adamw_ema_skips(void) {
    enum { N = 40 };
    for (int k = 0; k < 2; ++k) {
        float x[6][N], before[6][N];
        for (int i = 0; i < 6 * N; ++i) x[i / N][i % N] = i % 7 == 3 ? NAN : (float)i - 9.0f;
        memcpy(before, x, sizeof x);
        double scale = k == 0 ? 0 : 1e-60;
        uint16_t half[N] = {1, 2, 3};
        AdamwShape shape = {N, 1, true, 7};
        OpBuffer b[] = {{x[0], N, OP_IN, NULL, OP_F32},         {x[1], N, OP_INOUT, NULL, OP_F32},
                        {x[2], N, OP_INOUT, NULL, OP_F32},      {x[3], N, OP_INOUT, NULL, OP_F32},
                        {x[4], N, OP_INOUT, NULL, OP_F32},      {x[5], N, OP_INOUT, NULL, OP_F32},
                        {half, N / 2, OP_INOUT, NULL, OP_HALF}, {&scale, 2, OP_IN, NULL, OP_F64}};
        EXPECT_EQ(ops_run("adamw_ema", call_adamw, &shape, b, 8), 0);
        EXPECT(memcmp(before, x, sizeof x) == 0);
        EXPECT(half[0] == 1 && half[2] == 3 && half[N - 1] == 0);
    }
}

int main(void) {
    RUN(test_exp_and_log_are_accurate);
    RUN(test_axpby);
    RUN(test_axpby_adds_exactly_rounded);
    RUN(test_sum_squares);
    RUN(test_add_up);
    RUN(test_grad_scale);
    RUN(test_fingerprint);
    RUN(test_dropout);
    RUN(test_adamw_ema);
    RUN(test_adamw_ema_skips);
    return test_report();
}
