// A dataset folder: columns of items in compressed shards, described by index.json.
// docs/dataset-format.md is the byte-by-byte specification.
//
//   index.json                      name, source, columns, splits, shards with counts and hashes
//   train-image-00000.zst           block file (data/codec.h): one *group* of items a block
//   train-label-00000.zst
//
// A column holds `count` items of one shape and type. Images, tokens and labels are one item a
// sample; a text column's item is a symbol, and a sample is a run of `data.length` of them.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

enum {
    DATASET_COLUMNS_MOST = 4,
    DATASET_NAME_BYTES = 64,
    DATASET_ALPHABET_BYTES = 1024,
    DATASET_PARTS_MOST = 64,
};

typedef enum {
    KIND_IMAGE,
    KIND_TEXT,
    KIND_VECTOR,
    KIND_TOKENS, // symbols in a row or on a grid, the same number in every sample
    KIND_LATENT, // numbers [channels, height, width], taken as they are
} DatasetKind;
typedef enum { DTYPE_U8, DTYPE_F32, DTYPE_U16, DTYPE_F16, DTYPE_BF16 } Dtype;
typedef enum {
    FILTER_NONE,
    FILTER_ROW_DELTA,  // images: each row minus the row above, restarting at each sample
    FILTER_PLANES,     // numbers of several bytes: byte planes of the group
    FILTER_GREEN_LEFT, // images of three channels: red and blue minus green, then each pixel minus
                       // its left neighbour, the first of a row minus the one above
} Filter;

typedef struct {
    char name[16]; // "image", "label", "text", "vector", "tokens", "latent"
    Dtype dtype;
    Filter filter;
    int dims; // of one item; 0: a single number
    int64_t dim[3];
    int64_t group_items; // items in each block (the last of a split may have fewer)
} Column;

typedef struct {
    char name[DATASET_NAME_BYTES];
    DatasetKind kind;
    Column column[DATASET_COLUMNS_MOST];
    int columns;
    int64_t items;                         // of the opened split
    int32_t classes;                       // 0: no labels
    char alphabet[DATASET_ALPHABET_BYTES]; // text: UTF-8, symbol i is the i-th character
    int32_t symbols;                       // text, tokens: they are 0 to symbols - 1; others: 0
    uint64_t identity; // hash of the index's content: names the data whatever its path
} DatasetInfo;

// How that which is not on this node comes here: from ranks that have it (launch/share/share.h).
// May be called by several threads at once. PATH is the data set's as configured, the same on all
// ranks.
typedef struct {
    void *context;
    // index.json as text, malloc'ed, the caller frees. Errors: NOT_FOUND (no rank has it), COMM.
    Status (*index)(void *context, const char *path, char **text, size_t *bytes);
    // Bytes [offset, offset + bytes) of a shard, bytes <= 64 MiB. Errors as above; also BAD_DATA.
    Status (*fetch)(void *context, const char *path, const char *file, uint64_t offset,
                    size_t bytes, void *out);
    const char *cache;    // folder on this node, for what was fetched
    uint64_t cache_limit; // bytes
} DatasetFetch;

typedef struct {
    const char *path;
    const char *split;  // "train", "valid", "test"
    size_t cache_bytes; // bounds the memory for decoded groups; one a column is kept at least
    const DatasetFetch *fetch; // NULL: all files lie at `path`
    int tries;                 // of reading a group before it is lost; 0: 1
    double wait;               // seconds before the second try, five times as many before the next
    bool lost_later;           // a missing shard is no error of opening: its groups are lost
    void (*warn)(const char *line); // told of tries that failed; any thread; NULL: nobody
} DatasetConfig;

// Of several folders the items stand one behind the other; they agree in all but name and count.
typedef struct Dataset Dataset;

// Opens a split; shards are opened when they are needed. Errors: NOT_FOUND (names the folder, and
// the splits that exist), BAD_DATA (also, of up to 4096 shards: one is missing), BAD_CONFIG (two
// folders do not fit together).
Status dataset_open(const DatasetConfig *config, Dataset **out);
void dataset_close(Dataset *dataset);
// Of all folders together: the sum of items, and an identity that names them all in their order.
const DatasetInfo *dataset_info(const Dataset *dataset);
int dataset_parts(const Dataset *dataset); // folders
// Folder number `part`: its own description, and its first item.
const DatasetInfo *dataset_part(const Dataset *dataset, int part, int64_t *first);
// Folder number `part` of a text like that of DatasetConfig.path; false: there are fewer, or it is
// too long.
bool dataset_part_path(const char *path, int part, char *out, size_t bytes);
int dataset_find_column(const Dataset *dataset, const char *name); // -1 if absent
int dtype_bytes(Dtype dtype);                                      // of one number
int64_t column_item_bytes(const Column *column);
bool dataset_is_drawn(const DatasetInfo *info); // samples are pictures: images, grids of tokens

// Copies items [first, first + count) of a column, unfiltered, to `out`; by any number of threads
// at a time. A group that is missing or damaged is tried again as config tells, then it is lost:
// BAD_DATA, NOT_FOUND or IO naming shard, group and items, at once whenever it is read from then
// on.
Status dataset_read(Dataset *dataset, int column, int64_t first, int64_t count, void *out);
// The items of the group that `item` belongs to, of the whole shard if it could not be opened;
// true: they are lost.
bool dataset_lost_range(Dataset *dataset, int column, int64_t item, int64_t *first, int64_t *count);
// What the oldest read under way waits for, and since when: "train-image-00012.zst, group 7, for
// 12 s"; false: none is under way. By any thread.
bool dataset_busy(Dataset *dataset, char *out, size_t bytes);

// Checks everything: index, every shard's size and hash, every group; of several ranks each its
// share (one alone: 0, 1). The error names the file.
Status dataset_verify(const char *path, int rank, int world);
// Writes index, splits and shards to `out` and, with item >= 0, that item of `split` (an image as
// characters, text from that symbol on, tokens and points as numbers).
Status dataset_inspect(const char *path, const char *split, int64_t item, FILE *out);
