// What a run folder tells of its run, without opening its model or data.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "base/json.h"

typedef enum { RUN_NEVER, RUN_RUNNING, RUN_ENDED, RUN_CUT_OFF } RunState;
const char *run_state_text(RunState state); // "", "running", "ended", "cut off"

typedef struct {
    char path[PATH_BYTES], system[24]; // system "?": the configuration cannot be read
    RunState state;
    int64_t step, steps; // of metrics.jsonl (-1: none), of the configuration
    double loss;         // of the last record; NaN: there is none
    double held_out;     // the least held-out loss, NaN: none, ...
    int64_t held_out_step;
    double age; // seconds since the run wrote something down; NaN: never
    int checkpoints;
    uint64_t bytes; // of all its files
} RunSummary;

// Whether the folder holds a run: its configuration.
bool run_folder_is(const char *path);
// Errors: IO, NOT_FOUND, NO_MEMORY. What a run has not written yet, or half, is no error.
Status run_folder_read(const char *path, RunSummary *out);
// Calls `tell` for each whole line of RUN/NAME that is an object; without such a file for none.
void run_folder_records(const char *run_dir, const char *name,
                        void (*tell)(void *context, const json_t *record), void *context);
// The text of RUN/NAME, malloc'ed, with a NUL behind it; NULL: it is not there, or cannot be read
// now, or is longer than `most` bytes.
char *run_folder_text(const char *run_dir, const char *name, size_t most, size_t *bytes);
// A number of each record of RUN/NAME ("metrics.jsonl", "loss"), those that are none left out:
// malloc'ed, the caller frees; NULL where there are none.
double *run_folder_curve(const char *run_dir, const char *name, const char *key, int *count);
// Of status.json that was parsed: ended politely, or written within the last 15 seconds.
RunState run_state_of(const json_t *status);
