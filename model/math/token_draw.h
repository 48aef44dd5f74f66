// Categorical diffusion of one token: draws of x_t, and the steps of samplers. The first lane
// (model/math/token.h) writes what is drawn.
#pragma once

#include "model/math/token.h"

// The class at which the running sum of p passes the goal.
KERNEL_FN int32_t invert(const double *p, int classes, double goal) {
    double running = 0.0;
    int32_t last = 0;
    for (int c = 0; c < classes; ++c) {
        running += p[c];
        if (p[c] > 0.0) last = c; // rounding may leave the goal just above the whole sum
        if (running > goal) break;
    }
    return last;
}

KERNEL_FN double uniform_short(uint32_t bits) {
    return ((double)bits + 0.5) * 0x1p-32;
}
KERNEL_FN double uniform_of(RngKey key, uint64_t sample, int64_t e) {
    uint32_t bits[4];
    rng_block(key, sample, (uint32_t)(e / 2), bits);
    return rng_uniform_f64(bits[2 * (e % 2)], bits[2 * (e % 2) + 1]);
}

// A class of the base distribution.
KERNEL_FN int32_t base_draw(const double *base, int32_t classes, uint32_t bits) {
    if (base == NULL) return (int32_t)rng_below(bits, (uint32_t)classes);
    return invert(base, classes, uniform_short(bits));
}

// x_t of token e from its two numbers. `left`: masks for the rest of its block, from one token to
// the next.
KERNEL_FN int32_t token_corrupt(const Categorical *args, int64_t s, int64_t e,
                                const uint32_t bits[2], int64_t *left) {
    const CategoricalLevel *level = &args->level[s];
    const int32_t *x_0 = args->x_0 + s * args->item + e;
    int64_t block = args->block > 0 ? args->block : args->item, n = args->classes;
    double u = uniform_short(bits[0]), places = (double)(block - e % block);
    bool counts = level->masks > 0;
    if (e % block == 0) *left = level->masks;
    bool masked = counts ? u * places < (double)*left : u >= 1.0 - level->mask;
    *left -= masked;
    if (level->form == CATEGORICAL_DENSE) { // a draw from the kernel of the whole way
        const double *row = args->base + ((3 * s + 2) * n + *x_0) * n;
        return invert(row, args->classes, rng_uniform_f64(bits[0], bits[1]) * f64_sum(row, n));
    }
    if (masked) return args->classes;
    return counts || u < level->keep ? *x_0 : base_draw(args->base, args->classes, bits[1]);
}

// From the first n of p.
TOKEN_FN int32_t draw(const TokenRoom *k, int n, double uniform) {
    return invert(k->p, n, uniform * token_sum(k->p, n));
}

// Where the largest of p is, which becomes *most.
TOKEN_FN int32_t likeliest(const TokenRoom *k, double *most) {
    int32_t best = token_likeliest(k->p, k->classes);
    *most = k->p[best];
    token_sync();
    return best;
}

// Leaves the likeliest classes of p, the fewest that have the share.
TOKEN_FN void truncate_to(TokenRoom *k, double share) {
    if (!(share > 0.0 && share < 1.0)) return;
    double running = 0.0, most;
    EACH_CLASS(k, c) k->q[c] = 0.0;
    for (int n = 0; n < k->classes && running < share; ++n) {
        int best = likeliest(k, &most);
        running += most;
        if (TOKEN_MINE(best)) k->q[best] = most, k->p[best] = -1.0;
    }
    EACH_CLASS(k, c) k->p[c] = k->q[c];
    token_sync();
}

// A draw from p for a token that does not stay; masks alone are drawn for where there are some.
TOKEN_FN int32_t guess_draw(TokenRoom *k, int x_t, double uniform) {
    double stay = k->level->stay;
    if (k->level->mask > 0.0 && x_t != k->classes) return x_t;
    EACH_CLASS(k, c) k->p[c] *= 1.0 - stay;
    if (TOKEN_MINE(k->classes)) k->p[k->classes] = 0.0;
    if (TOKEN_MINE(x_t)) k->p[x_t] += stay;
    return draw(k, k->classes + 1, uniform);
}

// The scores of x_t, brought back to the earlier time, times the way from there to x_t.
TOKEN_FN int32_t score_draw(TokenRoom *k, const float *logits, int x_t, double uniform) {
    EACH_CLASS(k, c) k->p[c] = c == x_t ? 1.0 : exp_f64((double)logits[c]);
    double mixed = (1.0 - k->a) * token_sum(k->p, k->classes) / k->classes, rest = k->rest[x_t];
    EACH_CLASS(k, c) {
        double before = k->p[c] > mixed ? k->p[c] - mixed : 0.0;
        k->p[c] = before * ((c == x_t ? k->a : 0.0) + rest);
    }
    return draw(k, k->classes, uniform);
}

TOKEN_FN int32_t mixture_draw(TokenRoom *k, int x_t, double uniform) {
    Reach reach = reach_of(k, x_t);
    if (reach.z_here == 0.0) return x_t; // not by this noise: it was given
    double sum = token_mix(k, &reach, x_t),
           masked = x_t == k->classes ? k->level->mask_before : 0.0;
    EACH_CLASS(k, c) k->p[c] = (c == x_t ? reach.u_here : reach.u) * k->w[c];
    if (TOKEN_MINE(k->classes)) k->p[k->classes] = masked * sum;
    return draw(k, k->classes + 1, uniform);
}

TOKEN_FN int32_t token_draw(TokenRoom *k, const float *logits, int x_t, double truncation,
                            double uniform) {
    token_sync(); // whoever still reads the last p
    if (k->form == CATEGORICAL_SCORE && k->level->mask == 0.0)
        return score_draw(k, logits, x_t, uniform);
    if (k->form != CATEGORICAL_NOTHING) {
        (void)token_softmax(k, logits);
        truncate_to(k, truncation);
    }
    if (k->form == CATEGORICAL_GUESS || k->form == CATEGORICAL_SCORE)
        return guess_draw(k, x_t, uniform);
    if (k->form == CATEGORICAL_MIXTURE) return mixture_draw(k, x_t, uniform);
    if (k->form == CATEGORICAL_DENSE && k->level->to > 0) {
        dense_mean(k);
        EACH_CLASS(k, c) k->w[c] *= k->dense[c * k->classes + x_t];
        token_sync(); // all have read p
        EACH_CLASS(k, c) k->p[c] = k->w[c];
    }
    EACH_CLASS(k, c) {
        double here = c == x_t ? k->a : 0.0;
        if (k->form == CATEGORICAL_NOTHING) k->p[c] = here + k->rest[c];
        if (k->form == CATEGORICAL_PLUG_IN)
            k->p[c] = (here + k->rest[x_t]) * fma(k->keep, k->p[c], k->v_rest[c]);
    }
    return draw(k, k->classes, uniform);
}

// A step of token e of a sample.
TOKEN_FN void token_advance(TokenRoom *k, const Categorical *args, int64_t s, int64_t e) {
    int64_t at = s * args->item + e;
    int32_t x = token_draw(k, args->logits + at * k->classes, args->x_t[at], args->truncation,
                           uniform_of(args->key, args->sample[s], e));
    if (TOKEN_LANE == 0) args->x_t[at] = x;
}

// ---- guesses ----------------------------------------------------------------------------------

// p of the logits divided by the temperature.
TOKEN_FN void warm_softmax(TokenRoom *k, const float *logits, double temperature) {
    EACH_CLASS(k, c) k->warm[c] = (float)((double)logits[c] / temperature);
    token_sync();
    (void)token_softmax(k, k->warm);
}

// How many tokens of the sample are more certain than token e; of equals the first.
KERNEL_FN int64_t certainty_rank(const float *memory, int64_t item, int64_t e) {
    int64_t rank = 0;
    for (int64_t i = 0; i < item; ++i)
        rank += memory[i] > memory[e] || (memory[i] == memory[e] && i < e);
    return rank;
}

// Returns whether x_t changed.
TOKEN_FN bool token_refresh(TokenRoom *k, const Categorical *args, int64_t s, int64_t e) {
    int64_t at = s * args->item + e;
    const float *logits = args->logits + at * k->classes;
    int32_t before = args->x_t[at], next;
    if (args->kind == REFRESH_FRACTION) {
        uint32_t bits[4];
        rng_block(args->key, args->sample[s], (uint32_t)e, bits);
        bool stays = args->key.step > 0 && args->memory[s] != 0.0f;
        if (stays || !(uniform_short(bits[2]) < args->share)) return false;
        warm_softmax(k, logits, args->temperature);
        next = draw(k, k->classes, rng_uniform_f64(bits[0], bits[1]));
    } else {
        double most, certain = args->share * (double)args->item;
        const float *memory = args->memory + s * args->item;
        (void)token_softmax(k, logits);
        next = likeliest(k, &most);
        if (args->kind == REFRESH_ARGMAX && TOKEN_LANE == 0) args->memory[at] = (float)most;
        if (args->kind == REFRESH_UNCERTAIN &&
            (double)certainty_rank(memory, args->item, e) < certain)
            return false;
    }
    if (TOKEN_LANE == 0) args->x_t[at] = next;
    return next != before;
}

// Notes after a step whether the sample stays.
KERNEL_FN void refresh_end(const Categorical *args, int64_t s, bool changed) {
    bool stays = args->key.step >= 10 && !changed;
    if (args->kind == REFRESH_FRACTION && (stays || args->key.step == 0))
        args->memory[s] = stays ? 1.0f : 0.0f;
}

// The class of a masked token; of REVEAL_DRAWN from the p that its score, relative to the highest,
// sharpens.
TOKEN_FN int32_t reveal_draw(TokenRoom *k, const Categorical *args, int64_t s, int64_t e,
                             double highest) {
    const float *logits = args->logits + (s * args->item + e) * k->classes;
    double uniform = uniform_of(args->key, args->sample[s], e), power = 0.0, log_sum = 0.0, score;
    if (args->kind == REVEAL_SUREST) {
        warm_softmax(k, logits, args->temperature);
    } else {
        log_sum = token_softmax(k, logits);
        (void)likeliest(k, &score);
        power = 1.0 + args->purity * score / highest;
    }
    truncate_to(k, args->truncation);
    for (int c = TOKEN_LANE; c < k->classes && args->kind == REVEAL_DRAWN; c += TOKEN_LANES)
        k->p[c] = k->p[c] > 0.0 ? exp_f64(power * ((double)logits[c] - log_sum)) : 0.0;
    return draw(k, k->classes, uniform);
}

// A masked token's time, INFINITY where it is none to be revealed: the lower, the sooner. Drawn:
// whoever's exponential clock of rate `score` rings first, which is a draw without replacement.
// Returns whether the token takes part.
TOKEN_FN bool reveal_time(TokenRoom *k, const Categorical *args, int64_t s, int64_t e,
                          double *highest) {
    int64_t at = s * args->item + e;
    bool masked = e >= args->begin && e < args->end && args->x_t[at] == k->classes;
    double time = INFINITY, score;
    if (masked) {
        int32_t x = args->kind == REVEAL_SUREST ? reveal_draw(k, args, s, e, 1.0) : 0;
        (void)token_softmax(k, args->logits + at * k->classes);
        (void)likeliest(k, &score);
        *highest = score > *highest ? score : *highest;
        uint32_t bits[4];
        rng_block(args->key, args->sample[s], (uint32_t)(args->item + e), bits);
        double clock = -log_f64(rng_uniform_f64(bits[0], bits[1]));
        time = args->kind == REVEAL_SUREST ? -k->p[x] : score > 0.0 ? clock / score : 0.0;
    }
    if (TOKEN_LANE == 0) args->race[at] = time; // never NaN
    return masked;
}

// Reveals the first of `masked` tokens.
TOKEN_FN void sample_reveal(TokenRoom *k, const Categorical *args, int64_t s, int64_t masked,
                            double highest) {
    double *race = args->race + s * args->item;
    int64_t block = args->block > 0 ? args->block : args->item;
    for (int64_t left = (masked + args->steps - 1) / args->steps; left > 0; --left) {
        int64_t next = 0;
        for (int64_t e = 1; e < args->item; ++e)
            if (race[next] == INFINITY || (race[e] < race[next] && e / block == next / block))
                next = e;
        int32_t x = reveal_draw(k, args, s, next, highest); // and all have seen the race
        if (TOKEN_LANE == 0) race[next] = INFINITY, args->x_t[s * args->item + next] = x;
        token_sync();
    }
}
