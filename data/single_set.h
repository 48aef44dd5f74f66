// One split of one dataset folder: what a Dataset (data/dataset.h) is made of. The functions are
// those of data/dataset.h without "dataset_".
#pragma once

#include "data/dataset.h"

typedef struct SingleSet SingleSet;

// config->path is one folder.
Status single_set_open(const DatasetConfig *config, SingleSet **out);
void single_set_close(SingleSet *set); // NULL is fine
const DatasetInfo *single_set_info(const SingleSet *set);
Status single_set_read(SingleSet *set, int column, int64_t first, int64_t count, void *out);
bool single_set_lost_range(SingleSet *set, int column, int64_t item, int64_t *first,
                           int64_t *count);
bool single_set_busy(SingleSet *set, char *out, size_t bytes);
