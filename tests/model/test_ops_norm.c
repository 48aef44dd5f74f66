// The residual stream with its modulated LayerNorm: values and gradients against float64.
#include "tests/model/support_ops.h"
#include "tests/test.h"

typedef struct {
    int64_t samples, tokens, width, mod_stride, gate_stride;
    bool branch, in_place; // in_place: sum is x
} NormShape;

// One number of the output, in float64, from inputs in float64: sum and y of row r.
typedef struct {
    double *x, *branch, *gate, *shift, *scale;
} NormInput;

static void row_reference(const NormShape *s, const NormInput *in, int64_t r, double *sum,
                          double *y, double stats[2]) {
    int64_t sample = r / s->tokens, n = s->width;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; ++i) {
        sum[i] = in->x[r * n + i];
        if (s->branch) sum[i] += in->gate[sample * s->gate_stride + i] * in->branch[r * n + i];
        mean += sum[i] / (double)n;
    }
    for (int64_t i = 0; i < n; ++i) variance += (sum[i] - mean) * (sum[i] - mean) / (double)n;
    stats[0] = mean, stats[1] = 1 / sqrt(variance + 1e-6);
    for (int64_t i = 0; i < n; ++i)
        y[i] = (sum[i] - mean) * stats[1] * (1 + in->scale[sample * s->mod_stride + i]) +
               in->shift[sample * s->mod_stride + i];
}

typedef struct {
    int64_t rows, items, mods, gates;
    float *x, *branch, *gate, *shift, *scale, *dsum, *dy;
    NormInput wide;
} NormCase;

static double *widen(const float *x, int64_t n) {
    double *wide = ops_memory(n, sizeof *wide);
    for (int64_t i = 0; i < n; ++i) wide[i] = x[i];
    return wide;
}

static NormCase case_open(const NormShape *s) {
    NormCase c = {.rows = s->samples * s->tokens,
                  .items = s->samples * s->tokens * s->width,
                  .mods = (s->samples - 1) * s->mod_stride + s->width,
                  .gates = (s->samples - 1) * s->gate_stride + s->width};
    c.x = ops_numbers(c.items, 1), c.branch = ops_numbers(c.items, 2);
    c.gate = ops_numbers(c.gates, 3), c.shift = ops_numbers(c.mods, 4);
    c.scale = ops_numbers(c.mods, 5), c.dsum = ops_numbers(c.items, 6);
    c.dy = ops_numbers(c.items, 7);
    for (int64_t i = 0; i < c.items; ++i) c.x[i] = 2 * c.x[i] + 0.5f;
    c.wide = (NormInput){widen(c.x, c.items), widen(c.branch, c.items), widen(c.gate, c.gates),
                         widen(c.shift, c.mods), widen(c.scale, c.mods)};
    return c;
}

static void case_close(NormCase *c) {
    free(c->x), free(c->branch), free(c->gate), free(c->shift), free(c->scale), free(c->dsum);
    free(c->dy), free(c->wide.x), free(c->wide.branch), free(c->wide.gate);
    free(c->wide.shift), free(c->wide.scale);
}

// ---- forward ----------------------------------------------------------------------------------

static void call_forward(Stream *stream, OpBuffer *b, const void *shape) {
    const NormShape *s = shape;
    const float *x = s->in_place ? b[5].device : b[0].device;
    residual_norm_forward(stream, (ResidualNorm){.x = x,
                                                 .branch = b[1].device,
                                                 .gate = b[2].device,
                                                 .shift = b[3].device,
                                                 .scale = b[4].device,
                                                 .sum = b[5].device,
                                                 .y = b[6].device,
                                                 .stats = b[7].device,
                                                 .samples = s->samples,
                                                 .tokens = s->tokens,
                                                 .width = s->width,
                                                 .mod_stride = s->mod_stride,
                                                 .gate_stride = s->gate_stride});
}

static void forward_case(const NormShape *s) {
    NormCase c = case_open(s);
    float *y = ops_memory(c.items, sizeof *y), *stats = ops_memory(2 * c.rows, sizeof *stats);
    float *sum = ops_numbers(c.items, 1);
    memcpy(sum, c.x, (size_t)c.items * sizeof *sum);
    double *wide_sum = ops_memory(c.items, sizeof *wide_sum);
    double *wide_y = ops_memory(c.items, sizeof *wide_y);
    double *wide_stats = ops_memory(2 * c.rows, sizeof *wide_stats);
    for (int64_t r = 0; r < c.rows; ++r)
        row_reference(s, &c.wide, r, wide_sum + r * s->width, wide_y + r * s->width,
                      wide_stats + 2 * r);
    OpBuffer buffers[] = {{c.x, c.items, OP_IN, NULL, OP_F32},
                          {s->branch ? c.branch : NULL, c.items, OP_IN, NULL, OP_F32},
                          {s->branch ? c.gate : NULL, c.gates, OP_IN, NULL, OP_F32},
                          {c.shift, c.mods, OP_IN, NULL, OP_F32},
                          {c.scale, c.mods, OP_IN, NULL, OP_F32},
                          {sum, c.items, s->in_place ? OP_INOUT : OP_OUT, NULL, OP_F32},
                          {y, c.items, OP_OUT, NULL, OP_F32},
                          {stats, 2 * c.rows, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("residual_norm_forward", call_forward, s, buffers, 8), 0);
    if (s->branch || s->in_place)
        EXPECT_ALL_NEAR(sum, wide_sum, c.items, 1e-6);
    else // nothing is written
        for (int64_t i = 0; i < c.items; ++i) EXPECT(isnan(sum[i]));
    EXPECT_ALL_NEAR(y, wide_y, c.items, 3e-6);
    EXPECT_ALL_NEAR(stats, wide_stats, 2 * c.rows, 1e-6);
    free(y), free(stats), free(sum), free(wide_sum), free(wide_y), free(wide_stats);
    case_close(&c);
}

// ---- gradient ---------------------------------------------------------------------------------

static void call_grad(Stream *stream, OpBuffer *b, const void *shape) {
    const NormShape *s = shape;
    residual_norm_grad(stream, (ResidualNorm){.sum = b[0].device,
                                              .stats = b[1].device,
                                              .scale = b[2].device,
                                              .branch = b[3].device,
                                              .gate = b[4].device,
                                              .dy = b[5].device,
                                              .dsum = b[6].device,
                                              .dbranch = b[7].device,
                                              .dgate = b[8].device,
                                              .dshift = b[9].device,
                                              .dscale = b[10].device,
                                              .samples = s->samples,
                                              .tokens = s->tokens,
                                              .width = s->width,
                                              .mod_stride = s->mod_stride,
                                              .gate_stride = s->gate_stride});
}

// sum over a sample of dsum * sum + dy * y: its derivatives are what the operation returns.
static double sample_loss(const NormShape *s, const NormCase *c, int64_t sample) {
    double loss = 0, sum[512], y[512], stats[2];
    REQUIRE(s->width <= 512);
    for (int64_t r = sample * s->tokens; r < (sample + 1) * s->tokens; ++r) {
        row_reference(s, &c->wide, r, sum, y, stats);
        for (int64_t i = 0; i < s->width; ++i)
            loss += c->dsum[r * s->width + i] * sum[i] + c->dy[r * s->width + i] * y[i];
    }
    return loss;
}

static double slope(const NormShape *s, const NormCase *c, int64_t sample, double *number) {
    double h = 1e-4, before = *number;
    *number = before + h;
    double above = sample_loss(s, c, sample);
    *number = before - h;
    double below = sample_loss(s, c, sample);
    *number = before;
    return (above - below) / (2 * h);
}

typedef struct {
    float *dsum, *dbranch, *dgate, *dshift, *dscale;
} NormGrad;

// Every sample, some tokens, some columns.
static void grad_compare(const NormShape *s, NormCase *c, const NormGrad *g) {
    double tolerance = 1e-5;
    for (int64_t sample = 0; sample < s->samples; ++sample) {
        for (int64_t i = 0; i<s->width; i += s->width> 30 ? 29 : 3) {
            int64_t mod = sample * s->mod_stride + i, gate = sample * s->gate_stride + i;
            int64_t token = (sample + i) % s->tokens;
            int64_t at = (sample * s->tokens + token) * s->width + i;
            EXPECT_NEAR(g->dsum[at], slope(s, c, sample, &c->wide.x[at]), tolerance);
            EXPECT_NEAR(g->dshift[mod], slope(s, c, sample, &c->wide.shift[mod]), tolerance);
            EXPECT_NEAR(g->dscale[mod], slope(s, c, sample, &c->wide.scale[mod]), tolerance);
            if (!s->branch) continue;
            EXPECT_NEAR(g->dbranch[at], slope(s, c, sample, &c->wide.branch[at]), tolerance);
            EXPECT_NEAR(g->dgate[gate], slope(s, c, sample, &c->wide.gate[gate]), tolerance);
        }
    }
}

// What lies between the rows of two samples in a strided output is not touched.
static void gaps_compare(const NormShape *s, const float *x, int64_t stride) {
    for (int64_t sample = 0; sample < s->samples; ++sample) {
        for (int64_t i = 0; i < s->width; ++i) EXPECT(!isnan(x[sample * stride + i]));
        for (int64_t i = s->width; i < stride && sample + 1 < s->samples; ++i)
            EXPECT(isnan(x[sample * stride + i]));
    }
}

static void grad_case(const NormShape *s) {
    NormCase c = case_open(s);
    float *sum = ops_memory(c.items, sizeof *sum), *stats = ops_memory(2 * c.rows, sizeof *stats);
    NormGrad g = {ops_memory(c.items, sizeof *sum), ops_memory(c.items, sizeof *sum),
                  ops_memory(c.gates, sizeof *sum), ops_memory(c.mods, sizeof *sum),
                  ops_memory(c.mods, sizeof *sum)};
    memcpy(g.dsum, c.dsum, (size_t)c.items * sizeof *sum);
    for (int64_t r = 0; r < c.rows; ++r) {
        double wide_sum[512], wide_y[512], wide_stats[2];
        row_reference(s, &c.wide, r, wide_sum, wide_y, wide_stats);
        for (int64_t i = 0; i < s->width; ++i) sum[r * s->width + i] = (float)wide_sum[i];
        stats[2 * r] = (float)wide_stats[0], stats[2 * r + 1] = (float)wide_stats[1];
    }
    OpBuffer buffers[] = {{sum, c.items, OP_IN, NULL, OP_F32},
                          {stats, 2 * c.rows, OP_IN, NULL, OP_F32},
                          {c.scale, c.mods, OP_IN, NULL, OP_F32},
                          {s->branch ? c.branch : NULL, c.items, OP_IN, NULL, OP_F32},
                          {s->branch ? c.gate : NULL, c.gates, OP_IN, NULL, OP_F32},
                          {c.dy, c.items, OP_IN, NULL, OP_F32},
                          {g.dsum, c.items, OP_INOUT, NULL, OP_F32},
                          {s->branch ? g.dbranch : NULL, c.items, OP_OUT, NULL, OP_F32},
                          {s->branch ? g.dgate : NULL, c.gates, OP_OUT, NULL, OP_F32},
                          {g.dshift, c.mods, OP_OUT, NULL, OP_F32},
                          {g.dscale, c.mods, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("residual_norm_grad", call_grad, s, buffers, 11), 0);
    grad_compare(s, &c, &g);
    gaps_compare(s, g.dshift, s->mod_stride);
    gaps_compare(s, g.dscale, s->mod_stride);
    if (s->branch) gaps_compare(s, g.dgate, s->gate_stride);
    free(sum), free(stats), free(g.dsum), free(g.dbranch), free(g.dgate), free(g.dshift);
    free(g.dscale);
    case_close(&c);
}

static const NormShape shapes[] = {
    {1, 1, 8, 8, 8, true, false},
    {2, 7, 24, 24, 30, true, true},
    {3, 49, 192, 6 * 192, 200, true, false},
    {2, 7, 24, 50, 24, false, false},
    {2, 3, 40, 40, 40, false, true},
    {1, 5, 17, 17, 17, true, false},
    {2, 2, 333, 999, 2 * 333, true, true},
};

static void test_forward(void) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) forward_case(&shapes[i]);
}

static void test_grad(void) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) grad_case(&shapes[i]);
}

// A large common offset must not cost the variance its digits, as sum of squares minus square
// would.
static void test_large_mean(void) {
    NormShape s = {1, 1, 64, 64, 64, false, false};
    NormCase c = case_open(&s);
    float sum[64], y[64], stats[2];
    for (int i = 0; i < 64; ++i) {
        c.x[i] = 4096.0f + (float)(i % 2) * 0.5f;
        c.wide.x[i] = c.x[i];
    }
    double wide_sum[64], wide_y[64], wide_stats[2];
    row_reference(&s, &c.wide, 0, wide_sum, wide_y, wide_stats);
    OpBuffer buffers[] = {{c.x, 64, OP_IN, NULL, OP_F32},     {NULL, 0, OP_IN, NULL, OP_F32},
                          {NULL, 0, OP_IN, NULL, OP_F32},     {c.shift, 64, OP_IN, NULL, OP_F32},
                          {c.scale, 64, OP_IN, NULL, OP_F32}, {sum, 64, OP_OUT, NULL, OP_F32},
                          {y, 64, OP_OUT, NULL, OP_F32},      {stats, 2, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("residual_norm_forward", call_forward, &s, buffers, 8), 0);
    EXPECT_ALL_NEAR(y, wide_y, 64, 1e-5);
    case_close(&c);
}

int main(void) {
    RUN(test_forward);
    RUN(test_grad);
    RUN(test_large_mean);
    return test_report();
}
