// Which algorithm of the library computes each product: a list, and the text that a run keeps of
// it.
//
//   dye products 1 on cuda NVIDIA H200, sm_90, 132 SMs, cuBLASLt 13.1.0
//   m n k lda ldb ldc batch stride_a ... aligned_aux algorithm
//   8192 1152 1152 1152 1152 1152 1 0 0 0 2 16 16 16 16 16 0a00...
//   1 measured, choice 5f3a91c2d4e5f607                             (a hash of all above)
#pragma once

#include <stdint.h>

#include "base/status.h"

enum { CHOICE_NUMBERS = 16, CHOICE_BYTES = 64 }; // of a product's key, of cublasLtMatmulAlgo_t

typedef struct {
    int64_t key[CHOICE_NUMBERS];
    unsigned char algorithm[CHOICE_BYTES];
} Choice;

typedef struct {
    Choice *list;
    int count;
    bool measures; // a product that is not in the list enters it, with the fastest that is proposed
} Choices;

const Choice *choices_find(const Choices *choices, const int64_t *key); // NULL: it is not there
Status choices_add(Choices *choices, const int64_t *key, const void *algorithm);
void choices_clear(Choices *choices);

// The list as text, which the caller frees. Of the device's description what follows a semicolon is
// left out.
Status choices_write(const Choices *choices, const char *device, char **text);
// Strict: what choices_write would not write is refused. Errors: BAD_DATA (damaged), BAD_CONFIG
// (whole, of another device or library), NO_MEMORY; *choices is then as it was.
Status choices_read(Choices *choices, const char *text, const char *device);
