// Attention against its definition in float64, and its gradient against finite differences of that.
#include "tests/model/support_ops.h"
#include "tests/test.h"

typedef struct {
    int64_t samples, tokens, heads, head_dim;
    double size; // of the numbers in q and k: large ones make the softmax a choice
    int64_t block, from;
    bool cached;
} AttentionShape;

static int64_t rows_of(const AttentionShape *s) {
    return s->cached ? s->block : s->tokens;
}

// Whether token t reads token u, by their places' blocks; `done`: of the finished half.
static bool reads(const AttentionShape *s, int64_t t, int64_t u) {
    if (s->block == 0) return true;
    if (s->cached) return u / s->block <= s->from / s->block;
    int64_t places = s->tokens / 2, mine = t % places / s->block, its = u % places / s->block;
    bool done = t >= places, its_done = u >= places;
    return its_done ? its < mine || (done && its == mine) : !done && its == mine;
}

static int64_t packed_count(const AttentionShape *s) {
    return s->samples * s->tokens * 3 * s->heads * s->head_dim;
}

static const double *part(const AttentionShape *s, const double *qkv, int64_t row, int64_t which,
                          int64_t head) {
    return qkv + ((row * 3 + which) * s->heads + head) * s->head_dim;
}

// out[head_dim] and the log of the denominator for one row (sample * rows + token) and head.
static double head_reference(const AttentionShape *s, const double *qkv, int64_t row, int64_t head,
                             double *out) {
    double score[256], most = -INFINITY, sum = 0;
    int64_t first = row / rows_of(s) * s->tokens, token = row % rows_of(s);
    const double *q = part(s, qkv, first + s->from + token, 0, head);
    for (int64_t u = 0; u < s->tokens; ++u) {
        const double *k = part(s, qkv, first + u, 1, head);
        score[u] = 0;
        for (int64_t i = 0; i < s->head_dim; ++i) score[u] += q[i] * k[i];
        score[u] = reads(s, token, u) ? score[u] / sqrt((double)s->head_dim) : -INFINITY;
        most = fmax(most, score[u]);
    }
    for (int64_t u = 0; u < s->tokens; ++u) sum += exp(score[u] - most);
    for (int64_t i = 0; i < s->head_dim; ++i) {
        out[i] = 0;
        for (int64_t u = 0; u < s->tokens; ++u)
            out[i] += exp(score[u] - most) / sum * part(s, qkv, first + u, 2, head)[i];
    }
    return most + log(sum);
}

typedef struct {
    int64_t packed, joined, stats;
    float *qkv, *out, *lse, *dout;
    double *wide, *wide_out, *wide_lse;
} AttentionCase;

static AttentionCase case_open(const AttentionShape *s) {
    AttentionCase c = {.packed = packed_count(s),
                       .joined = s->samples * rows_of(s) * s->heads * s->head_dim,
                       .stats = s->samples * s->heads * rows_of(s)};
    c.qkv = ops_numbers(c.packed, 1), c.dout = ops_numbers(c.joined, 2);
    c.out = ops_memory(c.joined, sizeof *c.out), c.lse = ops_memory(c.stats, sizeof *c.lse);
    c.wide = ops_memory(c.packed, sizeof *c.wide);
    c.wide_out = ops_memory(c.joined, sizeof *c.wide_out);
    c.wide_lse = ops_memory(c.stats, sizeof *c.wide_lse);
    for (int64_t i = 0; i < c.packed; ++i) {
        bool value = i / (s->heads * s->head_dim) % 3 == 2;
        c.qkv[i] *= value ? 1 : (float)s->size;
        c.wide[i] = c.qkv[i];
    }
    int64_t rows = rows_of(s);
    for (int64_t row = 0; row < s->samples * rows; ++row)
        for (int64_t head = 0; head < s->heads; ++head)
            c.wide_lse[(row / rows * s->heads + head) * rows + row % rows] = head_reference(
                s, c.wide, row, head, c.wide_out + (row * s->heads + head) * s->head_dim);
    return c;
}

static void case_close(AttentionCase *c) {
    free(c->qkv), free(c->out), free(c->lse), free(c->dout), free(c->wide), free(c->wide_out);
    free(c->wide_lse);
}

// ---- forward ----------------------------------------------------------------------------------

static void call_forward(Stream *stream, OpBuffer *b, const void *shape) {
    const AttentionShape *s = shape;
    attention_forward(stream, (Attention){.qkv = b[0].device,
                                          .out = b[1].device,
                                          .lse = b[2].device,
                                          .samples = s->samples,
                                          .tokens = s->tokens,
                                          .heads = s->heads,
                                          .head_dim = s->head_dim,
                                          .block = s->block,
                                          .from = s->from,
                                          .cached = s->cached});
}

static void forward_case(const AttentionShape *s) {
    AttentionCase c = case_open(s);
    OpBuffer buffers[] = {{c.qkv, c.packed, OP_IN, NULL, OP_F32},
                          {c.out, c.joined, OP_OUT, NULL, OP_F32},
                          {c.lse, c.stats, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("attention_forward", call_forward, s, buffers, 3), 0);
    EXPECT_ALL_NEAR(c.out, c.wide_out, c.joined, 2e-6 * fmax(1, s->size * s->size));
    EXPECT_ALL_NEAR(c.lse, c.wide_lse, c.stats, 1e-6);
    case_close(&c);
}

// ---- gradient ---------------------------------------------------------------------------------

static void call_grad(Stream *stream, OpBuffer *b, const void *shape) {
    const AttentionShape *s = shape;
    attention_grad(stream, (Attention){.qkv = b[0].device,
                                       .out = b[1].device,
                                       .lse = b[2].device,
                                       .dout = b[3].device,
                                       .dqkv = b[4].device,
                                       .samples = s->samples,
                                       .tokens = s->tokens,
                                       .heads = s->heads,
                                       .head_dim = s->head_dim,
                                       .block = s->block});
}

// sum of dout * out over one sample and head.
static double head_loss(const AttentionShape *s, const AttentionCase *c, int64_t sample,
                        int64_t head) {
    double loss = 0, out[256];
    for (int64_t row = sample * s->tokens; row < (sample + 1) * s->tokens; ++row) {
        head_reference(s, c->wide, row, head, out);
        for (int64_t i = 0; i < s->head_dim; ++i)
            loss += c->dout[(row * s->heads + head) * s->head_dim + i] * out[i];
    }
    return loss;
}

static void grad_compare(const AttentionShape *s, AttentionCase *c, const float *dqkv) {
    // About forty places; a step that is prime to all sizes visits q, k, v and all heads.
    int64_t step = c->packed < 40 ? 1 : c->packed / 40 / 2 * 2 + 1;
    for (int64_t at = 0; at < c->packed; at += step) {
        int64_t sample = at / (s->tokens * 3 * s->heads * s->head_dim);
        int64_t head = at / s->head_dim % s->heads;
        double h = 1e-4, before = c->wide[at];
        c->wide[at] = before + h;
        double above = head_loss(s, c, sample, head);
        c->wide[at] = before - h;
        double below = head_loss(s, c, sample, head);
        c->wide[at] = before;
        EXPECT_NEAR(dqkv[at], (above - below) / (2 * h), 1e-5 * fmax(1, s->size * s->size));
    }
}

static void grad_case(const AttentionShape *s) {
    AttentionCase c = case_open(s);
    float *dqkv = ops_memory(c.packed, sizeof *dqkv);
    for (int64_t i = 0; i < c.joined; ++i) c.out[i] = (float)c.wide_out[i];
    for (int64_t i = 0; i < c.stats; ++i) c.lse[i] = (float)c.wide_lse[i];
    OpBuffer buffers[] = {{c.qkv, c.packed, OP_IN, NULL, OP_F32},
                          {c.out, c.joined, OP_IN, NULL, OP_F32},
                          {c.lse, c.stats, OP_IN, NULL, OP_F32},
                          {c.dout, c.joined, OP_IN, NULL, OP_F32},
                          {dqkv, c.packed, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("attention_grad", call_grad, s, buffers, 5), 0);
    grad_compare(s, &c, dqkv);
    int64_t bad = 0;
    for (int64_t i = 0; i < c.packed; ++i) bad += !isfinite(dqkv[i]);
    EXPECT_EQ(bad, 0);
    free(dqkv);
    case_close(&c);
}

static const AttentionShape shapes[] = {
    {1, 1, 1, 8, 1, 0, 0, false},   {2, 7, 3, 8, 1, 0, 0, false},   {1, 49, 2, 32, 1, 0, 0, false},
    {2, 16, 2, 40, 1, 0, 0, false}, {3, 49, 1, 8, 3, 0, 0, false},  {1, 100, 1, 5, 1, 0, 0, false},
    {1, 17, 4, 64, 2, 0, 0, false}, {16, 80, 2, 6, 1, 0, 0, false}, {2, 24, 3, 8, 1, 4, 0, false},
    {3, 30, 2, 8, 1, 5, 0, false},  {1, 8, 2, 8, 1, 4, 0, false},
};

static void test_forward(void) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) forward_case(&shapes[i]);
}

static void test_grad(void) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) grad_case(&shapes[i]);
}

// One block at a time: the first, one between, the last.
static void test_cached(void) {
    for (int64_t from = 0; from < 24; from += 8) {
        forward_case(&(AttentionShape){3, 24, 2, 8, 1, 8, from, true});
        forward_case(&(AttentionShape){1, 24, 2, 8, 1, 8, from, true});
    }
}

// Scores of some thousand: exp would overflow without the shift by the largest.
static void test_large_scores(void) {
    forward_case(&(AttentionShape){1, 9, 1, 16, 60, 0, 0, false});
}

int main(void) {
    RUN(test_forward);
    RUN(test_grad);
    RUN(test_cached);
    RUN(test_large_scores);
    return test_report();
}
