// Kernels of categorical diffusion: token after token.
#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/noise.h"
#include "model/math/f64.h"

// One lane. Arrays begin where vectors do, and not all at the same place of a page.
#define TOKEN_FN          static inline
#define TOKEN_ARRAY(name) name[CATEGORICAL_CLASSES_MOST + 16]
#define TOKEN_LANE        0
#define TOKEN_LANES       1
#define token_sync()      ((void)0)
#define token_sum         f64_sum
#define token_largest(x)  (x)

static int token_likeliest(const double *p, int classes) {
    int best = 0;
    for (int c = 1; c < classes; ++c) best = p[c] > p[best] ? c : best;
    return best;
}

#include "model/math/token_draw.h"

void CPU_KERNEL(categorical_corrupt)(UNUSED Stream *stream, const Categorical *args) {
    enum { TOKENS = NOISE_CHUNK / 2 };
    uint32_t bits[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s) {
        int64_t left = 0;
        for (int64_t e = 0; e < args->item; e += TOKENS) {
            int32_t *x_t = args->x_t + s * args->item + e;
            int64_t n = args->item - e < TOKENS ? args->item - e : TOKENS;
            noise_bits(args->key, args->sample[s], e / 2, bits);
            for (int64_t i = 0; i < n; ++i)
                x_t[i] = token_corrupt(args, s, e + i, bits + 2 * i, &left);
        }
    }
}

void CPU_KERNEL(categorical_loss)(UNUSED Stream *stream, const Categorical *args) {
    TokenRoom room;
    for (int64_t s = 0; s < args->samples; ++s) {
        token_sample(&room, args, s);
        double sum = 0.0, extras = 0.0, extra, weight = args->level[s].weight;
        for (int64_t e = s * args->item; e < (s + 1) * args->item; ++e) {
            sum += token_loss(&room, args, e, &extra);
            extras += extra;
        }
        double before = args->accumulate ? (double)args->loss[s] : 0.0;
        if (args->loss != NULL) args->loss[s] = (float)(before + weight * (sum + extras));
        if (args->error != NULL) args->error[s] = sum;
    }
}

void CPU_KERNEL(class_loss)(UNUSED Stream *stream, const ClassLoss *args) {
    TokenRoom room;
    for (int64_t s = 0; s < args->samples; ++s) token_class_loss(&room, args, s);
}

void CPU_KERNEL(categorical_advance)(UNUSED Stream *stream, const Categorical *args) {
    TokenRoom room;
    for (int64_t s = 0; s < args->samples; ++s) {
        token_sample(&room, args, s);
        for (int64_t e = args->begin; e < args->end; ++e) token_advance(&room, args, s, e);
    }
}

void CPU_KERNEL(categorical_prior)(UNUSED Stream *stream, const Categorical *args) {
    uint32_t bits[NOISE_CHUNK];
    for (int64_t s = 0; s < args->samples; ++s)
        for (int64_t e = 0; e < args->item; e += NOISE_CHUNK) {
            int32_t *x = args->x_t + s * args->item + e;
            int64_t n = chunk_size(args->item, e);
            noise_bits(args->key, args->sample[s], e / 4, bits);
            for (int64_t i = 0; i < n; ++i) x[i] = base_draw(args->base, args->classes, bits[i]);
        }
}

void CPU_KERNEL(categorical_refresh)(UNUSED Stream *stream, const Categorical *args) {
    TokenRoom room;
    room.classes = args->classes;
    for (int64_t s = 0; s < args->samples; ++s) {
        bool changed = false;
        for (int64_t e = 0; e < args->item; ++e) changed |= token_refresh(&room, args, s, e);
        refresh_end(args, s, changed);
    }
}

void CPU_KERNEL(categorical_reveal)(UNUSED Stream *stream, const Categorical *args) {
    TokenRoom room;
    room.classes = args->classes;
    for (int64_t s = 0; s < args->samples; ++s) {
        int64_t masked = 0;
        double highest = 0.0;
        for (int64_t e = 0; e < args->item; ++e) masked += reveal_time(&room, args, s, e, &highest);
        sample_reveal(&room, args, s, masked, highest);
    }
}
