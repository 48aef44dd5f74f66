// Products of matrices by oneDNN, and on tiles where this processor has them, against sums in
// float64 of the same operands.
#include "model/cpu/amx.h"
#include "model/cpu/kernels/half.h"
#include "model/cpu/product.h"
#include "tests/model/support_ops.h"
#include "tests/test.h"

static ProductCache *library;
static AmxRoom *tiles; // NULL: there are none

// An operand: numbers in float64, and as the product reads them.
typedef struct {
    double *wide;
    void *stored;
} Operand;

static Operand operand_open(int64_t n, bool half, uint64_t seed) {
    float *x = ops_numbers(n, seed);
    uint16_t *rounded = ops_memory(n, sizeof *rounded);
    Operand operand = {ops_memory(n, sizeof *operand.wide), half ? (void *)rounded : x};
    for (int64_t i = 0; i < n; ++i) {
        rounded[i] = half_round(x[i]);
        operand.wide[i] = half ? half_widen(rounded[i]) : x[i];
    }
    free(half ? (void *)x : rounded);
    return operand;
}

static void operand_close(Operand *operand) {
    free(operand->wide);
    free(operand->stored);
}

static double act_of(Activation act, double x, double *slope) {
    double s = act == ACT_SILU ? 1 / (1 + exp(-x)) : 0.5 * (1 + tanh(x));
    if (act == ACT_SILU) {
        *slope = s * (1 + x * (1 - s));
    } else { // GELU with u = sqrt(2/pi) (x + 0.044715 x^3)
        double c = sqrt(2 / M_PI), u = c * (x + 0.044715 * x * x * x);
        s = 0.5 * (1 + tanh(u));
        *slope = s + x * 2 * s * (1 - s) * c * (1 + 3 * 0.044715 * x * x);
    }
    return x * s;
}

typedef struct {
    int64_t m, n, k;
    bool transpose_a, transpose_b, half_in, half_out, bias, factor, accumulate;
    Activation act;
} Case;

typedef void (*Run)(const Product *product);

static void run_library(const Product *product) {
    product_run(library, product);
}

// Small fp32 products too, which amx_takes leaves to the library because it is faster at them.
static void run_tiles(const Product *product) {
    amx_product(tiles, product);
}

// Largest error over the largest sum of absolute terms, and what is written beside the result.
static double product_error(const Case *c, Run run) {
    Operand a = operand_open(c->m * c->k, c->half_in, 1),
            b = operand_open(c->k * c->n, c->half_in, 2);
    int64_t ldc = c->n + 3, nc = c->m * ldc;
    Operand before = operand_open(nc, c->half_out, 3), factor = operand_open(nc, c->half_out, 4);
    float *bias = ops_numbers(c->n, 5);
    Operand slope = operand_open(nc, c->half_out, 6);
    Product p = {.a = a.stored,
                 .b = b.stored,
                 .c = before.stored,
                 .bias = c->bias ? bias : NULL,
                 .factor = c->factor ? factor.stored : NULL,
                 .act = c->act,
                 .slope = slope.stored,
                 .m = c->m,
                 .n = c->n,
                 .k = c->k,
                 .lda = c->transpose_a ? c->m : c->k,
                 .ldb = c->transpose_b ? c->k : c->n,
                 .ldc = ldc,
                 .transpose_a = c->transpose_a,
                 .transpose_b = c->transpose_b,
                 .half_in = c->half_in,
                 .half_out = c->half_out,
                 .accumulate = c->accumulate};
    run(&p);
    double worst = 0;
    for (int64_t i = 0; i < nc; ++i) {
        int64_t row = i / ldc, column = i % ldc;
        double got = c->half_out ? half_widen(((uint16_t *)p.c)[i]) : ((float *)p.c)[i];
        if (column >= c->n) {
            EXPECT(got == before.wide[i]);
            continue;
        }
        double sum = c->bias ? bias[column] : 0, size = fabs(sum), expected_slope = 0;
        for (int64_t k = 0; k < c->k; ++k) {
            double x = a.wide[c->transpose_a ? k * c->m + row : row * c->k + k] *
                       b.wide[c->transpose_b ? column * c->k + k : k * c->n + column];
            sum += x, size += fabs(x);
        }
        if (c->factor) sum *= factor.wide[i];
        if (c->accumulate) sum += before.wide[i], size += fabs(before.wide[i]);
        if (c->act != ACT_NONE) sum = act_of(c->act, sum, &expected_slope);
        double allowed = c->half_out ? 0x1p-8 * fabs(sum) : 0; // the rounding of the result
        worst = fmax(worst, (fabs(got - sum) - allowed) / size);
        if (isnan(got)) worst = INFINITY;
        if (c->act == ACT_NONE) continue;
        got = c->half_out ? half_widen(((uint16_t *)slope.stored)[i]) : ((float *)slope.stored)[i];
        allowed = c->half_out ? 0x1p-8 * fabs(expected_slope) : 0;
        worst = fmax(worst, (fabs(got - expected_slope) - allowed) / (1 + size));
    }
    operand_close(&slope);
    operand_close(&a), operand_close(&b), operand_close(&before), operand_close(&factor);
    free(bias);
    return worst;
}

static const Case cases[] = {
    {.m = 1, .n = 1, .k = 1},
    {.m = 5, .n = 7, .k = 3, .bias = true},
    {.m = 33, .n = 31, .k = 65, .transpose_a = true},
    {.m = 64, .n = 96, .k = 64, .transpose_b = true, .bias = true},
    {.m = 49, .n = 50, .k = 33, .transpose_b = true, .factor = true},
    {.m = 40, .n = 72, .k = 17, .factor = true},
    {.m = 70, .n = 34, .k = 1500, .transpose_a = true, .accumulate = true},
    {.m = 3, .n = 700, .k = 700},
    {.m = 17, .n = 2000, .k = 40, .transpose_a = true, .transpose_b = true},
    {.m = 45, .n = 33, .k = 1100, .bias = true, .factor = true},
    {.m = 64, .n = 352, .k = 520, .transpose_b = true, .bias = true},
};

// Every case in fp32, with bf16 in, and with bf16 in and out.
static void expect_forms(Run run) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        for (int kind = 0; kind < 3; ++kind) {
            Case c = cases[i];
            if (c.accumulate && run == run_library) continue;
            c.half_in = kind > 0, c.half_out = kind > 1;
            double error = product_error(&c, run);
            if (!(error < 4e-7)) printf("  case %zu, kind %d: error %g\n", i, kind, error);
            EXPECT(error < 4e-7);
        }
}

static void test_library(void) {
    expect_forms(run_library);
}

static void test_tiles(void) {
    if (tiles == NULL) SKIP("this processor has no AMX");
    expect_forms(run_tiles);
    EXPECT(amx_takes(&(Product){.m = 32, .n = 32, .k = 32}));
    EXPECT(amx_takes(&(Product){.m = 64, .n = 64, .k = 5000}));
    EXPECT(!amx_takes(&(Product){.m = 64, .n = 64, .k = 5000, .accumulate = true}));
    EXPECT(!amx_takes(&(Product){.m = 8, .n = 64, .k = 64}));
    EXPECT(!amx_takes(&(Product){.m = 64, .n = 64, .k = 5000, .half_in = true}));
}

static void test_tiles_activate(void) {
    if (tiles == NULL) SKIP("this processor has no AMX");
    for (Activation act = ACT_SILU; act <= ACT_GELU; ++act)
        for (int kind = 0; kind < 3; ++kind) {
            Case c = {.m = 37, .n = 50, .k = 1000, .bias = true, .transpose_b = true, .act = act};
            c.half_in = kind > 0, c.half_out = kind > 1;
            double error = product_error(&c, run_tiles);
            if (!(error < 4e-7)) printf("  activation %d, kind %d: error %g\n", act, kind, error);
            EXPECT(error < 4e-7);
        }
}

// fp32 on tiles claims to be no worse than fp32 multiply-adds: in the mean over numbers whose
// planes are all in use, and of very different sizes.
static void test_tiles_are_exact(void) {
    if (tiles == NULL) SKIP("this processor has no AMX");
    enum { M = 64, N = 64, K = 512 };
    float *a = ops_numbers(M * K, 1), *b = ops_numbers(K * N, 2), *scale = ops_numbers(K, 3);
    float *c[2] = {ops_memory(M * N, sizeof **c), ops_memory(M * N, sizeof **c)};
    double error[2] = {0};
    for (int i = 0; i < M * K; ++i) a[i] *= ldexpf(1, (int)(30 * scale[i % K]));
    for (int i = 0; i < K * N; ++i) b[i] *= ldexpf(1, -(int)(30 * scale[i / N]));
    for (int i = 0; i < 2; ++i) {
        Product p = {
            .a = a, .b = b, .c = c[i], .m = M, .n = N, .k = K, .lda = K, .ldb = N, .ldc = N};
        if (i == 0)
            run_library(&p);
        else
            run_tiles(&p);
    }
    for (int i = 0; i < M * N; ++i) {
        double sum = 0;
        for (int k = 0; k < K; ++k) sum += (double)a[i / N * K + k] * b[k * N + i % N];
        for (int j = 0; j < 2; ++j) error[j] += fabs(c[j][i] - sum) / (M * N);
    }
    printf("  mean error of oneDNN %.2e, of tiles %.2e\n", error[0], error[1]);
    EXPECT(error[1] < error[0]);
    free(a), free(b), free(scale), free(c[0]), free(c[1]);
}

int main(void) {
    library = product_cache_open();
    tiles = amx_open() ? amx_room_open() : NULL;
    if (library == NULL) return 1;
    RUN(test_library);
    RUN(test_tiles);
    RUN(test_tiles_activate);
    RUN(test_tiles_are_exact);
    product_cache_close(library);
    amx_room_close(tiles);
    return test_report();
}
