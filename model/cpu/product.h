// Products of matrices by oneDNN, on the calling thread alone: its own threads would make the bits
// of a product depend on their number.
//
// oneDNN compiles a kernel for each form of product (sizes, strides, types), which takes a
// millisecond or so; a ProductCache keeps them for one thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/ops.h"

// c[m,n] = act((op(a) op(b) + bias) * factor). All row-major; op(a) is [m,k], op(b) is [k,n], and
// ld* is the distance of rows as stored. Sums are fp32 in any case. a and b are bf16 if `half_in`;
// c, factor and slope are bf16 if `half_out`.
typedef struct {
    const void *a, *b;
    void *c;
    const float *bias;  // [n], or NULL
    const void *factor; // [m,n], rows at ldc, or NULL
    Activation act;     // on tiles only (amx.h)
    void *slope;        // [m,n], rows at ldc: receives act' where there is an act
    int64_t m, n, k, lda, ldb, ldc;
    bool transpose_a, transpose_b, half_in, half_out;
    bool accumulate; // on tiles only: op(a) op(b) is added to c in one rounding, and nothing else
} Product;

typedef struct ProductCache ProductCache;

ProductCache *product_cache_open(void);        // NULL: no memory
void product_cache_close(ProductCache *cache); // NULL is fine

// "oneDNN 2.6.3 avx512_core_amx": results are a function of this and the arguments.
void product_describe(char *out, int bytes);

// Whether the library multiplies bf16 on this processor.
bool product_has_half(void);

void product_run(ProductCache *cache, const Product *product);
