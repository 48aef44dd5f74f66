// Attention of one sample and head at a time: the scores of a head fit the second cache, and q, k,
// v are read where they stand in the packed qkv, by their row stride.
#include "base/rng.h"
#include "model/cpu/blas.h"
#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/simd.h"

typedef struct {
    const float *q, *k, *v; // rows at distance `packed`
    int64_t at;             // where it begins in [samples,tokens,heads*head_dim]: rows at `joined`
    int64_t tokens, head_dim, packed, joined;
    float scale;
} Head;

// Head number i of all samples.
static Head head_of(const float *qkv, int64_t i, int64_t tokens, int64_t heads, int64_t head_dim) {
    int64_t joined = heads * head_dim, column = i % heads * head_dim;
    const float *q = qkv + i / heads * tokens * 3 * joined + column;
    return (Head){.q = q,
                  .k = q + joined,
                  .v = q + 2 * joined,
                  .at = i / heads * tokens * joined + column,
                  .tokens = tokens,
                  .head_dim = head_dim,
                  .packed = 3 * joined,
                  .joined = joined,
                  .scale = 1.0f / sqrtf((float)head_dim)};
}

// c[t][u] = scale a[t] . b[u]; rows of a at distance `lda`, of b at `packed`.
static void rows_product(const Head *head, const float *a, int64_t lda, const float *b, float scale,
                         float *c) {
    blas_gemm(&(Gemm){.a = a,
                      .b = b,
                      .c = c,
                      .m = head->tokens,
                      .n = head->tokens,
                      .k = head->head_dim,
                      .lda = lda,
                      .ldb = head->packed,
                      .ldc = head->tokens,
                      .transpose_b = true,
                      .alpha = scale});
}

static float row_exp(float *x, float shift, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = exp_f32(x[i] - shift);
    v16 sum = v16_set(0);
    for (int64_t i = 0; i < n; i += 16) sum = v16_add(sum, v16_load(x + i, n - i));
    return v16_sum(sum);
}

// Turns a row of scores into probabilities; returns the log of the denominator.
static float row_softmax(float *x, int64_t n) {
    v16 most = v16_set(-INFINITY);
    for (int64_t i = 0; i < n; i += 16) most = v16_max(most, v16_load_or(x + i, n - i, -INFINITY));
    float largest = v16_largest(most);
    float sum = row_exp(x, largest, n);
    float by = 1.0f / sum;
    for (int64_t i = 0; i < n; ++i) x[i] *= by;
    return largest + rng_log(sum);
}

// c[tokens,head_dim] = op(a) b with a [tokens,tokens]; rows of b and c at their own distances.
static void head_product(const Head *head, const float *a, bool transpose, const float *b,
                         int64_t ldb, float *c, int64_t ldc) {
    blas_gemm(&(Gemm){.a = a,
                      .b = b,
                      .c = c,
                      .m = head->tokens,
                      .n = head->head_dim,
                      .k = head->tokens,
                      .lda = head->tokens,
                      .ldb = ldb,
                      .ldc = ldc,
                      .transpose_a = transpose,
                      .alpha = 1});
}

void CPU_KERNEL(attention_forward)(Stream *stream, const AttentionForward *args) {
    int64_t tokens = args->tokens;
    float *scores = cpu_scratch(stream, attention_scratch_bytes(tokens));
    for (int64_t i = 0; i < args->samples * args->heads; ++i) {
        Head head = head_of(args->qkv, i, tokens, args->heads, args->head_dim);
        rows_product(&head, head.q, head.packed, head.k, head.scale, scores);
        for (int64_t t = 0; t < tokens; ++t)
            args->lse[i * tokens + t] = row_softmax(scores + t * tokens, tokens);
        head_product(&head, scores, false, head.v, head.packed, args->out + head.at, head.joined);
    }
}

static float row_dot(const float *a, const float *b, int64_t n) {
    v16 sum = v16_set(0);
    for (int64_t i = 0; i < n; i += 16)
        sum = v16_fma(v16_load(a + i, n - i), v16_load(b + i, n - i), sum);
    return v16_sum(sum);
}

// From scores and dp (gradient of the probabilities) to p and the gradient of q . k:
//   p = exp(score - lse),   ds = scale p (dp - dot)
static void row_softmax_grad(float *restrict scores, float *restrict dp, float lse, float dot,
                             float scale, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        float p = exp_f32(scores[i] - lse);
        scores[i] = p;
        dp[i] = scale * p * (dp[i] - dot);
    }
}

void CPU_KERNEL(attention_grad)(Stream *stream, const AttentionGrad *args) {
    int64_t tokens = args->tokens;
    size_t bytes = attention_scratch_bytes(tokens);
    float *scores = cpu_scratch(stream, bytes), *dp = scores + bytes / 2 / sizeof *scores;
    for (int64_t i = 0; i < args->samples * args->heads; ++i) {
        Head head = head_of(args->qkv, i, tokens, args->heads, args->head_dim);
        const float *out = args->out + head.at, *dout = args->dout + head.at;
        rows_product(&head, head.q, head.packed, head.k, head.scale, scores);
        rows_product(&head, dout, head.joined, head.v, 1, dp);
        for (int64_t t = 0; t < tokens; ++t) {
            float dot = row_dot(dout + t * head.joined, out + t * head.joined, head.head_dim);
            row_softmax_grad(scores + t * tokens, dp + t * tokens, args->lse[i * tokens + t], dot,
                             head.scale, tokens);
        }
        float *dq = args->dqkv + (head.q - args->qkv);
        float *dk = dq + head.joined, *dv = dk + head.joined;
        head_product(&head, dp, false, head.k, head.packed, dq, head.packed);
        head_product(&head, dp, true, head.q, head.packed, dk, head.packed);
        head_product(&head, scores, true, dout, head.joined, dv, head.packed);
    }
}
