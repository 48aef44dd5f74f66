// One column of one split on its way to shards.
#include "data/shard_writer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/content_hash.h"
#include "data/filter.h"

enum { GROUP_BYTES = 262144, SHARD_RAW_BYTES = 1 << 26 };

struct ShardWriter {
    char folder[PATH_BYTES];
    DatasetIndex *index;
    const Column *column;
    int split, level, number; // number of the current shard
    size_t group_bytes, filled;
    uint8_t *group, *filtered;
    BlockWriter *file; // NULL between shards
    IndexShard shard;  // the current one
    int64_t items;     // written so far, in all
    ContentHash content;
};

int64_t shard_group_items(int64_t item_bytes) {
    return item_bytes >= GROUP_BYTES ? 1 : GROUP_BYTES / item_bytes;
}

Status shard_writer_open(const char *folder, DatasetIndex *index, int split, int column,
                         ShardWriter **out) {
    Status status = STATUS_OK;
    ShardWriter *writer = calloc(1, sizeof *writer);
    FAIL_IF(writer == NULL, NO_MEMORY, "%s: no memory to write shards", folder);
    writer->index = index;
    writer->column = &index->info.column[column];
    writer->split = split;
    writer->shard.split = split;
    writer->shard.column = column;
    // Symbols gain from a longer search; pixels and planes of floats lose by it.
    writer->level = index->info.symbols > 0 ? 3 : 1;
    writer->group_bytes = (size_t)(writer->column->group_items * column_item_bytes(writer->column));
    writer->group = malloc(writer->group_bytes);
    writer->filtered = malloc(writer->group_bytes);
    content_hash_init(&writer->content);
    TRY_OR(fail, status, path_format(writer->folder, "%s", folder));
    if (writer->group == NULL || writer->filtered == NULL) {
        FAIL_OR(fail, status, NO_MEMORY, "%s: no memory for a group of %zu bytes", folder,
                writer->group_bytes);
    }
    *out = writer;
    return STATUS_OK;
fail:
    shard_writer_discard(writer);
    return status;
}

static Status open_shard(ShardWriter *writer) {
    char path[PATH_BYTES];
    snprintf(writer->shard.file, sizeof writer->shard.file, "%s-%s-%05d.zst",
             writer->index->split[writer->split].name, writer->column->name, writer->number++);
    writer->shard.first = writer->items;
    writer->shard.items = 0;
    TRY(path_format(path, "%s/%s", writer->folder, writer->shard.file));
    TRY(block_writer_open(path, writer->level, &writer->file));
    return STATUS_OK;
}

static Status close_shard(ShardWriter *writer) {
    BlockWriter *file = writer->file;
    writer->file = NULL;
    TRY(block_writer_finish(file, &writer->shard.file_info));
    TRY(dataset_index_add_shard(writer->index, &writer->shard));
    return STATUS_OK;
}

static Status write_group(ShardWriter *writer) {
    int64_t item_bytes = column_item_bytes(writer->column);
    int64_t items = (int64_t)writer->filled / item_bytes;
    REQUIRE(items * item_bytes == (int64_t)writer->filled);
    if (writer->file == NULL) TRY(open_shard(writer));
    content_hash_add(&writer->content, writer->group, writer->filled);
    filter_apply(writer->column, writer->group, items, writer->filtered);
    TRY(block_writer_add(writer->file, writer->filtered, writer->filled));
    writer->filled = 0;
    writer->items += items;
    writer->shard.items += items;
    int64_t shard_bytes = writer->shard.items * item_bytes;
    if (shard_bytes + (int64_t)writer->group_bytes > SHARD_RAW_BYTES) TRY(close_shard(writer));
    return STATUS_OK;
}

Status shard_writer_add(ShardWriter *writer, const void *data, size_t bytes) {
    const uint8_t *from = data;
    while (bytes > 0) {
        size_t room = writer->group_bytes - writer->filled;
        size_t part = bytes < room ? bytes : room;
        memcpy(writer->group + writer->filled, from, part);
        writer->filled += part;
        from += part;
        bytes -= part;
        if (writer->filled == writer->group_bytes) TRY(write_group(writer));
    }
    return STATUS_OK;
}

Status shard_writer_finish(ShardWriter *writer) {
    Status status = STATUS_OK;
    IndexSplit *split = &writer->index->split[writer->split];
    if (writer->filled > 0) TRY_OR(done, status, write_group(writer));
    if (writer->file != NULL) TRY_OR(done, status, close_shard(writer));
    REQUIRE(writer->items == split->items);
    split->content[writer->shard.column] = content_hash_finish(&writer->content);
done:
    shard_writer_discard(writer);
    return status;
}

void shard_writer_discard(ShardWriter *writer) {
    if (writer == NULL) return;
    block_writer_discard(writer->file);
    free(writer->group);
    free(writer->filtered);
    free(writer);
}
