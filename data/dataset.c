// One opened split: shards, and a cache of decoded groups taken at open.
#include "data/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "base/file.h"
#include "data/dataset_index.h"
#include "data/filter.h"

enum { NONE = -1 };

// A place for one decoded group, in a list from most to least recently used.
typedef struct {
    int32_t group; // NONE: empty
    int32_t newer, older;
} Slot;

typedef struct {
    const Column *column;
    int64_t item_bytes;
    int first_shard, shards; // within Dataset.reader and .shard
    int32_t groups;
    int32_t *slot_of; // [groups], NONE: not decoded
    int32_t slots, newest, oldest;
    Slot *slot;
    size_t slot_bytes;
    uint8_t *memory; // [slots][slot_bytes]
} ColumnCache;

struct Dataset {
    char path[PATH_BYTES];
    DatasetIndex index;
    int split;
    IndexShard *shard; // of this split, column after column
    BlockReader **reader;
    int shards;
    ColumnCache cache[DATASET_COLUMNS_MOST];
    uint8_t *scratch; // a group before its filter is undone
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

// What the blocks of a shard must decode to, against what they say.
static Status check_blocks(const Dataset *dataset, const IndexShard *shard, BlockReader *reader) {
    const Column *column = &dataset->index.info.column[shard->column];
    int64_t item_bytes = column_item_bytes(column), left = shard->items;
    FAIL_IF(block_reader_count(reader) != (int)shard->file_info.blocks, BAD_DATA,
            "%s/%s: holds %d groups, but index.json says %d", dataset->path, shard->file,
            block_reader_count(reader), (int)shard->file_info.blocks);
    for (int b = 0; b < (int)shard->file_info.blocks; ++b) {
        int64_t bytes = least(left, column->group_items) * item_bytes;
        FAIL_IF(block_reader_raw_bytes(reader, b) != (size_t)bytes, BAD_DATA,
                "%s/%s: group %d decodes to %zu bytes, but index.json says %lld", dataset->path,
                shard->file, b, block_reader_raw_bytes(reader, b), (long long)bytes);
        left -= least(left, column->group_items);
    }
    return STATUS_OK;
}

static Status open_shard(Dataset *dataset, const IndexShard *shard) {
    char path[PATH_BYTES];
    uint64_t bytes;
    TRY(path_format(path, "%s/%s", dataset->path, shard->file));
    FAIL_IF(!file_exists(path), BAD_DATA, "%s: is missing; copy it again or pack again", path);
    TRY(file_size(path, &bytes));
    FAIL_IF(bytes != shard->file_info.bytes, BAD_DATA,
            "%s: has %llu bytes, but index.json says %llu", path, (unsigned long long)bytes,
            (unsigned long long)shard->file_info.bytes);
    int number = dataset->shards++;
    dataset->shard[number] = *shard;
    TRY(block_reader_open(path, &dataset->reader[number]));
    TRY(check_blocks(dataset, shard, dataset->reader[number]));
    return STATUS_OK;
}

static Status open_shards(Dataset *dataset) {
    const DatasetIndex *index = &dataset->index;
    dataset->shard = calloc((size_t)index->shards, sizeof *dataset->shard);
    dataset->reader = calloc((size_t)index->shards, sizeof *dataset->reader);
    FAIL_IF(dataset->shard == NULL || dataset->reader == NULL, NO_MEMORY,
            "%s: no memory for %d shards", dataset->path, index->shards);
    for (int c = 0; c < index->info.columns; ++c) {
        ColumnCache *cache = &dataset->cache[c];
        cache->column = &index->info.column[c];
        cache->item_bytes = column_item_bytes(cache->column);
        cache->first_shard = dataset->shards;
        for (int i = 0; i < index->shards; ++i) {
            const IndexShard *shard = &index->shard[i];
            if (shard->split == dataset->split && shard->column == c) {
                TRY(open_shard(dataset, shard));
            }
        }
        cache->shards = dataset->shards - cache->first_shard;
    }
    return STATUS_OK;
}

// Takes at most `budget` bytes, but a group at least; *used becomes what it took.
static Status take_memory(Dataset *dataset, ColumnCache *cache, size_t budget, size_t *used) {
    int64_t items = dataset->index.info.items, group_items = cache->column->group_items;
    int64_t groups = (items - 1) / group_items + 1;
    FAIL_IF(groups > INT32_MAX, BAD_DATA, "%s: more groups than this program can count",
            dataset->path);
    cache->groups = (int32_t)groups;
    cache->slot_bytes = (size_t)(least(items, group_items) * cache->item_bytes);
    int64_t slots = (int64_t)(budget / cache->slot_bytes);
    cache->slots = (int32_t)least(slots < 1 ? 1 : slots, groups);
    cache->slot_of = malloc((size_t)groups * sizeof *cache->slot_of);
    cache->slot = malloc((size_t)cache->slots * sizeof *cache->slot);
    cache->memory = malloc((size_t)cache->slots * cache->slot_bytes);
    FAIL_IF(cache->slot_of == NULL || cache->slot == NULL || cache->memory == NULL, NO_MEMORY,
            "%s: no memory for a cache of %lld groups of %zu bytes; lower its budget",
            dataset->path, (long long)cache->slots, cache->slot_bytes);
    for (int32_t g = 0; g < cache->groups; ++g) cache->slot_of[g] = NONE;
    for (int32_t s = 0; s < cache->slots; ++s) {
        cache->slot[s] = (Slot){NONE, s - 1, s + 1 < cache->slots ? s + 1 : NONE};
    }
    cache->newest = 0;
    cache->oldest = cache->slots - 1;
    *used = (size_t)cache->slots * cache->slot_bytes;
    return STATUS_OK;
}

// Small columns first, so that what they leave goes to the large ones.
static Status take_all_memory(Dataset *dataset, size_t budget) {
    int order[DATASET_COLUMNS_MOST], columns = dataset->index.info.columns;
    size_t scratch_bytes = 0;
    for (int c = 0; c < columns; ++c) {
        int at = c;
        for (; at > 0 && dataset->cache[order[at - 1]].item_bytes > dataset->cache[c].item_bytes;
             --at) {
            order[at] = order[at - 1];
        }
        order[at] = c;
    }
    for (int i = 0; i < columns; ++i) {
        ColumnCache *cache = &dataset->cache[order[i]];
        size_t used = 0;
        TRY(take_memory(dataset, cache, budget / (size_t)(columns - i), &used));
        budget = budget > used ? budget - used : 0;
        if (cache->slot_bytes > scratch_bytes) scratch_bytes = cache->slot_bytes;
    }
    dataset->scratch = malloc(scratch_bytes);
    FAIL_IF(dataset->scratch == NULL, NO_MEMORY, "%s: no memory for a group of %zu bytes",
            dataset->path, scratch_bytes);
    return STATUS_OK;
}

static Status find_split(Dataset *dataset, const char *split) {
    const DatasetIndex *index = &dataset->index;
    dataset->split = dataset_index_find_split(index, split);
    if (dataset->split >= 0) return STATUS_OK;
    char names[INDEX_SPLITS_MOST * 20] = "";
    for (int s = 0; s < index->splits; ++s) {
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", s > 0 ? ", " : "",
                 index->split[s].name);
    }
    FAIL(NOT_FOUND, "%s: has no split \"%s\"; it has %s", dataset->path, split, names);
}

Status dataset_open(const char *path, const char *split, size_t cache_bytes, Dataset **out) {
    Status status = STATUS_OK;
    Dataset *dataset = calloc(1, sizeof *dataset);
    FAIL_IF(dataset == NULL, NO_MEMORY, "%s: no memory to open it", path);
    TRY_OR(fail, status, path_format(dataset->path, "%s", path));
    TRY_OR(fail, status, dataset_index_load(path, &dataset->index));
    TRY_OR(fail, status, find_split(dataset, split));
    dataset->index.info.items = dataset->index.split[dataset->split].items;
    TRY_OR(fail, status, open_shards(dataset));
    TRY_OR(fail, status, take_all_memory(dataset, cache_bytes));
    *out = dataset;
    return STATUS_OK;
fail:
    dataset_close(dataset);
    return status;
}

void dataset_close(Dataset *dataset) {
    if (dataset == NULL) return;
    for (int i = 0; i < dataset->shards; ++i) block_reader_close(dataset->reader[i]);
    for (int c = 0; c < DATASET_COLUMNS_MOST; ++c) {
        free(dataset->cache[c].slot_of);
        free(dataset->cache[c].slot);
        free(dataset->cache[c].memory);
    }
    free(dataset->reader);
    free(dataset->shard);
    free(dataset->scratch);
    dataset_index_close(&dataset->index);
    free(dataset);
}

const DatasetInfo *dataset_info(const Dataset *dataset) {
    return &dataset->index.info;
}

int dataset_find_column(const Dataset *dataset, const char *name) {
    for (int c = 0; c < dataset->index.info.columns; ++c) {
        if (strcmp(dataset->index.info.column[c].name, name) == 0) return c;
    }
    return -1;
}

bool dataset_is_drawn(const DatasetInfo *info) {
    return info->kind == KIND_IMAGE || (info->kind == KIND_TOKENS && info->column[0].dims == 2);
}

// Numbers that later code uses as an index, or that would spoil every sum: NONE if all are good,
// else the first that is not.
static int64_t find_bad_value(const DatasetInfo *info, const Column *column, const void *group,
                              int64_t numbers) {
    if (column->dtype == DTYPE_F32) {
        const float *value = group;
        for (int64_t i = 0; i < numbers; ++i) {
            if (!isfinite(value[i])) return i;
        }
        return NONE;
    }
    int32_t limit = strcmp(column->name, "label") == 0 ? info->classes
                    : info->symbols > 0                ? info->symbols
                                                       : 256;
    const uint8_t *value = group;
    for (int64_t i = 0; i < numbers && limit < 256; ++i) {
        if (value[i] >= limit) return i;
    }
    return NONE;
}

static const IndexShard *find_shard(const Dataset *dataset, const ColumnCache *cache, int64_t item,
                                    BlockReader **reader) {
    int low = cache->first_shard, high = cache->first_shard + cache->shards - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (dataset->shard[middle].first <= item)
            low = middle;
        else
            high = middle - 1;
    }
    *reader = dataset->reader[low];
    return &dataset->shard[low];
}

static Status decode_group(Dataset *dataset, ColumnCache *cache, int32_t group, uint8_t *out) {
    BlockReader *reader;
    const DatasetInfo *info = &dataset->index.info;
    int64_t group_items = cache->column->group_items, first = group * group_items;
    int64_t items = least(group_items, info->items - first);
    const IndexShard *shard = find_shard(dataset, cache, first, &reader);
    int block = (int)((first - shard->first) / group_items);
    bool plain = cache->column->filter == FILTER_NONE;
    TRY(block_reader_read(reader, block, plain ? out : dataset->scratch));
    if (!plain) filter_undo(cache->column, dataset->scratch, items, out);
    int64_t numbers = items * cache->item_bytes / (cache->column->dtype == DTYPE_F32 ? 4 : 1);
    int64_t bad = find_bad_value(info, cache->column, out, numbers);
    FAIL_IF(bad != NONE, BAD_DATA,
            "%s/%s: group %d (items %lld to %lld): number %lld of column \"%s\" is not allowed "
            "(%d classes, %d symbols, floats must be finite)",
            dataset->path, shard->file, block, (long long)first, (long long)(first + items - 1),
            (long long)bad, cache->column->name, (int)info->classes, (int)info->symbols);
    return STATUS_OK;
}

static void unlink_slot(ColumnCache *cache, int32_t s) {
    Slot *slot = &cache->slot[s];
    if (slot->newer != NONE)
        cache->slot[slot->newer].older = slot->older;
    else
        cache->newest = slot->older;
    if (slot->older != NONE)
        cache->slot[slot->older].newer = slot->newer;
    else
        cache->oldest = slot->newer;
}

static void make_newest(ColumnCache *cache, int32_t s) {
    if (cache->newest == s) return;
    unlink_slot(cache, s);
    cache->slot[s].newer = NONE;
    cache->slot[s].older = cache->newest;
    if (cache->newest != NONE) cache->slot[cache->newest].newer = s;
    cache->newest = s;
    if (cache->oldest == NONE) cache->oldest = s;
}

static Status get_group(Dataset *dataset, ColumnCache *cache, int32_t group, uint8_t **out) {
    int32_t s = cache->slot_of[group];
    if (s == NONE) {
        s = cache->oldest;
        uint8_t *memory = cache->memory + (size_t)s * cache->slot_bytes;
        if (cache->slot[s].group != NONE) cache->slot_of[cache->slot[s].group] = NONE;
        cache->slot[s].group = NONE; // what a failed decoding leaves is never found
        TRY(decode_group(dataset, cache, group, memory));
        cache->slot[s].group = group;
        cache->slot_of[group] = s;
    }
    make_newest(cache, s);
    *out = cache->memory + (size_t)s * cache->slot_bytes;
    return STATUS_OK;
}

Status dataset_read(Dataset *dataset, int column, int64_t first, int64_t count, void *out) {
    REQUIRE(column >= 0 && column < dataset->index.info.columns);
    REQUIRE(first >= 0 && count >= 0 && first <= dataset->index.info.items - count);
    ColumnCache *cache = &dataset->cache[column];
    int64_t group_items = cache->column->group_items;
    uint8_t *to = out;
    while (count > 0) {
        uint8_t *group = NULL;
        int64_t within = first % group_items, part = least(count, group_items - within);
        TRY(get_group(dataset, cache, (int32_t)(first / group_items), &group));
        size_t bytes = (size_t)(part * cache->item_bytes);
        memcpy(to, group + within * cache->item_bytes, bytes);
        to += bytes;
        first += part;
        count -= part;
    }
    return STATUS_OK;
}
