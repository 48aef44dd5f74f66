// Makes a dataset folder (data/dataset.h, docs/dataset-format.md) from what people have.
//
// The source is recognised by content:
//   a folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]   images, splits train and test
//   the file bible.data of Debian's bible-kjv-text                    text, train, valid and test
//   a font as lines of hexadecimal digits (data/glyph.h): unifont.hex  tokens [16, 16] of 2 symbols
//   any other file without NUL bytes                                  text, train, valid and test
//   "swiss-roll", "two-moons", "checkerboard" (nothing of that name)  made-up points in the plane
//   "heartbeat" (nothing of that name)                                tokens [20] of 2 symbols
// Text is split by characters: the first 90 % train, half of the rest valid, the remainder test.
// Glyphs are split in the same shares, but shuffled by a fixed key first, as neighbours in a font
// are alike; glyphs of 8 x 16 pixels are left out.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "data/source.h"

enum { PACK_SPLITS_MOST = 8 };

typedef struct {
    char name[16];
    int64_t items;
} PackSplit;

// Samples that the caller makes: tokens on a grid, below `symbols`, and labels below `classes`.
typedef struct {
    int32_t symbols, classes; // classes 0: no labels
    int64_t height, width;
    PackSplit split[PACK_SPLITS_MOST];
    int splits;
    // The next samples of a split, one split behind the other: tokens [count, height * width],
    // labels [count], lent until the next call; count 0: the split is over.
    Status (*next)(void *context, int split, const uint8_t **tokens, const uint8_t **labels,
                   int64_t *count);
    void *context;
} PackTokens;

typedef struct {
    const char *source;       // folder, file or the name of a made-up set
    const char *out;          // the dataset folder to make
    const char *name;         // NULL: the last part of `out`
    const PackTokens *tokens; // these samples; `source` only names them then. NULL: none
    TextForm form;            // text only
    bool force;               // replace `out` if it is a dataset already
    int64_t train_items; // made-up sets: samples in train (0: 50000); valid and test a tenth each
    uint64_t seed;       // made-up sets
    // Called now and then from the same thread with the share done in [0, 1]; NULL: silent.
    void (*progress)(void *context, double fraction, const char *what);
    void *context;
} PackConfig;

// Works in a temporary folder beside `out` and renames it at the end: an interrupted pack leaves
// nothing that looks like a dataset. Memory is bounded whatever the source's size; the same source
// gives the same bytes. Errors: NOT_FOUND, BAD_DATA (names source file and place), BAD_USAGE (`out`
// exists), BUSY (another pack works on `out`), IO.
Status pack(const PackConfig *config);
