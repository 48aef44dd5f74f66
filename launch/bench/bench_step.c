// Phase `step`: a training step against its matrix products at the peak rate, and where its time
// goes, by operation.
#include <math.h>
#include <stdlib.h>

#include "launch/bench/bench.h"
#include "launch/bench/bench_replay.h"

enum { ROUNDS = 3 };

// Sums of the recorded grain, by operation.
typedef struct {
    double flops[OPS];  // of a grain
    double needed[OPS]; // seconds at peak, of a grain
} GrainProducts;

static GrainProducts sum_products(const Bench *bench) {
    GrainProducts sum = {0};
    for (int i = 0; i < recording_count(bench->recording); ++i) {
        const Recorded *recorded = recording_at(bench->recording, 0, i);
        double flops = recorded_flops(recorded);
        if (flops == 0) continue;
        sum.flops[recorded->op] += flops;
        sum.needed[recorded->op] += flops / bench->peak[recorded_is_half(recorded)];
    }
    return sum;
}

static int compare_mean_steps(const void *a, const void *b) {
    const Stretch *x = a, *y = b;
    double mean_x = x->seconds / (double)x->steps, mean_y = y->seconds / (double)y->steps;
    return (mean_x > mean_y) - (mean_x < mean_y);
}

// Peak and training take turns, so that both see the same machine. *out: the round that is neither
// the fastest nor the slowest.
static Status measure(Bench *bench, Stretch *out) {
    Stretch stretch[ROUNDS];
    double slice = bench->seconds / ROUNDS;
    for (int round = 0; round < ROUNDS && !bench->interrupted; ++round) {
        bool half[2];
        recording_precisions(bench->recording, half);
        for (int k = 0; k < 2; ++k)
            if (half[k]) TRY(bench_peak(bench, k, slice / 5));
        StretchRequest request = {.seconds = slice * 4 / 5, .steps = 3};
        TRY(bench_train(bench, &request, &stretch[round]));
    }
    if (bench->interrupted) return STATUS_OK;
    qsort(stretch, ROUNDS, sizeof *stretch, compare_mean_steps);
    *out = stretch[ROUNDS / 2];
    bench->step_seconds = out->step;
    return STATUS_OK;
}

// Percent of the streams' time; milliseconds of a stream in a step.
static void tell_operations(Bench *bench, const Stretch *stretch) {
    static const BenchColumn columns[] = {
        {"ms a step", 3}, {"% of it", 1}, {"GFLOP/s", 1}, {"of peak", 3}};
    const GrainProducts products = sum_products(bench);
    double lanes = bench->engine->lanes, grains = bench->settings.train.grains;
    double lane_grains = grains / comm_world(bench->comm) / lanes; // on average
    double steps = (double)stretch->steps, time = stretch->seconds, left[OPS];
    for (int op = 0; op < OPS; ++op) time -= left[op] = stretch->ops[op] / lanes;
    report_table(bench, "operation", columns, 4);
    for (int k = 0; k < OPS; ++k) {
        int op = 0;
        for (int i = 1; i < OPS; ++i) op = left[i] > left[op] ? i : op;
        if (left[op] <= 0) break;
        double seconds = left[op] / steps;
        double rate = products.flops[op] > 0 ? products.flops[op] * lane_grains / seconds : NAN;
        report_row(bench, op_name(op),
                   (double[]){1e3 * seconds, 100 * left[op] / stretch->seconds, rate / 1e9,
                              products.needed[op] > 0 ? products.needed[op] * lane_grains / seconds
                                                      : NAN});
        left[op] = 0;
    }
    report_row(bench, "(no operation: waits, copies)",
               (double[]){1e3 * time / steps, 100 * time / stretch->seconds, NAN, NAN});
}

Status bench_step(Bench *bench) {
    Stretch stretch = {0};
    TRY(measure(bench, &stretch));
    if (bench->interrupted) return STATUS_OK;
    const GrainProducts products = sum_products(bench);
    double needed = 0, flops = 0, grains = bench->settings.train.grains;
    double lanes[1] = {bench->engine->lanes};
    TRY(bench_sum(bench, lanes, 1));
    for (int op = 0; op < OPS; ++op) {
        needed += products.needed[op] * grains / lanes[0];
        flops += products.flops[op] * grains;
    }
    tell_operations(bench, &stretch);
    report_ratio(bench, "products_at_peak", needed / stretch.step,
                 "its matrix products at peak, over the step");
    report_figure(bench, "step_ms", 1e3 * stretch.step, "ms, median");
    report_figure(bench, "samples_per_s", (double)bench->settings.train.batch / stretch.step,
                  "samples/s");
    report_figure(bench, "gflops", flops / stretch.step / 1e9, "GFLOP/s, all ranks");
    for (int half = 0; half < 2; ++half)
        if (bench->peak[half] > 0)
            report_figure(bench, half ? "peak_bf16" : "peak_fp32", bench->peak[half] / 1e9,
                          "GFLOP/s of a stream: large products, all at once");
    return STATUS_OK;
}
