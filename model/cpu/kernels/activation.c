// Activations by themselves, and what belongs to them; linear.c has the one behind a dense layer.
#include "model/cpu/kernels/activation.h"

#include "model/cpu/cpu_impl.h"

void CPU_KERNEL(activation_forward)(Stream *stream, const Elementwise *args) {
    (void)stream;
    activate(args->act, args->x, args->slope, args->y, false, args->n);
}

void CPU_KERNEL(multiply)(Stream *stream, const Elementwise *args) {
    (void)stream;
    const float *restrict x = args->x;
    float *restrict y = args->y;
    for (int64_t i = 0; i < args->n; ++i) y[i] *= x[i];
}

void CPU_KERNEL(halve)(Stream *stream, const Elementwise *args) {
    (void)stream;
    half_put(args->y, true, 0, args->n, args->x);
}
