// Products of matrices by OpenBLAS, loaded once a process with the kernel set that fits the
// processor and with a single thread a call: OpenBLAS's own threads would make the bits of a
// product depend on their number, and OPENBLAS_CORETYPE or OPENBLAS_NUM_THREADS of the environment
// are overruled for the same reason.
#ifndef MODEL_CPU_BLAS_H
#define MODEL_CPU_BLAS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

// c[m,n] = alpha op(a) op(b) + beta c, all row-major; op(a) is [m,k], op(b) is [k,n], and ld* is
// the distance of rows as stored. beta 0 ignores what c holds, NaN included.
typedef struct {
    const float *a, *b;
    float *c;
    int64_t m, n, k, lda, ldb, ldc;
    bool transpose_a, transpose_b;
    float alpha, beta;
} Gemm;

// Loads the library and checks a few products against plain loops. Errors: NOT_FOUND (no library),
// FAILED (a wrong product). Calls after a success return at once.
Status blas_open(void);
const char *blas_description(void); // "OpenBLAS 0.3.21 SkylakeX"; after blas_open

void blas_gemm(const Gemm *gemm); // after blas_open; from any thread

#endif
