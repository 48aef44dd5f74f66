// Dense layers: a product by OpenBLAS and one pass over the rows for what it cannot do.
#include <string.h>

#include "model/cpu/blas.h"
#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/activation.h"

static void row_bias(const float *restrict bias, float *restrict y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] += bias[i];
}

static void row_bias_act(const float *restrict bias, float *restrict pre, float *restrict y,
                         int64_t n, Activation act) {
    if (act == ACT_NONE)
        for (int64_t i = 0; i < n; ++i) y[i] = pre[i] += bias[i];
    else if (act == ACT_SILU)
        for (int64_t i = 0; i < n; ++i) y[i] = silu_f32(pre[i] += bias[i]);
    else
        for (int64_t i = 0; i < n; ++i) y[i] = gelu_f32(pre[i] += bias[i]);
}

void CPU_KERNEL(linear_forward)(Stream *stream, const LinearForward *args) {
    (void)stream;
    int64_t out = args->out;
    REQUIRE(args->pre != args->y && (args->pre != NULL || args->act == ACT_NONE));
    float *product = args->pre != NULL ? args->pre : args->y;
    blas_gemm(&(Gemm){.a = args->x,
                      .b = args->w,
                      .c = product,
                      .m = args->rows,
                      .n = out,
                      .k = args->in,
                      .lda = args->in,
                      .ldb = args->in,
                      .ldc = out,
                      .transpose_b = true,
                      .alpha = 1});
    for (int64_t r = 0; r < args->rows; ++r) {
        float *pre = product + r * out, *y = args->y + r * out;
        if (args->pre == NULL)
            row_bias(args->bias, y, out);
        else
            row_bias_act(args->bias, pre, y, out, args->act);
    }
}

// Adds the rows one after the other; four at a time only to touch `sum` less often.
static void columns_add(const float *restrict x, float *restrict sum, int64_t rows, int64_t n) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *restrict a = x + r * n, *restrict b = a + n, *restrict c = b + n;
        const float *restrict d = c + n;
        for (int64_t i = 0; i < n; ++i) sum[i] = (((sum[i] + a[i]) + b[i]) + c[i]) + d[i];
    }
    for (; r < rows; ++r)
        for (int64_t i = 0; i < n; ++i) sum[i] += x[r * n + i];
}

void CPU_KERNEL(linear_grad)(Stream *stream, const LinearGrad *args) {
    (void)stream;
    blas_gemm(&(Gemm){.a = args->dy,
                      .b = args->x,
                      .c = args->dw,
                      .m = args->out,
                      .n = args->in,
                      .k = args->rows,
                      .lda = args->out,
                      .ldb = args->in,
                      .ldc = args->in,
                      .transpose_a = true,
                      .alpha = 1,
                      .beta = args->accumulate ? 1.0f : 0.0f});
    if (!args->accumulate) memset(args->dbias, 0, (size_t)args->out * sizeof *args->dbias);
    columns_add(args->dy, args->dbias, args->rows, args->out);
    if (args->dx == NULL) return;
    blas_gemm(&(Gemm){.a = args->dy,
                      .b = args->w,
                      .c = args->dx,
                      .m = args->rows,
                      .n = args->in,
                      .k = args->out,
                      .lda = args->out,
                      .ldb = args->in,
                      .ldc = args->in,
                      .alpha = 1});
}
