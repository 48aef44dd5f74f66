// Gathering behind launch/report/run_histories.h.
#include "launch/report/run_histories.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/metrics.h"
#include "launch/run_config.h"

enum { TEXT_BYTES_MOST = 4 << 20 };

static const char *const metric_keys[METRIC_CAUSE] = {
    [METRIC_STEP] = "step",
    [METRIC_SAMPLES] = "samples",
    [METRIC_LOSS] = "loss",
    [METRIC_GRAD_NORM] = "grad_norm",
    [METRIC_LR] = "lr",
    [METRIC_SPEED] = "samples_per_s",
    [METRIC_ARRIVAL] = "arrival_s",
    [METRIC_COMPUTE] = "compute_s",
    [METRIC_RANK] = "slowest_rank",
    [METRIC_EXCESS] = "slowest_excess_s",
    [METRIC_SKIPPED] = "skipped",
    [METRIC_LEFT_OUT] = "left_out",
    [METRIC_LOST] = "lost",
};

// ---- tables -----------------------------------------------------------------------------------

static bool make_room(RunTable *table) {
    if (table->count < table->room) return true;
    int64_t room = table->room == 0 ? 256 : 2 * table->room;
    for (int i = 0; i < table->columns; ++i) {
        double *more = realloc(table->column[i], (size_t)room * sizeof *more);
        table->failed = table->failed || more == NULL;
        if (table->failed) return false;
        table->column[i] = more;
    }
    table->room = room;
    return true;
}

static double number_of(const json_t *number) {
    return json_is_number(number) ? json_number_value(number) : NAN;
}

static double cause_of(const json_t *record) {
    const char *name = json_string_value(json_object_get(record, "slowest_cause"));
    for (int i = 0; name != NULL && i < SLOW_CAUSES; ++i)
        if (strcmp(name, slow_cause_name((SlowCause)i)) == 0) return i;
    return NAN;
}

static void take_metrics(void *context, const json_t *record) {
    RunHistory *run = context;
    RunTable *table = &run->metrics;
    const char *fingerprint = json_string_value(json_object_get(record, "fingerprint"));
    double step = number_of(json_object_get(record, "step"));
    if (isnan(step) || !make_room(table)) return;
    int64_t at = table->count++;
    for (int i = 0; i < METRIC_CAUSE; ++i)
        table->column[i][at] = number_of(json_object_get(record, metric_keys[i]));
    table->column[METRIC_CAUSE][at] = cause_of(record);
    table->column[METRIC_EACH][at] =
        table->column[METRIC_SAMPLES][at] / step / table->column[METRIC_SPEED][at];
    if (fingerprint == NULL) return;
    snprintf(run->fingerprint, sizeof run->fingerprint, "%s", fingerprint);
    run->fingerprint_step = step;
}

static void take_eval(void *context, const json_t *record) {
    RunTable *table = &((RunHistory *)context)->evals;
    const json_t *levels = json_object_get(record, "loss_by_level");
    double step = number_of(json_object_get(record, "step"));
    if (isnan(step) || !make_room(table)) return;
    int64_t at = table->count++;
    table->column[EVAL_STEP][at] = step;
    table->column[EVAL_LOSS][at] = number_of(json_object_get(record, "loss"));
    for (int i = 0; i < EVAL_LEVELS; ++i) {
        double loss = number_of(json_array_get(levels, (size_t)i));
        table->column[EVAL_LEVEL + i][at] = loss != 0 ? loss : NAN; // no time was drawn there
    }
}

// ---- runs -------------------------------------------------------------------------------------

static json_t *read_json(const char *run_dir, const char *name) {
    size_t bytes;
    json_t *value = NULL;
    char *text = run_folder_text(run_dir, name, TEXT_BYTES_MOST, &bytes);
    if (text != NULL && json_parse(text, bytes, name, &value) != STATUS_OK) value = NULL;
    error_clear();
    free(text);
    return value;
}

static bool holds(const char *run_dir, const char *name) {
    char path[PATH_BYTES];
    bool found = path_format(path, "%s/%s", run_dir, name) == STATUS_OK && file_exists(path);
    error_clear();
    return found;
}

static void read_config(RunHistory *run) {
    char path[PATH_BYTES];
    size_t bytes;
    run->config = run_folder_text(run->path, "config.yaml", TEXT_BYTES_MOST, &bytes);
    run->configured = run->config != NULL &&
                      path_format(path, "%s/config.yaml", run->path) == STATUS_OK &&
                      run_config_read(path, NULL, 0, &run->settings) == STATUS_OK;
    if (!run->configured)
        snprintf(run->why, sizeof run->why, "%s",
                 run->config != NULL ? error_get()->text : "there is no config.yaml");
    error_clear();
}

static Status read_run(RunHistory *run) {
    FAIL_IF(!file_exists(run->path), NOT_FOUND, "%s is not there", run->path);
    FAIL_IF(!run_folder_is(run->path) && !holds(run->path, "metrics.jsonl") &&
                !holds(run->path, "status.json"),
            NOT_FOUND, "%s holds no run: it has neither config.yaml nor metrics.jsonl", run->path);
    TRY(run_folder_read(run->path, &run->summary));
    read_config(run);
    run->status = read_json(run->path, "status.json");
    run->facts = read_json(run->path, "run.json");
    run->metrics.columns = METRIC_COLUMNS;
    run->evals.columns = EVAL_COLUMNS;
    run_folder_records(run->path, "metrics.jsonl", take_metrics, run);
    run_folder_records(run->path, "eval.jsonl", take_eval, run);
    FAIL_IF(run->metrics.failed || run->evals.failed, NO_MEMORY, "no memory for the records of %s",
            run->path);
    return STATUS_OK;
}

// The last part of the path; where two runs agree in it, or it says nothing, all of it.
static void name_runs(RunHistories *runs) {
    for (int i = 0; i < runs->count; ++i) {
        RunHistory *run = &runs->run[i];
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s", run->path);
        for (size_t length = strlen(path); length > 1 && path[length - 1] == '/';)
            path[--length] = '\0';
        const char *slash = strrchr(path, '/');
        bool told = slash != NULL && slash[1] != '\0' && slash[1] != '.';
        snprintf(run->name, sizeof run->name, "%s", told ? slash + 1 : path);
    }
    for (int i = 0; i < runs->count; ++i)
        for (int k = 0; k < i; ++k)
            if (strcmp(runs->run[i].name, runs->run[k].name) == 0) {
                snprintf(runs->run[i].name, sizeof runs->run[i].name, "%s", runs->run[i].path);
                snprintf(runs->run[k].name, sizeof runs->run[k].name, "%s", runs->run[k].path);
            }
}

Status histories_read(char *const *paths, int count, RunHistories *out) {
    *out = (RunHistories){.run = calloc((size_t)count, sizeof *out->run), .count = count};
    FAIL_IF(out->run == NULL, NO_MEMORY, "no memory for %d runs", count);
    for (int i = 0; i < count; ++i) {
        out->run[i].path = paths[i];
        TRY(read_run(&out->run[i]));
    }
    name_runs(out);
    return STATUS_OK;
}

void histories_close(RunHistories *runs) {
    for (int i = 0; runs->run != NULL && i < runs->count; ++i) {
        RunHistory *run = &runs->run[i];
        for (int k = 0; k < HISTORY_COLUMNS_MOST; ++k) {
            free(run->metrics.column[k]);
            free(run->evals.column[k]);
        }
        json_decref(run->status);
        json_decref(run->facts);
        free(run->config);
    }
    free(runs->run);
    *runs = (RunHistories){0};
}
