// JSON lines behind trainer/metrics.h: numbers that are not finite are written as null.
#include "trainer/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

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

// Keeps the lines up to `step`, in place; returns the bytes that are left.
static size_t cut_back(char *text, size_t bytes, int64_t step) {
    size_t kept = 0;
    for (size_t at = 0; at < bytes;) {
        char *end = memchr(text + at, '\n', bytes - at);
        if (end == NULL) break; // a line that a killed run did not finish
        size_t length = (size_t)(end - (text + at));
        int64_t of_line = line_step(text + at, length);
        if (of_line >= 0 && of_line <= step) {
            memmove(text + kept, text + at, length + 1);
            kept += length + 1;
        }
        at += length + 1;
    }
    error_clear();
    return kept;
}

Status metrics_open(const char *run_dir, const char *name, int64_t step, FILE **out) {
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/%s", run_dir, name));
    if (file_exists(path)) {
        char *text;
        size_t bytes;
        TRY(file_read(path, METRICS_BYTES_MOST, &text, &bytes));
        size_t kept = cut_back(text, bytes, step);
        Status status = kept == bytes ? STATUS_OK : file_write_atomic(path, text, kept);
        free(text);
        TRY(status);
    }
    *out = fopen(path, "a");
    FAIL_IF(*out == NULL, IO, "cannot append to %s: %s", path, strerror(errno));
    return STATUS_OK;
}

static void print_number(FILE *file, const char *key, double value) {
    if (isfinite(value))
        fprintf(file, ", \"%s\": %.9g", key, value);
    else
        fprintf(file, ", \"%s\": null", key);
}

static void print_fingerprints(FILE *file, const Params *params, const MetricsRecord *record) {
    fprintf(file, ", \"fingerprint\": \"%016" PRIx64 "\", \"tensors\": {", record->fingerprint);
    for (int i = 0; i < params->count; ++i)
        fprintf(file, "%s\"%s\": \"%016" PRIx64 "\"", i == 0 ? "" : ", ", params->list[i].name,
                record->tensors[i]);
    fputc('}', file);
}

Status metrics_write(FILE *file, const Params *params, const MetricsRecord *record) {
    fprintf(file, "{\"step\": %" PRId64 ", \"samples\": %" PRId64, record->step, record->samples);
    print_number(file, "loss", record->loss);
    print_number(file, "grad_norm", record->grad_norm);
    print_number(file, "lr", record->lr);
    print_number(file, "samples_per_s", record->samples_per_s);
    print_number(file, "data_wait_s", record->data_wait_s);
    fprintf(file, ", \"slowest_rank\": %d", record->slowest_rank);
    print_number(file, "slowest_excess_s", record->slowest_excess_s);
    fprintf(file, ", \"skipped\": %" PRId64, record->skipped);
    if (record->has_fingerprint) print_fingerprints(file, params, record);
    fputs("}\n", file);
    FAIL_IF(fflush(file) != 0 || ferror(file), IO, "cannot write metrics: %s", strerror(errno));
    return STATUS_OK;
}
