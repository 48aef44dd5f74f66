// What runs have written down, gathered for dye report. What a run lacks is empty, and no error.
#pragma once

#include "launch/evaluate.h"
#include "launch/run_folder.h"
#include "trainer/trainer.h"

// Columns of metrics.jsonl. CAUSE is a number of SlowCause; EACH is computed: seconds per step.
typedef enum {
    METRIC_STEP,
    METRIC_SAMPLES,
    METRIC_LOSS,
    METRIC_GRAD_NORM,
    METRIC_LR,
    METRIC_SPEED,
    METRIC_ARRIVAL,
    METRIC_COMPUTE,
    METRIC_RANK,
    METRIC_EXCESS,
    METRIC_SKIPPED,
    METRIC_LEFT_OUT,
    METRIC_LOST,
    METRIC_CAUSE,
    METRIC_EACH,
    METRIC_COLUMNS
} Metric;

// Of eval.jsonl: step, loss, then the loss of each noise level.
enum { EVAL_STEP, EVAL_LOSS, EVAL_LEVEL, EVAL_COLUMNS = EVAL_LEVEL + EVAL_LEVELS };
enum { HISTORY_COLUMNS_MOST = 16, HISTORIES_MOST = 24 };

// Numbers by column and record, NAN where a record has none.
typedef struct {
    double *column[HISTORY_COLUMNS_MOST];
    int64_t count, room;
    int columns;
    bool failed; // no memory
} RunTable;

typedef struct {
    const char *path;
    char name[PATH_BYTES]; // the last part of the path
    RunSummary summary;
    RunSettings settings;
    bool configured;            // settings could be read, ...
    char why[ERROR_TEXT_BYTES]; // ... or why not
    char *config;               // text of config.yaml, NULL: there is none
    json_t *status, *facts;     // status.json, run.json; NULL: there is none
    RunTable metrics, evals;
    char fingerprint[24]; // the last one, "": none
    double fingerprint_step;
} RunHistory;

typedef struct {
    RunHistory *run;
    int count;
} RunHistories;

// Errors: NOT_FOUND (no folder, or one without a run), NO_MEMORY, IO. histories_close in any case.
Status histories_read(char *const *paths, int count, RunHistories *out);
void histories_close(RunHistories *runs);
