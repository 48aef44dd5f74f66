// Attention by a library where one takes it, else by batches of matrix products that read q, k, v
// where they stand in the packed qkv: one head of many samples at a time, or all heads of one
// sample where these are more; as many as the stream's scratch has room for.
#include "base/rng.h"
#include "model/cuda/attention_room.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/matmul.h"

// Heads that are multiplied at once.
struct Heads {
    Attention a;
    int64_t sample, head, items; // the first; so many further samples of it, or heads
    bool heads_differ;
    int64_t rows, stride; // tokens that read; distance of rows of scores
    float scale;
    float *scores, *dp; // [items,rows,stride]
    void *p, *ds;       // the same, rounded where `half`
};

static void *number_at(const void *numbers, bool half, int64_t at) {
    return (char *)(uintptr_t)numbers + at * (half ? 2 : 4);
}

// Part 0, 1, 2 of packed qkv (or dqkv): q, k, v. The q that read begin at `from`.
static Matrix packed(const Heads &h, const void *qkv, int part) {
    int64_t joined = h.a.heads * h.a.head_dim, row = h.sample * h.a.tokens;
    if (part == 0) row += h.a.from;
    return {number_at(qkv, h.a.half, (3 * row + part) * joined + h.head * h.a.head_dim), 3 * joined,
            h.heads_differ ? h.a.head_dim : h.a.tokens * 3 * joined};
}

// Of out or dout.
static Matrix joined(const Heads &h, const void *out) {
    int64_t width = h.a.heads * h.a.head_dim;
    return {number_at(out, h.a.half, h.sample * h.rows * width + h.head * h.a.head_dim), width,
            h.heads_differ ? h.a.head_dim : h.rows * width};
}

// Of scores or what is made of them.
static Matrix scores_at(const Heads &h, void *at) {
    return {at, h.stride, h.rows * h.stride};
}

// c[rows,tokens] = a[rows,head_dim] b[tokens,head_dim]^T in fp32.
static void rows_product(Stream *stream, const Heads &h, Matrix a, Matrix b, float *c) {
    Matmul product = {};
    product.a = a, product.b = b, product.transpose_b = true, product.c = scores_at(h, c);
    product.m = h.rows, product.n = h.a.tokens, product.k = h.a.head_dim;
    product.batch = h.items, product.half_in = h.a.half;
    (void)cuda_matmul(stream, &product);
}

// c[.,head_dim] = op(a) b with a [rows,tokens].
static void head_product(Stream *stream, const Heads &h, void *a, bool transpose, Matrix b,
                         Matrix c) {
    Matmul product = {};
    product.a = scores_at(h, a), product.transpose_a = transpose, product.b = b, product.c = c;
    product.m = transpose ? h.a.tokens : h.rows, product.n = h.a.head_dim;
    product.k = transpose ? h.rows : h.a.tokens;
    product.batch = h.items, product.half_in = product.half_out = h.a.half;
    (void)cuda_matmul(stream, &product);
}

// Calls `each` for all heads of all samples.
static void heads_each(Stream *stream, const Attention *args,
                       void (*each)(Stream *stream, const Heads &h)) {
    int64_t size = (int64_t)attention_scratch_bytes(args->tokens);
    int64_t room = (int64_t)cuda_scratch_bytes(stream) / size;
    if (room == 0) return cuda_note(stream, cudaErrorInvalidValue, "scratch for one head");
    Heads h = {};
    h.a = *args;
    h.heads_differ = args->heads > args->samples;
    h.rows = args->cached ? args->block : args->tokens;
    h.stride = (args->tokens + 15) / 16 * 16;
    h.scale = 1.0f / sqrtf((float)args->head_dim);
    int64_t all = h.heads_differ ? args->heads : args->samples, most = all < room ? all : room;
    int64_t others = h.heads_differ ? args->samples : args->heads;
    char *at = (char *)cuda_scratch(stream);
    h.scores = (float *)at, h.dp = (float *)(at + most * size / 3);
    h.p = h.a.half ? at + most * size / 3 * 2 : (void *)h.scores;
    h.ds = h.a.half ? at + most * size / 6 * 5 : (void *)h.dp;
    for (int64_t other = 0; other < others; ++other)
        for (int64_t first = 0; first < all; first += most) {
            h.sample = h.heads_differ ? other : first;
            h.head = h.heads_differ ? first : other;
            h.items = all - first < most ? all - first : most;
            each(stream, h);
        }
}

// ---- softmax: a warp takes a row ----------------------------------------------------------------

// Row number i of these heads.
struct Row {
    int64_t token, of_stats, of_joined; // where its number of lse is, and its part of out
    int64_t at;                         // of scores
};

static __device__ Row row_of(const Heads &h, int64_t i) {
    int64_t item = i / h.rows, token = i % h.rows;
    int64_t sample = h.sample + (h.heads_differ ? 0 : item);
    int64_t head = h.head + (h.heads_differ ? item : 0);
    return {token, (sample * h.a.heads + head) * h.rows + token,
            ((sample * h.rows + token) * h.a.heads + head) * h.a.head_dim, i * h.stride};
}

static __device__ float score_get(const Heads &h, const Row &row, int64_t u) {
    return attention_reads(&h.a, row.token, u) ? h.scores[row.at + u] : -INFINITY;
}

static __global__ void softmax_kernel(Heads h) {
    int64_t i = warp_number();
    if (i >= h.items * h.rows) return; // a whole warp
    Row row = row_of(h, i);
    float largest = -INFINITY, sum = 0.0f;
    EACH_LANE(u, h.a.tokens) {
        float x = score_get(h, row, u);
        largest = x > largest ? x : largest;
    }
    float shift = h.scale * warp_largest(largest);
    EACH_LANE(u, h.a.tokens) sum += exp_f32(fmaf(score_get(h, row, u), h.scale, -shift));
    sum = warp_sum(sum);
    float by = 1.0f / sum;
    EACH_LANE(u, h.a.tokens) {
        float x = exp_f32(fmaf(score_get(h, row, u), h.scale, -shift));
        number_put(h.p, h.a.half, row.at + u, x * by);
    }
    if (threadIdx.x % WARP == 0) h.a.lse[row.of_stats] = shift + rng_log(sum);
}

// p = exp(scale q.k - lse),   ds = scale p (dp - dout . out)
static __global__ void softmax_grad_kernel(Heads h) {
    int64_t i = warp_number();
    if (i >= h.items * h.rows) return;
    Row row = row_of(h, i);
    float dot = 0.0f, lse = h.a.lse[row.of_stats];
    EACH_LANE(c, h.a.head_dim)
    dot = fmaf(number_get(h.a.dout, h.a.half, row.of_joined + c),
               number_get(h.a.out, h.a.half, row.of_joined + c), dot);
    dot = warp_sum(dot);
    EACH_LANE(u, h.a.tokens) {
        float p = exp_f32(fmaf(score_get(h, row, u), h.scale, -lse));
        float ds = h.scale * p * (h.dp[row.at + u] - dot);
        number_put(h.p, h.a.half, row.at + u, p);
        number_put(h.ds, h.a.half, row.at + u, ds);
    }
}

// ---- operations ---------------------------------------------------------------------------------

static void heads_forward(Stream *stream, const Heads &h) {
    rows_product(stream, h, packed(h, h.a.qkv, 0), packed(h, h.a.qkv, 1), h.scores);
    launch(stream, softmax_kernel, grid_of_warps(h.items * h.rows), h);
    head_product(stream, h, h.p, false, packed(h, h.a.qkv, 2), joined(h, h.a.out));
}

extern "C" void cuda_attention_forward(Stream *stream, const Attention *args) {
    if (!attention_by_library(stream, args, false)) heads_each(stream, args, heads_forward);
}

static void heads_grad(Stream *stream, const Heads &h) {
    Matrix q = packed(h, h.a.qkv, 0), k = packed(h, h.a.qkv, 1), v = packed(h, h.a.qkv, 2);
    Matrix dout = joined(h, h.a.dout);
    rows_product(stream, h, q, k, h.scores);
    rows_product(stream, h, dout, v, h.dp);
    launch(stream, softmax_grad_kernel, grid_of_warps(h.items * h.rows), h);
    head_product(stream, h, h.ds, false, k, packed(h, h.a.dqkv, 0));
    head_product(stream, h, h.ds, true, q, packed(h, h.a.dqkv, 1));
    head_product(stream, h, h.p, true, dout, packed(h, h.a.dqkv, 2));
}

extern "C" void cuda_attention_grad(Stream *stream, const Attention *args) {
    if (!attention_by_library(stream, args, true)) heads_each(stream, args, heads_grad);
}
