// Phase `step`: a training step against the roofline of this device, and where its time goes, by
// families of operations.
//
// Each operation needs at least the time of its products at the best rate of large ones, or that of
// its arrays at the rate of large copies, whichever is longer: its floor. Both rates are measured
// in the same run through the same operations.
#include <math.h>
#include <stdlib.h>

#include "launch/bench/bench.h"
#include "launch/bench/bench_replay.h"

enum { ROUNDS = 3 };

// What a step's operations must do, over all streams of this rank: by operation.
typedef struct {
    double flops[OPS], bytes[OPS];
    double products[OPS]; // seconds of a stream: products at the peak,
    double floor[OPS];    // or arrays, whichever takes longer
} StepCost;

static StepCost sum_costs(const Bench *bench) {
    StepCost sum = {0};
    for (int lane = 0; lane < bench->engine->lanes; ++lane)
        for (int i = 0; i < recording_step_count(bench->recording, lane); ++i) {
            const Recorded *recorded = recording_step_at(bench->recording, lane, i);
            OpCost cost = recorded_cost(recorded);
            double products = cost.flops > 0 ? cost.flops / bench->peak[cost.half] : 0;
            sum.flops[recorded->op] += cost.flops;
            sum.bytes[recorded->op] += cost.bytes;
            sum.products[recorded->op] += products;
            sum.floor[recorded->op] += fmax(products, cost.bytes / bench->bandwidth);
        }
    return sum;
}

// ---- measuring --------------------------------------------------------------------------------

static double mean_step(const Stretch *stretch) {
    return stretch->whole_seconds / (double)stretch->whole;
}

static int compare_mean_steps(const void *a, const void *b) {
    double x = mean_step(a), y = mean_step(b);
    return (x > y) - (x < y);
}

static Status measure_ceilings(Bench *bench, double seconds) {
    bool half[2];
    recording_precisions(bench->recording, half);
    half[network_is_half(bench->engine->network)] = true;
    for (int k = 0; k < 2; ++k)
        if (half[k]) TRY(bench_peak(bench, k, 2 * seconds / 3));
    return bench_bandwidth(bench, seconds / 3);
}

// Ceilings and training take turns, so that both see the same machine. *out: the round that is
// neither the fastest nor the slowest.
static Status measure_rounds(Bench *bench, bool ceilings, double seconds, Stretch *out) {
    Stretch stretch[ROUNDS];
    double slice = seconds / ROUNDS, rest = ceilings ? 0.3 * slice : 0;
    for (int round = 0; round < ROUNDS && !bench->interrupted; ++round) {
        if (ceilings) TRY(measure_ceilings(bench, rest));
        StretchRequest request = {.seconds = slice - rest, .steps = 3};
        TRY(bench_train(bench, &request, &stretch[round]));
    }
    if (bench->interrupted) return STATUS_OK;
    qsort(stretch, ROUNDS, sizeof *stretch, compare_mean_steps);
    *out = stretch[ROUNDS / 2];
    return STATUS_OK;
}

// *step: undisturbed; *timed: whose operations are timed, the same where that costs nothing.
static Status measure(Bench *bench, Stretch *step, Stretch *timed) {
    bool apart = !bench->engine->device->on_host;
    double seconds = apart ? bench->seconds / 2 : bench->seconds;
    TRY(measure_rounds(bench, !apart, seconds, step));
    if (bench->interrupted) return STATUS_OK;
    bench->step_seconds = step->step;
    *timed = *step;
    if (!apart) return STATUS_OK;
    TRY(bench_time_operations(bench, true));
    return bench->interrupted ? STATUS_OK : measure_rounds(bench, true, seconds, timed);
}

// ---- output -----------------------------------------------------------------------------------

enum { COLUMNS = 7 };
static const BenchColumn columns[COLUMNS] = {{"ms a step", 3}, {"% of it", 1},  {"GFLOP", 3},
                                             {"MB", 2},        {"floor ms", 3}, {"over floor", 2},
                                             {"of peak", 3}};

// Of an operation, or several, in a step: seconds and floors of a stream, on average.
typedef struct {
    double seconds, flops, bytes, products, floor;
} Row;

static void row_add(Row *row, const Row *more) {
    row->seconds += more->seconds;
    row->flops += more->flops;
    row->bytes += more->bytes;
    row->products += more->products;
    row->floor += more->floor;
}

static void tell_row(Bench *bench, const char *name, const Row *row, double step) {
    bool empty = row->floor == 0; // time alone
    report_row(bench, name,
               (double[COLUMNS]){1e3 * row->seconds, 100 * row->seconds / step,
                                 row->flops > 0 ? row->flops / 1e9 : NAN,
                                 empty ? NAN : row->bytes / 1e6, empty ? NAN : 1e3 * row->floor,
                                 empty ? NAN : row->seconds / row->floor,
                                 row->flops > 0 ? row->products / row->seconds : NAN});
}

// A family, and each of its operations where there are several. Returns its sum.
static Row tell_family(Bench *bench, OpFamily family, const Row rows[OPS], double step) {
    Row sum = {0};
    int count = 0;
    for (int op = 0; op < OPS; ++op) {
        if (op_family(op) != family || rows[op].seconds + rows[op].floor <= 0) continue;
        row_add(&sum, &rows[op]);
        ++count;
    }
    if (count == 0) return sum;
    tell_row(bench, op_family_name(family), &sum, step);
    for (int op = 0; op < OPS && count > 1; ++op) {
        char name[64];
        if (op_family(op) != family || rows[op].seconds + rows[op].floor <= 0) continue;
        snprintf(name, sizeof name, "    %s", op_name(op));
        tell_row(bench, name, &rows[op], step);
    }
    return sum;
}

// Of rank 0's device. Returns the sum of all operations.
static Row tell_families(Bench *bench, const Stretch *timed) {
    const StepCost cost = sum_costs(bench);
    double lanes = bench->engine->lanes, steps = (double)timed->whole, step = mean_step(timed);
    Row rows[OPS], all = {0};
    for (int op = 0; op < OPS; ++op)
        rows[op] = (Row){.seconds = timed->ops[op] / lanes / steps,
                         .flops = cost.flops[op],
                         .bytes = cost.bytes[op],
                         .products = cost.products[op] / lanes,
                         .floor = cost.floor[op] / lanes};
    report_table(bench, "operations", columns, COLUMNS);
    for (int family = 0; family < FAMILIES; ++family) {
        Row sum = tell_family(bench, (OpFamily)family, rows, step);
        row_add(&all, &sum);
    }
    Row rest = {.seconds = step - all.seconds};
    if (comm_world(bench->comm) > 1) {
        Row exchange = {.seconds = timed->exchange / steps};
        rest.seconds -= exchange.seconds;
        tell_row(bench, "(waits for other ranks)", &exchange, step);
    }
    tell_row(bench, "(no operation: host, idle, copies)", &rest, step);
    return all;
}

static Status tell_rates(Bench *bench, const Stretch *step) {
    const RunSettings *s = &bench->settings;
    int half = network_is_half(bench->engine->network);
    double flops = 3 * network_forward_flops(bench->engine->network) * (double)s->train.batch;
    double peak = bench->peak[half] * bench->engine->lanes;
    TRY(bench_sum(bench, &peak, 1));
    report_ratio(bench, "model_flops_of_peak", flops / step->step / peak,
                 "FLOP/s that the model needs over large products, all ranks");
    report_figure(bench, "step_ms", 1e3 * step->step, "ms, median");
    report_figure(bench, "step_ms_p10", 1e3 * step->step_p10, "ms, a tenth of the steps take less");
    report_figure(bench, "step_ms_p90", 1e3 * step->step_p90, "ms, nine tenths take less");
    report_figure(bench, "first_step_s", bench->start.first_step, "s, the first step");
    report_figure(bench, "samples_per_s", (double)s->train.batch / step->step, "samples/s");
    report_figure(bench, "model_gflops", flops / step->step / 1e9,
                  "GFLOP/s: three times the forward pass, all ranks");
    for (int k = 0; k < 2; ++k)
        if (bench->peak[k] > 0)
            report_figure(bench, k ? "peak_bf16" : "peak_fp32", bench->peak[k] / 1e9,
                          "GFLOP/s of a stream: large products, all at once");
    report_figure(bench, "copy_gb_s", bench->bandwidth / 1e9,
                  "GB/s of a stream: read and written, all at once");
    return STATUS_OK;
}

Status bench_step(Bench *bench) {
    Stretch step = {0}, timed = {0};
    TRY(measure(bench, &step, &timed));
    if (bench->interrupted) return STATUS_OK;
    Row all = tell_families(bench, &timed);
    TRY(tell_rates(bench, &step));
    double mean = mean_step(&timed), steps = (double)timed.whole;
    report_figure(bench, "timed_step_ms", 1e3 * mean, "ms, mean: while operations were timed");
    report_figure(bench, "floor_ms", 1e3 * all.floor, "ms: the floors of its operations");
    report_ratio(bench, "step_over_floor", step.step / all.floor, "median step over these floors");
    report_line(bench,
                "  a step takes %.3f ms, its floors add up to %.3f: %.2f times as long; without an "
                "operation are %.3f ms of %.3f, %.3f of them waits for other ranks, %.3f for data",
                1e3 * step.step, 1e3 * all.floor, step.step / all.floor, 1e3 * (mean - all.seconds),
                1e3 * mean, 1e3 * timed.exchange / steps, 1e3 * timed.data / steps);
    return STATUS_OK;
}
