// Kernels over long vectors: sums, fingerprint, dropout, the optimizer.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/half.h"
#include "model/cpu/kernels/noise.h"
#include "model/math/adamw.h"
#include "model/math/f64.h"

static void add_scaled(const float *x, float *y, int64_t n, float a, float b) {
    if (b == 0.0f)
        for (int64_t i = 0; i < n; ++i) y[i] = a * x[i];
    else
        for (int64_t i = 0; i < n; ++i) y[i] = fmaf(a, x[i], b * y[i]);
}

void CPU_KERNEL(axpby)(Stream *stream, const Elementwise *args) {
    (void)stream;
    add_scaled(args->x, args->y, args->n, args->a, args->b);
}

static double square_sum(const float *x, int64_t n) {
    double lane[F64_LANES] = {0};
    int64_t i = 0;
    for (; i + F64_LANES <= n; i += F64_LANES)
        for (int l = 0; l < F64_LANES; ++l) lane[l] += (double)x[i + l] * (double)x[i + l];
    for (int l = 0; i + l < n; ++l) lane[l] += (double)x[i + l] * (double)x[i + l];
    return f64_fold(lane);
}

void CPU_KERNEL(sum_squares)(Stream *stream, const SumSquares *args) {
    (void)stream;
    for (int64_t i = 0; i * args->chunk < args->n; ++i) {
        int64_t begin = i * args->chunk, left = args->n - begin;
        args->sum[i] = square_sum(args->x + begin, left < args->chunk ? left : args->chunk);
    }
}

void CPU_KERNEL(add_up)(Stream *stream, const AddUp *args) {
    (void)stream;
    for (int64_t begin = 0; begin < args->n; begin += args->chunk) {
        int64_t end = begin + args->chunk < args->n ? begin + args->chunk : args->n;
        double sum = 0;
        for (int64_t i = begin; i < end; ++i)
            sum += args->wide ? ((const double *)args->x)[i] : (double)((const float *)args->x)[i];
        args->sum[begin / args->chunk] = sum;
    }
}

void CPU_KERNEL(fingerprint)(Stream *stream, const Fingerprint *args) {
    (void)stream;
    const float *x = args->x;
    uint64_t first = args->first, sum = 0;
    for (int64_t i = 0; i < args->n; ++i)
        sum += mix_element(first + (uint64_t)i, (F32Bits){x[i]}.u);
    args->sum[0] = sum;
}

void CPU_KERNEL(dropout)(Stream *stream, const Dropout *args) {
    (void)stream;
    float rate = args->rate, scale = 1.0f / (1.0f - rate), x[NOISE_CHUNK], room[NOISE_CHUNK];
    uint32_t bits[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e), at = s * args->item + e;
            noise_bits(args->key, args->sample[s], e / 4, bits);
            chunk_load(x, half_get(args->x, args->half, at, n, room), n);
            for (int i = 0; i < NOISE_CHUNK; ++i)
                x[i] = rng_uniform(bits[i]) >= rate ? x[i] * scale : 0.0f;
            if (!args->half) memcpy((float *)args->y + at, x, (size_t)n * sizeof *x);
            half_put(args->y, args->half, at, n, x);
        }
}

void CPU_KERNEL(grad_scale)(Stream *stream, const GradScale *args) {
    (void)stream;
    double loss = 0, squares = 0, lost = 0;
    for (int64_t i = 0; i < args->losses; ++i) loss += args->loss[i];
    for (int64_t i = 0; i < args->squares; ++i) squares += args->square[i];
    for (int64_t i = 0; i < args->ranks; ++i) lost += args->lost[i * args->stride];
    grad_scale_write(args, loss, squares, lost);
}

void CPU_KERNEL(adamw_ema)(Stream *stream, const AdamwEma *args) {
    (void)stream;
    const AdamwEma a = *args;
    float scale = (float)*a.grad_scale;
    if (scale == 0) return;
    for (int64_t at = 0, end; at < a.n; at = end) {
        end = at + PIECE < a.n ? at + PIECE : a.n;
        LOOP_INDEPENDENT
        for (int64_t i = at; i < end; ++i) adamw_number(&a, scale, i);
        half_put(a.half, a.half != NULL, at, end - at, a.w + at);
    }
}
