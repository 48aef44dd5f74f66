// Batches ahead of the step: a reader thread fills a ring with this rank's share of each global
// batch. Position p = step * batch + j counts samples since the start of training; its epoch is
// p / N, its sample the epoch's permutation at p mod N. No epoch barrier: a batch may span two.
#pragma once

#include "data/dataset.h"
#include "data/sample_set.h"

typedef struct {
    Dataset *dataset; // borrowed; read by the loader's thread alone from now on
    uint64_t seed;
    int64_t length;                 // text: symbols of a sample; 0 otherwise
    int64_t batch;                  // global, in samples
    int64_t share_begin, share_end; // this rank's samples within the batch
    int64_t step;                   // first step to deliver
    int depth;                      // batches read ahead
    const SampleSet *left_out;      // samples that are not read; copied; NULL: none
    bool in_order; // evaluation: sample p itself, one pass, the last batch may be short
} LoaderConfig;

typedef struct {
    int64_t step;
    int64_t count;        // samples: share_end - share_begin, fewer at the end of an in_order pass
    const void *x;        // [count, item]: float (images scaled to v/127.5 - 1) or int32 (symbols)
    const int32_t *label; // [count]; 0 where the set has no labels
    const uint64_t *sample; // [count] position p: the global sample number that keys noise
    const uint64_t *index; // [count] which sample of the data set (text: symbols from index*length)
    const uint8_t *left_out; // [count] 1: one of config.left_out; its x and label are 0
    int64_t left_outs;       // of these in the global batch
} Batch;

typedef struct Loader Loader;

Status loader_open(const LoaderConfig *config, Loader **out);
void loader_close(Loader *loader); // stops the thread
// Lends the next batch; valid until the next call. A failure in the thread comes out here with its
// trail. count 0: the in_order pass is over.
Status loader_next(Loader *loader, Batch *out);
double loader_wait_seconds(const Loader *loader); // waited in loader_next so far, in all
size_t loader_bytes(const Loader *loader);        // memory of the ring

// What a sample is, for the network's shape: numbers (or ids) of one sample.
int64_t loader_item(const DatasetInfo *info, int64_t length);
// Samples in the set: items, or items / length for text.
int64_t loader_samples(const DatasetInfo *info, int64_t length);
