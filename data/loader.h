// Batches ahead of the step: threads fill a ring with this rank's share of each global batch.
// Position p = step * batch + j counts samples since the start of training; which sample stands
// there tells data/mixture.h. No epoch barrier: a batch may span two.
#pragma once

#include "data/augment.h"
#include "data/dataset.h"
#include "data/mixture.h"
#include "data/sample_set.h"

typedef struct {
    Dataset *dataset; // borrowed; of several folders: mixed
    uint64_t seed;
    int64_t length;                 // text: symbols of a sample; 0 otherwise
    int64_t batch;                  // global, in samples
    int64_t share_begin, share_end; // this rank's samples within the batch
    int64_t step;                   // first step to deliver
    int depth;                      // batches read ahead
    int threads;                    // each fills whole batches; 0: one
    OrderKind order;
    int64_t window;            // ORDER_WINDOW: groups of a window
    const char *weights;       // of the folders, "0.7, 0.3"; NULL or "": in proportion to samples
    Augment augment;           // images; zeroed: as they are
    const SampleSet *left_out; // samples that are not read; copied; NULL: none
    bool skip_lost;            // samples that cannot be read are left out; else they end the run
    bool in_order; // evaluation: sample p itself, one pass, the last batch may be short, no augment
    double patience;                // seconds of a long wait; 0: 5
    void (*tell)(const char *line); // what it is for, as often as that; NULL: nobody
} LoaderConfig;

typedef struct {
    int64_t step;
    int64_t count;        // samples: share_end - share_begin, fewer at the end of an in_order pass
    const void *x;        // [count, item]: float (images scaled to v/127.5 - 1) or int32 (symbols)
    const int32_t *label; // [count]; 0 where the set has no labels
    const uint64_t *sample; // [count] position p: the global sample number that keys noise
    const uint64_t *index;  // [count] which sample, counted over all folders one behind the other
    uint8_t *left_out; // [count] 1: it does not count; more may be set by whoever has the batch
    int64_t left_outs; // those of config.left_out in the global batch
    int64_t lost;      // those of this share that could not be read, besides
} Batch;

typedef struct Loader Loader;

// Errors: BAD_CONFIG, BAD_DATA, NO_MEMORY.
Status loader_open(const LoaderConfig *config, Loader **out);
void loader_close(Loader *loader); // stops the threads
// Lends the next batch; valid until the next call. A failure in a thread comes out here with its
// trail, at its step. count 0: the in_order pass is over.
Status loader_next(Loader *loader, Batch *out);
double loader_wait_seconds(const Loader *loader); // waited in loader_next so far, in all
size_t loader_bytes(const Loader *loader);        // memory of the ring
// Adds to `out` the samples that were found lost since the last call: whole groups.
Status loader_take_lost(Loader *loader, SampleSet *out);

// What a sample is, for the network's shape: numbers (or ids) of one sample.
int64_t loader_item(const DatasetInfo *info, int64_t length);
// Samples in a set: items, or items / length for text (of several folders: each by itself).
int64_t loader_samples(const Dataset *dataset, int64_t length);
// ORDER_FULL for what decodes to at most 1 GiB, which a cache can hold; else ORDER_WINDOW. It
// depends on the data alone.
OrderKind loader_usual_order(const DatasetInfo *info);
// "full", "window", or "auto": the usual one.
OrderKind loader_order(const char *name, const DatasetInfo *info);
