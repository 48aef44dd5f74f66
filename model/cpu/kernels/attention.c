// Attention of one sample and head at a time: the scores of a head fit the second cache, and q, k,
// v are read where they stand in the packed qkv, by their row stride.
#include "base/rng.h"
#include "model/cpu/blas.h"
#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/simd.h"

typedef struct {
    const float *q, *k, *v; // rows at distance `packed`
    int64_t tokens, head_dim, packed, joined;
    float scale;
} Head;

static float head_scale(int64_t head_dim) {
    return 1.0f / sqrtf((float)head_dim);
}

// scores[t][u] = scale q[t] . k[u]
static void head_scores(const Head *head, float *scores) {
    blas_gemm(&(Gemm){.a = head->q,
                      .b = head->k,
                      .c = scores,
                      .m = head->tokens,
                      .n = head->tokens,
                      .k = head->head_dim,
                      .lda = head->packed,
                      .ldb = head->packed,
                      .ldc = head->tokens,
                      .transpose_b = true,
                      .alpha = head->scale});
}

static float row_exp(float *x, float shift, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = exp_f32(x[i] - shift);
    v16 sum = v16_zero();
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

void CPU_KERNEL(attention_forward)(Stream *stream, const AttentionForward *args) {
    int64_t tokens = args->tokens, heads = args->heads, head_dim = args->head_dim;
    float *scores = cpu_scratch(stream, attention_scratch_bytes(tokens));
    Head head = {.tokens = tokens,
                 .head_dim = head_dim,
                 .packed = 3 * heads * head_dim,
                 .joined = heads * head_dim,
                 .scale = head_scale(head_dim)};
    for (int64_t i = 0; i < args->samples * heads; ++i) {
        int64_t sample = i / heads, column = i % heads * head_dim;
        head.q = args->qkv + sample * tokens * head.packed + column;
        head.k = head.q + head.joined, head.v = head.k + head.joined;
        head_scores(&head, scores);
        for (int64_t t = 0; t < tokens; ++t)
            args->lse[i * tokens + t] = row_softmax(scores + t * tokens, tokens);
        blas_gemm(&(Gemm){.a = scores,
                          .b = head.v,
                          .c = args->out + sample * tokens * head.joined + column,
                          .m = tokens,
                          .n = head_dim,
                          .k = tokens,
                          .lda = tokens,
                          .ldb = head.packed,
                          .ldc = head.joined,
                          .alpha = 1});
    }
}

static float row_dot(const float *a, const float *b, int64_t n) {
    v16 sum = v16_zero();
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

// c[tokens, head_dim] = op(a) b with a [tokens, tokens]; rows of b and c at their own distances.
static void head_product(const Head *head, const float *a, bool transpose, const float *b,
                         int64_t ldb, float *c) {
    blas_gemm(&(Gemm){.a = a,
                      .b = b,
                      .c = c,
                      .m = head->tokens,
                      .n = head->head_dim,
                      .k = head->tokens,
                      .lda = head->tokens,
                      .ldb = ldb,
                      .ldc = head->packed,
                      .transpose_a = transpose,
                      .alpha = 1});
}

static void head_grad(const Head *head, const float *out, const float *lse, const float *dout,
                      float *dq, float *scratch) {
    int64_t tokens = head->tokens;
    float *scores = scratch;
    float *dp = scratch + attention_scratch_bytes(tokens) / 2 / sizeof(float);
    head_scores(head, scores);
    blas_gemm(&(Gemm){.a = dout,
                      .b = head->v,
                      .c = dp,
                      .m = tokens,
                      .n = tokens,
                      .k = head->head_dim,
                      .lda = head->joined,
                      .ldb = head->packed,
                      .ldc = tokens,
                      .transpose_b = true,
                      .alpha = 1});
    for (int64_t t = 0; t < tokens; ++t) {
        float dot = row_dot(dout + t * head->joined, out + t * head->joined, head->head_dim);
        row_softmax_grad(scores + t * tokens, dp + t * tokens, lse[t], dot, head->scale, tokens);
    }
    float *dk = dq + head->joined, *dv = dk + head->joined;
    head_product(head, dp, false, head->k, head->packed, dq);
    head_product(head, dp, true, head->q, head->packed, dk);
    head_product(head, scores, true, dout, head->joined, dv);
}

void CPU_KERNEL(attention_grad)(Stream *stream, const AttentionGrad *args) {
    int64_t tokens = args->tokens, heads = args->heads, head_dim = args->head_dim;
    float *scratch = cpu_scratch(stream, attention_scratch_bytes(tokens));
    Head head = {.tokens = tokens,
                 .head_dim = head_dim,
                 .packed = 3 * heads * head_dim,
                 .joined = heads * head_dim,
                 .scale = head_scale(head_dim)};
    for (int64_t i = 0; i < args->samples * heads; ++i) {
        int64_t sample = i / heads, column = i % heads * head_dim;
        int64_t at = sample * tokens * head.packed + column;
        int64_t joined_at = sample * tokens * head.joined + column;
        head.q = args->qkv + at;
        head.k = head.q + head.joined, head.v = head.k + head.joined;
        head_grad(&head, args->out + joined_at, args->lse + i * tokens, args->dout + joined_at,
                  args->dqkv + at, scratch);
    }
}
