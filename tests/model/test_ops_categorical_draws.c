// Draws of categorical diffusion against the generator one number at a time, and their laws.
#include "tests/model/support_categorical.h"

static void call_token_corrupt(Stream *stream, OpBuffer *b, const void *shape) {
    const TokenShape *s = shape;
    categorical_corrupt(stream, (Categorical){.x_0 = b[0].device,
                                              .sample = b[1].device,
                                              .level = b[2].device,
                                              .base = b[4].device,
                                              .x_t = b[3].device,
                                              .samples = SAMPLES,
                                              .item = s->item,
                                              .classes = s->classes,
                                              .key = s->key});
}

static void check_corrupt(double masked) {
    enum { N = SAMPLES * ITEM, K = 27 };
    TokenShape shape = {.item = ITEM, .classes = K, .key = rng_key(3, RNG_NOISE, 9)};
    CategoricalLevel level[SAMPLES] = {
        {.keep = 0.5, .mask = 0.3}, {.keep = 1}, {.keep = 1e-12, .mask = masked}};
    int32_t *x_0 = some_tokens(N, K, 1), *x_t = ops_memory(N, 4);
    OpBuffer b[] = {{x_0, N, OP_IN, NULL, OP_F32},
                    {sample_numbers, 2 * SAMPLES, OP_IN, NULL, OP_F32},
                    {level, TOKEN_LEVEL_WORDS, OP_IN, NULL, OP_F32},
                    {x_t, N, OP_OUT, NULL, OP_F32},
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

// Exactly so many masks, and each token as often as any other.
static void test_categorical_corrupt_counts_masks(void) {
    enum { LONG = 37, MANY = 3000, K = 5 };
    Device *device;
    DeviceConfig config = {.backend = "cpu", .streams = 1};
    EXPECT_OK(device_open(&config, &device));
    static int32_t x_0[MANY * LONG], x_t[MANY * LONG];
    static uint64_t sample[MANY];
    static CategoricalLevel level[MANY];
    double often[LONG] = {0};
    for (int i = 0; i < MANY * LONG; ++i) x_0[i] = i % K;
    for (int s = 0; s < MANY; ++s)
        sample[s] = (uint64_t)s, level[s] = (CategoricalLevel){.keep = 0.5, .masks = 1 + s % LONG};
    categorical_corrupt(device_stream(device, 0), (Categorical){.x_0 = x_0,
                                                                .sample = sample,
                                                                .level = level,
                                                                .x_t = x_t,
                                                                .samples = MANY,
                                                                .item = LONG,
                                                                .classes = K,
                                                                .key = rng_key(3, RNG_NOISE, 9)});
    EXPECT_OK(stream_wait(device_stream(device, 0)));
    int wrong = 0;
    for (int s = 0; s < MANY; ++s) {
        int masks = 0;
        for (int e = 0; e < LONG; ++e) {
            bool masked = x_t[s * LONG + e] == K;
            masks += masked, often[e] += masked;
            wrong += !masked && x_t[s * LONG + e] != x_0[s * LONG + e];
        }
        wrong += masks != level[s].masks;
    }
    EXPECT_EQ(wrong, 0);
    for (int e = 0; e < LONG; ++e) EXPECT_NEAR(often[e] / MANY, (LONG + 1) / 2.0 / LONG, 0.045);
    device_close(device);
}

static void call_token_prior(Stream *stream, OpBuffer *b, const void *shape) {
    const TokenShape *s = shape;
    categorical_prior(stream, (Categorical){.sample = b[0].device,
                                            .base = b[2].device,
                                            .x_t = b[1].device,
                                            .samples = SAMPLES,
                                            .item = s->item,
                                            .classes = s->classes,
                                            .key = s->key});
}

static void check_prior(void) {
    enum { N = SAMPLES * ITEM };
    TokenShape shape = {.item = ITEM, .classes = 11, .key = rng_key(3, RNG_PRIOR, 0)};
    int32_t *x = ops_memory(N, 4);
    OpBuffer b[] = {{sample_numbers, 2 * SAMPLES, OP_IN, NULL, OP_F32},
                    {x, N, OP_OUT, NULL, OP_F32},
                    base_buffer(11)};
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

static void call_token_advance(Stream *stream, OpBuffer *b, const void *shape) {
    const TokenShape *s = shape;
    categorical_advance(stream, (Categorical){.logits = b[0].device,
                                              .x_t = b[1].device,
                                              .sample = b[2].device,
                                              .base = b[3].device,
                                              .level = b[4].device,
                                              .samples = SAMPLES,
                                              .item = s->item,
                                              .end = s->item,
                                              .classes = s->classes,
                                              .key = s->key});
}

// The law of a draw, of `*classes` classes.
static void draw_law(const CategoricalLevel *level, const double *logits, int32_t x_t,
                     int32_t *classes, long double *theta) {
    long double p[CLASSES_REFERENCE], a = level->step_keep, sum = 0;
    int32_t n = *classes;
    softmax_reference(logits, n, p);
    *classes += level->form == CATEGORICAL_MIXTURE || level->mask > 0;
    if (level->form == CATEGORICAL_MIXTURE) {
        mixture_reference(level, x_t, p, n, theta);
    } else if (level->form == CATEGORICAL_GUESS || (level->mask > 0 && n < *classes)) {
        bool moves = is_told(level, x_t, n);
        long double stay = moves ? level->stay : 1;
        for (int k = 0; k < *classes; ++k)
            theta[k] = (1 - stay) * (k < n ? p[k] : 0) + stay * (k == x_t);
    } else if (level->form == CATEGORICAL_SCORE) { // e^(-sigma Q) s, times e^(sigma Q) to x_t
        for (int k = 0; k < n; ++k) sum += p[k] = k == x_t ? 1 : expl(logits[k]);
        long double total = 0;
        for (int k = 0; k < n; ++k)
            total += theta[k] =
                fmaxl(0, p[k] / a + (1 - 1 / a) * sum / n) * (a * (k == x_t) + (1 - a) / n);
        for (int k = 0; k < n; ++k) theta[k] /= total;
    } else if (level->form == CATEGORICAL_NOTHING) { // the forward kernel alone
        for (int k = 0; k < n; ++k) theta[k] = (1 - a) * base[k] + a * (k == x_t);
    } else {
        theta_reference(level, x_t, p, n, theta);
        if (level->form == CATEGORICAL_DIRECT) memcpy(theta, p, sizeof p);
    }
}

static int32_t draw_reference(const TokenShape *shape, const float *logits_f32, int32_t x_t,
                              uint64_t sample, int64_t e) {
    double logits[CLASSES_REFERENCE];
    long double theta[CLASSES_REFERENCE + 1], running = 0;
    int32_t classes = shape->classes;
    for (int k = 0; k < classes; ++k) logits[k] = (double)logits_f32[k];
    draw_law(&shape->level, logits, x_t, &classes, theta);
    uint32_t bits[4];
    rng_block(shape->key, sample, (uint32_t)(e / 2), bits);
    long double goal = rng_uniform_f64(bits[2 * (e % 2)], bits[2 * (e % 2) + 1]);
    int32_t k = 0;
    while (k + 1 < classes && (running += theta[k]) <= goal) ++k;
    return k;
}

static void check_token_advance(const CategoricalLevel *level) {
    enum { N = SAMPLES * ITEM, K = 27 };
    TokenShape shape = {ITEM, K, rng_key(8, RNG_ANCESTRAL, 3), *level};
    CategoricalLevel row[SAMPLES] = {*level, *level, *level};
    for (int i = 0; i < SAMPLES; ++i) row[i].at = i;
    TokenCase c = token_case(ITEM, K);
    for (int64_t i = 0; i < N; i += 3)
        if (level->form == CATEGORICAL_MIXTURE || level->mask > 0) c.x_t[i] = K;
    int32_t *expected = ops_memory(N, 4);
    for (int64_t i = 0; i < N; ++i) {
        shape.level = row[i / ITEM];
        expected[i] =
            draw_reference(&shape, c.logits + i * K, c.x_t[i], sample_numbers[i / ITEM], i % ITEM);
    }
    OpBuffer b[] = {{c.logits, N * K, OP_IN, NULL, OP_F32},
                    {c.x_t, N, OP_INOUT, NULL, OP_F32},
                    {sample_numbers, 2 * SAMPLES, OP_IN, NULL, OP_F32},
                    base_buffer(K),
                    {row, TOKEN_LEVEL_WORDS, OP_IN, NULL, OP_F32}};
    EXPECT_EQ(ops_run("categorical_advance", call_token_advance, &shape, b, 5), 0);
    EXPECT(memcmp(c.x_t, expected, N * sizeof *expected) == 0);
    free(expected);
    token_case_free(&c);
}

static void test_categorical_advance(void) {
    check_token_advance(&token_levels[0]);
    check_token_advance(&token_levels[2]);
    set_base(27);
    check_token_advance(&token_levels[0]);
    CategoricalLevel level = token_levels[0];
    level.form = CATEGORICAL_DIRECT;
    check_token_advance(&level);
    level.form = CATEGORICAL_NOTHING;
    check_token_advance(&level);
    level = mixed_level(0.4, 0.3, 0.7, 0.2, 1, 0);
    check_token_advance(&level);
    base = NULL;
    check_token_advance(&level);
    level = mixed_level(0.6, 1e-6, 0.95, 1e-8, 2.5, 0.3);
    check_token_advance(&level);
    level = (CategoricalLevel){.keep = 0.4, .stay = 0.6, .form = CATEGORICAL_GUESS};
    check_token_advance(&level);
    level = (CategoricalLevel){.keep = 0.4, .step_keep = 0.7, .form = CATEGORICAL_SCORE};
    check_token_advance(&level);
    level = (CategoricalLevel){.keep = 0.4, .mask = 0.6, .stay = 0.6, .form = CATEGORICAL_GUESS};
    check_token_advance(&level);
    level.form = CATEGORICAL_SCORE;
    check_token_advance(&level);
    set_dense(27);
    level = (CategoricalLevel){.form = CATEGORICAL_DENSE, .to = 1};
    check_token_advance(&level);
    level.to = 0;
    check_token_advance(&level);
    base = NULL;
}

int main(void) {
    RUN(test_categorical_corrupt_is_the_generator);
    RUN(test_categorical_corrupt_counts_masks);
    RUN(test_categorical_prior);
    RUN(test_categorical_advance);
    return test_report();
}
