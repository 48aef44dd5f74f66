// index.json in memory: read as hostile input, written readable. docs/dataset-format.md has every
// key.
#pragma once

#include "data/codec.h"
#include "base/json.h"
#include "data/dataset.h"

enum {
    INDEX_SPLITS_MOST = 8,
    INDEX_SOURCES_MOST = 64,
    INDEX_SHARDS_MOST = 1 << 20,
    INDEX_FILE_BYTES = 64, // of a shard's file name
};

typedef struct {
    char file[INDEX_FILE_BYTES]; // plain name beside index.json
    int split, column;
    int64_t first, items; // of the split
    BlockFileInfo file_info;
} IndexShard;

typedef struct {
    char name[16];
    int64_t items;
    uint64_t content[DATASET_COLUMNS_MOST]; // content hash of each column, unfiltered
} IndexSplit;

typedef struct {
    char file[DATASET_NAME_BYTES];
    int files;
    int64_t bytes; // decoded
    uint64_t hash; // content hash of the decoded bytes; of several files as in data/pack/source.h
} IndexSource;

typedef struct {
    DatasetInfo info; // items: 0
    IndexSource source[INDEX_SOURCES_MOST];
    int sources;
    IndexSplit split[INDEX_SPLITS_MOST];
    int splits;
    IndexShard *shard; // owned; those of a split's column in order of `first`, without gaps
    int shards, shard_room;
    uint64_t check;      // hash of the whole, of a loaded one
    json_t *class_names; // [classes] texts, owned; NULL: classes are numbers
    bool utf8;           // text: the alphabet's characters are those of the source, not its bytes
} DatasetIndex;

// Reads PATH/index.json and checks that it is consistent with itself, whoever wrote it; nothing
// else is opened. Errors: NOT_FOUND (no dataset there), BAD_DATA (names file, entry and key); `out`
// holds nothing to close then.
Status dataset_index_load(const char *path, DatasetIndex *out);
// The same from memory; `what` names it in errors.
Status dataset_index_parse(const char *text, size_t bytes, const char *what, DatasetIndex *out);
// Sets info.identity and writes PATH/index.json.
Status dataset_index_save(const char *path, DatasetIndex *index);
void dataset_index_close(DatasetIndex *index); // frees what it owns; a zeroed index is fine

Status dataset_index_add_shard(DatasetIndex *index, const IndexShard *shard);
// The last part of a path, cut to fit; bytes that have no place in a JSON text become '?'.
void dataset_name_from_path(const char *path, char *out, size_t bytes);
int dataset_index_find_split(const DatasetIndex *index, const char *name); // -1 if absent
// Hash of kind, columns, classes, symbols, counts and contents; not of names, filters and shards.
uint64_t dataset_index_identity(const DatasetIndex *index);
// Hash of the whole index without its key "check": of its compact text with sorted keys.
uint64_t dataset_index_check(const json_t *root);
// The line of NumPy that turns a shard decoded by `zstd -d` (bytes `raw`) into items.
void dataset_index_numpy(const Column *column, char *out, size_t bytes);

extern const char *const dataset_kind_names[5];
extern const char *const dataset_dtype_names[5];
extern const char *const dataset_filter_names[4];
