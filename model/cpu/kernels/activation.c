// Activations by themselves, and what belongs to them; linear.c has the one behind a dense layer.
#include "model/cpu/kernels/activation.h"

#include "model/cpu/cpu_impl.h"

void CPU_KERNEL(activation_forward)(UNUSED Stream *stream, const Elementwise *args) {
    activate(args->act, args->x, args->slope, args->y, false, args->n);
}

void CPU_KERNEL(multiply)(UNUSED Stream *stream, const Elementwise *args) {
    const float *restrict x = args->x;
    float *restrict y = args->y;
    for (int64_t i = 0; i < args->n; ++i) y[i] *= x[i];
}

void CPU_KERNEL(halve)(UNUSED Stream *stream, const Elementwise *args) {
    half_put(args->y, true, 0, args->n, args->x);
}
