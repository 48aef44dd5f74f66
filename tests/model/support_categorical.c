// Symbols for tests of operations.
#include "tests/model/support_categorical.h"

#include <stdlib.h>

#include "base/mix.h"

uint64_t sample_numbers[SAMPLES] = {0, 77, ((uint64_t)1 << 40) + 5};
enum { DENSE_CLASSES_MOST = 40 };
double *base;
static double base_memory[SAMPLES * 3 * DENSE_CLASSES_MOST * DENSE_CLASSES_MOST];
static int64_t base_rows; // of `classes` numbers

static void fill_row(double *row, int32_t classes, int32_t never, int32_t shift) {
    double sum = 0;
    for (int k = 0; k < classes; ++k) sum += row[k] = k == never ? 0 : 1 + (k + shift) % 3;
    for (int k = 0; k < classes; ++k) row[k] /= sum;
}

void set_base(int32_t classes) {
    base = base_memory;
    base_rows = 1;
    fill_row(base, classes, 1, 0);
}

void set_dense(int32_t classes) {
    base = base_memory;
    base_rows = SAMPLES * 3 * (int64_t)classes;
    for (int64_t r = 0; r < base_rows; ++r) {
        double *row = base + r * classes;
        fill_row(row, classes, -1, (int32_t)(r * r % 7));
        for (int k = 0; k < classes; ++k) row[k] = 0.5 * row[k] + 0.5 * (k == r % classes);
    }
}

OpBuffer base_buffer(int32_t classes) {
    return (OpBuffer){base, base == NULL ? 0 : 2 * base_rows * classes, OP_IN, NULL, OP_F32};
}

int32_t base_reference(uint32_t bits, int32_t classes) {
    if (base == NULL) return (int32_t)(((uint64_t)bits * (uint64_t)classes) >> 32);
    double goal = (bits + 0.5) / 4294967296.0, running = 0;
    for (int32_t k = 0; k < classes; ++k)
        if ((running += base[k]) > goal) return k;
    return classes - 1;
}

int32_t *some_tokens(int64_t n, int32_t classes, uint64_t seed) {
    int32_t *x = ops_memory(n, sizeof *x);
    for (int64_t i = 0; i < n; ++i)
        x[i] = (int32_t)(mix64(seed * MIX_GOLDEN + (uint64_t)i) % (uint64_t)classes);
    return x;
}

CategoricalLevel token_levels[SAMPLES] = {
    {.keep = 0.3, .step_keep = 0.6, .keep_before = 0.5, .weight = 1},
    {.keep = 0.95 * (1 - 2e-5), .step_keep = 1 - 2e-5, .keep_before = 0.95, .weight = 2.5},
    {.keep = 1 - 1e-3, .step_keep = 1 - 1e-3, .keep_before = 1, .weight = 1},
};

TokenCase token_case(int64_t item, int32_t classes) {
    int64_t n = SAMPLES * item;
    TokenCase c = {.logits = ops_numbers(n * classes, 21),
                   .dlogits = ops_memory(n * classes, 4),
                   .x_0 = some_tokens(n, classes, 22),
                   .x_t = some_tokens(n, classes, 23)};
    for (int64_t i = 0; i < n * classes; ++i) c.logits[i] *= 4;
    for (int64_t i = 0; i < n; i += 2) c.x_t[i] = c.x_0[i];
    for (int64_t i = 0; i < n; i += 3)
        if (token_levels[i / item].mask > 0) c.x_t[i] = classes;
    return c;
}

void token_case_free(TokenCase *c) {
    free(c->logits), free(c->dlogits), free(c->x_0), free(c->x_t);
}

void theta_reference(const CategoricalLevel *level, int x_t, const long double *p, int classes,
                     long double *theta) {
    long double total = 0, a = level->step_keep, kept = level->keep_before;
    for (int k = 0; k < classes; ++k) {
        if (level->form == CATEGORICAL_DENSE) {
            const double *step = base + 3 * level->at * classes * classes;
            const double *before = step + classes * classes;
            theta[k] = level->to == 0 ? p[k] : 0;
            for (int j = 0; j < classes && level->to > 0; ++j)
                theta[k] += step[k * classes + x_t] * p[j] * before[j * classes + k];
            total += theta[k];
            continue;
        }
        long double rest = base == NULL ? 1.0L / classes : base[k];
        long double rest_t = base == NULL ? 1.0L / classes : base[x_t];
        theta[k] = (a * (k == x_t) + (1 - a) * rest_t) * (kept * p[k] + (1 - kept) * rest);
        total += theta[k];
    }
    for (int k = 0; k < classes; ++k) theta[k] /= total;
}

void softmax_reference(const double *logits, int classes, long double *p) {
    long double most = logits[0], total = 0;
    for (int k = 1; k < classes; ++k) most = fmaxl(most, logits[k]);
    for (int k = 0; k < classes; ++k) total += p[k] = expl(logits[k] - most);
    for (int k = 0; k < classes; ++k) p[k] /= total;
}

CategoricalLevel mixed_level(double keep, double spread, double step_keep, double step_spread,
                             double weight, double aux) {
    double at = keep * step_keep, spread_at = step_keep * spread + step_spread * (keep + spread);
    return (CategoricalLevel){.keep = at,
                              .step_keep = step_keep,
                              .keep_before = keep,
                              .weight = weight,
                              .mask = 1 - at - spread_at,
                              .step_mask = 1 - step_keep - step_spread,
                              .mask_before = 1 - keep - spread,
                              .step_spread = step_spread,
                              .spread_before = spread,
                              .aux = aux,
                              .form = CATEGORICAL_MIXTURE};
}

static long double moved(int from, int to, double keep, double spread, double mask, int classes) {
    if (from == classes || to == classes) return to < classes ? 0 : from == classes ? 1 : mask;
    return keep * (from == to) + spread * (long double)(base == NULL ? 1.0L / classes : base[to]);
}

void mixture_reference(const CategoricalLevel *l, int x_t, const long double *p, int classes,
                       long double *theta) {
    for (int k = 0; k <= classes; ++k) theta[k] = 0;
    for (int j = 0; j < classes; ++j) {
        long double total = 0;
        for (int k = 0; k <= classes; ++k)
            total += moved(k, x_t, l->step_keep, l->step_spread, l->step_mask, classes) *
                     moved(j, k, l->keep_before, l->spread_before, l->mask_before, classes);
        for (int k = 0; k <= classes && total > 0; ++k)
            theta[k] += p[j] / total *
                        moved(k, x_t, l->step_keep, l->step_spread, l->step_mask, classes) *
                        moved(j, k, l->keep_before, l->spread_before, l->mask_before, classes);
    }
    long double whole = 0;
    for (int k = 0; k <= classes; ++k) whole += theta[k];
    for (int k = 0; k <= classes; ++k) theta[k] /= whole;
}

bool is_told(const CategoricalLevel *level, int x_t, int classes) {
    return level->mask == 0 || x_t == classes;
}
