// Phase `memory`: what the plan says against what the kernel counts, of rank 0.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/bench/bench.h"
#include "launch/bench/bench_resident.h"

// "weights 9.6 + exchange 4.0": one row for each name.
static void tell_plan(Bench *bench, const Plan *plan, double resident) {
    static const BenchColumn columns[] = {{"MB", 1}, {"% of plan", 1}, {"% of resident", 1}};
    char text[sizeof plan->text], *rest = NULL;
    snprintf(text, sizeof text, "%s", plan->text);
    report_table(bench, "planned for", columns, 3);
    for (char *item = strtok_r(text, "+", &rest); item != NULL; item = strtok_r(NULL, "+", &rest)) {
        item += strspn(item, " ");
        char *end = item + strlen(item), *number;
        while (end > item && end[-1] == ' ') *--end = '\0';
        number = strrchr(item, ' ');
        if (number == NULL) continue;
        *number++ = '\0';
        double mega = strtod(number, NULL);
        report_row(bench, item,
                   (double[]){mega, 1e8 * mega / (double)plan->total, 1e8 * mega / resident});
    }
}

Status bench_memory(Bench *bench) {
    const Plan *plan = trainer_plan(bench->trainer);
    // A first save touches what is kept for saves.
    StretchRequest request = {.steps = 2, .save_every = 1};
    Stretch stretch;
    TRY(bench_train(bench, &request, &stretch));
    if (bench->interrupted) return STATUS_OK;
    double before = (double)bench->resident_before, most = (double)resident_most();
    double planned = (double)plan->total;
    tell_plan(bench, plan, most);
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
