// dye compare: the first step at which two runs differ, then the first tensor.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "launch/command.h"

// metrics.jsonl in memory, read line by line.
typedef struct {
    char path[PATH_BYTES];
    char *text, *at;
    json_t *line; // current object, owned; NULL at the end
    int64_t step;
} Log;

static Status log_next(Log *log) {
    json_decref(log->line);
    log->line = NULL;
    if (*log->at == '\0') return STATUS_OK;
    char *end = strchr(log->at, '\n');
    size_t bytes = end != NULL ? (size_t)(end - log->at) : strlen(log->at);
    TRY(json_parse(log->at, bytes, log->path, &log->line));
    log->at += bytes + (end != NULL);
    return json_get_i64(log->line, "step", log->path, 0, INT64_MAX, &log->step);
}

static Status log_open(const char *run_dir, Log *log) {
    size_t bytes;
    TRY(path_format(log->path, "%s/metrics.jsonl", run_dir));
    TRY(file_read(log->path, (size_t)1 << 30, &log->text, &bytes));
    log->at = log->text;
    return log_next(log);
}

static void log_close(Log *log) {
    json_decref(log->line);
    free(log->text);
}

// What must be equal in two records of one step, in the order of blame. NULL: nothing differs.
static const char *first_difference(const json_t *a, const json_t *b) {
    static const char *const keys[] = {"samples", "loss", "grad_norm", "lr", "fingerprint"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; ++i) {
        const json_t *x = json_object_get(a, keys[i]), *y = json_object_get(b, keys[i]);
        if (x != NULL && y != NULL && !json_equal(x, y)) return keys[i];
    }
    return NULL;
}

static void print_first_tensor(const json_t *a, const json_t *b) {
    json_t *tensors = json_object_get(a, "tensors"), *others = json_object_get(b, "tensors");
    const char *name;
    json_t *value;
    json_object_foreach(tensors, name, value) {
        const json_t *other = json_object_get(others, name);
        if (json_equal(value, other)) continue;
        printf("  first differing tensor: %s\n    a %s\n    b %s\n", name, json_string_value(value),
               other != NULL ? json_string_value(other) : "absent");
        return;
    }
}

typedef struct {
    int64_t compared, prints; // steps in both; steps with a fingerprint in both
    bool differ;
} Comparison;

static void compare_records(const Log *a, const Log *b, Comparison *out) {
    ++out->compared;
    if (json_object_get(a->line, "fingerprint") != NULL &&
        json_object_get(b->line, "fingerprint") != NULL)
        ++out->prints;
    const char *key = first_difference(a->line, b->line);
    if (key == NULL) return;
    out->differ = true;
    printf("first differing step: %" PRId64 " (%s)\n", a->step, key);
    char *x = json_dumps(json_object_get(a->line, key), JSON_ENCODE_ANY);
    char *y = json_dumps(json_object_get(b->line, key), JSON_ENCODE_ANY);
    printf("    a %s\n    b %s\n", x, y);
    free(x);
    free(y);
}

// Goes on behind the first difference until a record with tensors tells which one.
static Status find_tensor(Log *a, Log *b) {
    while (a->line != NULL && b->line != NULL) {
        if (a->step == b->step && json_object_get(a->line, "tensors") != NULL &&
            json_object_get(b->line, "tensors") != NULL) {
            printf("  at step %" PRId64 ", the first with fingerprints from there on:\n", a->step);
            print_first_tensor(a->line, b->line);
            return STATUS_OK;
        }
        bool next_a = a->step <= b->step, next_b = b->step <= a->step;
        if (next_a) TRY(log_next(a));
        if (next_b) TRY(log_next(b));
    }
    return STATUS_OK;
}

static Status compare_logs(Log *a, Log *b, Comparison *out) {
    while (a->line != NULL && b->line != NULL) {
        if (a->step == b->step) {
            compare_records(a, b, out);
            if (out->differ) return find_tensor(a, b);
        }
        bool next_a = a->step <= b->step, next_b = b->step <= a->step;
        if (next_a) TRY(log_next(a));
        if (next_b) TRY(log_next(b));
    }
    return STATUS_OK;
}

// What decides bits besides the configuration, where RUN/run.json tells that it differs.
static void print_setups(const char *run_a, const char *run_b) {
    static const char *const keys[2] = {"device", "products"};
    const char *run[2] = {run_a, run_b};
    json_t *facts[2] = {NULL, NULL};
    for (int i = 0; i < 2; ++i) {
        char path[PATH_BYTES];
        if (path_format(path, "%s/run.json", run[i]) != STATUS_OK ||
            json_read(path, &facts[i]) != STATUS_OK)
            error_clear(); // no help, then
    }
    for (size_t i = 0; facts[0] != NULL && facts[1] != NULL && i < 2; ++i) {
        const char *a = json_string_value(json_object_get(facts[0], keys[i]));
        const char *b = json_string_value(json_object_get(facts[1], keys[i]));
        if (a == NULL ? b == NULL : b != NULL && strcmp(a, b) == 0) continue;
        printf("  %s: a %s, b %s\n", keys[i], a != NULL ? a : "none", b != NULL ? b : "none");
    }
    json_decref(facts[0]);
    json_decref(facts[1]);
}

Status cmd_compare(int argc, char **argv) {
    FAIL_IF(argc != 3, BAD_USAGE, "usage: dye compare RUN_A RUN_B");
    Log a = {0}, b = {0};
    Comparison result = {0};
    Status status = log_open(argv[1], &a);
    if (status == STATUS_OK) status = log_open(argv[2], &b);
    if (status == STATUS_OK) status = compare_logs(&a, &b, &result);
    log_close(&a);
    log_close(&b);
    TRY(status);
    if (result.differ) print_setups(argv[1], argv[2]);
    FAIL_IF(result.differ, FAILED, "%s and %s differ", argv[1], argv[2]);
    FAIL_IF(result.prints == 0, FAILED,
            "%s and %s have no step in common that carries a fingerprint (%" PRId64
            " steps in common): nothing is proved",
            argv[1], argv[2], result.compared);
    printf("the same: %" PRId64 " steps, %" PRId64 " of them with fingerprints\n", result.compared,
           result.prints);
    return STATUS_OK;
}
