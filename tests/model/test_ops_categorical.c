// Operations of categorical diffusion: draws against the generator one number at a time, losses
// against the definition in long double, gradients against differences.
#include <math.h>

#include "tests/model/support_ops.h"
#include "tests/test.h"

// Odd sizes, and sample numbers that need more than 32 bits.
enum { SAMPLES = 3, ITEM = 333 };
static uint64_t sample_numbers[SAMPLES] = {0, 77, ((uint64_t)1 << 40) + 5};

typedef struct {
    int64_t item;
    int32_t classes;
    bool in_place;
    RngKey key;
    CategoricalLevel level;
} TokenShape;

enum { CLASSES_MOST = CATEGORICAL_CLASSES_MOST };
static double base_memory[CLASSES_MOST];
static double *base; // of the operations and of the references; NULL: uniform

// A base distribution where class 1 never comes.
static void set_base(int32_t classes) {
    double sum = 0;
    base = base_memory;
    for (int k = 0; k < classes; ++k) sum += base[k] = k == 1 ? 0 : 1 + k % 3;
    for (int k = 0; k < classes; ++k) base[k] /= sum;
}

static OpBuffer base_buffer(int32_t classes) {
    return (OpBuffer){base, base == NULL ? 0 : 2 * classes, OP_IN, NULL};
}

static int32_t base_reference(uint32_t bits, int32_t classes) {
    if (base == NULL) return (int32_t)(((uint64_t)bits * (uint64_t)classes) >> 32);
    double goal = (bits + 0.5) / 4294967296.0, running = 0;
    for (int32_t k = 0; k < classes; ++k)
        if ((running += base[k]) > goal) return k;
    return classes - 1;
}

static void call_token_corrupt(Stream *stream, OpBuffer *b, const void *shape) {
    const TokenShape *s = shape;
    categorical_corrupt(stream, (CategoricalCorrupt){.x_0 = b[0].device,
                                                     .sample = b[1].device,
                                                     .level = b[2].device,
                                                     .base = b[4].device,
                                                     .x_t = b[3].device,
                                                     .samples = SAMPLES,
                                                     .item = s->item,
                                                     .classes = s->classes,
                                                     .key = s->key});
}

enum { TOKEN_LEVEL_WORDS = SAMPLES * sizeof(CategoricalLevel) / 4 };

static int32_t *some_tokens(int64_t n, int32_t classes, uint64_t seed) {
    int32_t *x = ops_memory(n, sizeof *x);
    for (int64_t i = 0; i < n; ++i)
        x[i] = (int32_t)(mix64(seed * MIX_GOLDEN + (uint64_t)i) % (uint64_t)classes);
    return x;
}

static void check_corrupt(double masked) {
    enum { N = SAMPLES * ITEM, K = 27 };
    TokenShape shape = {.item = ITEM, .classes = K, .key = rng_key(3, RNG_NOISE, 9)};
    CategoricalLevel level[SAMPLES] = {
        {.keep = 0.5, .mask = 0.3}, {.keep = 1}, {.keep = 1e-12, .mask = masked}};
    int32_t *x_0 = some_tokens(N, K, 1), *x_t = ops_memory(N, 4);
    OpBuffer b[] = {{x_0, N, OP_IN, NULL},
                    {sample_numbers, 2 * SAMPLES, OP_IN, NULL},
                    {level, TOKEN_LEVEL_WORDS, OP_IN, NULL},
                    {x_t, N, OP_OUT, NULL},
                    base_buffer(K)};
    EXPECT_EQ(ops_run("categorical_corrupt", call_token_corrupt, &shape, b, 5), 0);
    int wrong = 0;
    for (int64_t i = 0; i < N; ++i) {
        uint32_t bits[4];
        int64_t e = i % ITEM;
        rng_block(shape.key, sample_numbers[i / ITEM], (uint32_t)(e / 2), bits);
        bool stays = (bits[2 * (e % 2)] + 0.5) / 4294967296.0 < level[i / ITEM].keep;
        bool masks = (bits[2 * (e % 2)] + 0.5) / 4294967296.0 >= 1 - level[i / ITEM].mask;
        int32_t other = masks ? K : base_reference(bits[2 * (e % 2) + 1], K);
        wrong += x_t[i] != (stays ? x_0[i] : other);
    }
    EXPECT_EQ(wrong, 0);
    free(x_0), free(x_t);
}

static void test_categorical_corrupt_is_the_generator(void) {
    check_corrupt(0);
    set_base(27);
    check_corrupt(1 - 1e-12);
    base = NULL;
}

static void call_token_prior(Stream *stream, OpBuffer *b, const void *shape) {
    const TokenShape *s = shape;
    categorical_prior(stream, (CategoricalPrior){.sample = b[0].device,
                                                 .base = b[2].device,
                                                 .x = b[1].device,
                                                 .samples = SAMPLES,
                                                 .item = s->item,
                                                 .classes = s->classes,
                                                 .key = s->key});
}

static void check_prior(void) {
    enum { N = SAMPLES * ITEM };
    TokenShape shape = {.item = ITEM, .classes = 11, .key = rng_key(3, RNG_PRIOR, 0)};
    int32_t *x = ops_memory(N, 4);
    OpBuffer b[] = {
        {sample_numbers, 2 * SAMPLES, OP_IN, NULL}, {x, N, OP_OUT, NULL}, base_buffer(11)};
    EXPECT_EQ(ops_run("categorical_prior", call_token_prior, &shape, b, 3), 0);
    int wrong = 0;
    for (int64_t i = 0; i < N; ++i) {
        uint32_t bits[4];
        rng_block(shape.key, sample_numbers[i / ITEM], (uint32_t)(i % ITEM / 4), bits);
        wrong += x[i] != base_reference(bits[i % ITEM % 4], 11);
    }
    EXPECT_EQ(wrong, 0);
    free(x);
}

static void test_categorical_prior(void) {
    check_prior();
    set_base(11);
    check_prior();
    base = NULL;
}

// theta(x_t, p) by its definition, in long double.
static void theta_reference(const CategoricalLevel *level, int x_t, const long double *p,
                            int classes, long double *theta) {
    long double total = 0, a = level->step_keep, kept = level->keep_before;
    for (int k = 0; k < classes; ++k) {
        long double rest = base == NULL ? 1.0L / classes : base[k];
        long double rest_t = base == NULL ? 1.0L / classes : base[x_t];
        theta[k] = (a * (k == x_t) + (1 - a) * rest_t) * (kept * p[k] + (1 - kept) * rest);
        total += theta[k];
    }
    for (int k = 0; k < classes; ++k) theta[k] /= total;
}

enum { CLASSES_REFERENCE = 1024 };

static void softmax_reference(const double *logits, int classes, long double *p) {
    long double most = logits[0], total = 0;
    for (int k = 1; k < classes; ++k) most = fmaxl(most, logits[k]);
    for (int k = 0; k < classes; ++k) total += p[k] = expl(logits[k] - most);
    for (int k = 0; k < classes; ++k) p[k] /= total;
}

// The numbers of a step from {A, U, C} by {a, u, c}.
static CategoricalLevel mixed_level(double keep, double spread, double step_keep,
                                    double step_spread, double weight, double aux) {
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

// sum over j of p(j) q(x_s = k|x_t, x_0 = j), by Bayes' rule; k = 0..classes. An x_t that no noise
// can have made is x_0.
static void mixture_reference(const CategoricalLevel *l, int x_t, const long double *p, int classes,
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

static long double mixture_kl_reference(const CategoricalLevel *level, int x_0, int x_t,
                                        const double *logits, int classes) {
    long double p[CLASSES_REFERENCE], model[CLASSES_REFERENCE + 1], truth[CLASSES_REFERENCE + 1];
    long double kl = 0;
    softmax_reference(logits, classes, p);
    mixture_reference(level, x_t, p, classes, model);
    for (int k = 0; k < classes; ++k) p[k] = k == x_0;
    mixture_reference(level, x_t, p, classes, truth);
    for (int k = 0; k <= classes; ++k)
        if (truth[k] > 0) kl += truth[k] * logl(truth[k] / model[k]);
    return kl;
}

static long double cross_reference(const CategoricalLevel *level, int x_0, const double *logits,
                                   int classes) {
    long double p[CLASSES_REFERENCE];
    softmax_reference(logits, classes, p);
    return level->aux * -logl(p[x_0]);
}

static long double kl_reference(const CategoricalLevel *level, int x_0, int x_t,
                                const double *logits, int classes) {
    long double p[CLASSES_REFERENCE], model[CLASSES_REFERENCE], truth[CLASSES_REFERENCE], kl = 0;
    if (level->form == CATEGORICAL_MIXTURE)
        return mixture_kl_reference(level, x_0, x_t, logits, classes);
    softmax_reference(logits, classes, p);
    theta_reference(level, x_t, p, classes, model);
    if (level->form == CATEGORICAL_DIRECT) memcpy(model, p, sizeof model);
    if (level->form == CATEGORICAL_NOTHING) return 0;
    if (level->form == CATEGORICAL_GUESS) return -logl(p[x_0]);
    for (int k = 0; k < classes; ++k) p[k] = k == x_0;
    theta_reference(level, x_t, p, classes, truth);
    for (int k = 0; k < classes; ++k)
        if (truth[k] > 0) kl += truth[k] * logl(truth[k] / model[k]);
    return kl;
}

static void call_token_loss(Stream *stream, OpBuffer *b, const void *shape) {
    const TokenShape *s = shape;
    categorical_loss(stream, (CategoricalLoss){.logits = b[0].device,
                                               .x_0 = b[1].device,
                                               .x_t = b[2].device,
                                               .level = b[3].device,
                                               .base = b[7].device,
                                               .dlogits = b[4].device,
                                               .loss = b[5].device,
                                               .error = b[6].device,
                                               .samples = SAMPLES,
                                               .item = s->item,
                                               .classes = s->classes});
}

// Early, middle and first step of a process.
static CategoricalLevel token_levels[SAMPLES] = {
    {.keep = 0.3, .step_keep = 0.6, .keep_before = 0.5, .weight = 1},
    {.keep = 0.95 * (1 - 2e-5), .step_keep = 1 - 2e-5, .keep_before = 0.95, .weight = 2.5},
    {.keep = 1 - 1e-3, .step_keep = 1 - 1e-3, .keep_before = 1, .weight = 1},
};

typedef struct {
    float *logits, *dlogits;
    int32_t *x_0, *x_t;
    float loss[SAMPLES];
    double error[SAMPLES];
} TokenCase;

static TokenCase token_case(int64_t item, int32_t classes) {
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

static void token_case_free(TokenCase *c) {
    free(c->logits), free(c->dlogits), free(c->x_0), free(c->x_t);
}

static void run_token_loss(TokenCase *c, int64_t item, int32_t classes, bool gradient) {
    TokenShape shape = {.item = item, .classes = classes};
    int64_t n = SAMPLES * item;
    OpBuffer b[] = {{c->logits, n * classes, OP_IN, NULL},
                    {c->x_0, n, OP_IN, NULL},
                    {c->x_t, n, OP_IN, NULL},
                    {token_levels, TOKEN_LEVEL_WORDS, OP_IN, NULL},
                    {gradient ? c->dlogits : NULL, n * classes, OP_OUT, NULL},
                    {gradient ? c->loss : NULL, SAMPLES, OP_OUT, NULL},
                    {c->error, 2 * SAMPLES, OP_OUT, NULL},
                    base_buffer(classes)};
    EXPECT_EQ(ops_run("categorical_loss", call_token_loss, &shape, b, 8), 0);
}

// d (kl + aux cross-entropy) / d logits[k], central differences in long double with a step that
// leaves 1e-9.
static double slope_reference(const CategoricalLevel *level, int x_0, int x_t, double *logits,
                              int classes, int k) {
    double h = 1e-4, at = logits[k];
    logits[k] = at + h;
    long double up = kl_reference(level, x_0, x_t, logits, classes) +
                     cross_reference(level, x_0, logits, classes);
    logits[k] = at - h;
    long double down = kl_reference(level, x_0, x_t, logits, classes) +
                       cross_reference(level, x_0, logits, classes);
    logits[k] = at;
    return (double)((up - down) / (2 * (long double)h));
}

static void check_token_loss(int64_t item, int32_t classes) {
    TokenCase c = token_case(item, classes);
    run_token_loss(&c, item, classes, true);
    double expected[SAMPLES] = {0}, aux[SAMPLES] = {0}, worst = 0, logits[CLASSES_REFERENCE];
    for (int64_t i = 0; i < SAMPLES * item; ++i) {
        const CategoricalLevel *level = &token_levels[i / item];
        for (int k = 0; k < classes; ++k) logits[k] = (double)c.logits[i * classes + k];
        expected[i / item] +=
            level->weight * (double)kl_reference(level, c.x_0[i], c.x_t[i], logits, classes);
        aux[i / item] += level->weight * (double)cross_reference(level, c.x_0[i], logits, classes);
        for (int k = 0; k < classes; k += 1 + classes / 8) {
            double slope = slope_reference(level, c.x_0[i], c.x_t[i], logits, classes, k);
            double got = (double)c.dlogits[i * classes + k];
            worst = fmax(worst, fabs(got - level->weight * slope));
        }
    }
    EXPECT(worst < 3e-7); // fp32 gradients of size 1
    for (int s = 0; s < SAMPLES; ++s) {
        double weight = token_levels[s].weight;
        EXPECT_NEAR(weight * c.error[s], expected[s], 1e-12 * (1 + fabs(expected[s])));
        double loss = weight * c.error[s] + aux[s];
        EXPECT_NEAR((double)c.loss[s], loss, 1e-7 * loss);
    }
    double before[SAMPLES];
    memcpy(before, c.error, sizeof before);
    run_token_loss(&c, item, classes, false);
    EXPECT(memcmp(before, c.error, sizeof before) == 0);
    token_case_free(&c);
}

static void set_forms(CategoricalForm form, CategoricalForm first) {
    for (int i = 0; i < SAMPLES; ++i) token_levels[i].form = i < SAMPLES - 1 ? form : first;
}

static void test_categorical_loss(void) {
    check_token_loss(5, 27);
    check_token_loss(17, 3);
    check_token_loss(1, CATEGORICAL_CLASSES_MOST);
    set_forms(CATEGORICAL_DIRECT, CATEGORICAL_NOTHING);
    check_token_loss(5, 27);
    set_base(27);
    check_token_loss(5, 27);
    set_forms(CATEGORICAL_GUESS, CATEGORICAL_GUESS);
    check_token_loss(5, 27);
    set_forms(CATEGORICAL_PLUG_IN, CATEGORICAL_PLUG_IN);
    check_token_loss(5, 27);
    base = NULL;
}

// Early, middle, first step; with a mask, and noise that is little, much, or none at all.
static void test_categorical_loss_of_the_mixture(void) {
    CategoricalLevel before[SAMPLES];
    memcpy(before, token_levels, sizeof before);
    token_levels[0] = mixed_level(0.4, 0.3, 0.7, 0.2, 1, 0);
    token_levels[1] = mixed_level(0.6, 1e-6, 0.95, 1e-8, 2.5, 0.3);
    token_levels[2] = mixed_level(1, 0, 0.9, 0.04, 1, 0.1);
    check_token_loss(5, 27);
    check_token_loss(17, 3);
    check_token_loss(1, CATEGORICAL_CLASSES_MOST);
    set_base(27);
    base[1] = 0.01, base[0] -= 0.01;
    check_token_loss(5, 27);
    base = NULL;
    token_levels[0] = mixed_level(0.4, 0.6, 0.7, 0.3, 1, 0.5); // no mask
    token_levels[0].mask = 0;
    check_token_loss(17, 5);
    memcpy(token_levels, before, sizeof before);
}

// Without noise but the mask, a class that is seen is known: only aux asks for it.
static void test_categorical_loss_of_masks_alone(void) {
    enum { ITEM_SMALL = 6, K = 5 };
    CategoricalLevel before[SAMPLES];
    memcpy(before, token_levels, sizeof before);
    for (int s = 0; s < SAMPLES; ++s) token_levels[s] = mixed_level(1 - s * .4, 0, 0.5, 0, 2, 0);
    TokenCase c = token_case(ITEM_SMALL, K);
    int64_t n = SAMPLES * ITEM_SMALL;
    for (int64_t i = 0; i < n; ++i) c.x_t[i] = i % 2 == 0 ? K : c.x_0[i];
    run_token_loss(&c, ITEM_SMALL, K, true);
    for (int s = 0; s < SAMPLES; ++s) {
        const CategoricalLevel *l = &token_levels[s];
        double expected = 0, logits[K];
        for (int64_t i = s * ITEM_SMALL; i < (s + 1) * ITEM_SMALL; ++i) {
            long double p[CLASSES_REFERENCE];
            for (int k = 0; k < K; ++k) logits[k] = (double)c.logits[i * K + k];
            softmax_reference(logits, K, p);
            double each = c.x_t[i] == K ? l->step_mask * l->keep_before / l->mask : 0;
            expected -= each * (double)logl(p[c.x_0[i]]);
            for (int k = 0; k < K; ++k)
                EXPECT_NEAR((double)c.dlogits[i * K + k],
                            2 * each * (double)(p[k] - (k == c.x_0[i])), 1e-6);
        }
        EXPECT_NEAR(c.error[s], expected, 1e-12);
    }
    token_case_free(&c);
    memcpy(token_levels, before, sizeof before);
}

// A softmax that is one-hot to the last bit, right and wrong.
static void test_categorical_loss_at_the_ends(void) {
    enum { ITEM_SMALL = 2, K = 5 };
    TokenCase c = token_case(ITEM_SMALL, K);
    for (int64_t i = 0; i < SAMPLES * ITEM_SMALL; ++i)
        for (int k = 0; k < K; ++k) {
            int right = i % ITEM_SMALL == 0; // token 1 of each sample is certain and wrong
            int winner = right ? c.x_0[i] : (c.x_0[i] + 1) % K;
            c.logits[i * K + k] = k == winner ? 2000.0f : 0.0f;
        }
    run_token_loss(&c, ITEM_SMALL, K, true);
    for (int s = 0; s < SAMPLES; ++s) EXPECT(isfinite(c.error[s]));
    EXPECT_NEAR(c.error[2], 2000, 20); // the first step: -log of e^-2000, times the kernel's ratio
    for (int64_t i = 0; i < SAMPLES * ITEM_SMALL * K; ++i) EXPECT(isfinite(c.dlogits[i]));
    const float *wrong = c.dlogits + (2 * ITEM_SMALL + 1) * K;
    int x_0 = c.x_0[2 * ITEM_SMALL + 1];
    EXPECT_NEAR((double)wrong[x_0], -1, 1e-6);
    EXPECT_NEAR((double)wrong[(x_0 + 1) % K], 1, 1e-6);
    c.logits[0] = NAN;
    run_token_loss(&c, ITEM_SMALL, K, true);
    EXPECT(isnan(c.loss[0]) && isfinite(c.loss[1]));
    token_case_free(&c);
}

// A network that is right but for 1e-3: the loss is a difference of nearly equal numbers.
static void test_categorical_loss_near_zero(void) {
    enum { ITEM_SMALL = 4, K = 27 };
    TokenCase c = token_case(ITEM_SMALL, K);
    for (int64_t i = 0; i < SAMPLES * ITEM_SMALL; ++i) {
        c.x_t[i] = c.x_0[i];
        for (int k = 0; k < K; ++k) c.logits[i * K + k] = k == c.x_0[i] ? 10.0f : 0.01f * (float)k;
    }
    run_token_loss(&c, ITEM_SMALL, K, true);
    for (int s = 0; s < SAMPLES; ++s) {
        double expected = 0, logits[K];
        for (int64_t i = s * ITEM_SMALL; i < (s + 1) * ITEM_SMALL; ++i) {
            for (int k = 0; k < K; ++k) logits[k] = (double)c.logits[i * K + k];
            const CategoricalLevel *level = &token_levels[s];
            expected += level->weight * (double)kl_reference(level, c.x_0[i], c.x_t[i], logits, K);
        }
        EXPECT(expected < 1e-3 && c.error[s] > 0);
        EXPECT_NEAR(token_levels[s].weight * c.error[s], expected, 1e-14);
    }
    token_case_free(&c);
}

static void call_token_advance(Stream *stream, OpBuffer *b, const void *shape) {
    const TokenShape *s = shape;
    categorical_advance(stream,
                        (CategoricalAdvance){.logits = b[0].device,
                                             .x_t = b[1].device,
                                             .sample = b[2].device,
                                             .base = b[4].device,
                                             .next = s->in_place ? b[1].device : b[3].device,
                                             .samples = SAMPLES,
                                             .item = s->item,
                                             .classes = s->classes,
                                             .level = s->level,
                                             .key = s->key});
}

static int32_t draw_reference(const TokenShape *shape, const float *logits_f32, int32_t x_t,
                              uint64_t sample, int64_t e) {
    double logits[CLASSES_REFERENCE];
    long double p[CLASSES_REFERENCE], theta[CLASSES_REFERENCE], running = 0;
    int32_t classes = shape->classes + (shape->level.form == CATEGORICAL_MIXTURE);
    for (int k = 0; k < shape->classes; ++k) logits[k] = (double)logits_f32[k];
    softmax_reference(logits, shape->classes, p);
    if (shape->level.form == CATEGORICAL_MIXTURE)
        mixture_reference(&shape->level, x_t, p, shape->classes, theta);
    else
        theta_reference(&shape->level, x_t, p, shape->classes, theta);
    if (shape->level.form == CATEGORICAL_DIRECT) memcpy(theta, p, sizeof theta);
    if (shape->level.form == CATEGORICAL_NOTHING) { // the forward kernel alone
        long double a = shape->level.step_keep;
        for (int k = 0; k < shape->classes; ++k) theta[k] = (1 - a) * base[k] + a * (k == x_t);
    }
    uint32_t bits[4];
    rng_block(shape->key, sample, (uint32_t)(e / 2), bits);
    long double goal = rng_uniform_f64(bits[2 * (e % 2)], bits[2 * (e % 2) + 1]);
    int32_t k = 0;
    while (k + 1 < classes && (running += theta[k]) <= goal) ++k;
    return k;
}

static void check_token_advance(const CategoricalLevel *level, bool in_place) {
    enum { N = SAMPLES * ITEM, K = 27 };
    TokenShape shape = {ITEM, K, in_place, rng_key(8, RNG_ANCESTRAL, 3), *level};
    TokenCase c = token_case(ITEM, K);
    for (int64_t i = 0; i < N; i += 3)
        if (level->form == CATEGORICAL_MIXTURE) c.x_t[i] = K;
    int32_t *next = ops_memory(N, 4), *expected = ops_memory(N, 4);
    for (int64_t i = 0; i < N; ++i)
        expected[i] =
            draw_reference(&shape, c.logits + i * K, c.x_t[i], sample_numbers[i / ITEM], i % ITEM);
    OpBuffer b[] = {{c.logits, N * K, OP_IN, NULL},
                    {c.x_t, N, in_place ? OP_INOUT : OP_IN, NULL},
                    {sample_numbers, 2 * SAMPLES, OP_IN, NULL},
                    {in_place ? NULL : next, N, OP_OUT, NULL},
                    base_buffer(K)};
    EXPECT_EQ(ops_run("categorical_advance", call_token_advance, &shape, b, 5), 0);
    EXPECT(memcmp(in_place ? c.x_t : next, expected, N * sizeof *expected) == 0);
    free(next), free(expected);
    token_case_free(&c);
}

static void test_categorical_advance(void) {
    check_token_advance(&token_levels[0], false);
    check_token_advance(&token_levels[2], true);
    set_base(27);
    check_token_advance(&token_levels[0], true);
    CategoricalLevel level = token_levels[0];
    level.form = CATEGORICAL_DIRECT;
    check_token_advance(&level, false);
    level.form = CATEGORICAL_NOTHING;
    check_token_advance(&level, false);
    level = mixed_level(0.4, 0.3, 0.7, 0.2, 1, 0);
    check_token_advance(&level, false);
    base = NULL;
    check_token_advance(&level, true);
    level = mixed_level(0.6, 1e-6, 0.95, 1e-8, 2.5, 0.3);
    check_token_advance(&level, false);
}

int main(void) {
    RUN(test_categorical_corrupt_is_the_generator);
    RUN(test_categorical_prior);
    RUN(test_categorical_loss);
    RUN(test_categorical_loss_of_the_mixture);
    RUN(test_categorical_loss_of_masks_alone);
    RUN(test_categorical_loss_at_the_ends);
    RUN(test_categorical_loss_near_zero);
    RUN(test_categorical_advance);
    return test_report();
}
