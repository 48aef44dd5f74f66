// dye bench DATASET: what the loader delivers from a data set when nothing else is done. For
// tests/bench/data.sh and for the choice of data.* keys.
#pragma once

#include "base/status.h"

typedef struct {
    const char *path;       // the data set's folder
    char *const *overrides; // key=value: data.*, train.batch, train.seed
    int override_count;
    double seconds;        // for the steady rate; 0: the first epoch alone
    const char *json_path; // one record is appended; NULL: not wanted
} ReadRequest;

// Whether `dye bench` was given a data set instead of a configuration.
bool bench_is_dataset(const char *path);

// Reads the train split in shuffled order: the first epoch whole, from the opening on, then more
// for `seconds`. Prints both rates in samples/s and in decoded MB/s, and the most memory that was
// resident.
Status bench_read(const ReadRequest *request);
