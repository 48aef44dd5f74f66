// What `dye pack` reads: samples of one kind, from files as people have them. A type of source is a
// row of the table in source.c and a file source_NAME.c; which type a path is of is told by its
// content, never by its name alone.
//
// Several ranks pack together: the lead opens every source first and leaves in the `stage` folder
// what the others need (decoded copies of compressed files, counts that take a pass over the data),
// then the others open it with lead false.
#pragma once

#include "base/file.h"
#include "data/dataset.h"

enum { SOURCE_SPLITS_MOST = 8, SOURCE_FORMAT_BYTES = 16 };

typedef enum {
    FORM_DEFAULT,   // letters27 for the Bible, bytes for other text
    FORM_LETTERS27, // a-z in lower case; each run of other characters one space; trimmed
    FORM_BYTES,     // the bytes as they are
    FORM_ALPHABET,  // the characters of SourceOptions.alphabet; any other one is an error
} TextForm;

// What to make of a source. Zeroed: as it is.
typedef struct {
    const char *stage; // a folder for temporary files, shared by all ranks
    bool lead;
    TextForm form;        // text
    const char *alphabet; // FORM_ALPHABET: UTF-8, each character once
    int32_t size;         // pictures in files: side of the square that they are cut to; 0: as is
    int32_t channels;     // pictures in files: 1 grey, 3 colour; 0: grey if the first one is
    int32_t levels;       // grey pictures become tokens on a grid, of so many levels; 0: they stay
    const char *image,
        *label;        // names of arrays (npz, safetensors) or extensions (tar); NULL: usual
    int64_t toy_items; // made-up sets: samples in train; 0: 50000
    uint64_t toy_seed;
} SourceOptions;

typedef struct {
    char name[16]; // "train", "valid", "test"; "" alone: the source knows no splits
    int64_t samples;
} SourceSplit;

// Told by the lead alone: it takes a pass over the source. 0 on others.
typedef struct {
    int files;
    int64_t bytes; // decoded
    uint64_t hash; // content hash (data/content_hash.h) of a file
} SourceContent;

typedef struct Source Source;

typedef struct {
    const char *name; // "idx": stands in index.json
    const char *what; // for people: "a folder of IDX files"
    // Whether the path is of this type; unreadable paths are of none.
    bool (*knows)(const char *path);
    // Fills all of `source` but type and path. Errors name file and place.
    Status (*open)(Source *source, const SourceOptions *options);
    // Reads up to `most` >= 1 samples from `first` on, as many as come easily, at least one: column
    // c of sample i to out[c] + i * column_item_bytes. BAD_DATA or NOT_FOUND: sample `first` is bad
    // (its file, its label) and the error says why; those behind it can be read. Other errors end
    // the pack.
    Status (*read)(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                   uint8_t *const out[DATASET_COLUMNS_MOST]);
    void (*close)(Source *source); // frees `state`; also after a failed open
} SourceType;

struct Source {
    const SourceType *type;
    char path[PATH_BYTES];
    // Set by open: kind, columns (name, dtype, dims, dim: pack chooses the rest), classes,
    // alphabet, symbols.
    DatasetInfo info;
    SourceSplit split[SOURCE_SPLITS_MOST];
    int splits;
    char **class_name; // [info.classes], owned; NULL: classes are numbers
    int32_t levels;    // as the options have it
    // Neighbours are alike (class by class, font by font): they are shuffled before they are
    // packed.
    bool sorted;
    bool sequential; // read forwards only, skipping is cheap: cannot be shuffled
    SourceContent content;
    void *state;
};

// Recognises and opens; `options` are lent until it is closed. Errors: NOT_FOUND, BAD_DATA (also:
// no type knows the path; tells all that there are), BAD_USAGE (levels of what is no grey picture),
// and what the type says. Close it with source_close.
Status source_open(const char *path, const SourceOptions *options, Source *out);
// The same as this type, with its `state` before open.
Status source_open_as(const SourceType *type, void *state, const char *path,
                      const SourceOptions *options, Source *out);
void source_close(Source *source); // fine on a zeroed one
Status source_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                   uint8_t *const out[DATASET_COLUMNS_MOST]);

// For types: adds a column; adds a split.
Column *source_add_column(Source *source, const char *name, Dtype dtype, int dims,
                          const int64_t *dim);
void source_add_split(Source *source, const char *name, int64_t samples);
// Adds a file to `content`; of several h = XXH3-64(h, hash), each as 8 bytes, in their order.
void source_add_content(Source *source, int64_t bytes, uint64_t hash);

// The rows of the table.
extern const SourceType source_idx, source_cifar, source_folder, source_npy, source_safetensors,
    source_tar, source_font, source_text, source_toy;
