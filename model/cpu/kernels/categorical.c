// Kernels of categorical diffusion, in float64 inside.
#include "model/cpu/cpu_impl.h"
#include "model/math/f64.h"
#include "model/cpu/kernels/noise.h"

// A class of the base distribution.
static int32_t base_draw(const double *base, int32_t classes, uint32_t bits) {
    if (base == NULL) return (int32_t)rng_below(bits, (uint32_t)classes);
    double goal = ((double)bits + 0.5) * 0x1p-32, running = 0.0;
    int32_t last = 0;
    for (int32_t c = 0; c < classes; ++c) {
        running += base[c];
        if (base[c] > 0.0) last = c; // the sum may end just below 1
        if (running > goal) break;
    }
    return last;
}

// The class at which the running sum of p passes `uniform` of its total.
static int32_t invert(const double *p, int classes, double uniform) {
    double goal = uniform * f64_sum(p, classes), running = 0.0;
    int32_t last = 0;
    for (int c = 0; c < classes; ++c) {
        running += p[c];
        if (p[c] > 0.0) last = c; // rounding may leave the goal just above the whole sum
        if (running > goal) break;
    }
    return last;
}

// A draw from the kernel of the whole way.
static int32_t dense_corrupt(const Categorical *args, int64_t s, int32_t x_0,
                             const uint32_t bits[2]) {
    int64_t n = args->classes, row = (3 * s + 2) * n + x_0;
    return invert(args->base + row * n, args->classes, rng_uniform_f64(bits[0], bits[1]));
}

void CPU_KERNEL(categorical_corrupt)(Stream *stream, const Categorical *args) {
    (void)stream;
    enum { TOKENS = NOISE_CHUNK / 2 };
    uint32_t bits[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s) {
        double keep = args->level[s].keep, masked_from = 1.0 - args->level[s].mask;
        bool counts = args->level[s].masks > 0, dense = args->level[s].form == CATEGORICAL_DENSE;
        int64_t left = 0, block = args->block > 0 ? args->block : args->item;
        for (int64_t e = 0; e < args->item; e += TOKENS) {
            const int32_t *x_0 = args->x_0 + s * args->item + e;
            int32_t *x_t = args->x_t + s * args->item + e;
            int64_t n = args->item - e < TOKENS ? args->item - e : TOKENS;
            noise_bits(args->key, args->sample[s], e / 2, bits);
            for (int64_t i = 0; i < n; ++i) {
                double u = ((double)bits[2 * i] + 0.5) * 0x1p-32;
                if ((e + i) % block == 0) left = args->level[s].masks;
                double places = (double)(block - (e + i) % block);
                bool masked = counts ? u * places < (double)left : u >= masked_from;
                left -= masked;
                x_t[i] = dense    ? dense_corrupt(args, s, x_0[i], bits + 2 * i)
                         : masked ? args->classes
                         : counts || u < keep
                             ? x_0[i]
                             : base_draw(args->base, args->classes, bits[2 * i + 1]);
            }
        }
    }
}

static void softmax(const float *logits, int classes, double *p, double *log_sum) {
    float most = logits[0];
    for (int k = 1; k < classes; ++k) most = logits[k] > most ? logits[k] : most;
    for (int k = 0; k < classes; ++k) p[k] = exp_f64((double)logits[k] - (double)most);
    double sum = f64_sum(p, classes), inverse = 1.0 / sum;
    for (int k = 0; k < classes; ++k) p[k] *= inverse;
    *log_sum = (double)most + log_f64(sum);
}

// u(c) = q(x_t|x_{t-1} = c) = a_t [c = x_t] + (1-a_t) base(x_t); v = A x_0 + (1-A) base and
// w = A p + (1-A) base with A = A_{t-1}:
//   q = theta(x_t, x_0) = u v / Zq, theta(x_t, p) = u w / Zp
typedef struct {
    double keep, a;                                                                // A, a_t
    double rest[CATEGORICAL_CLASSES_MOST];                                         // (1-a_t) base
    double v_rest[CATEGORICAL_CLASSES_MOST], log_v_rest[CATEGORICAL_CLASSES_MOST]; // (1-A) base
    const CategoricalLevel *level;
    const double *dense; // the kernels of the sample
    int classes;
    int32_t form;
} TokenKernel;

static void kernel_fill(TokenKernel *k, const Categorical *args, int64_t s) {
    const CategoricalLevel *level = &args->level[s];
    const double *base = args->base;
    int classes = args->classes;
    bool mixture = level->form == CATEGORICAL_MIXTURE;
    double u = mixture ? level->step_spread : 1.0 - level->step_keep;
    double v = mixture ? level->spread_before : 1.0 - level->keep_before;
    k->level = level;
    k->keep = level->keep_before;
    k->a = level->step_keep;
    k->classes = classes;
    k->form = level->form;
    if (k->form == CATEGORICAL_DENSE) {
        k->dense = base + 3 * s * classes * classes;
        return;
    }
    for (int c = 0; c < classes; ++c) {
        k->rest[c] = base == NULL ? u / classes : u * base[c];
        k->v_rest[c] = base == NULL ? v / classes : v * base[c];
        if (c > 0 && k->v_rest[c] == k->v_rest[c - 1])
            k->log_v_rest[c] = k->log_v_rest[c - 1];
        else // where it is 0 it meets q = 0 only
            k->log_v_rest[c] = k->v_rest[c] > 0.0 ? log_f64(k->v_rest[c]) : 0.0;
    }
}

// q = theta(x_t, x_0) and the sum Zq that it was divided by.
static double posterior(const TokenKernel *k, int x_0, int x_t, double *q) {
    double u = k->rest[x_t], here = k->a + u, v_here = k->keep + k->v_rest[x_0];
    double z = u + k->a * (x_t == x_0 ? v_here : k->v_rest[x_t]), inverse = 1.0 / z;
    for (int c = 0; c < k->classes; ++c) q[c] = u * k->v_rest[c] * inverse;
    q[x_t] = here * k->v_rest[x_t] * inverse;
    q[x_0] = (x_t == x_0 ? here : u) * v_here * inverse;
    return z;
}

// KL of one token in the plug-in form, and weight times its gradient:
//   KL = sum q (log v - log w) + log Zp - log Zq
//   dKL/dlogit = r (theta - q) - p sum r (theta - q),   r = A p / w
static double plug_in_loss(const TokenKernel *k, const float *logits, int x_0, int x_t,
                           double weight, float *dlogits) {
    double p[CATEGORICAL_CLASSES_MOST], log_w[CATEGORICAL_CLASSES_MOST];
    double q[CATEGORICAL_CLASSES_MOST], part[CATEGORICAL_CLASSES_MOST], log_sum;
    softmax(logits, k->classes, p, &log_sum);
    for (int c = 0; c < k->classes; ++c)
        log_w[c] = k->v_rest[c] == 0.0 ? (double)logits[c] - log_sum // p may have underflown
                                       : log_f64(fma(k->keep, p[c], k->v_rest[c]));
    double z_q = posterior(k, x_0, x_t, q), u = k->rest[x_t];
    double z_p = u + k->a * fma(k->keep, p[x_t], k->v_rest[x_t]);
    for (int c = 0; c < k->classes; ++c) part[c] = q[c] * (k->log_v_rest[c] - log_w[c]);
    part[x_0] = q[x_0] * (log_f64(k->keep + k->v_rest[x_0]) - log_w[x_0]);
    double kl = f64_sum(part, k->classes) + log_f64(z_p) - log_f64(z_q);
    if (dlogits == NULL) return kl;

    double inverse_p = 1.0 / z_p;
    for (int c = 0; c < k->classes; ++c) {
        double w = fma(k->keep, p[c], k->v_rest[c]);
        double r = k->keep * p[c] / w; // exp_f64 never gives 0, so w is not 0 either
        part[c] = r * ((c == x_t ? k->a + u : u) * w * inverse_p - q[c]);
    }
    double sum = f64_sum(part, k->classes);
    for (int c = 0; c < k->classes; ++c) dlogits[c] = (float)(weight * fma(-p[c], sum, part[c]));
    return kl;
}

// KL(q || p), and weight times its gradient p - q.
static double direct_loss(const TokenKernel *k, const float *logits, int x_0, int x_t,
                          double weight, float *dlogits) {
    double p[CATEGORICAL_CLASSES_MOST], q[CATEGORICAL_CLASSES_MOST];
    double part[CATEGORICAL_CLASSES_MOST], log_sum;
    softmax(logits, k->classes, p, &log_sum);
    (void)posterior(k, x_0, x_t, q);
    for (int c = 0; c < k->classes; ++c)
        part[c] = q[c] > 0.0 ? q[c] * (log_f64(q[c]) - ((double)logits[c] - log_sum)) : 0.0;
    for (int c = 0; c < k->classes && dlogits != NULL; ++c)
        dlogits[c] = (float)(weight * (p[c] - q[c]));
    return f64_sum(part, k->classes);
}

// - log p(x_0), and weight times its gradient p - x_0.
static double guess_loss(const float *logits, int classes, int x_0, double weight, float *dlogits) {
    double p[CATEGORICAL_CLASSES_MOST], log_sum;
    softmax(logits, classes, p, &log_sum);
    for (int c = 0; c < classes && dlogits != NULL; ++c)
        dlogits[c] = (float)(weight * (p[c] - (c == x_0 ? 1.0 : 0.0)));
    return log_sum - (double)logits[x_0];
}

// Score entropy, and weight times its gradient s - r.
static double score_loss(const TokenKernel *k, const float *logits, int x_0, int x_t, double weight,
                         float *dlogits) {
    double part[CATEGORICAL_CLASSES_MOST], inverse = 1.0 / k->classes;
    double rest = (1.0 - k->level->keep) * inverse, here = k->level->keep + rest;
    bool masked = x_t == k->classes;
    for (int c = 0; c < k->classes; ++c) {
        double r = masked       ? (c == x_0 ? (double)k->classes : 0.0)
                   : x_t == x_0 ? rest / here
                   : c == x_0   ? here / rest
                                : 1.0;
        double score = exp_f64((double)logits[c]), entropy = r > 0.0 ? r * (log_f64(r) - 1.0) : 0.0;
        bool counts = c != x_t;
        part[c] = counts ? score - (r > 0.0 ? r * (double)logits[c] : 0.0) + entropy : 0.0;
        if (dlogits != NULL) dlogits[c] = (float)(counts ? weight * inverse * (score - r) : 0.0);
    }
    return f64_sum(part, k->classes) * inverse;
}

// ---- the mixture form -------------------------------------------------------------------------

// u = q(x_t|x_{t-1} = k), z = q(x_t|x_0 = k) of a class k that x_t is not, and of x_t.
typedef struct {
    double u, u_here, z, z_here;
} Reach;

static Reach reach_of(const TokenKernel *k, int x_t) {
    const CategoricalLevel *level = k->level;
    if (x_t == k->classes)
        return (Reach){level->step_mask, level->step_mask, level->mask, level->mask};
    double u = k->rest[x_t], z = fma(k->a, k->v_rest[x_t], u * (1.0 - level->mask_before));
    return (Reach){u, k->a + u, z, fma(k->a, k->keep, z)};
}

// r = p/z, w = A r + (U base) sum of r: the mixture gives u w to a class, and C to the mask, times
// the sum, which is returned. z = 0 for all but x_t: it is x_0.
static double mix(const TokenKernel *k, const Reach *reach, int x_t, const double *p, double *r,
                  double *w) {
    for (int c = 0; c < k->classes; ++c) r[c] = reach->z > 0.0 ? p[c] / reach->z : 0.0;
    if (x_t < k->classes) r[x_t] = (reach->z > 0.0 ? p[x_t] : 1.0) / reach->z_here;
    double sum = f64_sum(r, k->classes);
    for (int c = 0; c < k->classes; ++c) w[c] = fma(k->keep, r[c], k->v_rest[c] * sum);
    return sum;
}

// KL of one token, and p dKL/dp: q = u v / z(x_0), KL = sum q (log v - log w - log z(x_0)),
//   p_j dKL/dp_j = - q_j A r_j / w_j - r_j sum q (U base) / w
static double mixture_kl(const TokenKernel *k, const double *p, const float *log_p, double log_sum,
                         int x_0, int x_t, double *slope) {
    double r[CATEGORICAL_CLASSES_MOST], w[CATEGORICAL_CLASSES_MOST];
    double part[CATEGORICAL_CLASSES_MOST], shared[CATEGORICAL_CLASSES_MOST];
    Reach reach = reach_of(k, x_t);
    (void)mix(k, &reach, x_t, p, r, w);
    double z_0 = x_0 == x_t ? reach.z_here : reach.z, log_z_0 = log_f64(z_0);
    for (int c = 0; c < k->classes; ++c) {
        double q = (c == x_t ? reach.u_here : reach.u) / z_0 * k->v_rest[c],
               log_v = k->log_v_rest[c];
        if (c == x_0) {
            q += (c == x_t ? reach.u_here : reach.u) / z_0 * k->keep;
            log_v = log_f64(k->keep + k->v_rest[c]);
        }
        bool alone = k->v_rest[c] == 0.0; // w is A r, which may have underflown
        double log_w = alone ? 0.0 : log_f64(w[c]);
        if (alone && c == x_0) log_w = log_f64(k->keep) + ((double)log_p[c] - log_sum) - log_z_0;
        part[c] = q > 0.0 ? q * (log_v - log_w - log_z_0) : 0.0;
        shared[c] = alone ? 0.0 : q * k->v_rest[c] / w[c];
        slope[c] = alone ? -q : -q * k->keep * r[c] / w[c];
    }
    double sum = f64_sum(shared, k->classes);
    for (int c = 0; c < k->classes; ++c) slope[c] -= r[c] * sum;
    return f64_sum(part, k->classes);
}

// Of any kernels: w = p before, theta(x_t, p) = u w / Z with the column u of the step to x_t, and q
// the same of x_0. KL = sum q (log v - log w) + log Z - log Zq; and p dKL/dp.
static void dense_mean(const TokenKernel *k, const double *p, double *w) {
    int n = k->classes;
    const double *before = k->dense + n * n;
    for (int c = 0; c < n; ++c) w[c] = 0.0;
    for (int j = 0; j < n; ++j)
        for (int c = 0; c < n; ++c) w[c] = fma(p[j], before[j * n + c], w[c]);
}

static double dense_kl(const TokenKernel *k, const double *p, double cross, int x_0, int x_t,
                       double *slope) {
    double w[CATEGORICAL_CLASSES_MOST], part[CATEGORICAL_CLASSES_MOST];
    double by_w[CATEGORICAL_CLASSES_MOST], z = 1e-290, z_0 = 1e-290; // never 0
    int n = k->classes;
    const double *step = k->dense, *before = step + n * n, *v = before + x_0 * n;
    if (k->level->to == 0) {
        slope[x_0] = -1.0;
        return cross;
    }
    dense_mean(k, p, w);
    for (int c = 0; c < n; ++c) {
        z += step[c * n + x_t] * w[c];
        z_0 += step[c * n + x_t] * v[c];
    }
    for (int c = 0; c < n; ++c) {
        double u = step[c * n + x_t], q = u * v[c] / z_0;
        part[c] = q > 0.0 ? q * (log_f64(v[c]) - log_f64(w[c])) : 0.0;
        by_w[c] = u / z - (q > 0.0 ? q / w[c] : 0.0);
    }
    for (int j = 0; j < n; ++j) {
        double sum = 0.0;
        for (int c = 0; c < n; ++c) sum = fma(before[j * n + c], by_w[c], sum);
        slope[j] = p[j] * sum;
    }
    return f64_sum(part, n) + log_f64(z) - log_f64(z_0);
}

// Also aux times - log p(x_0) into extra; the gradient is that of both.
static double mixture_loss(const TokenKernel *k, const float *logits, int x_0, int x_t,
                           double weight, double *extra, float *dlogits) {
    double p[CATEGORICAL_CLASSES_MOST], slope[CATEGORICAL_CLASSES_MOST] = {0}, log_sum, kl = 0.0;
    softmax(logits, k->classes, p, &log_sum);
    double cross = log_sum - (double)logits[x_0];
    *extra = k->level->aux * cross;
    if (k->form == CATEGORICAL_DENSE)
        kl = dense_kl(k, p, cross, x_0, x_t, slope);
    else if (reach_of(k, x_t).z > 0.0)
        kl = mixture_kl(k, p, logits, log_sum, x_0, x_t, slope);
    if (dlogits == NULL) return kl;
    double sum = f64_sum(slope, k->classes) - k->level->aux;
    slope[x_0] -= k->level->aux;
    for (int c = 0; c < k->classes; ++c) dlogits[c] = (float)(weight * fma(-p[c], sum, slope[c]));
    return kl;
}

// What a token adds to the error; to the loss it adds that and `extra`.
static double token_loss(const TokenKernel *k, const float *logits, int x_0, int x_t, double weight,
                         double *extra, float *dlogits) {
    bool visible = k->level->mask > 0.0 && x_t != k->classes;
    if (k->form == CATEGORICAL_MIXTURE || k->form == CATEGORICAL_DENSE)
        return mixture_loss(k, logits, x_0, x_t, weight, extra, dlogits);
    if (k->form == CATEGORICAL_PLUG_IN) return plug_in_loss(k, logits, x_0, x_t, weight, dlogits);
    if (k->form == CATEGORICAL_DIRECT) return direct_loss(k, logits, x_0, x_t, weight, dlogits);
    if (k->form == CATEGORICAL_SCORE && !visible)
        return score_loss(k, logits, x_0, x_t, weight, dlogits);
    if (k->form == CATEGORICAL_GUESS) {
        double told = k->level->aux + (visible ? 0.0 : 1.0);
        double cross = guess_loss(logits, k->classes, x_0, weight * told, dlogits);
        double error = visible ? 0.0 : cross;
        if (x_t < k->classes && !visible)
            error = (x_t == x_0 ? 1.0 : cross) -
                    exp_f64((double)logits[x_t] - (double)logits[x_0] - cross);
        *extra = told * cross - error;
        return error;
    }
    for (int c = 0; c < k->classes && dlogits != NULL; ++c) dlogits[c] = 0.0f;
    return 0.0;
}

void CPU_KERNEL(categorical_loss)(Stream *stream, const Categorical *args) {
    (void)stream;
    int64_t row = args->classes;
    for (int64_t s = 0; s < args->samples; ++s) {
        const CategoricalLevel *level = &args->level[s];
        TokenKernel kernel;
        kernel_fill(&kernel, args, s);
        double sum = 0.0, extras = 0.0;
        for (int64_t e = s * args->item; e < (s + 1) * args->item; ++e) {
            float *dlogits = args->dlogits == NULL ? NULL : args->dlogits + e * row;
            double extra = 0.0;
            sum += token_loss(&kernel, args->logits + e * row, args->x_0[e], args->x_t[e],
                              level->weight, &extra, dlogits);
            extras += extra;
        }
        double before = args->accumulate ? (double)args->loss[s] : 0.0;
        if (args->loss != NULL) args->loss[s] = (float)(before + level->weight * (sum + extras));
        if (args->error != NULL) args->error[s] = sum;
    }
}

void CPU_KERNEL(class_loss)(Stream *stream, const ClassLoss *args) {
    (void)stream;
    int64_t places = args->places, item = args->classes * places;
    for (int64_t s = 0; s < args->samples; ++s) {
        float logits[CATEGORICAL_CLASSES_MOST], slope[CATEGORICAL_CLASSES_MOST];
        int best = 0;
        for (int c = 0; c < args->classes; ++c) {
            double sum = 0.0;
            for (int64_t i = 0; i < places; ++i) sum += args->out[s * item + c * places + i];
            logits[c] = (float)(sum / (double)places);
            best = logits[c] > logits[best] ? c : best;
        }
        int label = args->label[s];
        args->loss[s] =
            (float)guess_loss(logits, args->classes, label, 1.0 / (double)places, slope);
        args->wrong[s] = best != label;
        for (int64_t i = 0; i < item && args->dout != NULL; ++i)
            args->dout[s * item + i] = slope[i / places];
    }
}

// ---- draws ------------------------------------------------------------------------------------

static int likeliest(const double *p, int classes) {
    int best = 0;
    for (int c = 1; c < classes; ++c) best = p[c] > p[best] ? c : best;
    return best;
}

// Leaves the likeliest classes of p, the fewest that have the share.
static void truncate_to(double *p, int classes, double share) {
    if (!(share > 0.0 && share < 1.0)) return;
    double kept[CATEGORICAL_CLASSES_MOST] = {0}, running = 0.0;
    for (int n = 0; n < classes && running < share; ++n) {
        int best = likeliest(p, classes);
        running += kept[best] = p[best];
        p[best] = -1.0;
    }
    for (int c = 0; c < classes; ++c) p[c] = kept[c];
}

static double uniform_of(RngKey key, uint64_t sample, int64_t e) {
    uint32_t bits[4];
    rng_block(key, sample, (uint32_t)(e / 2), bits);
    return rng_uniform_f64(bits[2 * (e % 2)], bits[2 * (e % 2) + 1]);
}

// A draw from p for a token that does not stay; masks alone are drawn for where there are some.
static int32_t guess_draw(const TokenKernel *k, double *p, int x_t, double uniform) {
    if (k->level->mask > 0.0 && x_t != k->classes) return x_t;
    for (int c = 0; c < k->classes; ++c) p[c] *= 1.0 - k->level->stay;
    p[k->classes] = 0.0;
    p[x_t] += k->level->stay;
    return invert(p, k->classes + 1, uniform);
}

// The scores of x_t, brought back to the earlier time, times the way from there to x_t.
static int32_t score_draw(const TokenKernel *k, const float *logits, int x_t, double uniform) {
    double p[CATEGORICAL_CLASSES_MOST];
    for (int c = 0; c < k->classes; ++c) p[c] = c == x_t ? 1.0 : exp_f64((double)logits[c]);
    double mixed = (1.0 - k->a) * f64_sum(p, k->classes) / k->classes;
    for (int c = 0; c < k->classes; ++c) {
        double before = p[c] > mixed ? p[c] - mixed : 0.0;
        p[c] = before * ((c == x_t ? k->a : 0.0) + k->rest[x_t]);
    }
    return invert(p, k->classes, uniform);
}

static int32_t token_draw(const TokenKernel *k, const float *logits, int x_t, double truncation,
                          double uniform) {
    double p[CATEGORICAL_CLASSES_MOST + 1], log_sum;
    bool scores = k->form == CATEGORICAL_SCORE && k->level->mask == 0.0;
    if (scores) return score_draw(k, logits, x_t, uniform);
    if (k->form != CATEGORICAL_NOTHING) {
        softmax(logits, k->classes, p, &log_sum);
        truncate_to(p, k->classes, truncation);
    }
    if (k->form == CATEGORICAL_GUESS || k->form == CATEGORICAL_SCORE)
        return guess_draw(k, p, x_t, uniform);
    if (k->form == CATEGORICAL_MIXTURE) {
        double r[CATEGORICAL_CLASSES_MOST], w[CATEGORICAL_CLASSES_MOST];
        Reach reach = reach_of(k, x_t);
        if (reach.z_here == 0.0) return x_t; // not by this noise: it was given
        double sum = mix(k, &reach, x_t, p, r, w);
        for (int c = 0; c < k->classes; ++c) p[c] = (c == x_t ? reach.u_here : reach.u) * w[c];
        p[k->classes] = x_t == k->classes ? k->level->mask_before * sum : 0.0;
        return invert(p, k->classes + 1, uniform);
    }
    if (k->form == CATEGORICAL_DENSE && k->level->to > 0) {
        double w[CATEGORICAL_CLASSES_MOST];
        dense_mean(k, p, w);
        for (int c = 0; c < k->classes; ++c) p[c] = k->dense[c * k->classes + x_t] * w[c];
    }
    for (int c = 0; c < k->classes; ++c) {
        double here = c == x_t ? k->a : 0.0;
        if (k->form == CATEGORICAL_NOTHING) p[c] = here + k->rest[c];
        if (k->form == CATEGORICAL_PLUG_IN)
            p[c] = (here + k->rest[x_t]) * fma(k->keep, p[c], k->v_rest[c]);
    }
    return invert(p, k->classes, uniform);
}

void CPU_KERNEL(categorical_advance)(Stream *stream, const Categorical *args) {
    (void)stream;
    for (int64_t s = 0; s < args->samples; ++s) {
        TokenKernel kernel;
        kernel_fill(&kernel, args, s);
        for (int64_t e = args->begin; e < args->end; ++e) {
            int64_t at = s * args->item + e;
            args->x_t[at] = token_draw(&kernel, args->logits + at * args->classes, args->x_t[at],
                                       args->truncation, uniform_of(args->key, args->sample[s], e));
        }
    }
}

void CPU_KERNEL(categorical_prior)(Stream *stream, const Categorical *args) {
    (void)stream;
    uint32_t bits[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int32_t *x = args->x_t + s * args->item + e;
            int64_t n = chunk_size(args->item, e);
            noise_bits(args->key, args->sample[s], e / 4, bits);
            for (int64_t i = 0; i < n; ++i) x[i] = base_draw(args->base, args->classes, bits[i]);
        }
}

// ---- guesses ----------------------------------------------------------------------------------

// p of the logits divided by the temperature.
static void warm_softmax(const Categorical *args, const float *logits, double *p) {
    float warm[CATEGORICAL_CLASSES_MOST];
    double log_sum;
    for (int c = 0; c < args->classes; ++c)
        warm[c] = (float)((double)logits[c] / args->temperature);
    softmax(warm, args->classes, p, &log_sum);
}

static void refresh_fraction(const Categorical *args, int64_t s) {
    double p[CATEGORICAL_CLASSES_MOST];
    bool changed = args->key.step < 10;
    if (args->key.step == 0) args->memory[s] = 0.0f;
    for (int64_t e = 0; e < args->item && args->memory[s] == 0.0f; ++e) {
        int64_t at = s * args->item + e;
        uint32_t bits[4];
        rng_block(args->key, args->sample[s], (uint32_t)e, bits);
        if (!(((double)bits[2] + 0.5) * 0x1p-32 < args->share)) continue;
        warm_softmax(args, args->logits + at * args->classes, p);
        int32_t next = invert(p, args->classes, rng_uniform_f64(bits[0], bits[1]));
        changed |= next != args->x_t[at];
        args->x_t[at] = next;
    }
    if (!changed) args->memory[s] = 1.0f;
}

// How many tokens of the sample are more certain than token e; of equals the first.
static int64_t certainty_rank(const float *memory, int64_t item, int64_t e) {
    int64_t rank = 0;
    for (int64_t i = 0; i < item; ++i)
        rank += memory[i] > memory[e] || (memory[i] == memory[e] && i < e);
    return rank;
}

void CPU_KERNEL(categorical_refresh)(Stream *stream, const Categorical *args) {
    (void)stream;
    double certain = args->share * (double)args->item;
    for (int64_t s = 0; s < args->samples; ++s) {
        if (args->kind == REFRESH_FRACTION) refresh_fraction(args, s);
        for (int64_t e = 0; e < args->item && args->kind != REFRESH_FRACTION; ++e) {
            int64_t at = s * args->item + e;
            double p[CATEGORICAL_CLASSES_MOST], log_sum;
            softmax(args->logits + at * args->classes, args->classes, p, &log_sum);
            int best = likeliest(p, args->classes);
            if (args->kind == REFRESH_ARGMAX)
                args->x_t[at] = best, args->memory[at] = (float)p[best];
            else if ((double)certainty_rank(args->memory + s * args->item, args->item, e) >=
                     certain)
                args->x_t[at] = best;
        }
    }
}

// The class of a masked token; of REVEAL_DRAWN from the p that its score, relative to the highest,
// sharpens.
static int32_t reveal_draw(const Categorical *args, const float *logits, double highest,
                           double uniform) {
    double p[CATEGORICAL_CLASSES_MOST], log_sum;
    if (args->kind == REVEAL_SUREST) {
        warm_softmax(args, logits, p);
        truncate_to(p, args->classes, args->truncation);
        return invert(p, args->classes, uniform);
    }
    softmax(logits, args->classes, p, &log_sum);
    double power = 1.0 + args->purity * p[likeliest(p, args->classes)] / highest;
    truncate_to(p, args->classes, args->truncation);
    for (int c = 0; c < args->classes; ++c)
        p[c] = p[c] > 0.0 ? exp_f64(power * ((double)logits[c] - log_sum)) : 0.0;
    return invert(p, args->classes, uniform);
}

// The lower, the sooner it is revealed. Drawn: whoever's exponential clock of rate `score` rings
// first, which is a draw without replacement.
static double reveal_time(const Categorical *args, int64_t s, int64_t e, double *score) {
    double p[CATEGORICAL_CLASSES_MOST], log_sum;
    const float *logits = args->logits + (s * args->item + e) * args->classes;
    softmax(logits, args->classes, p, &log_sum);
    *score = p[likeliest(p, args->classes)];
    if (args->kind == REVEAL_SUREST)
        return -p[reveal_draw(args, logits, 1.0, uniform_of(args->key, args->sample[s], e))];
    uint32_t bits[4];
    rng_block(args->key, args->sample[s], (uint32_t)(args->item + e), bits);
    return *score > 0.0 ? -log_f64(rng_uniform_f64(bits[0], bits[1])) / *score : 0.0; // not NaN
}

static void sample_reveal(const Categorical *args, int64_t s) {
    double *race = args->race + s * args->item, highest = 0.0, score;
    int32_t *x = args->x_t + s * args->item;
    int64_t masked = 0, block = args->block > 0 ? args->block : args->item;
    for (int64_t e = 0; e < args->item; ++e) {
        race[e] = INFINITY;
        if (e < args->begin || e >= args->end || x[e] != args->classes) continue;
        race[e] = reveal_time(args, s, e, &score);
        highest = score > highest ? score : highest;
        ++masked;
    }
    for (int64_t left = (masked + args->steps - 1) / args->steps; left > 0; --left) {
        int64_t next = 0;
        for (int64_t e = 1; e < args->item; ++e)
            if (race[next] == INFINITY || (race[e] < race[next] && e / block == next / block))
                next = e;
        race[next] = INFINITY;
        const float *logits = args->logits + (s * args->item + next) * args->classes;
        x[next] = reveal_draw(args, logits, highest, uniform_of(args->key, args->sample[s], next));
    }
}

void CPU_KERNEL(categorical_reveal)(Stream *stream, const Categorical *args) {
    (void)stream;
    for (int64_t s = 0; s < args->samples; ++s) sample_reveal(args, s);
}
