// Operations on bf16 against the same operations on fp32: fed with numbers that bf16 holds exactly,
// both must agree up to the rounding of what is stored.
#include "model/cpu/kernels/half.h"
#include "tests/model/support_ops.h"
#include "tests/test.h"

// ---- the conversion itself --------------------------------------------------------------------

static uint32_t bits_of(float x) {
    return (F32Bits){x}.u;
}

static void test_rounding(void) {
    static const struct {
        uint32_t from, to;
    } cases[] = {
        {0x3F800000, 0x3F80}, // 1
        {0x3F807FFF, 0x3F80}, // just below the middle
        {0x3F808000, 0x3F80}, // the middle goes to the even one, here down
        {0x3F818000, 0x3F82}, // and here up
        {0x3F808001, 0x3F81}, {0xBF818000, 0xBF82},
        {0x7F7FFFFF, 0x7F80},                       // beyond the largest: infinity
        {0x7F800000, 0x7F80}, {0x00000001, 0x0000}, // below half of the smallest
        {0x80000000, 0x8000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        EXPECT_EQ(half_round((F32Bits){.u = cases[i].from}.f), cases[i].to);
    EXPECT(isnan(half_widen(half_round(NAN))));
    EXPECT(isnan(half_widen(half_round((F32Bits){.u = 0x7FFFFFFF}.f))));
    EXPECT(isnan(half_widen(half_round((F32Bits){.u = 0x7F800001}.f))));
    for (uint32_t h = 0; h < 0x10000; ++h) {
        float x = half_widen((uint16_t)h);
        if (!isnan(x)) EXPECT_EQ(half_round(x), h);
        EXPECT_EQ(bits_of(x), h << 16);
    }
}

static void call_halve(Stream *stream, OpBuffer *b, const void *shape) {
    halve(stream, (Elementwise){.x = b[0].device, .y = b[1].device, .n = *(const int64_t *)shape});
}

static void test_halve(void) {
    int64_t n = 1002;
    float *x = ops_numbers(n, 1);
    uint16_t *y = ops_memory(n, sizeof *y);
    OpBuffer buffers[] = {{x, n, OP_IN, NULL, OP_F32}, {y, n / 2, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("halve", call_halve, &n, buffers, 2), 0);
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(y[i], half_round(x[i]));
    free(x), free(y);
}

// ---- an operation both ways -------------------------------------------------------------------

enum { ARRAYS_MOST = 12 };

// Arrays of the operation under test. `half` ones become bf16 in the second run.
typedef struct {
    int64_t n; // even
    OpKind kind;
    bool half;
    double tolerance; // of fp32 results, relative to the largest
} Array;

typedef struct {
    const void *shape;
    bool half;
} Call;

static double largest(const float *x, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; ++i) most = fmax(most, fabs((double)x[i]));
    return most;
}

static void compare(const char *name, int index, const Array *array, const float *wide,
                    const void *other) {
    double limit = array->tolerance * largest(wide, array->n), worst = 0;
    for (int64_t i = 0; i < array->n; ++i) {
        float got =
            array->half ? half_widen(((const uint16_t *)other)[i]) : ((const float *)other)[i];
        // One rounding to 8 bits, of a sum that may have come out a little otherwise.
        double room = limit + (array->half ? 0x1p-8 * fabs((double)wide[i]) : 0);
        worst = fmax(worst, fabs((double)got - (double)wide[i]) - room);
        if (isnan(got)) worst = INFINITY;
    }
    if (worst > 0) printf("  %s: array %d is off by %g more than allowed\n", name, index, worst);
    EXPECT(worst <= 0);
}

static void both_ways(const char *name, OpCall call, const void *shape, const Array *array,
                      int count) {
    OpBuffer wide[ARRAYS_MOST], half[ARRAYS_MOST];
    for (int i = 0; i < count; ++i) {
        const Array *a = &array[i];
        float *x = ops_numbers(a->n, (uint64_t)i + 1), *y = ops_memory(a->n, sizeof *y);
        for (int64_t k = 0; k < a->n; ++k) {
            x[k] = half_widen(half_round(x[k]));
            if (a->half)
                ((uint16_t *)y)[k] = half_round(x[k]);
            else
                y[k] = x[k];
        }
        wide[i] = (OpBuffer){x, a->n, a->kind, NULL, OP_F32};
        half[i] =
            (OpBuffer){y, a->half ? a->n / 2 : a->n, a->kind, NULL, a->half ? OP_HALF : OP_F32};
    }
    EXPECT_EQ(ops_run(name, call, &(Call){shape, false}, wide, count), 0);
    EXPECT_EQ(ops_run(name, call, &(Call){shape, true}, half, count), 0);
    for (int i = 0; i < count; ++i) {
        if (array[i].kind != OP_IN) compare(name, i, &array[i], wide[i].host, half[i].host);
        free(wide[i].host), free(half[i].host);
    }
}

// ---- dense layers -----------------------------------------------------------------------------

typedef struct {
    int64_t rows, in, out;
    Activation act;
} Dense;

static void call_linear_forward(Stream *stream, OpBuffer *b, const void *call) {
    const Dense *s = ((const Call *)call)->shape;
    linear_forward(stream, (LinearLayer){.x = b[0].device,
                                         .w = b[1].device,
                                         .bias = b[2].device,
                                         .y = b[3].device,
                                         .slope = s->act != ACT_NONE ? b[4].device : NULL,
                                         .rows = s->rows,
                                         .in = s->in,
                                         .out = s->out,
                                         .act = s->act,
                                         .half = ((const Call *)call)->half});
}

static void call_linear_grad(Stream *stream, OpBuffer *b, const void *call) {
    const Dense *s = ((const Call *)call)->shape;
    linear_grad(stream, (LinearLayer){.dy = b[0].device,
                                      .x = b[1].device,
                                      .w = b[2].device,
                                      .slope = b[3].device,
                                      .dw = b[4].device,
                                      .dbias = b[5].device,
                                      .dx = b[6].device,
                                      .rows = s->rows,
                                      .in = s->in,
                                      .out = s->out,
                                      .half = ((const Call *)call)->half});
}

static void test_linear(void) {
    static const Dense shapes[] = {{7, 24, 192, ACT_NONE},   {49, 192, 24, ACT_GELU},
                                   {98, 40, 50, ACT_SILU},   {130, 96, 96, ACT_GELU},
                                   {32, 1400, 34, ACT_NONE}, {1100, 34, 66, ACT_GELU}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
        const Dense *s = &shapes[i];
        int64_t nx = s->rows * s->in, nw = s->in * s->out, ny = s->rows * s->out;
        // A sigmoid's input that is rounded before it where oneDNN runs: its slope is at most 1.2.
        double act = s->act == ACT_NONE ? 1e-6 : 0x1p-8;
        Array forward[] = {{nx, OP_IN, true, 0},
                           {nw, OP_IN, true, 0},
                           {s->out, OP_IN, false, 0},
                           {ny, OP_OUT, true, act},
                           {ny,
                            s->act == ACT_NONE   ? OP_IN
                            : s->act == ACT_GELU ? OP_KEPT
                                                 : OP_OUT,
                            true, 4 * act}};
        both_ways("linear_forward", call_linear_forward, s, forward, 5);
        Array grad[] = {{ny, OP_IN, true, 0},      {nx, OP_IN, true, 0},
                        {nw, OP_IN, true, 0},      {nx, OP_IN, true, 0},
                        {nw, OP_OUT, false, 1e-6}, {s->out, OP_OUT, false, 1e-6},
                        {nx, OP_OUT, true, 1e-6}};
        both_ways("linear_grad", call_linear_grad, s, grad, 7);
    }
}

// Two layers with an activation between them: what the forward leaves, the gradient reads.
static void call_round_trip(Stream *stream, OpBuffer *b, const void *call) {
    const Dense *s = ((const Call *)call)->shape;
    LinearLayer first = {.x = b[0].device,
                         .w = b[1].device,
                         .bias = b[2].device,
                         .slope = b[5].device,
                         .y = b[6].device,
                         .rows = s->rows,
                         .in = s->in,
                         .out = s->out,
                         .act = s->act,
                         .half = ((const Call *)call)->half};
    linear_forward(stream, first);
    linear_grad(stream, (LinearLayer){.dy = b[4].device,
                                      .x = first.y,
                                      .w = b[3].device,
                                      .slope = first.slope,
                                      .dx = b[7].device,
                                      .dw = b[8].device,
                                      .dbias = b[9].device,
                                      .rows = s->rows,
                                      .in = s->out,
                                      .out = s->in,
                                      .act = s->act,
                                      .half = ((const Call *)call)->half});
}

static void test_round_trip(void) {
    static const Dense shapes[] = {
        {49, 24, 96, ACT_GELU}, {98, 40, 50, ACT_GELU}, {7, 32, 24, ACT_SILU}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
        const Dense *s = &shapes[i];
        int64_t nx = s->rows * s->in, nw = s->in * s->out, ny = s->rows * s->out;
        // The argument is rounded, and with it the slope; then the hidden numbers, of which a GPU's
        // may be the neighbours: dw is fp32, and shows it.
        Array arrays[] = {{nx, OP_IN, true, 0},         {nw, OP_IN, true, 0},
                          {s->out, OP_IN, false, 0},    {nw, OP_IN, true, 0},
                          {nx, OP_IN, true, 0},         {ny, OP_KEPT, true, 0x1p-6},
                          {ny, OP_OUT, true, 0x1p-8},   {ny, OP_OUT, true, 0x1p-6},
                          {nw, OP_KEPT, false, 0x1p-8}, {s->in, OP_OUT, false, 1e-6}};
        both_ways("round trip", call_round_trip, s, arrays, 10);
    }
}

// A GPU's library may have no product that adds the bias or knows GELU: an emulated one is told so.
static void test_plain_products(void) {
    setenv("DYE_EMULATED_PRODUCTS", "plain", 1);
    test_linear();
    test_round_trip();
    unsetenv("DYE_EMULATED_PRODUCTS");
}

static void test_no_products(void) {
    DeviceConfig config = {.backend = "cuda", .streams = 1, .wide_bytes = 1 << 20};
    Device *device;
    if (device_open(&config, &device) != STATUS_OK) return;
    if (strstr(device->description, "emulated") != NULL) {
        setenv("DYE_EMULATED_PRODUCTS", "none", 1);
        float *x;
        EXPECT_OK(device_alloc(device, 1000 * sizeof *x, (void **)&x));
        LinearLayer args = {
            .x = x, .w = x, .bias = x, .y = x + 500, .rows = 3, .in = 8, .out = 5, .half = true};
        linear_forward(device_stream(device, 0), args);
        EXPECT_FAIL(stream_wait(device_stream(device, 0)), FAILED,
                    "linear_forward: a product of 3 x 8 x 5 (1 of them, bf16)");
        device_release(device, x);
        unsetenv("DYE_EMULATED_PRODUCTS");
    }
    device_close(device);
}

// ---- attention --------------------------------------------------------------------------------

typedef struct {
    int64_t samples, tokens, heads, head_dim;
} Heads;

static void call_attention_forward(Stream *stream, OpBuffer *b, const void *call) {
    const Heads *s = ((const Call *)call)->shape;
    attention_forward(stream, (Attention){.qkv = b[0].device,
                                          .out = b[1].device,
                                          .lse = b[2].device,
                                          .samples = s->samples,
                                          .tokens = s->tokens,
                                          .heads = s->heads,
                                          .head_dim = s->head_dim,
                                          .half = ((const Call *)call)->half});
}

static void call_attention_grad(Stream *stream, OpBuffer *b, const void *call) {
    const Heads *s = ((const Call *)call)->shape;
    attention_grad(stream, (Attention){.qkv = b[0].device,
                                       .out = b[1].device,
                                       .lse = b[2].device,
                                       .dout = b[3].device,
                                       .dqkv = b[4].device,
                                       .samples = s->samples,
                                       .tokens = s->tokens,
                                       .heads = s->heads,
                                       .head_dim = s->head_dim,
                                       .half = ((const Call *)call)->half});
}

static void test_attention(void) {
    static const Heads shapes[] = {{2, 49, 2, 8},   {1, 6, 3, 6},    {1, 64, 1, 32},
                                   {2, 33, 2, 600}, {2, 16, 2, 64},  {1, 77, 2, 72},
                                   {1, 256, 1, 64}, {2, 130, 1, 128}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
        const Heads *s = &shapes[i];
        int64_t n = s->samples * s->tokens * s->heads * s->head_dim;
        int64_t rows = s->samples * s->heads * s->tokens;
        // Probabilities and their gradients are rounded before they are multiplied.
        Array forward[] = {
            {3 * n, OP_IN, true, 0}, {n, OP_OUT, true, 0x1p-7}, {rows, OP_OUT, false, 1e-6}};
        both_ways("attention_forward", call_attention_forward, s, forward, 3);
        Array grad[] = {{3 * n, OP_IN, true, 0},
                        {n, OP_IN, true, 0},
                        {rows, OP_IN, false, 0},
                        {n, OP_IN, true, 0},
                        {3 * n, OP_OUT, true, 0x1p-8}};
        both_ways("attention_grad", call_attention_grad, s, grad, 5);
    }
}

// ---- norm and dropout -------------------------------------------------------------------------

enum { SAMPLES = 2, TOKENS = 5, WIDTH = 38, ROWS = SAMPLES * TOKENS };

static void call_norm_forward(Stream *stream, OpBuffer *b, const void *call) {
    bool half = ((const Call *)call)->half;
    residual_norm_forward(stream, (ResidualNorm){.x = b[0].device,
                                                 .branch = b[1].device,
                                                 .gate = b[2].device,
                                                 .shift = b[3].device,
                                                 .scale = b[4].device,
                                                 .sum = b[5].device,
                                                 .y = b[6].device,
                                                 .stats = b[7].device,
                                                 .samples = SAMPLES,
                                                 .tokens = TOKENS,
                                                 .width = WIDTH,
                                                 .mod_stride = WIDTH,
                                                 .gate_stride = WIDTH,
                                                 .half = half,
                                                 .branch_half = half});
}

static void call_norm_grad(Stream *stream, OpBuffer *b, const void *call) {
    bool half = ((const Call *)call)->half;
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
                                              .samples = SAMPLES,
                                              .tokens = TOKENS,
                                              .width = WIDTH,
                                              .mod_stride = WIDTH,
                                              .gate_stride = WIDTH,
                                              .half = half,
                                              .branch_half = half});
}

static void test_norm(void) {
    enum { N = ROWS * WIDTH, M = SAMPLES * WIDTH };
    Array forward[] = {{N, OP_IN, false, 0},    {N, OP_IN, true, 0},
                       {M, OP_IN, false, 0},    {M, OP_IN, false, 0},
                       {M, OP_IN, false, 0},    {N, OP_OUT, false, 1e-7},
                       {N, OP_OUT, true, 1e-7}, {2 * ROWS, OP_OUT, false, 1e-7}};
    both_ways("residual_norm_forward", call_norm_forward, NULL, forward, 8);
    Array grad[] = {
        {N, OP_IN, false, 0},       {2 * ROWS, OP_IN, false, 0}, {M, OP_IN, false, 0},
        {N, OP_IN, true, 0},        {M, OP_IN, false, 0},        {N, OP_IN, true, 0},
        {N, OP_INOUT, false, 1e-7}, {N, OP_OUT, true, 1e-7},     {M, OP_OUT, false, 1e-7},
        {M, OP_OUT, false, 1e-7},   {M, OP_OUT, false, 1e-7}};
    both_ways("residual_norm_grad", call_norm_grad, NULL, grad, 11);
}

static void call_dropout(Stream *stream, OpBuffer *b, const void *call) {
    dropout(stream, (Dropout){.x = b[0].device,
                              .sample = b[2].device,
                              .y = b[1].device,
                              .samples = SAMPLES,
                              .item = 150,
                              .rate = 0.25f,
                              .half = ((const Call *)call)->half,
                              .key = {{1, 2}, 3}});
}

static void test_dropout(void) {
    Array arrays[] = {{SAMPLES * 150, OP_IN, true, 0},
                      {SAMPLES * 150, OP_OUT, true, 1e-7},
                      {2 * SAMPLES, OP_IN, false, 0}};
    both_ways("dropout", call_dropout, NULL, arrays, 3);
}

int main(void) {
    RUN(test_rounding);
    RUN(test_halve);
    RUN(test_linear);
    RUN(test_round_trip);
    RUN(test_plain_products);
    RUN(test_no_products);
    RUN(test_attention);
    RUN(test_norm);
    RUN(test_dropout);
    return test_report();
}
