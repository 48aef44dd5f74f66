// Kernels of Gaussian diffusion: corruption, loss, error for the bound, sampler steps.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/math/f64.h"
#include "model/cpu/kernels/noise.h"

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
    for (int64_t i = 0; i < args->n; ++i) {
        double x = (double)args->x[i], small = exp_f64(-fabs(x)); // inverse alone
        if (args->inverse)
            y[i] = (float)((x < 0 ? small : 1.0) / (1.0 + small));
        else
            y[i] = (float)log_f64(x / (1.0 - x));
    }
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
    double by_x = (double)args->by_x;
    memset(args->room, 0, (size_t)n * sizeof *args->room);
    for (int64_t s = 0; s < args->samples; ++s) {
        const double *slopes = args->slopes + s * (3 * n + features);
        double keep = (double)args->level[s].keep, noise = (double)args->level[s].noise;
        double twice = 2.0 * (double)args->level[s].weight;
        double by_g[F64_LANES] = {0}, square[F64_LANES] = {0};
        if (args->loss[s] == 0.0f) continue;
        for (int64_t e = 0; e < item; ++e) {
            int64_t i = s * item + e;
            double target = (double)args->target[i], gap = (double)args->out[i] - target;
            double eps = target + by_x * (double)args->x_t[i];
            double rise = 0.5 * keep * noise * (keep * eps - noise * (double)args->x_0[i]);
            by_g[e % F64_LANES] += ((double)args->dx[i] + twice * by_x * gap) * rise;
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

// ---- terms of the bound -----------------------------------------------------------------------

// libm is fine for the exact masses: none of their bits enter training.

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

// A term, and its derivatives with respect to x0_hat and to the logarithm of the variance.
typedef struct {
    double nats, by_x0, by_log;
} TermValue;

// e^x, where 0 and infinity are as good as e^-700 and e^700.
static double exp_any(double x) {
    return exp_f64(x > 700.0 ? 700.0 : x);
}

// x0_hat of a chunk.
static void chunk_hat(const Gaussian *args, int64_t s, int64_t e, int64_t n,
                      float hat[NOISE_CHUNK]) {
    float out[NOISE_CHUNK];
    const GaussianLevel level = args->level[s];
    chunk_load(hat, args->x_t + s * args->item + e, n);
    chunk_load(out, args->out + s * args->item + e, n);
    for (int i = 0; i < NOISE_CHUNK; ++i)
        hat[i] = fmaf(level.hat_out, out[i], level.hat_x * hat[i]);
}

void CPU_KERNEL(gaussian_hat)(Stream *stream, const Gaussian *args) {
    (void)stream;
    float hat[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int64_t n = chunk_size(args->item, e);
            chunk_hat(args, s, e, n, hat);
            memcpy(args->target + s * args->item + e, hat, (size_t)n * sizeof *hat);
        }
}

void CPU_KERNEL(gaussian_huber)(Stream *stream, const Gaussian *args) {
    (void)stream;
    float gap[NOISE_CHUNK], target[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s) {
        double lane[F64_LANES] = {0}, c = (double)args->std, weight = (double)args->level[s].weight;
        double root = 1;
        for (int again = 0; again < 1 + (args->dout != NULL); ++again) {
            for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
                int64_t n = chunk_size(args->item, e), at = s * args->item + e;
                chunk_hat(args, s, e, n, gap);
                chunk_load(target, args->target + at, n);
                for (int i = 0; i < NOISE_CHUNK; ++i) gap[i] -= target[i];
                if (again == 0) square_add(lane, gap);
                float slope = (float)(weight * (double)args->level[s].hat_out / root);
                for (int i = 0; i < NOISE_CHUNK; ++i) gap[i] *= slope;
                if (again == 1) memcpy(args->dout + at, gap, (size_t)n * sizeof *gap);
            }
            root = sqrt(f64_fold(lane) + c * c);
        }
        args->loss[s] = (float)(weight * (root - c));
    }
}

// The normal distribution function as in gaussian_terms: its argument of the logistic function, the
// value, and its slope.
typedef struct {
    double logit, value, slope;
} NormalLike;

static NormalLike normal_like(double x) {
    const double scale = 0.79788456080286536; // sqrt(2/pi)
    double logit = 2.0 * scale * x * fma(0.044715 * x, x, 1.0);
    double e = exp_f64(logit < 0.0 ? logit : -logit), share = 1.0 / (1.0 + e);
    double slope = 2.0 * scale * fma(3.0 * 0.044715 * x, x, 1.0) * share * (e * share);
    return (NormalLike){logit, logit < 0.0 ? e * share : share, slope};
}

// log sigm(x) and, in *slope, its derivative 1 - sigm(x).
static double log_logistic(double x, double *slope) {
    double e = exp_f64(x < 0.0 ? x : -x), below = x < 0.0 ? x : 0.0;
    *slope = x < 0.0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
    return below - log_f64(1.0 + e);
}

// Both bounds of a bin in units of the standard deviation; infinite for the outer two.
static void bin_of(double x_0, double mean, double inverse, double *low, double *high) {
    double level = nearbyint((x_0 + 1.0) * 127.5), center = level / 127.5 - 1.0, half = 1.0 / 255.0;
    *low = level <= 0.0 ? -INFINITY : (center - half - mean) * inverse;
    *high = level >= 255.0 ? INFINITY : (center + half - mean) * inverse;
}

static TermValue decoder_term(double x_0, double mean, double log_variance) {
    double low, high, inverse = exp_any(-0.5 * log_variance), slope;
    bin_of(x_0, mean, inverse, &low, &high);
    NormalLike below = {0}, above = {.value = 1.0};
    if (!isinf(low)) below = normal_like(low);
    if (!isinf(high)) above = normal_like(high);
    if (isinf(low) || isinf(high)) { // one tail: log sigm(+-logit)
        double sign = isinf(low) ? 1.0 : -1.0, at = isinf(low) ? high : low;
        const NormalLike *side = isinf(low) ? &above : &below;
        double nats = -log_logistic(sign * side->logit, &slope);
        // d logit / dx = slope of the value / (value (1 - value)), without dividing by it
        double by_at =
            -sign * slope * 2.0 * 0.79788456080286536 * fma(3.0 * 0.044715 * at, at, 1.0);
        return (TermValue){nats, -inverse * by_at, -0.5 * at * by_at};
    }
    // Beyond the mean, masses of the other tail: differences of small numbers.
    double mass =
        low > 0.0 ? normal_like(-low).value - normal_like(-high).value : above.value - below.value;
    if (!(mass > 1e-12)) return (TermValue){-log_f64(mass < 1e-12 ? 1e-12 : mass), 0.0, 0.0};
    double per_mass = 1.0 / mass;
    return (TermValue){-log_f64(mass), (above.slope - below.slope) * inverse * per_mass,
                       0.5 * (above.slope * high - below.slope * low) * per_mass};
}

// The level f = (v + 1/2)/128 - 1 next to x.
static double nearest_level(double x) {
    return fmin(fmax(nearbyint(128.0 * (x + 1.0) - 0.5), 0.0), 255.0);
}

// Shares of levels by their squared distances in deviations; what is 9 deviations farther away than
// the nearest has less than 1e-17.
static TermValue levels_term(double x_0, double mean, double log_variance) {
    double inverse = exp_any(-0.5 * log_variance), step = inverse / 128.0, reach = 9.0 / step + 1.0;
    double at = 128.0 * (mean + 1.0) - 0.5, own = nearest_level(x_0);
    double nearest = nearest_level(mean), base = (at - nearest) * step;
    double last = fmin(nearest + reach, 255.0), sum = 0.0, gaps = 0.0, squares = 0.0;
    for (double v = nearbyint(fmax(nearest - reach, 0.0)); v <= last; v += 1.0) {
        double gap = (at - v) * step, mass = exp_any(0.5 * (base * base - gap * gap));
        sum += mass;
        gaps += mass * gap;
        squares += mass * gap * gap;
    }
    double gap = (at - own) * step, square = gap * gap;
    return (TermValue){log_f64(sum) + 0.5 * (square - base * base), inverse * (gap - gaps / sum),
                       0.5 * (squares / sum - square)};
}

static TermValue term_value(const GaussianLevel *level, double x_0, double mean,
                            double log_variance) {
    double error = mean - x_0;
    switch ((GaussianTerm)level->term) {
    case GAUSSIAN_KL: {
        double precision = exp_any(-log_variance), gap = level->slope * error;
        double ratio = exp_any(level->log_posterior - log_variance);
        double square = gap * gap * precision;
        double nats = 0.5 * (log_variance - level->log_posterior + ratio + square - 1.0);
        return (TermValue){nats, level->slope * gap * precision, 0.5 * (1.0 - ratio - square)};
    }
    case GAUSSIAN_DENSITY: {
        double precision = exp_any(-log_variance), square = error * error * precision;
        double nats = 0.5 * (1.8378770664093453 + log_variance + square); // log(2 pi)
        return (TermValue){nats, error * precision, 0.5 * (1.0 - square)};
    }
    case GAUSSIAN_DECODER: return decoder_term(x_0, mean, log_variance);
    case GAUSSIAN_LEVELS: return levels_term(x_0, mean, log_variance);
    case GAUSSIAN_NOTHING: break;
    }
    return (TermValue){0};
}

// The logarithm of the variance, and its derivative with respect to v.
static double log_variance_of(const GaussianVariance *variance, double v, double *slope) {
    double z = fma(variance->mul, v, variance->add);
    *slope = variance->mul;
    if (!variance->logistic) return z;
    double log_value = log_logistic(z, slope);
    *slope *= variance->mul;
    return log_value;
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

// One chunk of a sample; v is 0 where the network gives no variance.
typedef struct {
    float x_0[NOISE_CHUNK], x_t[NOISE_CHUNK], out[NOISE_CHUNK], v[NOISE_CHUNK];
    float target[NOISE_CHUNK], hat[NOISE_CHUNK], dout[NOISE_CHUNK], dv[NOISE_CHUNK];
} TermChunk;

static double loss_of_chunk(const GaussianLevel *level, TermChunk *c, int64_t n,
                            double simple[F64_LANES]) {
    double term[NOISE_CHUNK];
    for (int64_t i = 0; i < n; ++i) {
        double by_v, log_variance = log_variance_of(&level->variance, (double)c->v[i], &by_v);
        TermValue value = term_value(level, (double)c->x_0[i], (double)c->hat[i], log_variance);
        double by_out = level->mean_stops ? 0.0 : value.by_x0 * (double)level->hat_out;
        float gap = c->out[i] - c->target[i];
        simple[i % F64_LANES] += (double)gap * (double)gap;
        term[i] = value.nats;
        c->dout[i] = 2.0f * level->weight * gap + (float)(level->term_weight * by_out);
        c->dv[i] = (float)(level->term_weight * value.by_log * by_v);
    }
    return f64_sum(term, n);
}

static double error_of_chunk(const GaussianLevel *level, const TermChunk *c, int64_t n) {
    double term[NOISE_CHUNK], by_v;
    for (int64_t i = 0; i < n; ++i) {
        double log_variance = log_variance_of(&level->variance, (double)c->v[i], &by_v);
        if (level->term == GAUSSIAN_DECODER) {
            double low, high;
            bin_of((double)c->x_0[i], (double)c->hat[i], exp(-0.5 * log_variance), &low, &high);
            term[i] = -log_normal_mass(low, high);
        } else {
            term[i] = term_value(level, (double)c->x_0[i], (double)c->hat[i], log_variance).nats;
        }
    }
    return f64_sum(term, n);
}

static void terms_of_sample(const Gaussian *args, int64_t s) {
    const GaussianLevel *level = &args->level[s];
    int64_t out_item = args->item * (args->has_variance ? 2 : 1);
    double simple[F64_LANES] = {0}, loss = 0.0, error = 0.0;
    TermChunk c = {0};
    for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
        int64_t n = chunk_size(args->item, e), at = s * args->item + e, from = s * out_item + e;
        chunk_load(c.x_0, args->x_0 + at, n);
        chunk_load(c.x_t, args->x_t + at, n);
        chunk_load(c.target, args->target + at, n);
        chunk_load(c.out, args->out + from, n);
        if (args->has_variance) chunk_load(c.v, args->out + from + args->item, n);
        predict(c.hat, c.x_t, c.out, level->hat_x, level->hat_out,
                args->clip && level->term != GAUSSIAN_LEVELS);
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
    float x[NOISE_CHUNK], x_0[NOISE_CHUNK], out[NOISE_CHUNK], v[NOISE_CHUNK], eps[NOISE_CHUNK];
    for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
        int64_t n = chunk_size(args->item, e), at = s * args->item + e;
        int64_t from = s * args->out_item + e;
        chunk_load(x, args->x + at, n);
        chunk_load(out, args->out + from, n);
        predict(x_0, x, out, hat_x, hat_out, args->clip);
        for (int i = 0; i < NOISE_CHUNK; ++i) x[i] = fmaf(by_x, x[i], by_x0 * x_0[i]);
        if (args->has_variance || std != 0.0f) noise_normal(args->key, args->sample[s], e, eps);
        if (args->has_variance) {
            chunk_load(v, args->out + from + args->item, n);
            for (int64_t i = 0; i < n; ++i) {
                double slope, log_variance = log_variance_of(&args->variance, (double)v[i], &slope);
                x[i] = fmaf((float)exp_any(0.5 * log_variance), eps[i], x[i]);
            }
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
