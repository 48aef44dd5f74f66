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

enum { DATASET_COLUMNS_MOST = 4, DATASET_NAME_BYTES = 64, DATASET_ALPHABET_BYTES = 1024 };

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

// How that which is not on this node comes here: from ranks that have it (launch/share.h). May be
// called by several threads at once. PATH is the data set's as configured, the same on all ranks.
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

typedef struct Dataset Dataset;

// Opens one split ("train", "valid", "test"). cache_bytes bounds the memory for decoded groups (at
// least one group a column is kept); all of it is taken here. Errors: NOT_FOUND (names the folder,
// and the splits that exist), BAD_DATA.
Status dataset_open(const char *path, const char *split, size_t cache_bytes, Dataset **out);
void dataset_close(Dataset *dataset);
const DatasetInfo *dataset_info(const Dataset *dataset);
int dataset_find_column(const Dataset *dataset, const char *name); // -1 if absent
int dtype_bytes(Dtype dtype);                                      // of one number
int64_t column_item_bytes(const Column *column);
bool dataset_is_drawn(const DatasetInfo *info); // samples are pictures: images, grids of tokens

// Copies items [first, first + count) of a column, unfiltered, to `out`. One caller at a time.
// A damaged group is BAD_DATA naming shard, group and items; it is never returned.
Status dataset_read(Dataset *dataset, int column, int64_t first, int64_t count, void *out);

// Checks everything: index, every shard's size and hash, every group. The error names the file.
Status dataset_verify(const char *path);
// Writes index, splits and shards to `out` and, with item >= 0, that item of `split` (an image as
// characters, text from that symbol on, tokens and points as numbers).
Status dataset_inspect(const char *path, const char *split, int64_t item, FILE *out);
