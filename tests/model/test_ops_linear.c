// Dense layers and activations against sums and derivatives in float64.
#include "model/cpu/kernels/activation.h"
#include "tests/model/support_ops.h"
#include "tests/test.h"

static double act_reference(Activation act, double x) {
    if (act == ACT_SILU) return x / (1 + exp(-x));
    if (act == ACT_GELU) return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    return x;
}

static double act_slope_reference(Activation act, double x) {
    double h = 1e-5;
    return (act_reference(act, x + h) - act_reference(act, x - h)) / (2 * h);
}

// ---- functions of one number ------------------------------------------------------------------

static void test_exp_is_accurate(void) {
    double worst = 0;
    for (float x = -87.3f; x < 88.3f; x += 3.1e-4f) {
        double expected = exp((double)x);
        worst = fmax(worst, fabs((double)exp_f32(x) - expected) / expected);
    }
    EXPECT(worst < 2e-7);
    EXPECT(exp_f32(0.0f) == 1.0f && exp_f32(-0.0f) == 1.0f);
    EXPECT(exp_f32(-88.0f) == 0.0f && exp_f32(-INFINITY) == 0.0f);
    EXPECT(isinf(exp_f32(89.0f)) && isinf(exp_f32(INFINITY)));
    EXPECT(isnan(exp_f32(NAN)) && isnan(exp_f32(-NAN)));
}

static void test_tails_of_activations(void) {
    static const float x[] = {-1e30f, 1e30f, -30, 30, NAN, -20};
    float y[6], slope[6];
    act_with_slope(ACT_SILU, x, slope, y, 6);
    EXPECT(y[0] == 0.0f && y[1] == 1e30f && isnan(y[4]));
    EXPECT(slope[0] == 0.0f && slope[1] == 1.0f && isnan(slope[4]));
    // The lower tail keeps its digits: x (1 + tanh) would have lost them all.
    EXPECT_NEAR((double)y[5] / act_reference(ACT_SILU, -20), 1, 1e-6);
    act_with_slope(ACT_GELU, x, slope, y, 6);
    EXPECT(y[2] == 0.0f && y[3] == 30.0f && isnan(y[4]));
    EXPECT(slope[2] == 0.0f && slope[3] == 1.0f && isnan(slope[4]));
}

// ---- activations ------------------------------------------------------------------------------

typedef struct {
    int64_t n;
    Activation act;
    bool in_place;
} ActShape;

// Buffers: x, slope, y; in place the slope takes the place of x.
static void call_activation_forward(Stream *stream, OpBuffer *b, const void *shape) {
    const ActShape *s = shape;
    activation_forward(stream, (Elementwise){.x = s->in_place ? b[1].device : b[0].device,
                                             .slope = b[1].device,
                                             .y = b[2].device,
                                             .n = s->n,
                                             .act = s->act});
}

static void activation_case(const ActShape *s) {
    float *x = ops_numbers(s->n, 1), *slope = ops_memory(s->n, sizeof *slope);
    float *y = ops_memory(s->n, sizeof *y);
    double *expected = ops_memory(s->n, sizeof *expected);
    double *expected_slope = ops_memory(s->n, sizeof *expected_slope);
    for (int64_t i = 0; i < s->n; ++i) {
        slope[i] = x[i] *= i % 2 == 0 ? 3 : 12;
        expected[i] = act_reference(s->act, x[i]);
        expected_slope[i] = act_slope_reference(s->act, x[i]);
    }
    OpBuffer buffers[] = {{x, s->n, OP_IN, NULL, OP_F32},
                          {slope, s->n, s->in_place ? OP_INOUT : OP_OUT, NULL, OP_F32},
                          {y, s->n, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("activation_forward", call_activation_forward, s, buffers, 3), 0);
    EXPECT_ALL_NEAR(y, expected, s->n, 1e-6);
    EXPECT_ALL_NEAR(slope, expected_slope, s->n, 2e-6);
    free(x), free(slope), free(y), free(expected), free(expected_slope);
}

static void call_multiply(Stream *stream, OpBuffer *b, const void *shape) {
    multiply(stream,
             (Elementwise){.x = b[0].device, .y = b[1].device, .n = *(const int64_t *)shape});
}

static void test_multiply(void) {
    int64_t n = 1003;
    float *x = ops_numbers(n, 1), *y = ops_numbers(n, 2);
    double *expected = ops_memory(n, sizeof *expected);
    for (int64_t i = 0; i < n; ++i) expected[i] = (double)x[i] * y[i];
    OpBuffer buffers[] = {{x, n, OP_IN, NULL, OP_F32}, {y, n, OP_INOUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("multiply", call_multiply, &n, buffers, 2), 0);
    EXPECT_ALL_NEAR(y, expected, n, 1e-7);
    free(x), free(y), free(expected);
}

static void test_activations(void) {
    static const int64_t sizes[] = {1, 15, 16, 1003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
        for (Activation act = ACT_NONE; act <= ACT_GELU; ++act) {
            activation_case(&(ActShape){sizes[i], act, false});
            activation_case(&(ActShape){sizes[i], act, true});
        }
    }
}

// ---- dense layers -----------------------------------------------------------------------------

typedef struct {
    int64_t rows, in, out;
    Activation act;
    bool slope, accumulate; // slope: of the layer before, in the gradient
} LinearShape;

static void call_linear_forward(Stream *stream, OpBuffer *b, const void *shape) {
    const LinearShape *s = shape;
    linear_forward(stream, (LinearLayer){.x = b[0].device,
                                         .w = b[1].device,
                                         .bias = b[2].device,
                                         .slope = b[3].device,
                                         .y = b[4].device,
                                         .rows = s->rows,
                                         .in = s->in,
                                         .out = s->out,
                                         .act = s->act});
}

static void call_linear_grad(Stream *stream, OpBuffer *b, const void *shape) {
    const LinearShape *s = shape;
    linear_grad(stream, (LinearLayer){.dy = b[0].device,
                                      .x = b[1].device,
                                      .w = b[2].device,
                                      .dw = b[3].device,
                                      .dbias = b[4].device,
                                      .dx = b[5].device,
                                      .slope = b[6].device,
                                      .rows = s->rows,
                                      .in = s->in,
                                      .out = s->out,
                                      .accumulate = s->accumulate});
}

static void linear_forward_case(const LinearShape *s, bool has_bias) {
    int64_t nx = s->rows * s->in, nw = s->out * s->in, ny = s->rows * s->out;
    bool acts = s->act != ACT_NONE;
    float *x = ops_numbers(nx, 1), *w = ops_numbers(nw, 2), *bias = ops_numbers(s->out, 3);
    float *slope = acts ? ops_memory(ny, sizeof *slope) : NULL, *y = ops_memory(ny, sizeof *y);
    double *value = ops_memory(ny, sizeof *value), *slopes = ops_memory(ny, sizeof *slopes);
    for (int64_t i = 0; i < ny; ++i) {
        double sum = has_bias ? bias[i % s->out] : 0;
        for (int64_t k = 0; k < s->in; ++k)
            sum += (double)x[i / s->out * s->in + k] * w[i % s->out * s->in + k];
        value[i] = act_reference(s->act, sum);
        slopes[i] = act_slope_reference(s->act, sum);
    }
    OpBuffer buffers[] = {{x, nx, OP_IN, NULL, OP_F32},
                          {w, nw, OP_IN, NULL, OP_F32},
                          {has_bias ? bias : NULL, s->out, OP_IN, NULL, OP_F32},
                          {slope, ny, s->act == ACT_GELU ? OP_KEPT : OP_OUT, NULL, OP_F32},
                          {y, ny, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("linear_forward", call_linear_forward, s, buffers, 5), 0);
    if (acts) EXPECT_ALL_NEAR(slope, slopes, ny, 4e-6);
    EXPECT_ALL_NEAR(y, value, ny, 4e-6);
    free(x), free(w), free(bias), free(slope), free(y), free(value), free(slopes);
}

// `input`: with dx; otherwise dx is NULL.
static void linear_grad_case(const LinearShape *s, bool input) {
    int64_t nx = s->rows * s->in, nw = s->out * s->in, ny = s->rows * s->out;
    float *dy = ops_numbers(ny, 4), *x = ops_numbers(nx, 1), *w = ops_numbers(nw, 2);
    float *dw = ops_numbers(nw, 5), *dbias = ops_numbers(s->out, 6);
    float *dx = input ? ops_memory(nx, sizeof *dx) : NULL;
    float *slope = s->slope ? ops_numbers(nx, 7) : NULL;
    double *expected = ops_memory(nw, sizeof *expected);
    double *expected_bias = ops_memory(s->out, sizeof *expected_bias);
    double *expected_x = ops_memory(nx, sizeof *expected_x);
    for (int64_t i = 0; i < nw; ++i) {
        expected[i] = s->accumulate ? dw[i] : 0;
        for (int64_t r = 0; r < s->rows; ++r)
            expected[i] += (double)dy[r * s->out + i / s->in] * x[r * s->in + i % s->in];
    }
    for (int64_t o = 0; o < s->out; ++o) {
        expected_bias[o] = s->accumulate ? dbias[o] : 0;
        for (int64_t r = 0; r < s->rows; ++r) expected_bias[o] += dy[r * s->out + o];
    }
    for (int64_t i = 0; i < nx; ++i) {
        for (int64_t o = 0; o < s->out; ++o)
            expected_x[i] += (double)dy[i / s->in * s->out + o] * w[o * s->in + i % s->in];
        if (s->slope) expected_x[i] *= (double)slope[i];
    }
    OpKind kind = s->accumulate ? OP_INOUT : OP_OUT;
    OpBuffer buffers[] = {{dy, ny, OP_IN, NULL, OP_F32},       {x, nx, OP_IN, NULL, OP_F32},
                          {w, nw, OP_IN, NULL, OP_F32},        {dw, nw, kind, NULL, OP_F32},
                          {dbias, s->out, kind, NULL, OP_F32}, {dx, nx, OP_OUT, NULL, OP_F32},
                          {slope, nx, OP_IN, NULL, OP_F32}};
    EXPECT_EQ(ops_run("linear_grad", call_linear_grad, s, buffers, 7), 0);
    EXPECT_ALL_NEAR(dw, expected, nw, 4e-6);
    EXPECT_ALL_NEAR(dbias, expected_bias, s->out, 4e-6);
    if (input) EXPECT_ALL_NEAR(dx, expected_x, nx, 4e-6);
    free(dy), free(x), free(w), free(dw), free(dbias), free(dx), free(slope);
    free(expected), free(expected_bias), free(expected_x);
}

// Two layers, y = w_2 act(w x + bias), and the gradient of the first one's output before act: what
// a forward leaves in `slope` is what the gradient reads. Buffers: x, w, bias, w_2, dy; slope,
// hidden, dhidden, dw_2, dbias_2.
static void call_round_trip(Stream *stream, OpBuffer *b, const void *shape) {
    const LinearShape *s = shape;
    LinearLayer first = {.x = b[0].device,
                         .w = b[1].device,
                         .bias = b[2].device,
                         .slope = b[5].device,
                         .y = b[6].device,
                         .rows = s->rows,
                         .in = s->in,
                         .out = s->out,
                         .act = s->act};
    linear_forward(stream, first);
    linear_grad(stream, (LinearLayer){.dy = b[4].device,
                                      .x = first.y,
                                      .w = b[3].device,
                                      .slope = first.slope,
                                      .dw = b[8].device,
                                      .dbias = b[9].device,
                                      .dx = b[7].device,
                                      .rows = s->rows,
                                      .in = s->out,
                                      .out = s->in,
                                      .act = s->act});
}

static void round_trip_case(const LinearShape *s) {
    int64_t nx = s->rows * s->in, nw = s->out * s->in, ny = s->rows * s->out;
    float *x = ops_numbers(nx, 1), *w = ops_numbers(nw, 2), *bias = ops_numbers(s->out, 3);
    float *w_2 = ops_numbers(nw, 4), *dy = ops_numbers(nx, 5), *out[5];
    double *expected = ops_memory(ny, sizeof *expected);
    int64_t size[] = {ny, ny, ny, nw, s->in};
    for (int i = 0; i < 5; ++i) out[i] = ops_memory(size[i], sizeof **out);
    for (int64_t i = 0; i < ny; ++i) {
        double z = bias[i % s->out];
        for (int64_t k = 0; k < s->in; ++k) {
            z += (double)x[i / s->out * s->in + k] * w[i % s->out * s->in + k];
            expected[i] += (double)dy[i / s->out * s->in + k] * w_2[k * s->out + i % s->out];
        }
        expected[i] *= act_slope_reference(s->act, z);
    }
    OpBuffer buffers[] = {
        {x, nx, OP_IN, NULL, OP_F32},        {w, nw, OP_IN, NULL, OP_F32},
        {bias, s->out, OP_IN, NULL, OP_F32}, {w_2, nw, OP_IN, NULL, OP_F32},
        {dy, nx, OP_IN, NULL, OP_F32},       {out[0], ny, OP_KEPT, NULL, OP_F32},
        {out[1], ny, OP_OUT, NULL, OP_F32},  {out[2], ny, OP_OUT, NULL, OP_F32},
        {out[3], nw, OP_OUT, NULL, OP_F32},  {out[4], s->in, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("round trip", call_round_trip, s, buffers, 10), 0);
    EXPECT_ALL_NEAR(out[2], expected, ny, 8e-6);
    for (int i = 0; i < 5; ++i) free(out[i]);
    free(x), free(w), free(bias), free(w_2), free(dy), free(expected);
}

static void test_round_trip(void) {
    static const LinearShape shapes[] = {{.rows = 7, .in = 24, .out = 192, .act = ACT_SILU},
                                         {.rows = 49, .in = 40, .out = 50, .act = ACT_GELU},
                                         {.rows = 130, .in = 17, .out = 96, .act = ACT_GELU}};
    for (int i = 0; i < 3; ++i) round_trip_case(&shapes[i]);
}

// What is added is the sum that the call would have written, bit for bit: the trainer depends on it
// (comm/reduce.h).
static void linear_grad_adds_once(const LinearShape *shape) {
    LinearShape plain = *shape, adding = *shape;
    adding.accumulate = true;
    int64_t nx = shape->rows * shape->in, nw = shape->out * shape->in,
            ny = shape->rows * shape->out;
    float *dy = ops_numbers(ny, 4), *x = ops_numbers(nx, 1), *w = ops_numbers(nw, 2);
    float *sum[2] = {ops_memory(nw, sizeof **sum), ops_memory(shape->out, sizeof **sum)};
    float *had[2] = {ops_numbers(nw, 5), ops_numbers(shape->out, 6)};
    float *got[2] = {ops_numbers(nw, 5), ops_numbers(shape->out, 6)};
    for (int i = 0; i < 2; ++i) {
        OpKind kind = i == 0 ? OP_OUT : OP_INOUT;
        float **d = i == 0 ? sum : got;
        OpBuffer buffers[] = {
            {dy, ny, OP_IN, NULL, OP_F32},          {x, nx, OP_IN, NULL, OP_F32},
            {w, nw, OP_IN, NULL, OP_F32},           {d[0], nw, kind, NULL, OP_F32},
            {d[1], shape->out, kind, NULL, OP_F32}, {NULL, nx, OP_OUT, NULL, OP_F32},
            {NULL, nx, OP_IN, NULL, OP_F32}};
        EXPECT_EQ(ops_run("linear_grad", call_linear_grad, i == 0 ? &plain : &adding, buffers, 7),
                  0);
    }
    int64_t wrong = 0;
    for (int64_t i = 0; i < nw; ++i) wrong += got[0][i] != had[0][i] + sum[0][i];
    for (int64_t i = 0; i < shape->out; ++i) wrong += got[1][i] != had[1][i] + sum[1][i];
    EXPECT_EQ(wrong, 0);
    for (int i = 0; i < 2; ++i) free(sum[i]), free(had[i]), free(got[i]);
    free(dy), free(x), free(w);
}

static void test_linear_grad_adds_once(void) {
    static const LinearShape shapes[] = {{.rows = 7, .in = 24, .out = 192},
                                         {.rows = 98, .in = 40, .out = 50},
                                         {.rows = 700, .in = 64, .out = 65}};
    for (int i = 0; i < 3; ++i) linear_grad_adds_once(&shapes[i]);
}

static const LinearShape linear_shapes[] = {
    {1, 8, 8, ACT_NONE, false, false},    {7, 24, 192, ACT_SILU, true, false},
    {49, 192, 24, ACT_GELU, true, true},  {98, 40, 50, ACT_NONE, true, true},
    {1, 256, 96, ACT_SILU, true, true},   {5, 3, 1, ACT_GELU, true, false},
    {130, 96, 96, ACT_GELU, true, false}, {3, 1, 17, ACT_NONE, false, true},
};

static void test_linear(void) {
    for (size_t i = 0; i < sizeof linear_shapes / sizeof *linear_shapes; ++i) {
        linear_forward_case(&linear_shapes[i], true);
        linear_forward_case(&linear_shapes[i], false);
        linear_grad_case(&linear_shapes[i], true);
        linear_grad_case(&linear_shapes[i], false);
    }
}

// ---- two streams at once ----------------------------------------------------------------------

enum { SIDE_MOST = 160, ROUNDS = 60 };

// Products of changing sizes on one stream; the last rounds are left in `total`. `spare` has room
// for the gradient of the weight and of the bias.
static void queue_rounds(Stream *stream, const float *x, const float *w, float *y, float *total,
                         float *spare) {
    for (int64_t i = 0; i < ROUNDS; ++i) {
        int64_t rows = 1 + i * 37 % SIDE_MOST, in = 1 + i * 53 % SIDE_MOST;
        int64_t out = 1 + i * 71 % SIDE_MOST;
        linear_forward(
            stream,
            (LinearLayer){.x = x, .w = w, .bias = w, .y = y, .rows = rows, .in = in, .out = out});
        linear_grad(stream, (LinearLayer){.dy = x,
                                          .x = w,
                                          .w = y,
                                          .dw = spare,
                                          .dbias = spare + SIDE_MOST * SIDE_MOST,
                                          .dx = total,
                                          .rows = in,
                                          .in = out,
                                          .out = rows});
    }
}

// oneDNN is called from two threads whose calls have another history and whose operands have
// another alignment: the bits must be those of one thread alone.
static void test_streams_at_once_agree(void) {
    enum { N = SIDE_MOST * SIDE_MOST, GAP = N + 65 };
    float *host = ops_numbers(N, 1), *result[2];
    Device *device = NULL;
    DeviceConfig config = {.backend = "cpu", .streams = 2};
    EXPECT_OK(device_open(&config, &device));
    float *memory[2] = {NULL, NULL};
    for (int s = 0; s < 2; ++s) {
        Stream *stream = device_stream(device, s);
        EXPECT_OK(device_alloc(device, 6 * GAP * sizeof(float), (void **)&memory[s]));
        result[s] = ops_memory(N, sizeof *host);
        stream_upload(stream, memory[s] + s, host, N * sizeof *host);
        stream_upload(stream, memory[s] + GAP, host, N * sizeof *host);
    }
    for (int s = 1; s >= 0; --s) {
        float *x = memory[s] + s, *w = memory[s] + GAP;
        if (s == 1)
            linear_forward(device_stream(device, s), (LinearLayer){.x = x,
                                                                   .w = w,
                                                                   .bias = w,
                                                                   .y = memory[s] + 2 * GAP,
                                                                   .rows = 3,
                                                                   .in = 8,
                                                                   .out = 5});
        queue_rounds(device_stream(device, s), x, w, memory[s] + 2 * GAP + 3 * s,
                     memory[s] + 3 * GAP + s, memory[s] + 4 * GAP + s);
        stream_download(device_stream(device, s), result[s], memory[s] + 3 * GAP + s,
                        N * sizeof *host);
    }
    for (int s = 0; s < 2; ++s) EXPECT_OK(stream_wait(device_stream(device, s)));
    EXPECT(memcmp(result[0], result[1], N * sizeof *host) == 0);
    EXPECT(result[0][0] != 0);
    for (int s = 0; s < 2; ++s) device_release(device, memory[s]), free(result[s]);
    device_close(device);
    free(host);
}

int main(void) {
    RUN(test_exp_is_accurate);
    RUN(test_tails_of_activations);
    RUN(test_activations);
    RUN(test_multiply);
    RUN(test_linear);
    RUN(test_round_trip);
    RUN(test_linear_grad_adds_once);
    RUN(test_streams_at_once_agree);
    return test_report();
}
