// Gives back what pack took: a dataset folder as files that other programs read.
//
//   text    SPLIT.txt                       the characters as they were
//   npy     SPLIT-COLUMN.npy                every column; bf16 as its bits (V2)
//   idx     SPLIT-images-idx3-ubyte         grey images; the split test is t10k
//           SPLIT-labels-idx1-ubyte
//   cifar   SPLIT.bin                       images 3 x 32 x 32, a label byte before each
//   png     SPLIT/CLASS/0000000.png         images, by the name of their class (or its number)
#pragma once

#include <stdint.h>

#include "base/status.h"

typedef enum {
    UNPACK_USUAL, // text for text, npy for everything else
    UNPACK_TEXT,
    UNPACK_NPY,
    UNPACK_IDX,
    UNPACK_CIFAR,
    UNPACK_PNG,
} UnpackForm;
enum { UNPACK_FORMS = 6 };
extern const char *const unpack_form_names[UNPACK_FORMS];

typedef struct {
    const char *set, *out; // `out` is made, and must not exist
    const char *split;     // NULL: all
    UnpackForm form;
    // Called now and then with the share done in [0, 1]; NULL: silent.
    void (*progress)(void *context, double fraction, const char *what);
    void *context;
} UnpackConfig;

// Samples come in the order of the data set, which is that of the source unless it was shuffled.
// Works in OUT.unpacking and renames it at the end. Errors: NOT_FOUND, BAD_DATA, BAD_USAGE (a form
// that this kind does not have; `out` exists), IO.
Status unpack(const UnpackConfig *config);
