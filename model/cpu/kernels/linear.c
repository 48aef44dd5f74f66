// Dense layers: a product by oneDNN, and one pass over the rows for what it cannot do.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/activation.h"

void CPU_KERNEL(linear_forward)(Stream *stream, const LinearLayer *args) {
    Product product = {.a = args->x,
                       .b = args->w,
                       .c = args->y,
                       .bias = args->bias,
                       .act = args->act,
                       .slope = args->slope,
                       .m = args->rows,
                       .n = args->out,
                       .k = args->in,
                       .lda = args->in,
                       .ldb = args->in,
                       .ldc = args->out,
                       .transpose_b = true,
                       .half_in = args->half,
                       .half_out = args->half};
    bool apart = args->act != ACT_NONE && !cpu_has_tiles(stream, &product);
    REQUIRE(args->act == ACT_NONE || (args->slope != NULL && args->slope != args->y));
    if (apart) product.act = ACT_NONE, product.c = args->slope;
    cpu_product(stream, &product);
    if (apart) // `slope` holds the argument
        activate(args->act, args->slope, args->slope, args->y, args->half, args->rows * args->out);
}

// dbias of n columns from `column` on: their rows one after the other.
static void columns_sum(const LinearLayer *args, int64_t column, int64_t n) {
    float room[PIECE], sum[PIECE] = {0};
    for (int64_t r = 0; r < args->rows; ++r)
        row_add(sum, half_get(args->dy, args->half, r * args->out + column, n, room), sum, n);
    if (args->accumulate) row_add(sum, args->dbias + column, sum, n);
    memcpy(args->dbias + column, sum, (size_t)n * sizeof *sum);
}

void CPU_KERNEL(linear_grad)(Stream *stream, const LinearLayer *args) {
    Product product = {.a = args->dy,
                       .b = args->x,
                       .c = args->dw,
                       .m = args->out,
                       .n = args->in,
                       .k = args->rows,
                       .lda = args->out,
                       .ldb = args->in,
                       .ldc = args->in,
                       .transpose_a = true,
                       .half_in = args->half,
                       .accumulate = args->accumulate};
    int64_t size = args->out * args->in;
    bool apart = args->accumulate && !cpu_has_tiles(stream, &product);
    if (apart) {
        product.accumulate = false;
        product.c = cpu_scratch(stream, grad_scratch_bytes(size));
    }
    cpu_product(stream, &product);
    if (apart) row_add(args->dw, product.c, args->dw, size);
    for (int64_t at = 0; at < args->out; at += PIECE)
        columns_sum(args, at, args->out - at < PIECE ? args->out - at : PIECE);
    if (args->dx == NULL) return;
    cpu_product(stream, &(Product){.a = args->dy,
                                   .b = args->w,
                                   .c = args->dx,
                                   .factor = args->slope,
                                   .m = args->rows,
                                   .n = args->in,
                                   .k = args->out,
                                   .lda = args->out,
                                   .ldb = args->in,
                                   .ldc = args->in,
                                   .half_in = args->half,
                                   .half_out = args->half});
}
