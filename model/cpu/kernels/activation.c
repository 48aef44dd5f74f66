// Activations by themselves; linear.c has the one that follows a dense layer.
#include "model/cpu/kernels/activation.h"

#include "model/cpu/cpu_impl.h"

void CPU_KERNEL(activation_forward)(Stream *stream, const ActivationForward *args) {
    (void)stream;
    const float *restrict x = args->x;
    float *restrict y = args->y;
    int64_t n = args->n;
    switch (args->act) {
    case ACT_NONE:
        for (int64_t i = 0; i < n; ++i) y[i] = x[i];
        break;
    case ACT_SILU:
        for (int64_t i = 0; i < n; ++i) y[i] = silu_f32(x[i]);
        break;
    case ACT_GELU:
        for (int64_t i = 0; i < n; ++i) y[i] = gelu_f32(x[i]);
        break;
    }
}

// dx may be dy: each element is read before it is written, which LOOP_INDEPENDENT says.
void CPU_KERNEL(activation_grad)(Stream *stream, const ActivationGrad *args) {
    (void)stream;
    const float *x = args->x, *dy = args->dy;
    float *dx = args->dx;
    int64_t n = args->n;
    switch (args->act) {
    case ACT_NONE:
        LOOP_INDEPENDENT
        for (int64_t i = 0; i < n; ++i) dx[i] = dy[i];
        break;
    case ACT_SILU:
        LOOP_INDEPENDENT
        for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * silu_slope_f32(x[i]);
        break;
    case ACT_GELU:
        LOOP_INDEPENDENT
        for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * gelu_slope_f32(x[i]);
        break;
    }
}
