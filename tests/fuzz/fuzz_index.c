// index.json from strangers: any bytes give a Status, and what is accepted is within its bounds.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const DatasetIndex *index) {
    for (int i = 0; i < index->shards; ++i) {
        const IndexShard *shard = &index->shard[i];
        if (strchr(shard->file, '/') != NULL || shard->file[0] == '.') abort();
        if (shard->first + shard->items > index->split[shard->split].items) abort();
    }
    for (int c = 0; c < index->info.columns; ++c) {
        const Column *column = &index->info.column[c];
        if (column->group_items * column_item_bytes(column) > BLOCK_RAW_MOST) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DatasetIndex index;
    if (dataset_index_parse((const char *)data, size, "fuzz", &index) == STATUS_OK) {
        check_accepted(&index);
    }
    dataset_index_close(&index);
    return 0;
}
