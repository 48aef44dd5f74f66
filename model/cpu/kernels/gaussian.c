// Kernels of Gaussian diffusion: corruption, loss, error for the bound, sampler steps.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/f64.h"
#include "model/cpu/kernels/noise.h"

void CPU_KERNEL(gaussian_corrupt)(Stream *stream, const GaussianCorrupt *args) {
    (void)stream;
    float eps[NOISE_CHUNK], x_0[NOISE_CHUNK], out[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s) {
        const GaussianLevel level = args->level[s];
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e), at = s * args->item + e;
            noise_normal(args->key, args->sample[s], e, eps);
            chunk_load(x_0, args->x_0 + at, n);
            for (int i = 0; i < NOISE_CHUNK; ++i)
                out[i] = fmaf(level.noise, eps[i], level.keep * x_0[i]);
            memcpy(args->x_t + at, out, (size_t)n * sizeof *out);
            if (args->target == NULL) continue;
            for (int i = 0; i < NOISE_CHUNK; ++i)
                out[i] = fmaf(level.target_eps, eps[i], level.target_x0 * x_0[i]);
            memcpy(args->target + at, out, (size_t)n * sizeof *out);
        }
    }
}

static void square_add(double lane[F64_LANES], const float x[NOISE_CHUNK]) {
    for (int i = 0; i < NOISE_CHUNK; i += F64_LANES)
        for (int l = 0; l < F64_LANES; ++l) lane[l] += (double)x[i + l] * (double)x[i + l];
}

void CPU_KERNEL(gaussian_loss)(Stream *stream, const GaussianLoss *args) {
    (void)stream;
    for (int64_t s = 0; s < args->samples; ++s) {
        float weight = args->level[s].weight, twice = 2.0f * weight;
        double lane[F64_LANES] = {0};
        float out[NOISE_CHUNK], target[NOISE_CHUNK];
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e), at = s * args->item + e;
            chunk_load(out, args->out + at, n);
            chunk_load(target, args->target + at, n);
            for (int i = 0; i < NOISE_CHUNK; ++i) out[i] -= target[i];
            square_add(lane, out);
            if (args->dout == NULL) continue;
            for (int i = 0; i < NOISE_CHUNK; ++i) out[i] *= twice;
            memcpy(args->dout + at, out, (size_t)n * sizeof *out);
        }
        args->loss[s] = (float)((double)weight * f64_fold(lane));
    }
}

// ---- bound ------------------------------------------------------------------------------------

// libm is fine here: none of these bits enter training.

// log of the upper tail of the standard normal at z >= 0, also where erfc underflows.
static double log_upper_tail(double z) {
    if (z < 20.0) return log(0.5 * erfc(z * M_SQRT1_2));
    double y = 1.0 / (z * z); // Abramowitz and Stegun 26.2.12; next term 945 y^5 < 1e-10
    double series = 1.0 - y * (1.0 - 3.0 * y * (1.0 - 5.0 * y * (1.0 - 7.0 * y)));
    return -0.5 * z * z - log(z) - 0.91893853320467274 + log(series);
}

// log of the mass of the standard normal between low < high; either may be infinite.
static double log_normal_mass(double low, double high) {
    if (low < 0.0 && high > 0.0) {
        double outside = 0.5 * erfc(-low * M_SQRT1_2) + 0.5 * erfc(high * M_SQRT1_2);
        return outside < 0.5 ? log1p(-outside)
                             : log(0.5 * (erf(high * M_SQRT1_2) - erf(low * M_SQRT1_2)));
    }
    if (high <= 0.0) {
        double mirrored = -low;
        low = -high;
        high = mirrored;
    }
    double near = log_upper_tail(low);
    return isinf(high) ? near : near + log1p(-exp(log_upper_tail(high) - near));
}

static double decode_sample(const float *x_0, const float *mean, int64_t n, float std) {
    double nats = 0.0, inverse = 1.0 / (double)std, half = 1.0 / 255.0;
    for (int64_t i = 0; i < n; ++i) {
        double level = nearbyint(((double)x_0[i] + 1.0) * 127.5), center = level / 127.5 - 1.0;
        double low = level <= 0.0 ? -INFINITY : (center - half - (double)mean[i]) * inverse;
        double high = level >= 255.0 ? INFINITY : (center + half - (double)mean[i]) * inverse;
        nats -= log_normal_mass(low, high);
    }
    return nats;
}

static float clip_one(float x) {
    x = x < -1.0f ? -1.0f : x;
    return x > 1.0f ? 1.0f : x;
}

// x0_hat of a chunk.
static void predict(float x_0[NOISE_CHUNK], const float x[NOISE_CHUNK],
                    const float out[NOISE_CHUNK], float hat_x, float hat_out, bool clip) {
    for (int i = 0; i < NOISE_CHUNK; ++i) x_0[i] = fmaf(hat_x, x[i], hat_out * out[i]);
    if (clip)
        for (int i = 0; i < NOISE_CHUNK; ++i) x_0[i] = clip_one(x_0[i]);
}

static double error_of_sample(const GaussianError *args, int64_t s) {
    const GaussianLevel level = args->level[s];
    double lane[F64_LANES] = {0}, decoded = 0.0;
    float x_0[NOISE_CHUNK], x_t[NOISE_CHUNK], out[NOISE_CHUNK];
    for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
        int64_t n = chunk_size(args->item, e), at = s * args->item + e;
        chunk_load(x_t, args->x_t + at, n);
        chunk_load(out, args->out + at, n);
        chunk_load(x_0, args->x_0 + at, n);
        predict(out, x_t, out, level.hat_x, level.hat_out, args->clip);
        if (level.decode) {
            decoded += decode_sample(x_0, out, n, level.std);
        } else {
            for (int i = 0; i < NOISE_CHUNK; ++i) out[i] -= x_0[i];
            square_add(lane, out);
        }
    }
    if (level.decode) return decoded;
    return (double)level.error_offset + (double)level.error_scale * f64_fold(lane);
}

void CPU_KERNEL(gaussian_error)(Stream *stream, const GaussianError *args) {
    (void)stream;
    for (int64_t s = 0; s < args->samples; ++s) args->error[s] = error_of_sample(args, s);
}

// ---- sampling ---------------------------------------------------------------------------------

static void advance_sample(const GaussianAdvance *args, int64_t s) {
    float hat_x = (float)args->hat_x, hat_out = (float)args->hat_out, std = (float)args->std;
    float by_x = (float)args->by_x, by_x0 = (float)args->by_x0;
    float x[NOISE_CHUNK], x_0[NOISE_CHUNK], out[NOISE_CHUNK], eps[NOISE_CHUNK];
    for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
        int64_t n = chunk_size(args->item, e), at = s * args->item + e;
        chunk_load(x, args->x + at, n);
        chunk_load(out, args->out + at, n);
        predict(x_0, x, out, hat_x, hat_out, args->clip);
        for (int i = 0; i < NOISE_CHUNK; ++i) x[i] = fmaf(by_x, x[i], by_x0 * x_0[i]);
        if (std != 0.0f) {
            noise_normal(args->key, args->sample[s], e, eps);
            for (int i = 0; i < NOISE_CHUNK; ++i) x[i] = fmaf(std, eps[i], x[i]);
        }
        memcpy(args->next + at, x, (size_t)n * sizeof *x);
    }
}

void CPU_KERNEL(gaussian_advance)(Stream *stream, const GaussianAdvance *args) {
    (void)stream;
    for (int64_t s = 0; s < args->samples; ++s) advance_sample(args, s);
}

void CPU_KERNEL(gaussian_prior)(Stream *stream, const GaussianPrior *args) {
    (void)stream;
    float eps[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e);
            noise_normal(args->key, args->sample[s], e, eps);
            for (int i = 0; i < NOISE_CHUNK; ++i) eps[i] *= args->std;
            memcpy(args->x + s * args->item + e, eps, (size_t)n * sizeof *eps);
        }
}
