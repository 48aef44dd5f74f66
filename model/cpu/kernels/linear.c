// Dense layers: a product by oneDNN, and one pass over the rows for what it cannot do.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/activation.h"
#include "model/cpu/kernels/half.h"

// `slope` holds the argument of the activation, and receives the slope.
static void activate(const LinearLayer *args) {
    float slope_room[PIECE], y_room[PIECE];
    for (int64_t at = 0, all = args->rows * args->out; at < all; at += PIECE) {
        int64_t n = all - at < PIECE ? all - at : PIECE;
        const float *x = half_get(args->slope, args->half, at, n, slope_room);
        float *slope = half_room(args->slope, args->half, at, slope_room);
        float *y = half_room(args->y, args->half, at, y_room);
        act_with_slope(args->act, x, slope, y, n);
        half_put(args->slope, args->half, at, n, slope);
        half_put(args->y, args->half, at, n, y);
    }
}

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
    if (apart) activate(args);
}

static void add_to(float *restrict y, const float *restrict x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

// dbias of n columns from `column` on: their rows one after the other.
static void columns_sum(const LinearLayer *args, int64_t column, int64_t n) {
    float room[PIECE], sum[PIECE] = {0};
    for (int64_t r = 0; r < args->rows; ++r)
        add_to(sum, half_get(args->dy, args->half, r * args->out + column, n, room), n);
    if (args->accumulate) add_to(sum, args->dbias + column, n);
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
    if (apart) add_to(args->dw, product.c, size);
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
