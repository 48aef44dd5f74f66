// Tables, added rows and patches against the index arithmetic of their definitions.
#include "tests/model/support_ops.h"
#include "tests/test.h"

// ---- tables -----------------------------------------------------------------------------------

typedef struct {
    int64_t rows, width, entries, add_rows;
    bool add, accumulate, in_place;
} TableShape;

static void call_embed_forward(Stream *stream, OpBuffer *b, const void *shape) {
    const TableShape *s = shape;
    embed_forward(stream, (Embed){.ids = b[0].device,
                                  .table = b[1].device,
                                  .add = b[2].device,
                                  .y = b[3].device,
                                  .rows = s->rows,
                                  .width = s->width,
                                  .add_rows = s->add_rows});
}

static void call_embed_grad(Stream *stream, OpBuffer *b, const void *shape) {
    const TableShape *s = shape;
    embed_grad(stream, (Embed){.ids = b[0].device,
                               .dy = b[1].device,
                               .dtable = b[2].device,
                               .rows = s->rows,
                               .width = s->width,
                               .entries = s->entries,
                               .accumulate = s->accumulate});
}

static void call_add_rows(Stream *stream, OpBuffer *b, const void *shape) {
    const TableShape *s = shape;
    embed_forward(stream, (Embed){.table = s->in_place ? b[2].device : b[0].device,
                                  .add = b[1].device,
                                  .y = b[2].device,
                                  .rows = s->rows,
                                  .width = s->width,
                                  .add_rows = s->add_rows});
}

static int32_t *some_ids(const TableShape *s) {
    int32_t *ids = ops_memory(s->rows, sizeof *ids);
    for (int64_t r = 0; r < s->rows; ++r) ids[r] = (int32_t)(mix64((uint64_t)r) % s->entries);
    return ids;
}

static void embed_forward_case(const TableShape *s) {
    int64_t n = s->rows * s->width, n_table = s->entries * s->width, n_add = s->add_rows * s->width;
    int32_t *ids = some_ids(s);
    float *table = ops_numbers(n_table, 1), *add = ops_numbers(n_add, 2);
    float *y = ops_memory(n, sizeof *y);
    OpBuffer buffers[] = {{ids, s->rows, OP_IN, NULL, OP_F32},
                          {table, n_table, OP_IN, NULL, OP_F32},
                          {s->add ? add : NULL, n_add, OP_IN, NULL, OP_F32},
                          {y, n, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("embed_forward", call_embed_forward, s, buffers, 4), 0);
    for (int64_t i = 0; i < n; ++i) {
        float expected = table[ids[i / s->width] * s->width + i % s->width];
        if (s->add) expected += add[i / s->width % s->add_rows * s->width + i % s->width];
        EXPECT(y[i] == expected);
    }
    free(ids), free(table), free(add), free(y);
}

static void embed_grad_case(const TableShape *s) {
    int64_t n = s->rows * s->width, n_table = s->entries * s->width;
    int32_t *ids = some_ids(s);
    float *dy = ops_numbers(n, 3), *dtable = ops_numbers(n_table, 4);
    float *expected = ops_memory(n_table, sizeof *expected);
    for (int64_t i = 0; i < n; ++i) expected[ids[i / s->width] * s->width + i % s->width] += dy[i];
    for (int64_t i = 0; s->accumulate && i < n_table; ++i)
        expected[i] += dtable[i]; // in one rounding
    OpBuffer buffers[] = {{ids, s->rows, OP_IN, NULL, OP_F32},
                          {dy, n, OP_IN, NULL, OP_F32},
                          {dtable, n_table, s->accumulate ? OP_INOUT : OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("embed_grad", call_embed_grad, s, buffers, 3), 0);
    for (int64_t i = 0; i < n_table; ++i) EXPECT(dtable[i] == expected[i]);
    free(ids), free(dy), free(dtable), free(expected);
}

static void add_rows_case(const TableShape *s) {
    int64_t n = s->rows * s->width, n_add = s->add_rows * s->width;
    float *x = ops_numbers(n, 5), *add = ops_numbers(n_add, 6), *y = ops_numbers(n, 5);
    OpBuffer buffers[] = {{x, n, OP_IN, NULL, OP_F32},
                          {add, n_add, OP_IN, NULL, OP_F32},
                          {y, n, s->in_place ? OP_INOUT : OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("embed_forward without ids", call_add_rows, s, buffers, 3), 0);
    for (int64_t i = 0; i < n; ++i)
        EXPECT(y[i] == x[i] + add[i / s->width % s->add_rows * s->width + i % s->width]);
    free(x), free(add), free(y);
}

static void test_tables(void) {
    static const TableShape shapes[] = {
        {1, 8, 1, 1, true, false, false},      {49, 24, 11, 7, true, true, true},
        {98, 192, 28, 49, true, false, true},  {33, 17, 300, 1, false, true, false},
        {60, 5, 2, 20, false, false, false},   {1500, 37, 3, 50, true, true, false},
        {700, 40, 500, 7, false, true, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
        embed_forward_case(&shapes[i]);
        embed_grad_case(&shapes[i]);
        add_rows_case(&shapes[i]);
    }
}

// ---- patches ----------------------------------------------------------------------------------

typedef struct {
    int64_t samples, channels, height, width, patch;
    bool channel_last;
} PatchShape;

static void call_patch_forward(Stream *stream, OpBuffer *b, const void *shape) {
    const PatchShape *s = shape;
    patch_forward(stream, (Patches){.from = b[0].device,
                                    .to = b[1].device,
                                    .samples = s->samples,
                                    .channels = s->channels,
                                    .height = s->height,
                                    .width = s->width,
                                    .patch = s->patch,
                                    .channel_last = s->channel_last});
}

static void call_patch_back(Stream *stream, OpBuffer *b, const void *shape) {
    const PatchShape *s = shape;
    patch_back(stream, (Patches){.from = b[0].device,
                                 .to = b[1].device,
                                 .samples = s->samples,
                                 .channels = s->channels,
                                 .height = s->height,
                                 .width = s->width,
                                 .patch = s->patch,
                                 .channel_last = s->channel_last});
}

// Where image number i stands among the tokens.
static int64_t token_place(const PatchShape *s, int64_t i) {
    int64_t x = i % s->width, y = i / s->width % s->height;
    int64_t c = i / (s->width * s->height) % s->channels;
    int64_t sample = i / (s->width * s->height * s->channels), p = s->patch;
    int64_t token = (y / p) * (s->width / p) + x / p;
    int64_t tokens = (s->height / p) * (s->width / p);
    int64_t within =
        s->channel_last ? ((y % p) * p + x % p) * s->channels + c : (c * p + y % p) * p + x % p;
    return (sample * tokens + token) * s->channels * p * p + within;
}

static void patch_case(const PatchShape *s) {
    int64_t n = s->samples * s->channels * s->height * s->width;
    float *image = ops_numbers(n, 1), *tokens = ops_memory(n, sizeof *tokens);
    float *back = ops_memory(n, sizeof *back);
    OpBuffer forward[] = {{image, n, OP_IN, NULL, OP_F32}, {tokens, n, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("patch_forward", call_patch_forward, s, forward, 2), 0);
    for (int64_t i = 0; i < n; ++i) EXPECT(tokens[token_place(s, i)] == image[i]);
    OpBuffer backward[] = {{tokens, n, OP_IN, NULL, OP_F32}, {back, n, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("patch_back", call_patch_back, s, backward, 2), 0);
    EXPECT(memcmp(image, back, (size_t)n * sizeof *image) == 0);
    free(image), free(tokens), free(back);
}

static void test_patches(void) {
    static const PatchShape shapes[] = {
        {1, 1, 1, 1, 1, false},  {2, 3, 8, 12, 2, false},  {2, 3, 8, 12, 2, true},
        {3, 1, 28, 28, 4, true}, {1, 4, 21, 14, 7, false}, {2, 5, 6, 3, 3, true},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) patch_case(&shapes[i]);
}

// A convolution's order, spelled out: two channels of 2 x 4, patch 2.
static void test_patch_order_by_hand(void) {
    PatchShape s = {1, 2, 2, 4, 2, false};
    float image[16], tokens[16];
    for (int i = 0; i < 16; ++i) image[i] = (float)i; // channel 0: 0-7, channel 1: 8-15
    static const float first[16] = {0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15};
    static const float last[16] = {0, 8, 1, 9, 4, 12, 5, 13, 2, 10, 3, 11, 6, 14, 7, 15};
    OpBuffer buffers[] = {{image, 16, OP_IN, NULL, OP_F32}, {tokens, 16, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("patch_forward", call_patch_forward, &s, buffers, 2), 0);
    EXPECT(memcmp(tokens, first, sizeof first) == 0);
    s.channel_last = true;
    EXPECT_EQ(ops_run("patch_forward", call_patch_forward, &s, buffers, 2), 0);
    EXPECT(memcmp(tokens, last, sizeof last) == 0);
}

// Ids by runs: of `ids` with a stride, and in turn with those of `other`.
static void call_runs(Stream *stream, OpBuffer *b, const void *shape) {
    (void)shape;
    embed_forward(stream, (Embed){.ids = b[0].device,
                                  .other = b[1].device,
                                  .table = b[2].device,
                                  .y = b[3].device,
                                  .rows = 8,
                                  .width = 1,
                                  .each = 2,
                                  .stride = 3});
}

static void test_runs(void) {
    int32_t ids[12], other[6];
    float table[18], y[8];
    for (int i = 0; i < 12; ++i) ids[i] = i;
    for (int i = 0; i < 6; ++i) other[i] = 12 + i;
    for (int i = 0; i < 18; ++i) table[i] = (float)i;
    static const float in_turn[] = {0, 1, 12, 13, 3, 4, 15, 16},
                       apart[] = {0, 1, 3, 4, 6, 7, 9, 10};
    OpBuffer buffers[] = {{ids, 12, OP_IN, NULL, OP_F32},
                          {other, 6, OP_IN, NULL, OP_F32},
                          {table, 18, OP_IN, NULL, OP_F32},
                          {y, 8, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("embed_forward", call_runs, NULL, buffers, 4), 0);
    EXPECT(memcmp(y, in_turn, sizeof y) == 0);
    buffers[1].host = NULL;
    EXPECT_EQ(ops_run("embed_forward", call_runs, NULL, buffers, 4), 0);
    EXPECT(memcmp(y, apart, sizeof y) == 0);
}

// The gradient of the same rows.
static void call_runs_grad(Stream *stream, OpBuffer *b, const void *shape) {
    (void)shape;
    embed_grad(stream, (Embed){.ids = b[0].device,
                               .other = b[1].device,
                               .dy = b[2].device,
                               .dtable = b[3].device,
                               .rows = 8,
                               .width = 1,
                               .entries = 18,
                               .each = 2,
                               .stride = 3});
}

static void test_gradient_of_runs(void) {
    int32_t ids[12], other[6], rows[] = {0, 1, 12, 13, 3, 4, 15, 16};
    float dy[8], dtable[18], expected[18] = {0};
    for (int i = 0; i < 12; ++i) ids[i] = i;
    for (int i = 0; i < 6; ++i) other[i] = 12 + i;
    for (int i = 0; i < 8; ++i) expected[rows[i]] += dy[i] = (float)(1 + i);
    OpBuffer buffers[] = {{ids, 12, OP_IN, NULL, OP_F32},
                          {other, 6, OP_IN, NULL, OP_F32},
                          {dy, 8, OP_IN, NULL, OP_F32},
                          {dtable, 18, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("embed_grad", call_runs_grad, NULL, buffers, 4), 0);
    EXPECT(memcmp(dtable, expected, sizeof expected) == 0);
}

// ---- Fourier features -------------------------------------------------------------------------

enum { IMAGES = 3, ITEM = 123, FOURIER_N = IMAGES * ITEM };

static void call_fourier(Stream *stream, OpBuffer *b, const void *shape) {
    (void)shape;
    fourier_forward(stream,
                    (Fourier){.x = b[0].device, .y = b[1].device, .samples = IMAGES, .item = ITEM});
}
static void call_fourier_grad(Stream *stream, OpBuffer *b, const void *shape) {
    (void)shape;
    fourier_grad(stream, (Fourier){.x = b[0].device,
                                   .dy = b[1].device,
                                   .dx = b[2].device,
                                   .samples = IMAGES,
                                   .item = ITEM});
}

static void test_fourier(void) {
    float *x = ops_numbers(FOURIER_N, 7), *dy = ops_numbers(5 * FOURIER_N, 8);
    float *y = ops_memory(5 * FOURIER_N, 4), *dx = ops_memory(FOURIER_N, 4);
    OpBuffer forward[] = {{x, FOURIER_N, OP_IN, NULL, OP_F32},
                          {y, 5 * FOURIER_N, OP_OUT, NULL, OP_F32}};
    OpBuffer back[] = {{x, FOURIER_N, OP_IN, NULL, OP_F32},
                       {dy, 5 * FOURIER_N, OP_IN, NULL, OP_F32},
                       {dx, FOURIER_N, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("fourier_forward", call_fourier, NULL, forward, 2), 0);
    EXPECT_EQ(ops_run("fourier_grad", call_fourier_grad, NULL, back, 3), 0);
    for (int64_t i = 0; i < FOURIER_N; ++i) {
        int64_t at = i / ITEM * 5 * ITEM + i % ITEM;
        double w = 128 * M_PI, a = w * (double)x[i];
        EXPECT(y[at] == x[i]);
        EXPECT_NEAR(y[at + ITEM], sin(a), 1e-7);
        EXPECT_NEAR(y[at + 2 * ITEM], cos(a), 1e-7);
        EXPECT_NEAR(y[at + 3 * ITEM], sin(2 * a), 1e-7);
        EXPECT_NEAR(y[at + 4 * ITEM], cos(2 * a), 1e-7);
        double by = (double)dy[at] +
                    w * ((double)dy[at + ITEM] * cos(a) - (double)dy[at + 2 * ITEM] * sin(a) +
                         2 * (double)dy[at + 3 * ITEM] * cos(2 * a) -
                         2 * (double)dy[at + 4 * ITEM] * sin(2 * a));
        EXPECT_NEAR(dx[i], by, 1e-4);
    }
    free(x), free(dy), free(y), free(dx);
}

int main(void) {
    RUN(test_tables);
    RUN(test_runs);
    RUN(test_gradient_of_runs);
    RUN(test_fourier);
    RUN(test_patches);
    RUN(test_patch_order_by_hand);
    return test_report();
}
