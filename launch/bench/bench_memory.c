// Phase `memory`: what the plan says against what the kernel counts, of rank 0.
#include "launch/bench/bench.h"
#include "launch/bench/bench_resident.h"
#include "launch/forecast.h"

static void tell_plan(Bench *bench, double planned, double resident) {
    const Plan *plan = bench->plan;
    static const BenchColumn columns[] = {{"MB", 1}, {"% of plan", 1}, {"% of resident", 1}};
    report_table(bench, "planned for", columns, 3);
    for (int i = 0; i < plan->items; ++i) {
        double bytes = (double)plan_item_bytes(plan, i, true);
        if (bytes == 0) continue;
        report_row(bench, plan->item[i].purpose,
                   (double[]){bytes / 1e6, 100 * bytes / planned, 100 * bytes / resident});
    }
}

Status bench_memory(Bench *bench) {
    // A first save touches what is kept for saves.
    StretchRequest request = {.steps = 2, .save_every = 1};
    Stretch stretch;
    TRY(bench_train(bench, &request, &stretch));
    if (bench->interrupted) return STATUS_OK;
    double before = (double)bench->resident_before, most = (double)resident_most();
    double planned = (double)plan_host_bytes(bench->plan);
    tell_plan(bench, planned, most);
    report_ratio(bench, "peak_over_plan", (most - before) / planned,
                 "most resident, steps and a save, less the program's own, over the plan");
    report_ratio(bench, "program_over_peak", before / most,
                 "program, libraries and MPI before the trainer was opened, over the most");
    report_figure(bench, "plan_mb", planned / 1e6, "MB");
    report_figure(bench, "program_mb", before / 1e6, "MB");
    report_figure(bench, "peak_mb", most / 1e6, "MB, VmHWM");
    report_figure(bench, "batch_samples", (double)bench->settings.train.batch, "samples");
    return STATUS_OK;
}
