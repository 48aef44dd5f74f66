// Functions that kernels of the host and of a GPU share: the same source, hence the same bits.
//
// They are compiled as C17 by the host's compiler and as C++20 by nvcc, with contraction off in
// both. A function that only a device calls, or that draws on its threads, stays in model/cuda/.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#define KERNEL_FN static inline __host__ __device__
#else
#define KERNEL_FN static inline
#endif

// A number and its bits.
typedef union {
    float f;
    uint32_t u;
} F32Bits;
