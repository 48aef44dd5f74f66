// Activations by themselves, and what belongs to them; linear.c has the one behind a dense layer.
#include "model/cpu/kernels/activation.h"

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/half.h"

void CPU_KERNEL(activation_forward)(Stream *stream, const Elementwise *args) {
    (void)stream;
    float unwanted[PIECE];
    for (int64_t at = 0; at < args->n; at += PIECE) {
        int64_t n = args->n - at < PIECE ? args->n - at : PIECE;
        float *slope = args->slope != NULL ? args->slope + at : unwanted;
        act_with_slope(args->act, args->x + at, slope, (float *)args->y + at, n);
    }
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
