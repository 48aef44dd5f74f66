// What arrays become when they are packed (source_npy.c, source_safetensors.c): which of them holds
// samples, which labels, and of what kind.
//
//   u8 [N,H,W], [N,H,W,C], [N,C,H,W], C 1 or 3   images, made planar
//   integers [N,L]; wider than u8: [N,H,W]       tokens, 0 to 65535
//   floats [N,C,H,W]                             latents; f64 becomes f32
//   floats [N,D]                                 vectors, as f32
//   integers [N], beside one of these            labels, 0 to 65535
//
// Samples: the array SourceOptions.image, else the only fitting one, else the first of x, images,
// data, arr_0, latents, tokens. Labels: SourceOptions.label, else the first of labels, label, y,
// arr_1 that has as many. Arrays x_train and x_test (y_train, y_test) are two splits.
#pragma once

#include "data/pack/blob.h"
#include "data/pack/npy.h"

typedef struct {
    char name[128];
    NpyType type; // kind 'V': bf16; '?': of a type that cannot be packed
    int dims;
    int64_t dim[NPY_DIMS_MOST];
    Blob *blob; // owned by the list
    int64_t at; // in the blob
    bool vague; // bf16 only if it is named: NumPy does not say
} Array;

typedef struct {
    Array *list; // malloc'ed
    int count;
} ArrayList;

// Takes over the list, also when it fails, as the state of `source`, and fills the rest. Data that
// ends behind the blob: BAD_DATA.
Status array_source_open(Source *source, const SourceOptions *options, ArrayList *list);
Status array_source_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                         uint8_t *const out[DATASET_COLUMNS_MOST]);
void array_source_close(Source *source);
