// dye ls: the runs below some folders, one a line.
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "launch/command.h"
#include "launch/run_folder.h"

static const char usage[] = "usage: dye ls [FOLDER ...] [--json]";

typedef struct {
    RunSummary *run;
    int count;
} Runs;

static Status add_run(Runs *runs, const char *path) {
    RunSummary *more = realloc(runs->run, (size_t)(runs->count + 1) * sizeof *more);
    FAIL_IF(more == NULL, NO_MEMORY, "no memory for %d runs", runs->count + 1);
    runs->run = more;
    TRY(run_folder_read(path, &runs->run[runs->count]));
    ++runs->count;
    return STATUS_OK;
}

// A folder is a run, or holds runs, at any depth but not within each other.
static Status add_below(Runs *runs, const char *path, int depth) {
    enum { DEPTH_MOST = 4 };
    char **names, below[PATH_BYTES];
    int count;
    if (run_folder_is(path)) return add_run(runs, path);
    Status status = folder_names(path, &names, &count);
    if (status != STATUS_OK && depth > 0) { // a file, or not ours to read
        error_clear();
        return STATUS_OK;
    }
    TRY(status);
    for (int i = 0; i < count && status == STATUS_OK && depth < DEPTH_MOST; ++i) {
        if (names[i][0] == '.') continue;
        status = path_format(below, "%s/%s", path, names[i]);
        if (status == STATUS_OK) status = add_below(runs, below, depth + 1);
    }
    folder_names_free(names, count);
    return status;
}

// ---- telling ----------------------------------------------------------------------------------

static json_t *number_or_null(double x) {
    return isnan(x) ? json_null() : json_real(x);
}

static void print_json(const Runs *runs) {
    json_t *list = json_array();
    for (int i = 0; i < runs->count; ++i) {
        const RunSummary *run = &runs->run[i];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:I, s:o, s:i, s:I}", "run",
                            run->path, "system", run->system, "state", run_state_text(run->state),
                            "step", (json_int_t)run->step, "steps", (json_int_t)run->steps, "loss",
                            number_or_null(run->loss), "held_out", number_or_null(run->held_out),
                            "held_out_step", (json_int_t)run->held_out_step, "age",
                            number_or_null(run->age), "checkpoints", run->checkpoints, "bytes",
                            (json_int_t)run->bytes));
    }
    json_dumpf(list, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(list);
}

static void print_row(const RunSummary *run, int wide) {
    char step[48] = "-", loss[24] = "-", held_out[48] = "-", age[32] = "-", size[24];
    if (run->step >= 0) snprintf(step, sizeof step, "%" PRId64 "/%" PRId64, run->step, run->steps);
    if (!isnan(run->loss)) snprintf(loss, sizeof loss, "%.5g", run->loss);
    if (!isnan(run->held_out))
        snprintf(held_out, sizeof held_out, "%.5g at %" PRId64, run->held_out, run->held_out_step);
    if (!isnan(run->age)) clock_format(run->age, age, sizeof age);
    snprintf(size, sizeof size, "%.1f MB", (double)run->bytes / 1e6);
    printf("%-*s  %-15s %-8s %15s %10s %18s %12s %6d %12s\n", wide, run->path, run->system,
           run_state_text(run->state), step, loss, held_out, age, run->checkpoints, size);
}

static void print_table(const Runs *runs) {
    int wide = 3;
    for (int i = 0; i < runs->count; ++i)
        if ((int)strlen(runs->run[i].path) > wide) wide = (int)strlen(runs->run[i].path);
    printf("%-*s  %-15s %-8s %15s %10s %18s %12s %6s %12s\n", wide, "run", "system", "state",
           "step", "loss", "best held-out", "written ago", "saved", "size");
    for (int i = 0; i < runs->count; ++i) print_row(&runs->run[i], wide);
}

Status cmd_ls(int argc, char **argv) {
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    bool as_json = false;
    Runs runs = {0};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        FAIL_IF(option != 'j', BAD_USAGE, "%s", usage);
        as_json = true;
    }
    Status status = optind == argc ? add_below(&runs, "runs", 0) : STATUS_OK;
    for (int i = optind; i < argc && status == STATUS_OK; ++i)
        status = add_below(&runs, argv[i], 0);
    if (status == STATUS_OK && as_json)
        print_json(&runs);
    else if (status == STATUS_OK && runs.count > 0)
        print_table(&runs);
    else if (status == STATUS_OK)
        puts("no runs there");
    free(runs.run);
    return status;
}
