// What comes out of loaders, sample after sample.
#pragma once

#include "data/loader.h"

enum { STREAM_MOST = 6000 };

// Folders of packed sets: of 1000 pictures, 1000 points, 900 characters in train.
typedef struct {
    char images[1024], points[1024], text[1024];
} StreamSets;
void stream_make_sets(const char *folder, StreamSets *out);

typedef struct {
    int64_t count, item;
    uint64_t sample[STREAM_MOST], index[STREAM_MOST];
    int32_t label[STREAM_MOST];
    uint32_t *x; // bits, [count, item]
} Stream;

Dataset *open_set(const char *set, const char *split, size_t cache); // or ends the program
void stream_open(Stream *stream, int64_t item);
// Puts row `row` of a batch at place `at` of the stream.
void stream_put(Stream *stream, int64_t at, const Batch *batch, int64_t row);
// Runs `ranks` loaders one after another and puts their shares together. The caller frees x.
void stream_read(Stream *stream, const char *set, size_t cache, LoaderConfig config, int ranks,
                 int64_t steps);
// Whether `b` is what stands in `a` from sample `from` on.
bool streams_equal(const Stream *a, int64_t from, const Stream *b);
