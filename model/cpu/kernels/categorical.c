// Kernels of categorical diffusion with the uniform kernel, in float64 inside.
#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/f64.h"
#include "model/cpu/kernels/noise.h"

void CPU_KERNEL(categorical_corrupt)(Stream *stream, const CategoricalCorrupt *args) {
    (void)stream;
    enum { TOKENS = NOISE_CHUNK / 2 };
    uint32_t bits[NOISE_CHUNK], classes = (uint32_t)args->classes;
    for (int64_t s = 0; s < args->samples; ++s) {
        double keep = args->level[s].keep;
        for (int64_t e = 0; e < args->item; e += TOKENS) {
            const int32_t *x_0 = args->x_0 + s * args->item + e;
            int32_t *x_t = args->x_t + s * args->item + e;
            int64_t n = args->item - e < TOKENS ? args->item - e : TOKENS;
            noise_bits(args->key, args->sample[s], e / 2, bits);
            for (int64_t i = 0; i < n; ++i) {
                bool stays = ((double)bits[2 * i] + 0.5) * 0x1p-32 < keep;
                x_t[i] = stays ? x_0[i] : (int32_t)rng_below(bits[2 * i + 1], classes);
            }
        }
    }
}

// One token's softmax and its mixture with the uniform distribution.
typedef struct {
    double p[CATEGORICAL_CLASSES_MOST];   // softmax
    double log[CATEGORICAL_CLASSES_MOST]; // of the mixture keep_before p + (1 - keep_before)/K
} TokenRow;

static void softmax(const float *logits, int classes, double *p, double *log_sum) {
    float most = logits[0];
    for (int k = 1; k < classes; ++k) most = logits[k] > most ? logits[k] : most;
    for (int k = 0; k < classes; ++k) p[k] = exp_f64((double)logits[k] - (double)most);
    double sum = f64_sum(p, classes), inverse = 1.0 / sum;
    for (int k = 0; k < classes; ++k) p[k] *= inverse;
    *log_sum = (double)most + log_f64(sum);
}

static void row_fill(TokenRow *row, const float *logits, int classes, double keep, double rest) {
    double log_sum;
    softmax(logits, classes, row->p, &log_sum);
    if (rest == 0.0) // the logarithm of a softmax that may have underflown
        for (int k = 0; k < classes; ++k) row->log[k] = (double)logits[k] - log_sum;
    else
        for (int k = 0; k < classes; ++k) row->log[k] = log_f64(fma(keep, row->p[k], rest));
}

// With u = a_t x_t + (1-a_t)/K, v = A x_0 + (1-A)/K, w = A p + (1-A)/K and A = A_{t-1}:
//   q = u v / Zq, theta = u w / Zp, KL = sum q (log v - log w) + log Zp - log Zq
//   dKL/dlogit = r (theta - q) - p sum r (theta - q),   r = A p / w
typedef struct {
    double keep, u_rest, v_rest; // A, (1-a_t)/K, (1-A)/K
    double a, v_here, log_v_here, log_v_rest;
    int classes;
} TokenKernel;

static TokenKernel kernel_of(const CategoricalLevel *level, int classes) {
    TokenKernel k = {.keep = level->keep_before, .a = level->step_keep, .classes = classes};
    k.u_rest = (1.0 - level->step_keep) / classes;
    k.v_rest = (1.0 - level->keep_before) / classes;
    k.v_here = k.keep + k.v_rest;
    k.log_v_here = log_f64(k.v_here);
    k.log_v_rest = k.v_rest > 0.0 ? log_f64(k.v_rest) : 0.0; // met with q = 0 only
    return k;
}

// KL of one token; the gradient times `weight` into dlogits unless NULL.
static double token_loss(const TokenKernel *k, const float *logits, int x_0, int x_t, double weight,
                         float *dlogits) {
    TokenRow row;
    double q[CATEGORICAL_CLASSES_MOST], part[CATEGORICAL_CLASSES_MOST];
    row_fill(&row, logits, k->classes, k->keep, k->v_rest);
    double z_q = k->u_rest + k->a * (x_t == x_0 ? k->v_here : k->v_rest);
    double z_p = k->u_rest + k->a * fma(k->keep, row.p[x_t], k->v_rest);
    double inverse_q = 1.0 / z_q, inverse_p = 1.0 / z_p, here = k->a + k->u_rest;
    for (int c = 0; c < k->classes; ++c) q[c] = k->u_rest * k->v_rest * inverse_q;
    q[x_t] = here * k->v_rest * inverse_q;
    q[x_0] = (x_t == x_0 ? here : k->u_rest) * k->v_here * inverse_q;
    for (int c = 0; c < k->classes; ++c) part[c] = q[c] * (k->log_v_rest - row.log[c]);
    part[x_0] = q[x_0] * (k->log_v_here - row.log[x_0]);
    double kl = f64_sum(part, k->classes) + log_f64(z_p) - log_f64(z_q);
    if (dlogits == NULL) return kl;

    for (int c = 0; c < k->classes; ++c) {
        double w = fma(k->keep, row.p[c], k->v_rest);
        double r = k->keep * row.p[c] / w; // exp_f64 never gives 0, so w is not 0 either
        part[c] = r * ((c == x_t ? here : k->u_rest) * w * inverse_p - q[c]);
    }
    double sum = f64_sum(part, k->classes);
    for (int c = 0; c < k->classes; ++c)
        dlogits[c] = (float)(weight * fma(-row.p[c], sum, part[c]));
    return kl;
}

void CPU_KERNEL(categorical_loss)(Stream *stream, const CategoricalLoss *args) {
    (void)stream;
    int64_t row = args->classes;
    for (int64_t s = 0; s < args->samples; ++s) {
        const CategoricalLevel *level = &args->level[s];
        TokenKernel kernel = kernel_of(level, args->classes);
        double sum = 0.0;
        for (int64_t e = s * args->item; e < (s + 1) * args->item; ++e) {
            float *dlogits = args->dlogits == NULL ? NULL : args->dlogits + e * row;
            sum += token_loss(&kernel, args->logits + e * row, args->x_0[e], args->x_t[e],
                              level->weight, dlogits);
        }
        if (args->loss != NULL) args->loss[s] = (float)(level->weight * sum);
        if (args->error != NULL) args->error[s] = sum;
    }
}

// The class at which the running sum of u w passes `uniform` of its total.
static int32_t token_draw(const TokenKernel *k, const float *logits, int x_t, double uniform) {
    double p[CATEGORICAL_CLASSES_MOST], log_sum, running = 0.0;
    softmax(logits, k->classes, p, &log_sum);
    for (int c = 0; c < k->classes; ++c)
        p[c] = (c == x_t ? k->a + k->u_rest : k->u_rest) * fma(k->keep, p[c], k->v_rest);
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
    TokenKernel kernel = kernel_of(&args->level, args->classes);
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
            for (int64_t i = 0; i < n; ++i)
                x[i] = (int32_t)rng_below(bits[i], (uint32_t)args->classes);
        }
}
