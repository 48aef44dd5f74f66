// Fourier features of a network's input, and their gradient.
#include <math.h>

#include "model/cpu/cpu_impl.h"

typedef struct {
    double sine, cosine;
} Turn;

// Of u turns: half a turn is a sign; what is left, within a quarter, by Taylor's polynomials.
static Turn turn(double u) {
    const double two_pi = 6.283185307179586;
    double half = nearbyint(2.0 * u), odd = half - 2.0 * nearbyint(0.5 * half);
    double a = two_pi * fma(-0.5, half, u), b = -a * a, sine = 1.0, cosine = 1.0;
    for (int k = 8; k >= 1; --k) {
        sine = fma(sine, b / (2 * k * (2 * k + 1)), 1.0);
        cosine = fma(cosine, b / (2 * k * (2 * k - 1)), 1.0);
    }
    double sign = 1.0 - 2.0 * odd * odd;
    return (Turn){sign * a * sine, sign * cosine};
}

void CPU_KERNEL(fourier_forward)(Stream *stream, const Fourier *args) {
    (void)stream;
    int64_t n = args->item;
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < n; ++e) {
            float x = args->x[s * n + e], *y = args->y + s * FOURIER_PLANES * n + e;
            Turn low = turn(64.0 * (double)x), high = turn(128.0 * (double)x);
            y[0] = x;
            y[n] = (float)low.sine, y[2 * n] = (float)low.cosine;
            y[3 * n] = (float)high.sine, y[4 * n] = (float)high.cosine;
        }
}

void CPU_KERNEL(fourier_grad)(Stream *stream, const Fourier *args) {
    (void)stream;
    const double rate = 64.0 * 6.283185307179586;
    int64_t n = args->item;
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < n; ++e) {
            double x = (double)args->x[s * n + e];
            const float *dy = args->dy + s * FOURIER_PLANES * n + e;
            Turn low = turn(64.0 * x), high = turn(128.0 * x);
            double by_low = (double)dy[n] * low.cosine - (double)dy[2 * n] * low.sine;
            double by_high = (double)dy[3 * n] * high.cosine - (double)dy[4 * n] * high.sine;
            args->dx[s * n + e] = (float)((double)dy[0] + rate * (by_low + 2.0 * by_high));
        }
}
