// Categorical diffusion of one token, in float64: its losses. Draws are in token_draw.h.
//
// Lanes share the classes of a token: class c is of lane c % TOKEN_LANES, which alone writes what
// belongs to it. All call a function together, with the same arguments, and get the same result.
// Whoever includes this has said what lanes are: model/cpu/kernels/categorical.c has one,
// model/cuda/lanes.cuh those of a warp. They define
//   TOKEN_FN                what functions begin with
//   TOKEN_ARRAY(name)       a member of TokenRoom: an array of its own, or a pointer to one
//   TOKEN_LANE, TOKEN_LANES this lane, how many there are
//   token_sync()            what lanes have written all may read, what they have read all may write
//   token_sum(x, n)         f64_sum, after such a meeting and before another
//   token_largest(x)        the largest of the lanes' x, a float
//   token_likeliest(p, n)   after a meeting: where the largest of p is, the first of equals
#pragma once

#include "model/math/f64.h"
#include "model/ops.h"

#define EACH_CLASS(k, c) for (int c = TOKEN_LANE; c < (k)->classes; c += TOKEN_LANES)
#define TOKEN_MINE(c)    ((c) % TOKEN_LANES == TOKEN_LANE)

// u(c) = q(x_t|x_{t-1} = c) = a_t [c = x_t] + (1-a_t) base(x_t); v = A x_0 + (1-A) base and
// w = A p + (1-A) base with A = A_{t-1}:
//   q = theta(x_t, x_0) = u v / Zq, theta(x_t, p) = u w / Zp
typedef struct {
    // Of a sample: (1-a_t) base, (1-A) base and its logarithm. Then of one token.
    double TOKEN_ARRAY(rest), TOKEN_ARRAY(v_rest), TOKEN_ARRAY(log_v_rest);
    double TOKEN_ARRAY(p), TOKEN_ARRAY(q), TOKEN_ARRAY(r), TOKEN_ARRAY(w), TOKEN_ARRAY(slope);
    float TOKEN_ARRAY(warm); // may lie where r does
    double keep, a;          // A, a_t
    const CategoricalLevel *level;
    const double *dense; // the kernels of the sample
    int classes, form;
} __attribute__((aligned(64))) TokenRoom;

// What is of a sample.
TOKEN_FN void token_sample(TokenRoom *k, const Categorical *args, int64_t s) {
    const CategoricalLevel *level = k->level = &args->level[s];
    const double *base = args->base;
    bool mixture = level->form == CATEGORICAL_MIXTURE;
    double u = mixture ? level->step_spread : 1.0 - level->step_keep;
    double v = mixture ? level->spread_before : 1.0 - level->keep_before;
    k->keep = level->keep_before, k->a = level->step_keep;
    k->classes = args->classes, k->form = level->form;
    if (k->form == CATEGORICAL_DENSE) {
        k->dense = base + 3 * s * k->classes * k->classes;
        return;
    }
    EACH_CLASS(k, c) {
        k->rest[c] = base == NULL ? u / k->classes : u * base[c];
        k->v_rest[c] = base == NULL ? v / k->classes : v * base[c];
        // Where it is 0 it meets q = 0 only.
        k->log_v_rest[c] = k->v_rest[c] > 0.0 ? log_f64(k->v_rest[c]) : 0.0;
    }
}

// p; returns the logarithm of its denominator.
TOKEN_FN double token_softmax(TokenRoom *k, const float *logits) {
    float most = logits[0];
    EACH_CLASS(k, c) most = logits[c] > most ? logits[c] : most;
    most = token_largest(most);
    token_sync(); // whoever still reads the last p
    EACH_CLASS(k, c) k->p[c] = exp_f64((double)logits[c] - (double)most);
    double sum = token_sum(k->p, k->classes), inverse = 1.0 / sum;
    EACH_CLASS(k, c) k->p[c] *= inverse;
    token_sync();
    return (double)most + log_f64(sum);
}

// q = theta(x_t, x_0); returns the sum Zq that it was divided by.
TOKEN_FN double posterior(TokenRoom *k, int x_0, int x_t) {
    double u = k->rest[x_t], here = k->a + u, v_here = k->keep + k->v_rest[x_0];
    double z = u + k->a * (x_t == x_0 ? v_here : k->v_rest[x_t]), inverse = 1.0 / z;
    EACH_CLASS(k, c) k->q[c] = u * k->v_rest[c] * inverse;
    if (TOKEN_MINE(x_t)) k->q[x_t] = here * k->v_rest[x_t] * inverse;
    if (TOKEN_MINE(x_0)) k->q[x_0] = (x_t == x_0 ? here : u) * v_here * inverse;
    return z;
}

// KL of one token in the plug-in form, and weight times its gradient:
//   KL = sum q (log v - log w) + log Zp - log Zq
//   dKL/dlogit = r (theta - q) - p sum r (theta - q),   r = A p / w
TOKEN_FN double plug_in_loss(TokenRoom *k, const float *logits, int x_0, int x_t, float *dlogits) {
    double log_sum = token_softmax(k, logits);
    EACH_CLASS(k, c) {
        k->w[c] = k->v_rest[c] == 0.0 ? (double)logits[c] - log_sum // p may have underflown
                                      : log_f64(fma(k->keep, k->p[c], k->v_rest[c]));
    }
    double z_q = posterior(k, x_0, x_t), u = k->rest[x_t];
    double z_p = u + k->a * fma(k->keep, k->p[x_t], k->v_rest[x_t]);
    EACH_CLASS(k, c) k->r[c] = k->q[c] * (k->log_v_rest[c] - k->w[c]);
    if (TOKEN_MINE(x_0)) k->r[x_0] = k->q[x_0] * (log_f64(k->keep + k->v_rest[x_0]) - k->w[x_0]);
    double kl = token_sum(k->r, k->classes) + log_f64(z_p) - log_f64(z_q);
    if (dlogits == NULL) return kl;

    double inverse_p = 1.0 / z_p, weight = k->level->weight;
    EACH_CLASS(k, c) {
        double w = fma(k->keep, k->p[c], k->v_rest[c]);
        double r = k->keep * k->p[c] / w; // exp_f64 never gives 0, so w is not 0 either
        k->r[c] = r * ((c == x_t ? k->a + u : u) * w * inverse_p - k->q[c]);
    }
    double sum = token_sum(k->r, k->classes);
    EACH_CLASS(k, c) dlogits[c] = (float)(weight * fma(-k->p[c], sum, k->r[c]));
    return kl;
}

// KL(q || p), and weight times its gradient p - q.
TOKEN_FN double direct_loss(TokenRoom *k, const float *logits, int x_0, int x_t, float *dlogits) {
    double log_sum = token_softmax(k, logits), weight = k->level->weight;
    (void)posterior(k, x_0, x_t);
    EACH_CLASS(k, c) {
        double q = k->q[c];
        k->r[c] = q > 0.0 ? q * (log_f64(q) - ((double)logits[c] - log_sum)) : 0.0;
        if (dlogits != NULL) dlogits[c] = (float)(weight * (k->p[c] - q));
    }
    return token_sum(k->r, k->classes);
}

// - log p(x_0), and weight times its gradient p - x_0.
TOKEN_FN double guess_loss(TokenRoom *k, const float *logits, int x_0, double weight,
                           float *dlogits) {
    double here = (double)logits[x_0], loss = token_softmax(k, logits) - here;
    if (dlogits == NULL) return loss;
    EACH_CLASS(k, c) dlogits[c] = (float)(weight * (k->p[c] - (c == x_0 ? 1.0 : 0.0)));
    return loss;
}

// Score entropy, and weight times its gradient s - r.
TOKEN_FN double score_loss(TokenRoom *k, const float *logits, int x_0, int x_t, float *dlogits) {
    double inverse = 1.0 / k->classes, weight = k->level->weight;
    double rest = (1.0 - k->level->keep) * inverse, here = k->level->keep + rest;
    bool masked = x_t == k->classes;
    EACH_CLASS(k, c) {
        double r = masked       ? (c == x_0 ? (double)k->classes : 0.0)
                   : x_t == x_0 ? rest / here
                   : c == x_0   ? here / rest
                                : 1.0;
        double score = exp_f64((double)logits[c]), entropy = r > 0.0 ? r * (log_f64(r) - 1.0) : 0.0;
        bool counts = c != x_t;
        k->r[c] = counts ? score - (r > 0.0 ? r * (double)logits[c] : 0.0) + entropy : 0.0;
        if (dlogits != NULL) dlogits[c] = (float)(counts ? weight * inverse * (score - r) : 0.0);
    }
    return token_sum(k->r, k->classes) * inverse;
}

// ---- the mixture form -------------------------------------------------------------------------

// u = q(x_t|x_{t-1} = k), z = q(x_t|x_0 = k) of a class k that x_t is not, and of x_t.
typedef struct {
    double u, u_here, z, z_here;
} Reach;

TOKEN_FN Reach reach_of(const TokenRoom *k, int x_t) {
    const CategoricalLevel *level = k->level;
    Reach masked = {level->step_mask, level->step_mask, level->mask, level->mask};
    if (x_t == k->classes) return masked;
    double u = k->rest[x_t], z = fma(k->a, k->v_rest[x_t], u * (1.0 - level->mask_before));
    Reach seen = {u, k->a + u, z, fma(k->a, k->keep, z)};
    return seen;
}

// r = p/z, w = A r + (U base) sum of r: the mixture gives u w to a class, and C to the mask, times
// the sum, which is returned. z = 0 for all but x_t: it is x_0.
TOKEN_FN double token_mix(TokenRoom *k, const Reach *reach, int x_t) {
    double z = reach->z, z_here = reach->z_here;
    EACH_CLASS(k, c) k->r[c] = z > 0.0 ? k->p[c] / z : 0.0;
    if (x_t < k->classes && TOKEN_MINE(x_t)) k->r[x_t] = (z > 0.0 ? k->p[x_t] : 1.0) / z_here;
    double sum = token_sum(k->r, k->classes);
    EACH_CLASS(k, c) k->w[c] = fma(k->keep, k->r[c], k->v_rest[c] * sum);
    return sum;
}

// KL of one token and, as slope, p dKL/dp. With q = u v / z(x_0),
//   KL = sum q (log v - log w - log z(x_0))
//   p_j dKL/dp_j = - q_j A r_j / w_j - r_j sum q (U base) / w
// The terms of the two sums are kept as w and q.
TOKEN_FN double mixture_kl(TokenRoom *k, const float *log_p, double log_sum, int x_0, int x_t) {
    Reach reach = reach_of(k, x_t);
    (void)token_mix(k, &reach, x_t);
    double z_0 = x_0 == x_t ? reach.z_here : reach.z, log_z_0 = log_f64(z_0);
    EACH_CLASS(k, c) {
        double q = (c == x_t ? reach.u_here : reach.u) / z_0 * k->v_rest[c];
        double log_v = k->log_v_rest[c], w = k->w[c];
        if (c == x_0) {
            q += (c == x_t ? reach.u_here : reach.u) / z_0 * k->keep;
            log_v = log_f64(k->keep + k->v_rest[c]);
        }
        bool alone = k->v_rest[c] == 0.0; // w is A r, which may have underflown
        double log_w = alone ? 0.0 : log_f64(w);
        if (alone && c == x_0) log_w = log_f64(k->keep) + ((double)log_p[c] - log_sum) - log_z_0;
        k->w[c] = q > 0.0 ? q * (log_v - log_w - log_z_0) : 0.0;
        k->q[c] = alone ? 0.0 : q * k->v_rest[c] / w;
        k->slope[c] = alone ? -q : -q * k->keep * k->r[c] / w;
    }
    double sum = token_sum(k->q, k->classes);
    EACH_CLASS(k, c) k->slope[c] -= k->r[c] * sum;
    return token_sum(k->w, k->classes);
}

// Of any kernels: w = p before, theta(x_t, p) = u w / Z with the column u of the step to x_t, and q
// the same of x_0. KL = sum q (log v - log w) + log Z - log Zq; and p dKL/dp.
TOKEN_FN void dense_mean(TokenRoom *k) {
    int n = k->classes;
    const double *before = k->dense + n * n;
    EACH_CLASS(k, c) k->w[c] = 0.0;
    for (int j = 0; j < n; ++j) EACH_CLASS(k, c) k->w[c] = fma(k->p[j], before[j * n + c], k->w[c]);
}

// Here q keeps u, r the derivative by w, and w the terms of the sum.
TOKEN_FN double dense_kl(TokenRoom *k, double cross, int x_0, int x_t) {
    int n = k->classes;
    const double *step = k->dense, *before = step + n * n, *v = before + x_0 * n;
    double z = 1e-290, z_0 = 1e-290; // never 0
    if (k->level->to == 0) {
        if (TOKEN_MINE(x_0)) k->slope[x_0] = -1.0;
        return cross;
    }
    dense_mean(k);
    EACH_CLASS(k, c) k->q[c] = step[c * n + x_t];
    token_sync();
    for (int c = 0; c < n; ++c) z += k->q[c] * k->w[c], z_0 += k->q[c] * v[c];
    token_sync();
    EACH_CLASS(k, c) {
        double u = k->q[c], q = u * v[c] / z_0, w = k->w[c];
        k->w[c] = q > 0.0 ? q * (log_f64(v[c]) - log_f64(w)) : 0.0;
        k->r[c] = u / z - (q > 0.0 ? q / w : 0.0);
    }
    token_sync();
    EACH_CLASS(k, j) {
        double sum = 0.0;
        for (int c = 0; c < n; ++c) sum = fma(before[j * n + c], k->r[c], sum);
        k->slope[j] = k->p[j] * sum;
    }
    return token_sum(k->w, n) + log_f64(z) - log_f64(z_0);
}

// ---- of any form ------------------------------------------------------------------------------

// Also aux times - log p(x_0) into extra; the gradient is that of both.
TOKEN_FN double mixture_loss(TokenRoom *k, const float *logits, int x_0, int x_t, double *extra,
                             float *dlogits) {
    double log_sum = token_softmax(k, logits), cross = log_sum - (double)logits[x_0], kl = 0.0;
    double weight = k->level->weight, aux = k->level->aux;
    *extra = aux * cross;
    EACH_CLASS(k, c) k->slope[c] = 0.0;
    if (k->form == CATEGORICAL_DENSE)
        kl = dense_kl(k, cross, x_0, x_t);
    else if (reach_of(k, x_t).z > 0.0)
        kl = mixture_kl(k, logits, log_sum, x_0, x_t);
    if (dlogits == NULL) return kl;
    double sum = token_sum(k->slope, k->classes) - aux;
    if (TOKEN_MINE(x_0)) k->slope[x_0] -= aux;
    EACH_CLASS(k, c) dlogits[c] = (float)(weight * fma(-k->p[c], sum, k->slope[c]));
    return kl;
}

// What token `at` of all adds to the error; to the loss it adds that and `extra`.
TOKEN_FN double token_loss(TokenRoom *k, const Categorical *args, int64_t at, double *extra) {
    const float *logits = args->logits + at * k->classes;
    float *dlogits = args->dlogits == NULL ? NULL : args->dlogits + at * k->classes;
    int x_0 = args->x_0[at], x_t = args->x_t[at];
    bool visible = k->level->mask > 0.0 && x_t != k->classes;
    *extra = 0.0;
    if (k->form == CATEGORICAL_MIXTURE || k->form == CATEGORICAL_DENSE)
        return mixture_loss(k, logits, x_0, x_t, extra, dlogits);
    if (k->form == CATEGORICAL_PLUG_IN) return plug_in_loss(k, logits, x_0, x_t, dlogits);
    if (k->form == CATEGORICAL_DIRECT) return direct_loss(k, logits, x_0, x_t, dlogits);
    if (k->form == CATEGORICAL_SCORE && !visible) return score_loss(k, logits, x_0, x_t, dlogits);
    if (k->form == CATEGORICAL_GUESS) {
        double told = k->level->aux + (visible ? 0.0 : 1.0);
        double cross = guess_loss(k, logits, x_0, k->level->weight * told, dlogits);
        double error = visible ? 0.0 : cross;
        if (x_t < k->classes && !visible)
            error = (x_t == x_0 ? 1.0 : cross) -
                    exp_f64((double)logits[x_t] - (double)logits[x_0] - cross);
        *extra = told * cross - error;
        return error;
    }
    if (dlogits == NULL) return 0.0;
    EACH_CLASS(k, c) dlogits[c] = 0.0f;
    return 0.0;
}

// All that class_loss writes of a sample.
TOKEN_FN void token_class_loss(TokenRoom *k, const ClassLoss *args, int64_t s) {
    int64_t places = args->places, first = s * args->classes * places;
    int64_t n = args->dout == NULL ? 0 : args->classes * places;
    double weight = 1.0 / (double)places;
    int label = args->label[s];
    k->classes = args->classes;
    EACH_CLASS(k, c) {
        double sum = 0.0;
        for (int64_t i = 0; i < places; ++i) sum += (double)args->out[first + c * places + i];
        k->q[c] = (double)(k->warm[c] = (float)(sum / (double)places));
    }
    bool wrong = token_likeliest(k->q, k->classes) != label;
    double loss = guess_loss(k, k->warm, label, weight, NULL);
    if (TOKEN_LANE == 0) args->loss[s] = (float)loss, args->wrong[s] = wrong;
    for (int64_t i = TOKEN_LANE; i < n; i += TOKEN_LANES)
        args->dout[first + i] =
            (float)(weight * (k->p[i / places] - (i / places == label ? 1.0 : 0.0)));
}
