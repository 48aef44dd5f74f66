// Kernels of categorical diffusion, in float64 inside.
#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/f64.h"
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

void CPU_KERNEL(categorical_corrupt)(Stream *stream, const CategoricalCorrupt *args) {
    (void)stream;
    enum { TOKENS = NOISE_CHUNK / 2 };
    uint32_t bits[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s) {
        double keep = args->level[s].keep;
        for (int64_t e = 0; e < args->item; e += TOKENS) {
            const int32_t *x_0 = args->x_0 + s * args->item + e;
            int32_t *x_t = args->x_t + s * args->item + e;
            int64_t n = args->item - e < TOKENS ? args->item - e : TOKENS;
            noise_bits(args->key, args->sample[s], e / 2, bits);
            for (int64_t i = 0; i < n; ++i) {
                bool stays = ((double)bits[2 * i] + 0.5) * 0x1p-32 < keep;
                x_t[i] = stays ? x_0[i] : base_draw(args->base, args->classes, bits[2 * i + 1]);
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
    int classes;
    int32_t form;
} TokenKernel;

static void kernel_fill(TokenKernel *k, const CategoricalLevel *level, const double *base,
                        int classes) {
    double u = 1.0 - level->step_keep, v = 1.0 - level->keep_before;
    k->keep = level->keep_before;
    k->a = level->step_keep;
    k->classes = classes;
    k->form = level->form;
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
static double guess_loss(const TokenKernel *k, const float *logits, int x_0, double weight,
                         float *dlogits) {
    double p[CATEGORICAL_CLASSES_MOST], log_sum;
    softmax(logits, k->classes, p, &log_sum);
    for (int c = 0; c < k->classes && dlogits != NULL; ++c)
        dlogits[c] = (float)(weight * (p[c] - (c == x_0 ? 1.0 : 0.0)));
    return log_sum - (double)logits[x_0];
}

static double token_loss(const TokenKernel *k, const float *logits, int x_0, int x_t, double weight,
                         float *dlogits) {
    if (k->form == CATEGORICAL_PLUG_IN) return plug_in_loss(k, logits, x_0, x_t, weight, dlogits);
    if (k->form == CATEGORICAL_DIRECT) return direct_loss(k, logits, x_0, x_t, weight, dlogits);
    if (k->form == CATEGORICAL_GUESS) return guess_loss(k, logits, x_0, weight, dlogits);
    for (int c = 0; c < k->classes && dlogits != NULL; ++c) dlogits[c] = 0.0f;
    return 0.0;
}

void CPU_KERNEL(categorical_loss)(Stream *stream, const CategoricalLoss *args) {
    (void)stream;
    int64_t row = args->classes;
    for (int64_t s = 0; s < args->samples; ++s) {
        const CategoricalLevel *level = &args->level[s];
        TokenKernel kernel;
        kernel_fill(&kernel, level, args->base, args->classes);
        double sum = 0.0;
        for (int64_t e = s * args->item; e < (s + 1) * args->item; ++e) {
            float *dlogits = args->dlogits == NULL ? NULL : args->dlogits + e * row;
            sum += token_loss(&kernel, args->logits + e * row, args->x_0[e], args->x_t[e],
                              level->weight, dlogits);
        }
        double before = args->accumulate ? (double)args->loss[s] : 0.0;
        if (args->loss != NULL) args->loss[s] = (float)(before + level->weight * sum);
        if (args->error != NULL) args->error[s] = sum;
    }
}

// The class at which the running sum of what a token becomes passes `uniform` of its total.
static int32_t token_draw(const TokenKernel *k, const float *logits, int x_t, double uniform) {
    double p[CATEGORICAL_CLASSES_MOST], log_sum, running = 0.0;
    if (k->form != CATEGORICAL_NOTHING) softmax(logits, k->classes, p, &log_sum);
    for (int c = 0; c < k->classes; ++c) {
        double here = c == x_t ? k->a : 0.0;
        if (k->form == CATEGORICAL_NOTHING) p[c] = here + k->rest[c];
        if (k->form == CATEGORICAL_PLUG_IN)
            p[c] = (here + k->rest[x_t]) * fma(k->keep, p[c], k->v_rest[c]);
    }
    double goal = uniform * f64_sum(p, k->classes);
    int32_t last = 0;
    for (int c = 0; c < k->classes; ++c) {
        running += p[c];
        if (p[c] > 0.0) last = c; // rounding may leave the goal just above the whole sum
        if (running > goal) break;
    }
    return last;
}

void CPU_KERNEL(categorical_advance)(Stream *stream, const CategoricalAdvance *args) {
    (void)stream;
    TokenKernel kernel;
    kernel_fill(&kernel, &args->level, args->base, args->classes);
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; ++e) {
            uint32_t bits[4];
            rng_block(args->key, args->sample[s], (uint32_t)(e / 2), bits);
            double uniform = rng_uniform_f64(bits[2 * (e % 2)], bits[2 * (e % 2) + 1]);
            int64_t at = s * args->item + e;
            args->next[at] =
                token_draw(&kernel, args->logits + at * args->classes, args->x_t[at], uniform);
        }
}

void CPU_KERNEL(categorical_prior)(Stream *stream, const CategoricalPrior *args) {
    (void)stream;
    uint32_t bits[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int32_t *x = args->x + s * args->item + e;
            int64_t n = chunk_size(args->item, e);
            noise_bits(args->key, args->sample[s], e / 4, bits);
            for (int64_t i = 0; i < n; ++i) x[i] = base_draw(args->base, args->classes, bits[i]);
        }
}

// ---- guesses ----------------------------------------------------------------------------------

// The likeliest class, and its probability.
static int32_t token_best(const float *logits, int classes, float *probability) {
    double p[CATEGORICAL_CLASSES_MOST], log_sum;
    int32_t best = 0;
    softmax(logits, classes, p, &log_sum);
    for (int32_t c = 1; c < classes; ++c)
        if (p[c] > p[best]) best = c;
    *probability = (float)p[best];
    return best;
}

static void refresh_fraction(const CategoricalRefresh *args, int64_t s) {
    float warm[CATEGORICAL_CLASSES_MOST];
    TokenKernel kernel = {.classes = args->classes, .form = CATEGORICAL_GUESS};
    bool changed = args->key.step < 10;
    if (args->key.step == 0) args->memory[s] = 0.0f;
    for (int64_t e = 0; e < args->item && args->memory[s] == 0.0f; ++e) {
        int64_t at = s * args->item + e;
        uint32_t bits[4];
        rng_block(args->key, args->sample[s], (uint32_t)e, bits);
        if (!(((double)bits[2] + 0.5) * 0x1p-32 < args->share)) continue;
        for (int c = 0; c < args->classes; ++c)
            warm[c] = (float)((double)args->logits[at * args->classes + c] / args->temperature);
        int32_t next = token_draw(&kernel, warm, 0, rng_uniform_f64(bits[0], bits[1]));
        changed |= next != args->x[at];
        args->x[at] = next;
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

void CPU_KERNEL(categorical_refresh)(Stream *stream, const CategoricalRefresh *args) {
    (void)stream;
    double certain = args->share * (double)args->item;
    for (int64_t s = 0; s < args->samples; ++s) {
        if (args->kind == REFRESH_FRACTION) refresh_fraction(args, s);
        for (int64_t e = 0; e < args->item && args->kind != REFRESH_FRACTION; ++e) {
            int64_t at = s * args->item + e;
            float probability;
            int32_t best =
                token_best(args->logits + at * args->classes, args->classes, &probability);
            if (args->kind == REFRESH_ARGMAX)
                args->x[at] = best, args->memory[at] = probability;
            else if ((double)certainty_rank(args->memory + s * args->item, args->item, e) >=
                     certain)
                args->x[at] = best;
        }
    }
}
