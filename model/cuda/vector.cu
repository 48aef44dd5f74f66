// Kernels over long vectors: sums, fingerprint, the optimizer.
#include "base/mix.h"
#include "model/cuda/launch.cuh"
#include "model/math/adamw.h"

EACH_OPERATION(axpby, Elementwise, a.n) {
    float *y = (float *)a.y;
    y[i] = a.b == 0.0f ? a.a * a.x[i] : fmaf(a.a, a.x[i], a.b * y[i]);
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

EACH_OPERATION(add_up, AddUp, ((a.n + a.chunk - 1) / a.chunk)) {
    int64_t begin = i * a.chunk, end = begin + a.chunk < a.n ? begin + a.chunk : a.n;
    double sum = 0.0;
    for (int64_t at = begin; at < end; ++at)
        sum += a.wide ? ((const double *)a.x)[at] : (double)((const float *)a.x)[at];
    a.sum[i] = sum;
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

// By all threads of a block.
static __device__ double total(const double *x, int64_t n, int64_t stride) {
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < n; i += BLOCK_THREADS) sum += x[i * stride];
    return block_sum(sum);
}

static __global__ void grad_scale_kernel(GradScale a) {
    double loss = total(a.loss, a.losses, 1), squares = total(a.square, a.squares, 1);
    double lost = total(a.lost, a.ranks, a.stride);
    if (threadIdx.x == 0) grad_scale_write(&a, loss, squares, lost);
}

OPERATION(grad_scale, GradScale, (Grid{1, BLOCK_THREADS, REDUCE_BYTES}))

static __global__ void adamw_ema_kernel(AdamwEma a) {
    float scale = (float)*a.grad_scale;
    if (scale == 0.0f) return;
    EACH(i, a.n) {
        adamw_number(&a, scale, i);
        if (a.half != nullptr) number_put(a.half, true, i, a.w[i]);
    }
}

OPERATION(adamw_ema, AdamwEma, grid_of(stream, args->n))
