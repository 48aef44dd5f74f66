// Losses of categorical diffusion against the definition in long double, gradients against
// differences.
#include "tests/model/support_categorical.h"

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

static long double surprise(const double *logits, int classes, int x) {
    long double p[CLASSES_REFERENCE];
    softmax_reference(logits, classes, p);
    return -logl(p[x]);
}

// What the loss has beside the error.
static long double extra_reference(const CategoricalLevel *level, int x_0, int x_t,
                                   const double *logits, int classes) {
    long double cross = surprise(logits, classes, x_0);
    if (level->form == CATEGORICAL_SCORE) return 0;
    long double aux = level->aux * cross;
    if (level->form != CATEGORICAL_GUESS) return aux;
    if (!is_told(level, x_t, classes) || x_t == classes) return aux;
    return aux + (x_t == x_0 ? cross - 1 : 0) + expl(-surprise(logits, classes, x_t));
}

// Score entropy by its definition: sum over y != x_t of Q (s - r log s + r (log r - 1)), with
// r(y) = q(y|x_0)/q(x_t|x_0). To a mask the rate is 1 and scores come in units of
// rho = keep/mask: sigma' rho is then the weight.
static long double score_reference(const CategoricalLevel *level, int x_0, int x_t,
                                   const double *logits, int classes) {
    long double sum = 0, rest = (1 - (long double)level->keep) / classes;
    long double rho = x_t == classes ? level->keep / (long double)level->mask : 0;
    for (int y = 0; y < classes; ++y) {
        if (y == x_t) continue;
        long double r = x_t == classes ? rho * (y == x_0)
                                       : (rest + level->keep * (y == x_0)) /
                                             (rest + level->keep * (x_t == x_0));
        long double s = expl(logits[y]) * (x_t == classes ? rho / classes : 1);
        sum += s + (r > 0 ? r * (logl(r) - 1) - r * logl(s) : 0);
    }
    return x_t == classes ? sum / rho : sum / classes;
}

// A sample's error.
static long double kl_reference(const CategoricalLevel *level, int x_0, int x_t,
                                const double *logits, int classes) {
    long double p[CLASSES_REFERENCE], model[CLASSES_REFERENCE], truth[CLASSES_REFERENCE], kl = 0;
    if (level->form == CATEGORICAL_NOTHING) return 0;
    if (level->form == CATEGORICAL_MIXTURE)
        return mixture_kl_reference(level, x_0, x_t, logits, classes);
    if (level->form == CATEGORICAL_GUESS || level->form == CATEGORICAL_SCORE) {
        if (!is_told(level, x_t, classes)) return 0;
        if (level->form == CATEGORICAL_SCORE)
            return score_reference(level, x_0, x_t, logits, classes);
        long double cross = surprise(logits, classes, x_0);
        return cross * (1 + level->aux) - extra_reference(level, x_0, x_t, logits, classes);
    }
    softmax_reference(logits, classes, p);
    theta_reference(level, x_t, p, classes, model);
    if (level->form == CATEGORICAL_DIRECT) memcpy(model, p, sizeof model);
    for (int k = 0; k < classes; ++k) p[k] = k == x_0;
    theta_reference(level, x_t, p, classes, truth);
    for (int k = 0; k < classes; ++k)
        if (truth[k] > 0) kl += truth[k] * logl(truth[k] / model[k]);
    return kl;
}

static void call_token_loss(Stream *stream, OpBuffer *b, const void *shape) {
    const TokenShape *s = shape;
    categorical_loss(stream, (Categorical){.logits = b[0].device,
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

static void run_token_loss(TokenCase *c, int64_t item, int32_t classes, bool gradient) {
    TokenShape shape = {.item = item, .classes = classes};
    int64_t n = SAMPLES * item;
    OpBuffer b[] = {{c->logits, n * classes, OP_IN, NULL, OP_F32},
                    {c->x_0, n, OP_IN, NULL, OP_F32},
                    {c->x_t, n, OP_IN, NULL, OP_F32},
                    {token_levels, TOKEN_LEVEL_WORDS, OP_IN, NULL, OP_F32},
                    {gradient ? c->dlogits : NULL, n * classes, OP_OUT, NULL, OP_F32},
                    {gradient ? c->loss : NULL, SAMPLES, OP_OUT, NULL, OP_F32},
                    {c->error, 2 * SAMPLES, OP_OUT, NULL, OP_F64},
                    base_buffer(classes)};
    EXPECT_EQ(ops_run("categorical_loss", call_token_loss, &shape, b, 8), 0);
}

// d (error + what the loss has beside it) / d logits[k], central differences in long double with a
// step that leaves 1e-9.
static double slope_reference(const CategoricalLevel *level, int x_0, int x_t, double *logits,
                              int classes, int k) {
    double h = 1e-4, at = logits[k];
    logits[k] = at + h;
    long double up = kl_reference(level, x_0, x_t, logits, classes) +
                     extra_reference(level, x_0, x_t, logits, classes);
    logits[k] = at - h;
    long double down = kl_reference(level, x_0, x_t, logits, classes) +
                       extra_reference(level, x_0, x_t, logits, classes);
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
        aux[i / item] +=
            level->weight * (double)extra_reference(level, c.x_0[i], c.x_t[i], logits, classes);
        for (int k = 0; k < classes; k += 1 + classes / 8) {
            double slope = slope_reference(level, c.x_0[i], c.x_t[i], logits, classes, k);
            double got = (double)c.dlogits[i * classes + k];
            worst = fmax(worst, fabs(got - level->weight * slope) / fmax(1, fabs(slope)));
        }
    }
    EXPECT(worst < 3e-7); // fp32 gradients
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
    set_forms(CATEGORICAL_PLUG_IN, CATEGORICAL_PLUG_IN);
    check_token_loss(5, 27);
    base = NULL;
}

// Much noise and little, uniform and masks.
static void test_categorical_loss_of_guesses_and_scores(void) {
    CategoricalLevel before[SAMPLES];
    memcpy(before, token_levels, sizeof before);
    for (CategoricalForm form = CATEGORICAL_GUESS; form <= CATEGORICAL_SCORE; ++form) {
        double aux = form == CATEGORICAL_GUESS ? 0.4 : 0;
        token_levels[0] = (CategoricalLevel){.keep = 0.3, .mask = 0.7, .weight = 1.5, .aux = aux};
        token_levels[1] = (CategoricalLevel){.keep = 0.3, .weight = 2.5, .aux = aux / 2};
        token_levels[2] = (CategoricalLevel){.keep = 0.99, .weight = 1};
        set_forms(form, form);
        check_token_loss(5, 27);
        check_token_loss(17, 3);
        check_token_loss(1, CATEGORICAL_CLASSES_MOST);
    }
    memcpy(token_levels, before, sizeof before);
}

// Any matrices; the last sample's step is the first, whose distribution is that of x_0.
static void test_categorical_loss_of_matrices(void) {
    enum { K = 11 };
    CategoricalLevel before[SAMPLES];
    memcpy(before, token_levels, sizeof before);
    for (int s = 0; s < SAMPLES; ++s)
        token_levels[s] = (CategoricalLevel){.weight = 1 + s, .aux = s * 0.2, .at = s, .to = 2 - s};
    set_forms(CATEGORICAL_DENSE, CATEGORICAL_DENSE);
    set_dense(K);
    check_token_loss(5, K);
    check_token_loss(40, K);
    base = NULL;
    memcpy(token_levels, before, sizeof before);
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

int main(void) {
    RUN(test_categorical_loss);
    RUN(test_categorical_loss_of_guesses_and_scores);
    RUN(test_categorical_loss_of_matrices);
    RUN(test_categorical_loss_of_the_mixture);
    RUN(test_categorical_loss_of_masks_alone);
    RUN(test_categorical_loss_at_the_ends);
    RUN(test_categorical_loss_near_zero);
    return test_report();
}
