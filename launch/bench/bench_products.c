// Phase `products`: each matrix product of a grain at its shape, against the peak: among the other
// operations of the grain, in their order, and hot: the same product again and again.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "launch/bench/bench.h"
#include "launch/bench/bench_replay.h"

enum { SHAPES_MOST = 64, SAMPLES_MOST = 2048, ROUNDS = 3 };
static const double burst_seconds = 2e-3; // short enough to find a processor's quiet moments

// Seconds of a call, measured again and again: the median stands against others' use of the cores.
typedef struct {
    double *seconds; // [SAMPLES_MOST]
    int count;
} Samples;

enum { IN_ORDER, HOT, HOT_WEIGHTS, KINDS }; // the last: without the gradient of the input

// Products of one operation and shape.
typedef struct {
    char name[64];
    int op, first; // the place of one of them in the recording
    int times;     // in a grain
    double flops;  // of one call
    bool half;
    Samples samples[KINDS];
    double seconds[KINDS]; // medians
} Shape;

typedef struct {
    Bench *bench;
    Shape shape[SHAPES_MOST];
    int shapes;
    int *shape_of; // [operations of a grain]; -1: no product
    double *room;  // of all samples
} Products;

// ---- shapes -----------------------------------------------------------------------------------

static void format_name(const Recorded *recorded, char *out, size_t bytes) {
    const LinearLayer *forward = &recorded->args.linear_forward;
    const LinearLayer *grad = &recorded->args.linear_grad;
    const Attention *attend = &recorded->args.attention_forward;
    const Attention *attend_grad = &recorded->args.attention_grad;
    const char *half = recorded_cost(recorded).half ? " bf16" : "";
    switch (recorded->op) {
    case OP_linear_forward:
        snprintf(out, bytes, "forward %lld x %lld -> %lld%s", (long long)forward->rows,
                 (long long)forward->in, (long long)forward->out, half);
        break;
    case OP_linear_grad:
        snprintf(out, bytes, "gradient%s %lld x %lld -> %lld%s", grad->dx == NULL ? " of w" : "",
                 (long long)grad->rows, (long long)grad->in, (long long)grad->out, half);
        break;
    case OP_attention_forward:
        snprintf(out, bytes, "attention %lld x %lld tokens, %lld x %lld%s",
                 (long long)attend->samples, (long long)attend->tokens, (long long)attend->heads,
                 (long long)attend->head_dim, half);
        break;
    default:
        snprintf(out, bytes, "its gradient %lld x %lld, %lld x %lld%s",
                 (long long)attend_grad->samples, (long long)attend_grad->tokens,
                 (long long)attend_grad->heads, (long long)attend_grad->head_dim, half);
    }
}

static Status add_shape(Products *products, int at) {
    const Recorded *recorded = recording_at(products->bench->recording, 0, at);
    OpCost cost = recorded_cost(recorded);
    Shape shape = {
        .op = recorded->op, .first = at, .times = 1, .flops = cost.flops, .half = cost.half};
    products->shape_of[at] = -1;
    if (shape.flops == 0) return STATUS_OK;
    format_name(recorded, shape.name, sizeof shape.name);
    int i = 0;
    while (i < products->shapes && strcmp(products->shape[i].name, shape.name) != 0) ++i;
    products->shape_of[at] = i;
    if (i < products->shapes) {
        ++products->shape[i].times;
        return STATUS_OK;
    }
    FAIL_IF(i == SHAPES_MOST, FAILED, "more than %d shapes of products", SHAPES_MOST);
    products->shape[products->shapes++] = shape;
    return STATUS_OK;
}

static Status list_shapes(Products *products) {
    int count = recording_count(products->bench->recording);
    products->shape_of = malloc((size_t)(count + 1) * sizeof(int));
    FAIL_IF(products->shape_of == NULL, NO_MEMORY, "no memory for a grain's products");
    for (int i = 0; i < count; ++i) TRY(add_shape(products, i));
    size_t samples = (size_t)products->shapes * KINDS * SAMPLES_MOST;
    products->room = malloc((samples + 1) * sizeof(double));
    FAIL_IF(products->room == NULL, NO_MEMORY, "no memory for the times of products");
    for (int i = 0; i < products->shapes * KINDS; ++i)
        products->shape[i / KINDS].samples[i % KINDS].seconds = products->room + i * SAMPLES_MOST;
    return STATUS_OK;
}

// ---- measuring --------------------------------------------------------------------------------

// All streams execute `calls` of the same operation; the seconds of one call are the streams' own,
// without queues.
static Status time_op(const Bench *bench, int at, int calls, bool without_dx, double *seconds) {
    const Engine *engine = bench->engine;
    int op = recording_at(bench->recording, 0, at)->op;
    double before = bench_op_seconds(engine, op);
    for (int k = 0; k < calls; ++k)
        for (int i = 0; i < engine->lanes; ++i) {
            Recorded recorded = *recording_at(bench->recording, i, at);
            if (without_dx) recorded.args.linear_grad.dx = NULL;
            recorded_queue(engine->lane[i].stream, &recorded);
        }
    TRY(engine_wait(engine));
    *seconds = (bench_op_seconds(engine, op) - before) / calls / engine->lanes;
    return STATUS_OK;
}

static void add_sample(Samples *samples, double seconds) {
    if (samples->count < SAMPLES_MOST) samples->seconds[samples->count++] = seconds;
}

static Status measure_in_order(Products *products, double seconds) {
    const Bench *bench = products->bench;
    double until = clock_now() + seconds, taken;
    do {
        for (int at = 0; at < recording_count(bench->recording); ++at) {
            TRY(time_op(bench, at, 1, false, &taken));
            if (products->shape_of[at] < 0) continue;
            add_sample(&products->shape[products->shape_of[at]].samples[IN_ORDER], taken);
        }
    } while (clock_now() < until && !bench_asked());
    return STATUS_OK;
}

// One kind of one shape, for its share of the time.
static Status measure_repeated(const Bench *bench, Shape *shape, int kind, double seconds) {
    bool without_dx = kind == HOT_WEIGHTS;
    double taken, until = clock_now() + seconds;
    TRY(time_op(bench, shape->first, 1, without_dx, &taken)); // warms the caches
    int calls = 1 + (int)fmin(burst_seconds / taken, 1000);
    do {
        TRY(time_op(bench, shape->first, calls, without_dx, &taken));
        add_sample(&shape->samples[kind], taken);
    } while (clock_now() < until && !bench_asked());
    return STATUS_OK;
}

static Status measure_hot(Products *products, double seconds) {
    const Bench *bench = products->bench;
    double share = seconds / products->shapes / 2;
    for (int i = 0; i < products->shapes; ++i) {
        Shape *shape = &products->shape[i];
        TRY(measure_repeated(bench, shape, HOT, share));
        if (shape->op == OP_linear_grad) TRY(measure_repeated(bench, shape, HOT_WEIGHTS, share));
    }
    return STATUS_OK;
}

static void take_medians(Products *products) {
    for (int i = 0; i < products->shapes * KINDS; ++i) {
        Samples *samples = &products->shape[i / KINDS].samples[i % KINDS];
        products->shape[i / KINDS].seconds[i % KINDS] =
            bench_median(samples->seconds, samples->count);
    }
}

static Status measure(Products *products) {
    Bench *bench = products->bench;
    bool half[2];
    recording_precisions(bench->recording, half);
    double slice = bench->seconds / ROUNDS;
    for (int round = 0; round < ROUNDS && !bench->interrupted; ++round) {
        for (int k = 0; k < 2; ++k)
            if (half[k]) TRY(bench_peak(bench, k, slice / 5));
        TRY(measure_in_order(products, slice / 3));
        TRY(measure_hot(products, slice / 4));
        TRY(bench_meet(bench));
    }
    take_medians(products);
    return STATUS_OK;
}

// ---- output -----------------------------------------------------------------------------------

// The two products of a linear layer's gradient, told apart by leaving one out.
static void tell_parts(Bench *bench, const Shape *shape, double peak) {
    double both = shape->seconds[HOT], weights = shape->seconds[HOT_WEIGHTS];
    if (recording_at(bench->recording, 0, shape->first)->args.linear_grad.dx == NULL) return;
    double rates[2] = {shape->flops / 2 / weights,
                       both > weights ? shape->flops / 2 / (both - weights) : NAN};
    static const char *const names[2] = {"    of the weights", "    of the input"};
    for (int i = 0; i < 2; ++i)
        report_row(bench, names[i], (double[]){NAN, NAN, NAN, NAN, rates[i] / peak});
}

static void tell_table(const Products *products, double all_seconds) {
    static const BenchColumn columns[] = {
        {"a grain", 0}, {"% of products", 1}, {"GFLOP/s", 1}, {"of peak", 3}, {"hot of peak", 3}};
    Bench *bench = products->bench;
    report_table(bench, "rows x in -> out", columns, 5);
    for (int i = 0; i < products->shapes; ++i) {
        const Shape *shape = &products->shape[i];
        double one = shape->seconds[IN_ORDER], rate = shape->flops / one;
        double peak = bench->peak[shape->half];
        report_row(bench, shape->name,
                   (double[]){shape->times, 100 * one * shape->times / all_seconds, rate / 1e9,
                              rate / peak, shape->flops / shape->seconds[HOT] / peak});
        if (shape->op == OP_linear_grad) tell_parts(bench, shape, peak);
    }
}

static void tell(const Products *products) {
    Bench *bench = products->bench;
    double needed[OPS] = {0}, seconds[OPS] = {0}, all_needed = 0, all_seconds = 0;
    for (int i = 0; i < products->shapes; ++i) {
        const Shape *shape = &products->shape[i];
        needed[shape->op] += shape->times * shape->flops / bench->peak[shape->half];
        seconds[shape->op] += shape->times * shape->seconds[IN_ORDER];
    }
    for (int op = 0; op < OPS; ++op) {
        all_needed += needed[op];
        all_seconds += seconds[op];
    }
    tell_table(products, all_seconds);
    report_ratio(bench, "products_of_peak", all_needed / all_seconds,
                 "time at peak over time in the grain's order");
    for (int op = 0; op < OPS; ++op)
        if (seconds[op] > 0)
            report_ratio(bench, op_name(op), needed[op] / seconds[op], "the same, these alone");
    double fma = bench_fma_peak(&bench->cores, bench->engine->lanes, bench->seconds / 20);
    if (fma > 0 && bench->peak[0] > 0)
        report_ratio(bench, "large_fp32_of_fma_loop", bench->peak[0] / fma,
                     "large products over a loop of multiply-adds; tiles can pass 1");
    for (int half = 0; half < 2; ++half)
        if (bench->peak[half] > 0)
            report_figure(bench, half ? "peak_bf16" : "peak_fp32", bench->peak[half] / 1e9,
                          "GFLOP/s of a stream: large products, all at once");
    if (fma > 0) report_figure(bench, "fma_loop", fma / 1e9, "GFLOP/s of a thread, all at once");
}

Status bench_products(Bench *bench) {
    Products products = {.bench = bench};
    Status status = list_shapes(&products);
    if (status == STATUS_OK) status = measure(&products);
    if (status == STATUS_OK && !bench->interrupted) tell(&products);
    free(products.shape_of);
    free(products.room);
    return status;
}
