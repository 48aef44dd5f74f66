// JSON lines behind launch/metrics.h: numbers that are not finite are written as null.
#include "launch/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "launch/console.h"
#include "launch/stragglers.h"
#include "launch/tensorboard.h"

enum { METRICS_BYTES_MOST = 1 << 30 };

// The step of a line, or -1 if the line is not a whole object with one.
static int64_t line_step(const char *line, size_t bytes) {
    json_t *object = NULL;
    int64_t step = -1;
    if (json_parse(line, bytes, "metrics", &object) != STATUS_OK) return -1;
    if (json_get_i64(object, "step", "metrics", 0, INT64_MAX, &step) != STATUS_OK) step = -1;
    json_decref(object);
    return step;
}

// Keeps the lines up to `step`, in place; returns the bytes that are left. *moved: what is left is
// not the beginning of what was there.
static size_t cut_back(char *text, size_t bytes, int64_t step, bool *moved) {
    size_t kept = 0;
    *moved = false;
    for (size_t at = 0; at < bytes;) {
        char *end = memchr(text + at, '\n', bytes - at);
        if (end == NULL) break; // a line that a killed run did not finish
        size_t length = (size_t)(end - (text + at));
        int64_t of_line = line_step(text + at, length);
        if (of_line >= 0 && of_line <= step) {
            *moved = *moved || kept < at;
            memmove(text + kept, text + at, length + 1);
            kept += length + 1;
        }
        at += length + 1;
    }
    error_clear();
    return kept;
}

Status metrics_open(const char *run_dir, const char *name, int64_t step,
                    void (*warn)(const char *message), Lines **out) {
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/%s", run_dir, name));
    if (file_exists(path)) {
        char *text;
        size_t bytes;
        bool moved;
        TRY(file_read(path, METRICS_BYTES_MOST, &text, &bytes));
        size_t kept = cut_back(text, bytes, step, &moved);
        Status status = moved ? file_write_atomic(path, text, kept) : STATUS_OK;
        free(text);
        TRY(status);
        // As atomic as the rewrite, and a full disk takes it.
        FAIL_IF(!moved && kept < bytes && truncate(path, (off_t)kept) != 0, IO,
                "cannot cut %s back to step %" PRId64 ": %s", path, step, strerror(errno));
    }
    return lines_open(path, "\"fingerprint\"", warn, out);
}

MetricsRecord metrics_sum_up(const StepReport *report) {
    const TrainConfig *train = &report->settings->train;
    const StepTotals *totals = report->totals;
    double now = clock_now(), steps = (double)totals->steps;
    MetricsRecord record = {
        .step = report->step,
        .steps = train->steps,
        .samples = report->step * train->batch,
        .samples_left = (double)((train->steps - report->step) * train->batch),
        .samples_per_s = (double)(totals->steps * train->batch) / (now - totals->started),
        .world = comm_world(report->comm),
        .saved_s = now - report->saved,
        .loss = totals->loss_sum / totals->loss_items,
        .grad_norm = totals->grad_norm / steps,
        .lr = report->lr,
        .data_wait_s = totals->data_wait,
        .data_wait_each_s = totals->data_wait / steps,
        .skipped = report->skipped,
        .left_out = report->left_out,
        .lost = report->lost,
        .has_fingerprint = report->fingerprints != NULL,
        .fingerprint = report->fingerprint,
        .tensors = report->fingerprints,
    };
    stragglers_judge(report->comm, totals->time, totals->steps, &record);
    return record;
}

const char *slow_cause_name(SlowCause cause) {
    static const char *const names[SLOW_CAUSES] = {"data", "compute", "save"};
    return names[cause];
}

void metrics_format(const MetricsRecord *record, char *out, size_t bytes) {
    char eta[32], saved[48] = "no checkpoint yet", slow[160] = "", lost[48] = "";
    double rate = record->samples_per_s;
    clock_format(rate > 0 ? record->samples_left / rate : 0, eta, sizeof eta);
    if (isfinite(record->saved_s)) {
        char age[32];
        clock_format(record->saved_s, age, sizeof age);
        snprintf(saved, sizeof saved, "saved %s ago", age);
    }
    if (record->world > 1)
        snprintf(slow, sizeof slow, " | slowest rank %d on %s +%.0f ms (%s)", record->slowest_rank,
                 record->slowest_host, record->slowest_excess_s * 1e3,
                 slow_cause_name(record->slowest_cause));
    if (record->lost > 0) snprintf(lost, sizeof lost, " | %" PRId64 " samples lost", record->lost);
    snprintf(out, bytes,
             "step %" PRId64 " of %" PRId64 ", %" PRId64
             " samples, %.1f %%, ETA %s | %.0f samples/s"
             " | loss %.5f | grad norm %.3f | data wait %.1f ms%s%s | %s",
             record->step, record->steps, record->samples,
             100.0 * (double)record->step / (double)record->steps, eta, rate, record->loss,
             record->grad_norm, 1e3 * record->data_wait_each_s, lost, slow, saved);
}

static void print_value(FILE *file, double value) {
    if (isfinite(value))
        fprintf(file, "%.9g", value);
    else
        fputs("null", file);
}

static void print_number(FILE *file, const char *key, double value) {
    fprintf(file, ", \"%s\": ", key);
    print_value(file, value);
}

static void print_fingerprints(FILE *file, const Params *params, const MetricsRecord *record) {
    fprintf(file, ", \"fingerprint\": \"%016" PRIx64 "\", \"tensors\": {", record->fingerprint);
    for (int i = 0; i < params->count; ++i)
        fprintf(file, "%s\"%s\": \"%016" PRIx64 "\"", i == 0 ? "" : ", ", params->list[i].name,
                record->tensors[i]);
    fputc('}', file);
}

static void print_record(FILE *file, const Params *params, const MetricsRecord *record) {
    fprintf(file, "{\"step\": %" PRId64 ", \"samples\": %" PRId64, record->step, record->samples);
    print_number(file, "loss", record->loss);
    print_number(file, "grad_norm", record->grad_norm);
    print_number(file, "lr", record->lr);
    print_number(file, "samples_per_s", record->samples_per_s);
    print_number(file, "data_wait_s", record->data_wait_s);
    print_number(file, "arrival_s", record->arrival_s);
    print_number(file, "compute_s", record->compute_s);
    fprintf(file, ", \"slowest_rank\": %d", record->slowest_rank);
    print_number(file, "slowest_excess_s", record->slowest_excess_s);
    fprintf(file, ", \"slowest_cause\": \"%s\"", slow_cause_name(record->slowest_cause));
    fprintf(file, ", \"skipped\": %" PRId64 ", \"left_out\": %" PRId64 ", \"lost\": %" PRId64,
            record->skipped, record->left_out, record->lost);
    if (record->has_fingerprint) print_fingerprints(file, params, record);
    fputs("}\n", file);
}

// Hands over what was printed into memory; without memory for it a line is not worth a run.
static void add_line(Lines *lines, FILE *file, char **text, const size_t *bytes) {
    if (fclose(file) == 0 && *bytes <= LINES_PENDING_MOST) lines_add(lines, *text, *bytes);
    free(*text);
}

void metrics_write(Lines *lines, const Params *params, const MetricsRecord *record) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (file == NULL) return;
    print_record(file, params, record);
    add_line(lines, file, &text, &bytes);
}

static void write_held_out(Lines *lines, int64_t step, const HeldOutLoss *result) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (file == NULL) return;
    fprintf(file, "{\"step\": %" PRId64 ", \"samples\": %" PRId64, step, result->samples);
    print_number(file, "loss", result->loss);
    fputs(", \"loss_by_level\": [", file);
    for (int level = 0; level < EVAL_LEVELS; ++level) {
        if (level > 0) fputs(", ", file);
        print_value(file, result->level_loss[level]);
    }
    fputs("]}\n", file);
    add_line(lines, file, &text, &bytes);
}

// ---- of this process --------------------------------------------------------------------------

static Lines *process_records, *process_held_out;

Status process_metrics_open(const char *run_dir, int64_t step) {
    process_metrics_close();
    tensorboard_open(run_dir, step);
    TRY(metrics_open(run_dir, "metrics.jsonl", step, console_warn, &process_records));
    return metrics_open(run_dir, "eval.jsonl", step, console_warn, &process_held_out);
}

void process_metrics_record(const MetricsRecord *record, const Params *params) {
    metrics_write(process_records, params, record);
    tensorboard_record(record);
    stragglers_watch(record, console_warn);
}

void process_metrics_held_out(int64_t step, const HeldOutLoss *result) {
    char line[512];
    int used = snprintf(line, sizeof line,
                        "held-out loss at step %" PRId64 ": %.5f; by noise level,"
                        " least to most:",
                        step, result->loss);
    for (int level = 0; level < EVAL_LEVELS; ++level)
        used +=
            snprintf(line + used, sizeof line - (size_t)used, " %.4g", result->level_loss[level]);
    snprintf(line + used, sizeof line - (size_t)used, " (%" PRId64 " samples, %.1f s)",
             result->samples, result->seconds);
    console_say(line);
    write_held_out(process_held_out, step, result);
    tensorboard_held_out(step, result);
}

void process_metrics_close(void) {
    tensorboard_close();
    lines_close(process_records);
    lines_close(process_held_out);
    process_records = process_held_out = NULL;
}
