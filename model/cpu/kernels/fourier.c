// Fourier features of a network's input, and their gradient.
#include "model/cpu/cpu_impl.h"
#include "model/math/input.h"

void CPU_KERNEL(fourier_forward)(Stream *stream, const Fourier *args) {
    (void)stream;
    int64_t n = args->item;
    for (int64_t i = 0; i < args->samples * n; ++i)
        fourier_planes(args->x[i], args->y + fourier_place(i, n), n);
}

void CPU_KERNEL(fourier_grad)(Stream *stream, const Fourier *args) {
    (void)stream;
    int64_t n = args->item;
    for (int64_t i = 0; i < args->samples * n; ++i)
        args->dx[i] = fourier_slope(args->x[i], args->dy + fourier_place(i, n), n);
}
