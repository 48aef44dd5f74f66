// Stands in for the toolkit's header where the kernels of model/cuda are compiled for the CPU: the
// execution model of CUDA, block after block, each thread a fiber.
//
// What it proves: indices, barriers, shuffles, the order of sums, bounds (with the address
// sanitizer: device memory is the host's), everything but speed and the GPU's own compiler. A
// barrier that not all threads of a block reach, or a shuffle that not all lanes of a warp reach,
// ends the program. Shared memory is filled with NaN before each block.
#pragma once

#include <math.h>

#include <cuda_runtime_api.h> // the toolkit's: types and prototypes of the runtime

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __align__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __shared__       // only `extern __shared__ kernel_room`: see model/cuda/launch.cuh
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

#include <vector_functions.h> // make_float4

#include "tests/cuda/emulated/emulated_stream.h"

struct EmulatedPlace {
    unsigned x, y, z;
};
extern EmulatedPlace threadIdx, blockIdx, blockDim, gridDim;

void emulated_barrier(bool whole_block);
// All lanes of this thread's warp meet: returns what lane `from` has put there.
unsigned long long emulated_shuffle(unsigned long long mine, int from);
void emulated_launch(dim3 grid, dim3 block, size_t shared, void (*call)(void *, void *),
                     void *kernel, void *args);

static inline void __syncthreads() {
    emulated_barrier(true);
}
static inline void __syncwarp(unsigned = ~0u) {
    emulated_barrier(false);
}

template <class T> T __shfl_sync(unsigned, T x, int from) {
    unsigned long long bits = 0;
    static_assert(sizeof x <= sizeof bits, "shuffles are of at most 8 bytes");
    __builtin_memcpy(&bits, &x, sizeof x);
    bits = emulated_shuffle(bits, from);
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int other) {
    return __shfl_sync(mask, x, (int)(threadIdx.x % 32) ^ other);
}
template <class T> T __shfl_down_sync(unsigned mask, T x, unsigned by) {
    unsigned lane = threadIdx.x % 32;
    return __shfl_sync(mask, x, (int)(lane + by < 32 ? lane + by : lane));
}

static inline unsigned long long atomicAdd(unsigned long long *at, unsigned long long x) {
    unsigned long long before = *at;
    *at += x;
    return before;
}

template <class Args>
cudaError_t cudaLaunchKernel(void (*kernel)(Args), dim3 grid, dim3 block, void **args,
                             size_t shared, cudaStream_t stream) {
    void (*call)(void *, void *) = [](void *function, void *argument) {
        ((void (*)(Args))function)(*(Args *)argument);
    };
    Args given = *(Args *)args[0];
    emulated_queue(stream, [=]() mutable {
        return emulated_launch(grid, block, shared, call, (void *)kernel, &given), true;
    });
    return cudaSuccess;
}
