// One shard on its way to its file.
#include "data/pack/shard_writer.h"

#include <stdlib.h>
#include <string.h>

#include "data/filter.h"

enum { GROUP_BYTES = 262144 };

struct ShardWriter {
    const Column *column;
    size_t group_bytes, filled;
    uint8_t *group, *filtered;
    BlockWriter *file;
};

int64_t shard_group_items(int64_t item_bytes) {
    return item_bytes >= GROUP_BYTES ? 1 : GROUP_BYTES / item_bytes;
}

int shard_level(const DatasetInfo *info) {
    return info->symbols > 0 ? 3 : 1;
}

Status shard_writer_open(const char *path, const Column *column, int level, ShardWriter **out) {
    Status status = STATUS_OK;
    ShardWriter *writer = calloc(1, sizeof *writer);
    FAIL_IF(writer == NULL, NO_MEMORY, "%s: no memory to write it", path);
    writer->column = column;
    writer->group_bytes = (size_t)(column->group_items * column_item_bytes(column));
    writer->group = malloc(writer->group_bytes);
    writer->filtered = malloc(writer->group_bytes);
    if (writer->group == NULL || writer->filtered == NULL)
        FAIL_OR(fail, status, NO_MEMORY, "%s: no memory for a group of %zu bytes", path,
                writer->group_bytes);
    TRY_OR(fail, status, block_writer_open(path, level, &writer->file));
    *out = writer;
    return STATUS_OK;
fail:
    shard_writer_discard(writer);
    return status;
}

static Status write_group(ShardWriter *writer) {
    int64_t item_bytes = column_item_bytes(writer->column);
    int64_t items = (int64_t)writer->filled / item_bytes;
    REQUIRE(items * item_bytes == (int64_t)writer->filled);
    filter_apply(writer->column, writer->group, items, writer->filtered);
    TRY(block_writer_add(writer->file, writer->filtered, writer->filled));
    writer->filled = 0;
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

Status shard_writer_finish(ShardWriter *writer, BlockFileInfo *info) {
    Status status = STATUS_OK;
    if (writer->filled > 0) TRY_OR(done, status, write_group(writer));
    BlockWriter *file = writer->file;
    writer->file = NULL; // gone also after a failure
    TRY_OR(done, status, block_writer_finish(file, info));
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
