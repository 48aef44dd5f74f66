// Writes one column of one split: bytes in, groups filtered and compressed, shards cut, counted.
#pragma once

#include "data/dataset_index.h"

typedef struct ShardWriter ShardWriter;

// index, with this split and column described, is borrowed until the writer is gone. Files are
// FOLDER/SPLIT-COLUMN-NNNNN.zst.
Status shard_writer_open(const char *folder, DatasetIndex *index, int split, int column,
                         ShardWriter **out);
// Any number of bytes; items may straddle calls. Errors: IO.
Status shard_writer_add(ShardWriter *writer, const void *data, size_t bytes);
// Writes the rest, enters shards and content hash into the index and checks that as many items came
// as the index says. The writer is gone also after a failure.
Status shard_writer_finish(ShardWriter *writer);
void shard_writer_discard(ShardWriter *writer); // NULL is fine

// Items of a group of about 256 KiB.
int64_t shard_group_items(int64_t item_bytes);
