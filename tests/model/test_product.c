// Products of matrices by oneDNN against sums in float64 of the same operands.
#include "model/cpu/kernels/half.h"
#include "model/cpu/product.h"
#include "tests/model/support_ops.h"
#include "tests/test.h"

static ProductCache *cache;

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

typedef struct {
    int64_t m, n, k;
    bool transpose_a, transpose_b, half_in, half_out, bias, factor, accumulate;
} Case;

// Largest error over the largest sum of absolute terms, and what is written beside the result.
static double product_error(const Case *c) {
    Operand a = operand_open(c->m * c->k, c->half_in, 1),
            b = operand_open(c->k * c->n, c->half_in, 2);
    int64_t ldc = c->n + 3, nc = c->m * ldc;
    Operand before = operand_open(nc, c->half_out, 3), factor = operand_open(nc, c->half_out, 4);
    float *bias = ops_numbers(c->n, 5);
    Product p = {.a = a.stored,
                 .b = b.stored,
                 .c = before.stored,
                 .bias = c->bias ? bias : NULL,
                 .factor = c->factor ? factor.stored : NULL,
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
    product_run(cache, &p);
    double worst = 0;
    for (int64_t i = 0; i < nc; ++i) {
        int64_t row = i / ldc, column = i % ldc;
        double got = c->half_out ? half_widen(((uint16_t *)p.c)[i]) : ((float *)p.c)[i];
        if (column >= c->n) {
            EXPECT(got == before.wide[i]);
            continue;
        }
        double sum = c->bias ? bias[column] : 0, size = fabs(sum);
        for (int64_t k = 0; k < c->k; ++k) {
            double x = a.wide[c->transpose_a ? k * c->m + row : row * c->k + k] *
                       b.wide[c->transpose_b ? column * c->k + k : k * c->n + column];
            sum += x, size += fabs(x);
        }
        if (c->factor) sum *= factor.wide[i];
        if (c->accumulate) sum += before.wide[i], size += fabs(before.wide[i]);
        double allowed = c->half_out ? 0x1p-8 * fabs(sum) : 0; // the rounding of the result
        worst = fmax(worst, (fabs(got - sum) - allowed) / size);
        if (isnan(got)) worst = INFINITY;
    }
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
};

// Every case in fp32, with bf16 in, and with bf16 in and out.
static void test_forms(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        for (int kind = 0; kind < 3; ++kind) {
            Case c = cases[i];
            c.half_in = kind > 0, c.half_out = kind > 1;
            double error = product_error(&c);
            if (!(error < 4e-7)) printf("  case %zu, kind %d: error %g\n", i, kind, error);
            EXPECT(error < 4e-7);
        }
}

int main(void) {
    cache = product_cache_open();
    if (cache == NULL) return 1;
    RUN(test_forms);
    product_cache_close(cache);
    return test_report();
}
