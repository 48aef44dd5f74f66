// Kernels of Gaussian diffusion: corruption, loss, error for the bound, sampler steps.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/noise.h"
#include "model/cpu/kernels/simd.h"
#include "model/math/gaussian.h"

void CPU_KERNEL(rescale)(UNUSED Stream *stream, const Rescale *args) {
    uint32_t bits[NOISE_CHUNK] = {0};
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e), at = s * args->item + e;
            if (args->width != 0.0f) noise_bits(args->key, args->sample[s], e / 4, bits);
            LOOP_INDEPENDENT
            for (int64_t i = 0; i < n; ++i) {
                float x = args->x[at + i];
                if (args->width != 0.0f) x = fmaf(args->width, rng_uniform(bits[i]) - 0.5f, x);
                args->y[at + i] = fmaf(args->scale, x, args->shift);
            }
        }
}

void CPU_KERNEL(logit)(UNUSED Stream *stream, const Elementwise *args) {
    float *y = args->y;
    for (int64_t i = 0; i < args->n; ++i) y[i] = logit_number(args->x[i], args->inverse);
}

void CPU_KERNEL(gaussian_corrupt)(UNUSED Stream *stream, const Gaussian *args) {
    float eps[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s) {
        const GaussianLevel level = args->level[s];
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e), at = s * args->item + e;
            const float *x_0 = args->x_0 + at;
            noise_normal(args->key, args->sample[s], e, eps);
            for (int64_t i = 0; i < n; ++i)
                args->x_t[at + i] = fmaf(level.noise, eps[i], level.keep * x_0[i]);
            for (int64_t i = 0; i < n && args->target != NULL; ++i)
                args->target[at + i] = fmaf(level.target_eps, eps[i], level.target_x0 * x_0[i]);
        }
    }
}

void CPU_KERNEL(gaussian_loss)(UNUSED Stream *stream, const Gaussian *args) {
    for (int64_t s = 0; s < args->samples; ++s) {
        float weight = args->level[s].weight, twice = 2.0f * weight;
        double lane[F64_LANES] = {0};
        for (int64_t e = 0; e < args->item; ++e) {
            float gap = args->out[s * args->item + e] - args->target[s * args->item + e];
            lane[e % F64_LANES] += (double)gap * (double)gap;
            if (args->dout != NULL) args->dout[s * args->item + e] = gap * twice;
        }
        args->loss[s] = (float)((double)weight * f64_fold(lane) + args->level[s].nats);
    }
}

void CPU_KERNEL(schedule_grad)(UNUSED Stream *stream, const ScheduleGrad *args) {
    int64_t n = args->parameters, item = args->item, features = args->features;
    memset(args->room, 0, (size_t)n * sizeof *args->room);
    for (int64_t s = 0; s < args->samples; ++s) {
        const double *slopes = args->slopes + s * (3 * n + features);
        double by_g[F64_LANES] = {0}, square[F64_LANES] = {0}, gap;
        if (args->loss[s] == 0.0f) continue;
        for (int64_t e = 0; e < item; ++e) {
            by_g[e % F64_LANES] += schedule_value(args, &args->level[s], s * item + e, &gap);
            square[e % F64_LANES] += gap * gap;
        }
        for (int64_t k = 0; k < features; ++k)
            by_g[k % F64_LANES] += (double)args->dtime[s * features + k] * slopes[3 * n + k];
        double sum_g = f64_fold(by_g), sum_weight = f64_fold(square);
        for (int64_t k = 0; k < n; ++k)
            args->room[k] += sum_g * slopes[k] + sum_weight * slopes[n + k] + slopes[2 * n + k];
    }
    for (int64_t k = 0; k < n; ++k)
        args->grads[k] = (float)args->room[k] + (args->accumulate ? args->grads[k] : 0.0f);
}

void CPU_KERNEL(gaussian_hat)(UNUSED Stream *stream, const Gaussian *args) {
    for (int64_t i = 0; i < args->samples * args->item; ++i)
        args->target[i] = level_hat(&args->level[i / args->item], args->x_t[i], args->out[i]);
}

void CPU_KERNEL(gaussian_huber)(UNUSED Stream *stream, const Gaussian *args) {
    double c = (double)args->std;
    for (int64_t s = 0; s < args->samples; ++s) {
        const GaussianLevel *level = &args->level[s];
        double lane[F64_LANES] = {0};
        for (int64_t e = 0; e < args->item; ++e) {
            double gap = (double)huber_gap(args, level, s * args->item + e);
            lane[e % F64_LANES] += gap * gap;
        }
        double root = sqrt(f64_fold(lane) + c * c), weight = (double)level->weight;
        float slope = (float)(weight * (double)level->hat_out / root);
        args->loss[s] = (float)(weight * (root - c));
        for (int64_t i = s * args->item; args->dout != NULL && i < (s + 1) * args->item; ++i)
            args->dout[i] = huber_gap(args, level, i) * slope;
    }
}

// Terms are summed in chunks.
static void terms_of_sample(const Gaussian *args, int64_t s) {
    const GaussianLevel *level = &args->level[s];
    int64_t out_item = args->item * (args->has_variance ? 2 : 1);
    double simple[F64_LANES] = {0}, term[NOISE_CHUNK], exact[NOISE_CHUNK], loss = 0.0, error = 0.0;
    bool clip = args->clip && level->term != GAUSSIAN_LEVELS;
    for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
        int64_t n = chunk_size(args->item, e);
        for (int64_t i = 0; i < n; ++i) {
            int64_t at = s * args->item + e + i, from = s * out_item + e + i;
            float out = args->out[from], v = args->has_variance ? args->out[from + args->item] : 0;
            float x_0 = args->x_0[at];
            float hat = hat_of(level->hat_x, args->x_t[at], level->hat_out, out, clip);
            if (args->error != NULL) exact[i] = error_value(level, x_0, hat, v);
            if (args->loss == NULL && args->dout == NULL) continue;
            LossValue value = loss_value(level, x_0, hat, v, out, args->target[at]);
            simple[i % F64_LANES] += value.square;
            term[i] = value.nats;
            if (args->dout == NULL) continue;
            args->dout[from] = value.dout;
            if (args->has_variance) args->dout[from + args->item] = value.dv;
        }
        if (args->error != NULL) error += f64_sum(exact, n);
        if (args->loss != NULL) loss += f64_sum(term, n);
    }
    if (args->error != NULL) args->error[s] = error;
    if (args->loss != NULL)
        args->loss[s] =
            (float)((double)level->weight * f64_fold(simple) + level->term_weight * loss);
}

void CPU_KERNEL(gaussian_terms)(UNUSED Stream *stream, const Gaussian *args) {
    for (int64_t s = 0; s < args->samples; ++s) terms_of_sample(args, s);
}

// ---- sampling ---------------------------------------------------------------------------------

void CPU_KERNEL(gaussian_advance)(UNUSED Stream *stream, const GaussianAdvance *args) {
    float hat_x = (float)args->hat_x, hat_out = (float)args->hat_out, std = (float)args->std;
    float by_x = (float)args->by_x, by_x0 = (float)args->by_x0, eps[NOISE_CHUNK] = {0};
    bool learned = args->has_variance, noise = learned || std != 0.0f;
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e), at = s * args->item + e;
            const float *x = args->x + at, *out = args->out + s * args->out_item + e;
            float *next = args->next + at;
            if (noise) noise_normal(args->key, args->sample[s], e, eps);
            for (int64_t i = 0; i < n; ++i) {
                float hat = hat_of(hat_x, x[i], hat_out, out[i], args->clip);
                float by = learned ? deviation_of(&args->variance, out[args->item + i]) : std;
                next[i] = fmaf(by_x, x[i], by_x0 * hat);
                if (noise) next[i] = fmaf(by, eps[i], next[i]);
            }
        }
}

void CPU_KERNEL(gaussian_prior)(UNUSED Stream *stream, const Gaussian *args) {
    float eps[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e);
            noise_normal(args->key, args->sample[s], e, eps);
            for (int64_t i = 0; i < n; ++i) args->x_t[s * args->item + e + i] = args->std * eps[i];
        }
}
