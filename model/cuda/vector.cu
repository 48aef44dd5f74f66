// Kernels on plain vectors: sums, copies, activations, the optimizer, the fingerprint.
#include "base/mix.h"
#include "model/cuda/launch.cuh"

static __global__ void axpby_kernel(Elementwise a) {
    float *y = (float *)a.y;
    EACH(i, a.n) y[i] = a.b == 0.0f ? a.a * a.x[i] : fmaf(a.a, a.x[i], a.b * y[i]);
}
extern "C" void cuda_axpby(Stream *stream, const Elementwise *args) {
    launch(stream, axpby_kernel, grid_of(stream, args->n), *args);
}
