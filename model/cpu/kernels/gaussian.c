// Kernels of Gaussian diffusion: corruption, loss, error for the bound, sampler steps.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/noise.h"
#include "model/math/gaussian.h"

void CPU_KERNEL(rescale)(Stream *stream, const Rescale *args) {
    (void)stream;
    uint32_t bits[NOISE_CHUNK];
    float x[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e), at = s * args->item + e;
            chunk_load(x, args->x + at, n);
            if (args->width != 0.0f) {
                noise_bits(args->key, args->sample[s], e / 4, bits);
                for (int i = 0; i < NOISE_CHUNK; ++i)
                    x[i] = fmaf(args->width, rng_uniform(bits[i]) - 0.5f, x[i]);
            }
            for (int i = 0; i < NOISE_CHUNK; ++i) x[i] = fmaf(args->scale, x[i], args->shift);
            memcpy(args->y + at, x, (size_t)n * sizeof *x);
        }
}

void CPU_KERNEL(logit)(Stream *stream, const Elementwise *args) {
    (void)stream;
    float *y = args->y;
    for (int64_t i = 0; i < args->n; ++i) y[i] = logit_number(args->x[i], args->inverse);
}

void CPU_KERNEL(gaussian_corrupt)(Stream *stream, const Gaussian *args) {
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

void CPU_KERNEL(gaussian_loss)(Stream *stream, const Gaussian *args) {
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
        args->loss[s] = (float)((double)weight * f64_fold(lane) + args->level[s].nats);
    }
}

void CPU_KERNEL(schedule_grad)(Stream *stream, const ScheduleGrad *args) {
    (void)stream;
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

void CPU_KERNEL(gaussian_hat)(Stream *stream, const Gaussian *args) {
    (void)stream;
    for (int64_t i = 0; i < args->samples * args->item; ++i)
        args->target[i] = level_hat(&args->level[i / args->item], args->x_t[i], args->out[i]);
}

void CPU_KERNEL(gaussian_huber)(Stream *stream, const Gaussian *args) {
    (void)stream;
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

// One chunk of a sample; v is 0 where the network gives no variance.
typedef struct {
    float x_0[NOISE_CHUNK], x_t[NOISE_CHUNK], out[NOISE_CHUNK], v[NOISE_CHUNK];
    float target[NOISE_CHUNK], hat[NOISE_CHUNK], dout[NOISE_CHUNK], dv[NOISE_CHUNK];
} TermChunk;

static double loss_of_chunk(const GaussianLevel *level, TermChunk *c, int64_t n,
                            double simple[F64_LANES]) {
    double term[NOISE_CHUNK];
    for (int64_t i = 0; i < n; ++i) {
        LossValue value = loss_value(level, c->x_0[i], c->hat[i], c->v[i], c->out[i], c->target[i]);
        simple[i % F64_LANES] += value.square;
        term[i] = value.nats, c->dout[i] = value.dout, c->dv[i] = value.dv;
    }
    return f64_sum(term, n);
}

static double error_of_chunk(const GaussianLevel *level, const TermChunk *c, int64_t n) {
    double term[NOISE_CHUNK];
    for (int64_t i = 0; i < n; ++i) term[i] = error_value(level, c->x_0[i], c->hat[i], c->v[i]);
    return f64_sum(term, n);
}

static void terms_of_sample(const Gaussian *args, int64_t s) {
    const GaussianLevel *level = &args->level[s];
    int64_t out_item = args->item * (args->has_variance ? 2 : 1);
    double simple[F64_LANES] = {0}, loss = 0.0, error = 0.0;
    bool clip = args->clip && level->term != GAUSSIAN_LEVELS;
    TermChunk c = {0};
    for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
        int64_t n = chunk_size(args->item, e), at = s * args->item + e, from = s * out_item + e;
        chunk_load(c.x_0, args->x_0 + at, n);
        chunk_load(c.x_t, args->x_t + at, n);
        chunk_load(c.target, args->target + at, n);
        chunk_load(c.out, args->out + from, n);
        if (args->has_variance) chunk_load(c.v, args->out + from + args->item, n);
        for (int i = 0; i < NOISE_CHUNK; ++i)
            c.hat[i] = hat_of(level->hat_x, c.x_t[i], level->hat_out, c.out[i], clip);
        if (args->error != NULL) error += error_of_chunk(level, &c, n);
        if (args->loss == NULL && args->dout == NULL) continue;
        loss += loss_of_chunk(level, &c, n, simple);
        if (args->dout == NULL) continue;
        memcpy(args->dout + from, c.dout, (size_t)n * sizeof *c.dout);
        if (args->has_variance)
            memcpy(args->dout + from + args->item, c.dv, (size_t)n * sizeof *c.dv);
    }
    if (args->error != NULL) args->error[s] = error;
    if (args->loss != NULL)
        args->loss[s] =
            (float)((double)level->weight * f64_fold(simple) + level->term_weight * loss);
}

void CPU_KERNEL(gaussian_terms)(Stream *stream, const Gaussian *args) {
    (void)stream;
    for (int64_t s = 0; s < args->samples; ++s) terms_of_sample(args, s);
}

// ---- sampling ---------------------------------------------------------------------------------

static void advance_sample(const GaussianAdvance *args, int64_t s) {
    float hat_x = (float)args->hat_x, hat_out = (float)args->hat_out, std = (float)args->std;
    float by_x = (float)args->by_x, by_x0 = (float)args->by_x0;
    float x[NOISE_CHUNK], out[NOISE_CHUNK], v[NOISE_CHUNK], eps[NOISE_CHUNK];
    for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
        int64_t n = chunk_size(args->item, e), at = s * args->item + e;
        int64_t from = s * args->out_item + e;
        chunk_load(x, args->x + at, n);
        chunk_load(out, args->out + from, n);
        for (int i = 0; i < NOISE_CHUNK; ++i)
            x[i] = fmaf(by_x, x[i], by_x0 * hat_of(hat_x, x[i], hat_out, out[i], args->clip));
        if (args->has_variance || std != 0.0f) noise_normal(args->key, args->sample[s], e, eps);
        if (args->has_variance) {
            chunk_load(v, args->out + from + args->item, n);
            for (int64_t i = 0; i < n; ++i)
                x[i] = fmaf(deviation_of(&args->variance, v[i]), eps[i], x[i]);
        } else if (std != 0.0f) {
            for (int i = 0; i < NOISE_CHUNK; ++i) x[i] = fmaf(std, eps[i], x[i]);
        }
        memcpy(args->next + at, x, (size_t)n * sizeof *x);
    }
}

void CPU_KERNEL(gaussian_advance)(Stream *stream, const GaussianAdvance *args) {
    (void)stream;
    for (int64_t s = 0; s < args->samples; ++s) advance_sample(args, s);
}

void CPU_KERNEL(gaussian_prior)(Stream *stream, const Gaussian *args) {
    (void)stream;
    float eps[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e);
            noise_normal(args->key, args->sample[s], e, eps);
            for (int i = 0; i < NOISE_CHUNK; ++i) eps[i] *= args->std;
            memcpy(args->x_t + s * args->item + e, eps, (size_t)n * sizeof *eps);
        }
}
