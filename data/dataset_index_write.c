// Writing index.json, and the identity of a dataset.
#include "data/dataset_index.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

// The text is part of the format: docs/dataset-format.md gives it line by line.
uint64_t dataset_index_identity(const DatasetIndex *index) {
    const DatasetInfo *info = &index->info;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    REQUIRE(out != NULL);
    fprintf(out, "dye-dataset 1 %s\n", dataset_kind_names[info->kind]);
    for (int c = 0; c < info->columns; ++c) {
        const Column *column = &info->column[c];
        fprintf(out, "column %s %s", column->name, dataset_dtype_names[column->dtype]);
        for (int i = 0; i < column->dims; ++i) fprintf(out, " %" PRId64, column->dim[i]);
        fputc('\n', out);
    }
    fprintf(out, "classes %d\nalphabet %s\n", (int)info->classes, info->alphabet);
    if (info->kind == KIND_TOKENS) fprintf(out, "symbols %d\n", (int)info->symbols);
    for (int s = 0; s < index->splits; ++s) {
        fprintf(out, "split %s %" PRId64, index->split[s].name, index->split[s].items);
        for (int c = 0; c < info->columns; ++c) {
            fprintf(out, " %016" PRIx64, index->split[s].content[c]);
        }
        fputc('\n', out);
    }
    REQUIRE(fclose(out) == 0);
    uint64_t identity = codec_hash(text, bytes);
    free(text);
    return identity;
}

uint64_t dataset_index_check(const json_t *root) {
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    REQUIRE(text != NULL);
    uint64_t check = codec_hash(text, strlen(text));
    free(text);
    return check;
}

static void shape_text(const Column *column, const char *before, char *out, size_t bytes) {
    size_t used = (size_t)snprintf(out, bytes, "%s", before);
    for (int i = 0; i < column->dims && used < bytes; ++i) {
        used += (size_t)snprintf(out + used, bytes - used, "%s%" PRId64, i == 0 ? "" : ", ",
                                 column->dim[i]);
    }
}

void dataset_index_numpy(const Column *column, char *out, size_t bytes) {
    // NumPy has no bf16: its bits as whole numbers, to be shifted into a float's upper half.
    static const char *const numbers[] = {"u1", "<f4", "<u2", "<f2", "<u2"};
    const char *number = numbers[column->dtype];
    int64_t group_bytes = column->group_items * column_item_bytes(column);
    char shape[96];
    shape_text(column, column->dims > 0 ? "-1, " : "-1", shape, sizeof shape);
    if (column->filter == FILTER_ROW_DELTA) {
        snprintf(out, bytes,
                 "np.cumsum(np.frombuffer(raw, np.uint8).reshape(%s), axis=-2, dtype=np.uint8)",
                 shape);
    } else if (column->filter == FILTER_PLANES) {
        snprintf(out, bytes,
                 "np.concatenate([np.frombuffer(raw[i:i + %" PRId64 "], np.uint8)"
                 ".reshape(%d, -1).T.copy().view('%s') for i in range(0, len(raw), %" PRId64 ")])"
                 ".reshape(%s)",
                 group_bytes, dtype_bytes(column->dtype), number, group_bytes, shape);
    } else if (column->filter == FILTER_GREEN_LEFT) {
        snprintf(out, bytes,
                 "(lambda d: d + d[:, 1:2] * np.array([[[1]], [[0]], [[1]]], np.uint8))((lambda x: "
                 "np.cumsum(np.concatenate([np.cumsum(x[..., :1], -2, np.uint8), x[..., 1:]], -1), "
                 "-1, np.uint8))(np.frombuffer(raw, np.uint8).reshape(%s)))",
                 shape);
    } else {
        snprintf(out, bytes, "np.frombuffer(raw, '%s').reshape(%s)", number, shape);
    }
}

static json_t *column_json(const Column *column) {
    char numpy[512];
    dataset_index_numpy(column, numpy, sizeof numpy);
    json_t *shape = json_array();
    for (int i = 0; i < column->dims; ++i) {
        json_array_append_new(shape, json_integer(column->dim[i]));
    }
    return json_pack("{s:s, s:s, s:o, s:s, s:I, s:s}", "name", column->name, "dtype",
                     dataset_dtype_names[column->dtype], "shape", shape, "filter",
                     dataset_filter_names[column->filter], "group_items",
                     (json_int_t)column->group_items, "numpy", numpy);
}

static json_t *split_json(const DatasetIndex *index, const IndexSplit *split) {
    json_t *content = json_object();
    for (int c = 0; c < index->info.columns; ++c) {
        json_object_set_new(content, index->info.column[c].name, json_hex64(split->content[c]));
    }
    return json_pack("{s:s, s:I, s:o}", "name", split->name, "items", (json_int_t)split->items,
                     "content", content);
}

static json_t *shard_json(const DatasetIndex *index, const IndexShard *shard) {
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "file", shard->file, "split",
        index->split[shard->split].name, "column", index->info.column[shard->column].name, "first",
        (json_int_t)shard->first, "items", (json_int_t)shard->items, "bytes",
        (json_int_t)shard->file_info.bytes, "raw", (json_int_t)shard->file_info.raw, "blocks",
        (json_int_t)shard->file_info.blocks, "hash", json_hex64(shard->file_info.hash));
}

static json_t *source_json(const IndexSource *source) {
    return json_pack("{s:s, s:i, s:I, s:o}", "file", source->file, "files", source->files, "bytes",
                     (json_int_t)source->bytes, "content", json_hex64(source->hash));
}

void dataset_name_from_path(const char *path, char *out, size_t bytes) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') --end;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') --start;
    size_t length = end - start < bytes ? end - start : bytes - 1;
    for (size_t i = 0; i < length; ++i) {
        char c = path[start + i];
        out[i] = c >= ' ' && c <= '~' ? c : '?';
    }
    out[length] = '\0';
}

Status dataset_index_save(const char *path, DatasetIndex *index) {
    char file[PATH_BYTES];
    TRY(path_format(file, "%s/index.json", path));
    DatasetInfo *info = &index->info;
    info->identity = dataset_index_identity(index);
    json_t *root = json_pack("{s:s, s:i, s:s, s:s, s:o}", "format", "dye-dataset", "version", 1,
                             "name", info->name, "kind", dataset_kind_names[info->kind], "identity",
                             json_hex64(info->identity));
    FAIL_IF(root == NULL, BAD_DATA, "%s: the name \"%s\" is not UTF-8", file, info->name);
    if (info->classes > 0) json_object_set_new(root, "classes", json_integer(info->classes));
    if (index->class_names != NULL) json_object_set(root, "class_names", index->class_names);
    if (info->kind == KIND_TEXT && index->utf8)
        json_object_set_new(root, "encoding", json_string("utf-8"));
    if (info->kind == KIND_TEXT) json_object_set_new(root, "alphabet", json_string(info->alphabet));
    if (info->kind == KIND_TOKENS)
        json_object_set_new(root, "symbols", json_integer(info->symbols));
    json_t *sources = json_array(), *columns = json_array(), *splits = json_array(),
           *shards = json_array();
    for (int i = 0; i < index->sources; ++i) {
        json_array_append_new(sources, source_json(&index->source[i]));
    }
    for (int i = 0; i < info->columns; ++i) {
        json_array_append_new(columns, column_json(&info->column[i]));
    }
    for (int i = 0; i < index->splits; ++i) {
        json_array_append_new(splits, split_json(index, &index->split[i]));
    }
    for (int i = 0; i < index->shards; ++i) {
        json_array_append_new(shards, shard_json(index, &index->shard[i]));
    }
    json_object_set_new(root, "source", sources);
    json_object_set_new(root, "columns", columns);
    json_object_set_new(root, "splits", splits);
    json_object_set_new(root, "shards", shards);
    json_object_set_new(root, "check", json_hex64(dataset_index_check(root)));
    Status status = json_write(file, root);
    json_decref(root);
    return status == STATUS_OK ? status : error_trail(status, __FILE__, __LINE__, __func__);
}
