// Writes one shard: items of a column in, groups filtered and compressed.
#pragma once

#include "data/dataset_index.h"

typedef struct ShardWriter ShardWriter;

enum { SHARD_RAW_BYTES = 1 << 26 }; // of the items of a shard at most, one item at least

// Makes the file `path`, which must not exist; `column` is borrowed until the writer is gone.
Status shard_writer_open(const char *path, const Column *column, int level, ShardWriter **out);
// Any number of bytes; items may straddle calls. Errors: IO.
Status shard_writer_add(ShardWriter *writer, const void *data, size_t bytes);
// Writes the rest. The writer is gone also after a failure.
Status shard_writer_finish(ShardWriter *writer, BlockFileInfo *info);
void shard_writer_discard(ShardWriter *writer); // removes the file; NULL is fine

// Items of a group of about 256 KiB.
int64_t shard_group_items(int64_t item_bytes);
// Symbols gain from a longer search; pixels and planes of floats lose by it.
int shard_level(const DatasetInfo *info);
