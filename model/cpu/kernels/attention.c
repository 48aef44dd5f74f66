// Attention of one sample and head at a time: the scores of a head fit the second cache, and q, k,
// v are read where they stand in the packed qkv, by their row stride. Rows of scores are as long as
// whole registers; what stands behind their last token counts as nothing.
#include "base/rng.h"
#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/half.h"

// Numbers of a packed array stand at an offset, since their type is known only at run time.
typedef struct {
    int64_t q, k, v; // where they begin in qkv; rows at distance `packed`
    int64_t at;      // where it begins in [samples,rows,heads*head_dim]; rows at `joined`
    int64_t rows;    // tokens that read
    int64_t tokens, stride, head_dim, packed, joined; // rows of scores at `stride`
    float scale;
    bool half;
} Head;

// Head number i of all samples.
static Head head_of(const Attention *args, int64_t i) {
    int64_t joined = args->heads * args->head_dim, column = i % args->heads * args->head_dim;
    int64_t first = i / args->heads * args->tokens * 3 * joined + column;
    int64_t rows = args->cached ? args->block : args->tokens;
    return (Head){.q = first + args->from * 3 * joined,
                  .k = first + joined,
                  .v = first + 2 * joined,
                  .at = i / args->heads * rows * joined + column,
                  .rows = rows,
                  .tokens = args->tokens,
                  .stride = (args->tokens + 15) / 16 * 16,
                  .head_dim = args->head_dim,
                  .packed = 3 * joined,
                  .joined = joined,
                  .scale = 1.0f / sqrtf((float)args->head_dim),
                  .half = args->half};
}

// Scores of what row t may not read become those of nothing.
static void hide(const Attention *args, int64_t t, float *row) {
    for (int64_t u = 0; args->block > 0 && u < args->tokens; ++u)
        if (!attention_reads(args, t, u)) row[u] = -INFINITY;
}

// What a head needs of the stream's scratch: [tokens,stride] each.
typedef struct {
    float *scores, *dp;
    void *half_p, *half_ds; // the same rounded, for products of bf16
} HeadRoom;

static HeadRoom head_room(Stream *stream, int64_t tokens) {
    size_t bytes = attention_scratch_bytes(tokens);
    char *at = cpu_scratch(stream, bytes);
    return (HeadRoom){(void *)at, (void *)(at + bytes / 3), at + 2 * (bytes / 3),
                      at + 2 * (bytes / 3) + bytes / 6};
}

static const void *number_at(const void *numbers, bool half, int64_t at) {
    return (const char *)numbers + at * (half ? 2 : 4);
}

// c[t][u] = a[t] . b[u]; rows of a at distance `lda`, of b at `packed`.
static void rows_product(Stream *stream, const Head *head, const void *a, int64_t lda,
                         const void *b, float *c) {
    cpu_product(stream, &(Product){.a = a,
                                   .b = b,
                                   .c = c,
                                   .m = head->rows,
                                   .n = head->tokens,
                                   .k = head->head_dim,
                                   .lda = lda,
                                   .ldb = head->packed,
                                   .ldc = head->stride,
                                   .transpose_b = true,
                                   .half_in = head->half});
}

// Turns a row of products into probabilities; returns the log of the denominator.
static float row_softmax(float *x, float scale, int64_t tokens, int64_t n) {
    for (int64_t i = tokens; i < n; ++i) x[i] = -INFINITY;
    v16 most = v16_set(-INFINITY);
    for (int64_t i = 0; i < n; i += 16) most = v16_max(most, v16_load_or(x + i, n - i, -INFINITY));
    float largest = scale * v16_largest(most);
    for (int64_t i = 0; i < n; ++i) x[i] = exp_f32(fmaf(x[i], scale, -largest));
    float sum = row_sum(x, n), by = 1.0f / sum;
    for (int64_t i = 0; i < n; ++i) x[i] *= by;
    return largest + rng_log(sum);
}

// c[rows,head_dim] = op(a) b with a [rows,tokens]; rows of b and c at their own distances.
static void head_product(Stream *stream, const Head *head, const void *a, bool transpose,
                         const void *b, int64_t ldb, const void *c, int64_t ldc) {
    cpu_product(stream, &(Product){.a = a,
                                   .b = b,
                                   .c = (void *)(uintptr_t)c,
                                   .m = head->rows,
                                   .n = head->head_dim,
                                   .k = head->tokens,
                                   .lda = head->stride,
                                   .ldb = ldb,
                                   .ldc = ldc,
                                   .transpose_a = transpose,
                                   .half_in = head->half,
                                   .half_out = head->half});
}

void CPU_KERNEL(attention_forward)(Stream *stream, const Attention *args) {
    int64_t tokens = args->tokens;
    HeadRoom room = head_room(stream, tokens);
    bool half = args->half;
    for (int64_t i = 0; i < args->samples * args->heads; ++i) {
        Head head = head_of(args, i);
        rows_product(stream, &head, number_at(args->qkv, half, head.q), head.packed,
                     number_at(args->qkv, half, head.k), room.scores);
        for (int64_t t = 0; t < head.rows; ++t) {
            float *row = room.scores + t * head.stride;
            hide(args, t, row);
            args->lse[i * head.rows + t] = row_softmax(row, head.scale, tokens, head.stride);
            half_put(room.half_p, half, t * head.stride, head.stride, row);
        }
        head_product(stream, &head, half ? room.half_p : room.scores, false,
                     number_at(args->qkv, half, head.v), head.packed,
                     number_at(args->out, half, head.at), head.joined);
    }
}

// dout . out of one token of a head.
static float token_dot(const Attention *args, const Head *head, int64_t token) {
    float a_room[PIECE], b_room[PIECE];
    v16 sum = v16_set(0);
    for (int64_t i = 0; i < head->head_dim; i += PIECE) {
        int64_t n = head->head_dim - i < PIECE ? head->head_dim - i : PIECE;
        int64_t at = head->at + token * head->joined + i;
        const float *a = half_get(args->dout, head->half, at, n, a_room);
        const float *b = half_get(args->out, head->half, at, n, b_room);
        for (int64_t k = 0; k < n; k += 16)
            sum = v16_fma(v16_load(a + k, n - k), v16_load(b + k, n - k), sum);
    }
    return v16_sum(sum);
}

// From products q . k and dp (gradient of the probabilities) to p and the gradient of q . k:
//   p = exp(scale q.k - lse),   ds = scale p (dp - dot)
static void row_softmax_grad(float *restrict scores, float *restrict dp, float lse, float dot,
                             float scale, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        float p = exp_f32(fmaf(scores[i], scale, -lse));
        scores[i] = p;
        dp[i] = scale * p * (dp[i] - dot);
    }
}

static void head_softmax_grad(const Attention *args, const Head *head, const float *lse,
                              const HeadRoom *room) {
    int64_t n = head->stride;
    for (int64_t t = 0; t < head->tokens; ++t) {
        float *p = room->scores + t * n, *ds = room->dp + t * n;
        for (int64_t i = head->tokens; i < n; ++i) p[i] = ds[i] = 0;
        hide(args, t, p);
        row_softmax_grad(p, ds, lse[t], token_dot(args, head, t), head->scale, n);
        half_put(room->half_p, head->half, t * n, n, p);
        half_put(room->half_ds, head->half, t * n, n, ds);
    }
}

void CPU_KERNEL(attention_grad)(Stream *stream, const Attention *args) {
    int64_t tokens = args->tokens;
    HeadRoom room = head_room(stream, tokens);
    bool half = args->half;
    for (int64_t i = 0; i < args->samples * args->heads; ++i) {
        Head head = head_of(args, i);
        const void *q = number_at(args->qkv, half, head.q), *k = number_at(args->qkv, half, head.k);
        const void *v = number_at(args->qkv, half, head.v);
        const void *dout = number_at(args->dout, half, head.at);
        rows_product(stream, &head, q, head.packed, k, room.scores);
        rows_product(stream, &head, dout, head.joined, v, room.dp);
        head_softmax_grad(args, &head, args->lse + i * tokens, &room);
        const void *p = half ? room.half_p : room.scores, *ds = half ? room.half_ds : room.dp;
        head_product(stream, &head, ds, false, k, head.packed, number_at(args->dqkv, half, head.q),
                     head.packed);
        head_product(stream, &head, ds, true, q, head.packed, number_at(args->dqkv, half, head.k),
                     head.packed);
        head_product(stream, &head, p, true, dout, head.joined, number_at(args->dqkv, half, head.v),
                     head.packed);
    }
}
