// Kernels over long vectors: sums, norm, fingerprint, the optimizer.
#include "base/mix.h"
#include "model/cuda/launch.cuh"
#include "model/math/adamw.h"

static __global__ void axpby_kernel(Elementwise a) {
    float *y = (float *)a.y;
    EACH(i, a.n) y[i] = a.b == 0.0f ? a.a * a.x[i] : fmaf(a.a, a.x[i], a.b * y[i]);
}

extern "C" void cuda_axpby(Stream *stream, const Elementwise *args) {
    launch(stream, axpby_kernel, grid_of(stream, args->n), *args);
}

// One block a chunk.
static __global__ void sum_squares_kernel(SumSquares a) {
    int64_t begin = (int64_t)blockIdx.x * a.chunk, left = a.n - begin;
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < (left < a.chunk ? left : a.chunk); i += BLOCK_THREADS) {
        double x = (double)a.x[begin + i];
        sum = fma(x, x, sum);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) a.sum[blockIdx.x] = sum;
}

extern "C" void cuda_sum_squares(Stream *stream, const SumSquares *args) {
    int64_t chunks = (args->n + args->chunk - 1) / args->chunk;
    launch(stream, sum_squares_kernel, {chunks, BLOCK_THREADS, REDUCE_BYTES}, *args);
}

// Integers: the order of their sum is free.
static __global__ void fingerprint_kernel(Fingerprint a) {
    unsigned long long sum = 0;
    EACH(i, a.n) {
        F32Bits bits = {a.x[i]};
        sum += mix_element(a.first + (uint64_t)i, bits.u);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) atomicAdd((unsigned long long *)a.sum, sum);
}

extern "C" void cuda_fingerprint(Stream *stream, const Fingerprint *args) {
    Grid grid = grid_of(stream, args->n);
    grid.shared = REDUCE_BYTES;
    cuda_note(stream, cudaMemsetAsync(args->sum, 0, sizeof *args->sum, cuda_queue(stream)),
              "fingerprint");
    launch(stream, fingerprint_kernel, grid, *args);
}

static __global__ void adamw_ema_kernel(AdamwEma a) {
    EACH(i, a.n) {
        adamw_number(&a, i);
        if (a.half != nullptr) number_put(a.half, true, i, a.w[i]);
    }
}

extern "C" void cuda_adamw_ema(Stream *stream, const AdamwEma *args) {
    launch(stream, adamw_ema_kernel, grid_of(stream, args->n), *args);
}
