// What the kinds of packing share: one pack in progress.
#pragma once

#include "base/file.h"
#include "data/dataset_index.h"
#include "data/pack.h"
#include "data/text.h"

enum { PACK_BUFFER_BYTES = 65536 };

typedef struct {
    const PackConfig *config;
    char folder[PATH_BYTES]; // where the shards go
    DatasetIndex index;
    uint8_t buffer[PACK_BUFFER_BYTES];
} Pack;

// Each fills index (all but name and identity) and writes the shards into `folder`.
Status pack_images(Pack *pack);  // source: a folder of IDX files
Status pack_text(Pack *pack);    // source: a file
Status pack_unifont(Pack *pack); // source: a file
Status pack_toy(Pack *pack, int toy);
Status pack_tokens(Pack *pack); // config->tokens

// Appends to the index; the pointer is good for the lifetime of the pack.
Column *pack_add_column(Pack *pack, const char *name, Dtype dtype, Filter filter, int dims,
                        const int64_t *dim);
int pack_add_split(Pack *pack, const char *name, int64_t items); // its number
// The first 90 % train, half of the rest valid, the remainder test. Errors: BAD_DATA, fewer than 20
// `things` ("characters").
Status pack_add_splits(Pack *pack, int64_t items, const char *things);
void pack_add_source(Pack *pack, const char *path, int64_t bytes, uint64_t hash);
// A text read to its end becomes the source; a second pass must have seen the same. Errors:
// BAD_DATA, also when something is left to read.
void pack_add_text(Pack *pack, TextStream *text);
Status pack_check_text(Pack *pack, TextStream *text);
void pack_progress(const Pack *pack, int64_t done, int64_t total, const char *what);
