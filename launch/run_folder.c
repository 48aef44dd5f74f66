// Reading run folders behind launch/run_folder.h.
#include "launch/run_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "launch/run_config.h"
#include "launch/wall_clock.h"
#include "trainer/checkpoint.h"

enum { STALE_SECONDS = 15, STATUS_BYTES_MOST = 4 << 20, RECORDS_BYTES_MOST = 1 << 30 };

const char *run_state_text(RunState state) {
    static const char *const texts[] = {"", "running", "ended", "cut off"};
    return texts[state];
}

RunState run_state_of(const json_t *status) {
    double written = json_number_value(json_object_get(status, "written"));
    if (json_is_true(json_object_get(status, "ended"))) return RUN_ENDED;
    return fmax(clock_wall() - written, 0) < STALE_SECONDS ? RUN_RUNNING : RUN_CUT_OFF;
}

bool run_folder_is(const char *path) {
    char config[PATH_BYTES];
    if (path_format(config, "%s/config.yaml", path) == STATUS_OK && file_exists(config))
        return true;
    error_clear();
    return false;
}

// ---- parts ------------------------------------------------------------------------------------

char *run_folder_text(const char *run_dir, const char *name, size_t most, size_t *bytes) {
    char path[PATH_BYTES], *text = NULL;
    bool read = path_format(path, "%s/%s", run_dir, name) == STATUS_OK &&
                file_read(path, most, &text, bytes) == STATUS_OK;
    error_clear();
    return read ? text : NULL;
}

void run_folder_records(const char *run_dir, const char *name,
                        void (*tell)(void *context, const json_t *record), void *context) {
    size_t bytes;
    char *text = run_folder_text(run_dir, name, RECORDS_BYTES_MOST, &bytes), *at = text, *end;
    for (; at != NULL && (end = strchr(at, '\n')) != NULL; at = end + 1) {
        json_t *record = NULL;
        if (json_parse(at, (size_t)(end - at), name, &record) == STATUS_OK) tell(context, record);
        json_decref(record);
    }
    error_clear();
    free(text);
}

// The same for the last one that is good: what stands before it may be long.
static void last_record(const char *run_dir, const char *name,
                        void (*tell)(void *context, const json_t *record), void *context) {
    size_t bytes;
    char *text = run_folder_text(run_dir, name, RECORDS_BYTES_MOST, &bytes);
    char *end = text != NULL ? memrchr(text, '\n', bytes) : NULL;
    for (bool found = false; end != NULL && !found;) {
        char *before = memrchr(text, '\n', (size_t)(end - text));
        char *at = before != NULL ? before + 1 : text;
        json_t *record = NULL;
        found = json_parse(at, (size_t)(end - at), name, &record) == STATUS_OK;
        if (found) tell(context, record);
        json_decref(record);
        end = before;
    }
    error_clear();
    free(text);
}

// What was not finite is written as null.
static double number_of(const json_t *record, const char *key) {
    const json_t *number = json_object_get(record, key);
    return json_is_number(number) ? json_number_value(number) : NAN;
}

static void take_step(void *context, const json_t *record) {
    RunSummary *summary = context;
    summary->step = json_integer_value(json_object_get(record, "step"));
    summary->loss = number_of(record, "loss");
}

static void take_held_out(void *context, const json_t *record) {
    RunSummary *summary = context;
    double loss = number_of(record, "loss");
    if (isnan(loss) || (!isnan(summary->held_out) && loss >= summary->held_out)) return;
    summary->held_out = loss;
    summary->held_out_step = json_integer_value(json_object_get(record, "step"));
}

static void take_state(const char *run_dir, RunSummary *summary) {
    size_t bytes;
    json_t *status = NULL;
    char *text = run_folder_text(run_dir, "status.json", STATUS_BYTES_MOST, &bytes);
    if (text == NULL) return;
    if (json_parse(text, bytes, "status.json", &status) == STATUS_OK) {
        summary->state = run_state_of(status);
        summary->age =
            fmax(clock_wall() - json_number_value(json_object_get(status, "written")), 0);
    }
    error_clear();
    json_decref(status);
    free(text);
}

static void take_config(const char *run_dir, RunSummary *summary) {
    char path[PATH_BYTES];
    RunSettings settings;
    snprintf(summary->system, sizeof summary->system, "?");
    if (path_format(path, "%s/config.yaml", run_dir) == STATUS_OK &&
        run_config_read(path, NULL, 0, &settings) == STATUS_OK) {
        snprintf(summary->system, sizeof summary->system, "%s", settings.process.name);
        summary->steps = settings.train.steps;
    }
    error_clear();
}

// Of files that go while they are counted nothing is told.
static uint64_t bytes_below(const char *path) {
    struct stat about;
    uint64_t sum = 0;
    char **names, entry[PATH_BYTES];
    int count;
    if (lstat(path, &about) != 0) return 0;
    if (!S_ISDIR(about.st_mode)) return S_ISREG(about.st_mode) ? (uint64_t)about.st_size : 0;
    if (folder_names(path, &names, &count) != STATUS_OK) return 0;
    for (int i = 0; i < count; ++i)
        if (path_format(entry, "%s/%s", path, names[i]) == STATUS_OK) sum += bytes_below(entry);
    folder_names_free(names, count);
    return sum;
}

Status run_folder_read(const char *path, RunSummary *out) {
    char **names;
    *out = (RunSummary){.step = -1, .loss = NAN, .held_out = NAN, .age = NAN};
    TRY(path_format(out->path, "%s", path));
    TRY(checkpoint_list(path, &names, &out->checkpoints));
    folder_names_free(names, out->checkpoints);
    take_config(path, out);
    last_record(path, "metrics.jsonl", take_step, out);
    run_folder_records(path, "eval.jsonl", take_held_out, out);
    take_state(path, out);
    out->bytes = bytes_below(path);
    error_clear();
    return STATUS_OK;
}

// ---- curves -----------------------------------------------------------------------------------

typedef struct {
    const char *key;
    double *value;
    int count, room;
} Curve;

// Without memory the curve stays as it is.
static void take_point(void *context, const json_t *record) {
    Curve *curve = context;
    const json_t *number = json_object_get(record, curve->key);
    if (!json_is_number(number)) return;
    if (curve->count == curve->room) {
        int room = curve->room == 0 ? 256 : 2 * curve->room;
        double *more = realloc(curve->value, (size_t)room * sizeof *more);
        if (more == NULL) return;
        curve->value = more;
        curve->room = room;
    }
    curve->value[curve->count++] = json_number_value(number);
}

double *run_folder_curve(const char *run_dir, const char *name, const char *key, int *count) {
    Curve curve = {.key = key};
    run_folder_records(run_dir, name, take_point, &curve);
    *count = curve.count;
    return curve.value;
}
