// The shards of a data set, wherever they are: opened when they are needed, the least recently used
// of many closed again. A shard lies in the data set's folder; what is not there comes through
// DatasetFetch, block by block, into a cache on this node (data/shard_cache.h).
#pragma once

#include "data/dataset_index.h"

typedef struct ShardStore ShardStore;

// Loads the index, from `path` or by fetch->index (fetch NULL: all lies at `path`); the caller
// closes it. `warn` is told of what goes on without being as it should; NULL: nobody. Errors:
// NOT_FOUND, BAD_DATA, COMM.
Status shard_store_open(const char *path, const DatasetFetch *fetch, void (*warn)(const char *line),
                        DatasetIndex *index, ShardStore **out);
void shard_store_close(ShardStore *store); // NULL is fine
// The shards that are lent by their numbers from now on; `shard` is borrowed.
Status shard_store_take(ShardStore *store, const IndexShard *shard, int shards);
// Whether the file is in the folder and as long as it should be. Errors: NOT_FOUND, BAD_DATA.
Status shard_store_look(const ShardStore *store, const IndexShard *shard);

// Lends a reader, to any number of threads at once (each brings its own decoder). Errors: those of
// opening it; the next call tries again.
Status shard_store_lend(ShardStore *store, int shard, const BlockReader **out);
// `broken`: it is opened anew when it is lent next.
void shard_store_return(ShardStore *store, const BlockReader *reader, bool broken);
