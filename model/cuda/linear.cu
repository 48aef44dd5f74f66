// Dense layers: products by cuBLASLt, with what surrounds them in the library's epilogues where it
// has them, in kernels of our own elsewhere. And activations by themselves.
#include "model/cuda/launch.cuh"
#include "model/cuda/matmul.h"

static __device__ float act_with_slope(Activation act, float x, float *slope) {
    if (act == ACT_SILU) return silu_f32(x, slope);
    if (act == ACT_GELU) return gelu_f32(x, slope);
    *slope = 1.0f;
    return x;
}

static Matrix rows_at(const void *at, int64_t ld) {
    return {(void *)(uintptr_t)at, ld, 0};
}

static __global__ void halve_kernel(Elementwise a) {
    bool fit = quad_aligned(a.x) && quad_aligned(a.y);
    EACH_QUAD_OF(at, left, a.n) {
        bool whole = fit && left >= QUAD;
        quad_put(a.y, true, at, left, whole, quad_get(a.x, false, at, left, whole));
    }
}

OPERATION(halve, Elementwise, grid_of_quads(stream, args->n))

// ---- forward ------------------------------------------------------------------------------------

struct Activate {
    const void *z, *bias; // bias NULL: z has it already
    void *y, *slope;      // slope may be z; NULL: nobody wants it
    int64_t n, out;
    Activation act;
    bool half, keep; // keep: `slope` receives z + bias, the argument, instead
};

// y = act(z + bias), slope = act'(z + bias).
static __global__ void activate_kernel(Activate a) {
    bool fit = quad_aligned(a.z) && quad_aligned(a.y) && quad_aligned(a.slope);
    EACH_QUAD_OF(at, left, a.n) {
        bool whole = fit && left >= QUAD;
        Quad z = quad_get(a.z, a.half, at, left, whole), y, slope;
        for (int i = 0; i < QUAD; ++i) {
            if (a.bias != NULL && i < left) z[i] += number_get(a.bias, a.half, (at + i) % a.out);
            y[i] = act_with_slope(a.act, z[i], &slope[i]);
        }
        quad_put(a.y, a.half, at, left, whole, y);
        if (a.slope != NULL) quad_put(a.slope, a.half, at, left, whole, a.keep ? z : slope);
    }
}

extern "C" void cuda_activation_forward(Stream *stream, const Elementwise *args) {
    Activate a = {args->x, NULL, args->y, args->slope, args->n, args->n, args->act, false, false};
    launch(stream, activate_kernel, grid_of_quads(stream, a.n), a);
}

static bool product_ending(Stream *stream, Matmul product, MatmulEnd end, void *aux) {
    product.end = end;
    product.aux = aux;
    return cuda_matmul(stream, &product);
}

// GELU of fp32 is our own, whose bits the CPU shares; of bf16 the library's where it has one.
extern "C" void cuda_linear_forward(Stream *stream, const LinearLayer *args) {
    bool acts = args->act != ACT_NONE, half = args->half;
    Matmul product = {};
    product.a = rows_at(args->x, args->in);
    product.b = rows_at(args->w, args->in), product.transpose_b = true;
    product.c = rows_at(args->y, args->out);
    product.m = args->rows, product.n = args->out, product.k = args->in;
    product.bias = args->bias;
    product.half_in = product.half_out = half;
    if (half && args->bias != NULL) { // the library's bias is of the type of its result
        Elementwise bias = {};
        bias.x = args->bias, bias.n = args->out;
        bias.y = cuda_scratch_of(stream, (size_t)args->out * sizeof(uint16_t));
        cuda_halve(stream, &bias);
        product.bias = bias.y;
    }
    bool gelu = half && args->bias != NULL && args->act == ACT_GELU;
    if (gelu && product_ending(stream, product, END_GELU, args->slope)) return;
    if (acts) product.c.at = args->slope;
    // Kernels of the library load four numbers of a bias at a time, and its choice of one does not
    // always heed that these must be aligned.
    bool biased = args->bias != NULL && quad_aligned(product.bias) &&
                  product_ending(stream, product, END_BIAS, NULL);
    if (!biased && !cuda_matmul(stream, &product)) return;
    if (!acts && (biased || args->bias == NULL)) return;
    Activate activate = {.z = product.c.at,
                         .bias = biased ? NULL : product.bias,
                         .y = args->y,
                         .slope = acts ? args->slope : NULL,
                         .n = args->rows * args->out,
                         .out = args->out,
                         .act = args->act,
                         .half = half,
                         .keep = args->act == ACT_GELU};
    launch(stream, activate_kernel, grid_of_quads(stream, activate.n), activate);
}

// ---- gradient -----------------------------------------------------------------------------------

enum { COLUMNS = WARP * QUAD, GROUP_ROWS = 128 }; // of a block

struct Columns {
    const void *from;          // [rows,width]
    float *to;                 // [groups,width]
    int64_t rows, width, each; // `each` rows make a group
    bool half, accumulate;
};

// Sums over a group of rows: a lane has four columns, a warp every eighth row; then the warps in
// their order.
static __global__ void columns_kernel(Columns a) {
    int64_t tiles = (a.width + COLUMNS - 1) / COLUMNS, group = blockIdx.x / tiles;
    int64_t first = blockIdx.x % tiles * COLUMNS, warp = threadIdx.x / WARP;
    int64_t column = first + threadIdx.x % WARP * QUAD, left = a.width - column;
    int64_t end = (group + 1) * a.each < a.rows ? (group + 1) * a.each : a.rows;
    bool whole = a.width % QUAD == 0 && quad_aligned(a.from);
    float *room = (float *)kernel_room; // [warps,COLUMNS]
    Quad sum = {};
    if (left > 0)
        for (int64_t row = group * a.each + warp; row < end; row += BLOCK_THREADS / WARP) {
            Quad x = quad_get(a.from, a.half, row * a.width + column, left, whole);
            for (int i = 0; i < QUAD; ++i) sum[i] += x[i];
        }
    for (int i = 0; i < QUAD; ++i) room[warp * COLUMNS + column - first + i] = sum[i];
    __syncthreads();
    int64_t mine = first + threadIdx.x, at = group * a.width + mine;
    if (threadIdx.x >= COLUMNS || mine >= a.width) return;
    float total = 0.0f;
    for (int i = 0; i < BLOCK_THREADS / WARP; ++i) total += room[i * COLUMNS + threadIdx.x];
    a.to[at] = a.accumulate ? a.to[at] + total : total;
}

static void columns_launch(Stream *stream, const Columns &a) {
    int64_t tiles = (a.width + COLUMNS - 1) / COLUMNS, groups = (a.rows + a.each - 1) / a.each;
    launch(stream, columns_kernel,
           {tiles * groups, BLOCK_THREADS, BLOCK_THREADS * QUAD * sizeof(float)}, a);
}

// dbias: sums of groups of rows, then of the groups.
static void columns_sum(Stream *stream, const LinearLayer *args) {
    Columns part = {
        args->dy, (float *)cuda_scratch(stream), args->rows, args->out, GROUP_ROWS, args->half,
        false};
    int64_t most = (int64_t)(cuda_scratch_bytes(stream) / grad_scratch_bytes(args->out)), groups;
    while ((groups = (part.rows + part.each - 1) / part.each) > most && groups > 1) part.each *= 2;
    Columns all = {part.to, args->dbias, groups, args->out, groups, false, args->accumulate};
    if (groups == 1) all.from = part.from, all.rows = all.each = part.rows, all.half = part.half;
    if (groups > 1) columns_launch(stream, part);
    columns_launch(stream, all);
}

struct Slope {
    void *dx; // times the slope
    const void *slope;
    int64_t n;
    bool gelu, half; // gelu: `slope` is its argument
};

static __global__ void slope_kernel(Slope a) {
    bool fit = quad_aligned(a.dx) && quad_aligned(a.slope);
    EACH_QUAD_OF(at, left, a.n) {
        bool whole = fit && left >= QUAD;
        Quad x = quad_get(a.dx, a.half, at, left, whole);
        Quad by = quad_get(a.slope, a.half, at, left, whole);
        for (int i = 0; i < QUAD; ++i) {
            if (a.gelu) (void)gelu_f32(by[i], &by[i]);
            x[i] *= by[i];
        }
        quad_put(a.dx, a.half, at, left, whole, x);
    }
}

extern "C" void cuda_multiply(Stream *stream, const Elementwise *args) {
    Slope slope = {args->y, args->x, args->n, false, false};
    launch(stream, slope_kernel, grid_of_quads(stream, slope.n), slope);
}

static void input_grad(Stream *stream, const LinearLayer *args) {
    bool gelu = args->slope != NULL && args->act == ACT_GELU;
    Matmul product = {};
    product.a = rows_at(args->dy, args->out);
    product.b = rows_at(args->w, args->in);
    product.c = rows_at(args->dx, args->in);
    product.m = args->rows, product.n = args->in, product.k = args->out;
    product.half_in = product.half_out = args->half;
    if (args->half && gelu && product_ending(stream, product, END_DGELU, args->slope)) return;
    if (!cuda_matmul(stream, &product) || args->slope == NULL) return;
    Slope slope = {args->dx, args->slope, args->rows * args->in, gelu, args->half};
    launch(stream, slope_kernel, grid_of_quads(stream, slope.n), slope);
}

extern "C" void cuda_linear_grad(Stream *stream, const LinearLayer *args) {
    Matmul product = {};
    product.a = rows_at(args->dy, args->out), product.transpose_a = true;
    product.b = rows_at(args->x, args->in);
    product.c = rows_at(args->dw, args->in);
    product.m = args->out, product.n = args->in, product.k = args->rows;
    product.half_in = args->half, product.accumulate = args->accumulate;
    (void)cuda_matmul(stream, &product);
    columns_sum(stream, args);
    if (args->dx != NULL) input_grad(stream, args);
}
