// Copies of shards on this node, shared by all its processes. A copy is a sparse file of the
// shard's full length: whether a block is there is told by its hash alone, so there is no list that
// could be wrong, and a copy may be emptied at any time by anybody.
//
//   CACHE/lock                 held while space is made
//   CACHE/SET/SHARD            SET names the data by the hash of its index
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct ShardCache ShardCache;

// Makes the folders. `limit`: bytes that all copies in CACHE may take; beyond it the least recently
// used ones are emptied. `warn`: told once of a disk that is full; NULL: nobody. Errors: IO.
Status shard_cache_open(const char *cache, uint64_t limit, const char *set,
                        void (*warn)(const char *line), ShardCache **out);
void shard_cache_close(ShardCache *cache); // NULL is fine
// Opens or makes the copy of a shard; the caller closes *fd. Errors: IO.
Status shard_cache_file(ShardCache *cache, const char *file, uint64_t bytes, int *fd);
// Keeps these bytes if there is room; else they are fetched again when they are needed again.
void shard_cache_put(ShardCache *cache, int fd, uint64_t offset, const void *data, size_t bytes);
void shard_cache_touch(int fd); // it was used now
