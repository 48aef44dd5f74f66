// How a kernel is written here, and started.
//
// - A kernel takes one struct by value, mostly the operation's own:
//       static __global__ void scale_kernel(Elementwise a) { ... }
//       extern "C" void cuda_scale(Stream *stream, const Elementwise *args) {
//           launch(stream, scale_kernel, grid_of(stream, args->n), *args);
//       }
//   An operation that is one launch is written as OPERATION, one whose elements are each for
//   themselves as EACH_OPERATION.
// - Shared memory is `kernel_room` alone, as large as the Grid says. Its first REDUCE_BYTES are for
//   block_sum.
// - No atomics on numbers, and no result that depends on the size of the grid: sums run over a
//   fixed split of the elements in a fixed order. Contraction is off (-fmad=false); write fmaf.
//
// That is little enough for the tests to execute the same sources on a CPU (tests/cuda/emulated).
#pragma once

#include <cuda_runtime.h>

#include "model/cuda/stream.h"
#include "model/math/f32.h"

enum { WARP = 32, QUAD = 4, BLOCK_THREADS = 256, REDUCE_BYTES = 512 };
enum { ROOM_MOST = 99 << 10 }; // what a block may have on every GPU from A100 on, GeForce included

extern __shared__ __align__(16) unsigned char kernel_room[];

struct Grid {
    int64_t blocks;
    int threads;   // of a block: a multiple of WARP
    size_t shared; // bytes of kernel_room
};

template <class Args> void launch(Stream *stream, void (*kernel)(Args), Grid grid, Args args) {
    if (grid.blocks == 0 || cuda_failed(stream)) return;
    void *list[] = {&args};
    if (grid.shared > 48 * 1024) // more than every kernel may have must be asked for
        cuda_note(stream,
                  cudaFuncSetAttribute((const void *)kernel,
                                       cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       (int)grid.shared),
                  "shared memory of a kernel");
    cuda_note(stream,
              cudaLaunchKernel(kernel, dim3((unsigned)grid.blocks), dim3((unsigned)grid.threads),
                               list, grid.shared, cuda_queue(stream)),
              "start of a kernel");
}

// For kernels whose threads take element after element (EACH): enough blocks to fill the device.
static inline Grid grid_of(Stream *stream, int64_t n) {
    int64_t blocks = (n + BLOCK_THREADS - 1) / BLOCK_THREADS, most = 16 * cuda_processors(stream);
    return {blocks < most ? blocks : most, BLOCK_THREADS, 0};
}

// A loop over [0, n) that all threads of the grid share; each element is for itself.
#define EACH(i, n)                                                                                 \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                      \
         i += (int64_t)gridDim.x * blockDim.x)

// An operation that is one launch, of NAME_kernel; `grid` may ask `stream` and `args`.
#define OPERATION(name, Args, grid)                                                                \
    extern "C" void cuda_##name(Stream *stream, const Args *args) {                                \
        launch(stream, name##_kernel, grid, *args);                                                \
    }

// An operation on n elements, each for itself. What follows is the body of a function that is told
// the argument, a, and the element's number, i; n may ask a.
#define EACH_OPERATION(name, Args, n)                                                              \
    static __device__ void name##_element(const Args &a, int64_t i);                               \
    static __global__ void name##_kernel(Args a) {                                                 \
        EACH(i, n) name##_element(a, i);                                                           \
    }                                                                                              \
    extern "C" void cuda_##name(Stream *stream, const Args *args) {                                \
        const Args &a = *args;                                                                     \
        launch(stream, name##_kernel, grid_of(stream, n), a);                                      \
    }                                                                                              \
    static __device__ void name##_element(const Args &a, int64_t i)

// ---- a warp an item -----------------------------------------------------------------------------

// For kernels each of whose warps takes the item of its number, if there is one.
static inline Grid grid_of_warps(int64_t n) {
    int64_t each = BLOCK_THREADS / WARP;
    return {(n + each - 1) / each, BLOCK_THREADS, 0};
}
__device__ static inline int64_t warp_number() {
    return ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
}

// A loop over [0, n) that the lanes of a warp share.
#define EACH_LANE(i, n) for (int64_t i = threadIdx.x % WARP; i < (n); i += WARP)

// ---- sums of a warp, of a block ----------------------------------------------------------------

// Of all lanes, on all lanes. Lane i meets lane i^16, then i^8, i^4, i^2, i^1.
template <class T> __device__ T warp_sum(T x) {
    for (int other = WARP / 2; other > 0; other /= 2) x += __shfl_xor_sync(~0u, x, other);
    return x;
}
template <class T> __device__ T warp_largest(T x) {
    for (int other = WARP / 2; other > 0; other /= 2) {
        T y = __shfl_xor_sync(~0u, x, other);
        x = y > x ? y : x;
    }
    return x;
}

// Of all threads of a block of at most 1024, on all of them; warps in their order. All must call
// it.
template <class T> __device__ T block_sum(T x) {
    T *of_warp = (T *)kernel_room, sum = 0;
    x = warp_sum(x);
    __syncthreads(); // whoever still reads the last sums
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = x;
    __syncthreads();
    for (unsigned i = 0; i < blockDim.x / WARP; ++i) sum += of_warp[i];
    return sum;
}

// ---- fp32 or bf16 ------------------------------------------------------------------------------

__device__ static inline float number_get(const void *x, bool half, int64_t i) {
    return half ? half_widen(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}
__device__ static inline void number_put(void *y, bool half, int64_t i, float value) {
    if (half)
        ((uint16_t *)y)[i] = half_round(value);
    else
        ((float *)y)[i] = value;
}

// ---- four numbers at a time ---------------------------------------------------------------------

struct Quad {
    float x[QUAD];
    __device__ float &operator[](int i) { return x[i]; }
    __device__ float operator[](int i) const { return x[i]; }
};

// Numbers [at, at + QUAD) of an array, of which `left` are there. `whole`: all are, and lie where a
// single load may begin.
__device__ static inline Quad quad_get(const void *from, bool half, int64_t at, int64_t left,
                                       bool whole) {
    Quad q = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (whole && half) {
        uint2 two = *(const uint2 *)((const uint16_t *)from + at);
        q.x[0] = half_widen((uint16_t)two.x), q.x[1] = half_widen((uint16_t)(two.x >> 16));
        q.x[2] = half_widen((uint16_t)two.y), q.x[3] = half_widen((uint16_t)(two.y >> 16));
    } else if (whole) {
        float4 four = *(const float4 *)((const float *)from + at);
        q = {{four.x, four.y, four.z, four.w}};
    } else {
        for (int i = 0; i < QUAD && i < left; ++i) q.x[i] = number_get(from, half, at + i);
    }
    return q;
}

__device__ static inline void quad_put(void *to, bool half, int64_t at, int64_t left, bool whole,
                                       const Quad &q) {
    if (whole && half)
        *(uint2 *)((uint16_t *)to + at) =
            make_uint2(half_round(q.x[0]) | (uint32_t)half_round(q.x[1]) << 16,
                       half_round(q.x[2]) | (uint32_t)half_round(q.x[3]) << 16);
    else if (whole)
        *(float4 *)((float *)to + at) = make_float4(q.x[0], q.x[1], q.x[2], q.x[3]);
    else
        for (int i = 0; i < QUAD && i < left; ++i) number_put(to, half, at + i, q.x[i]);
}

// Whether quads of this array (NULL: of none) begin where a single load may.
__host__ __device__ static inline bool quad_aligned(const void *at) {
    return (uintptr_t)at % sizeof(Quad) == 0;
}

// A loop over the quads of n numbers that lie one after the other, as EACH is over numbers: `at` is
// the first, of which `left` are there.
#define EACH_QUAD_OF(at, left, n)                                                                  \
    for (int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * QUAD, left = (n)-at;      \
         left > 0; at += (int64_t)gridDim.x * blockDim.x * QUAD, left = (n)-at)
static inline Grid grid_of_quads(Stream *stream, int64_t n) {
    return grid_of(stream, (n + QUAD - 1) / QUAD);
}
