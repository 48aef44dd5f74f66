// Steps of samplers that guess, counted masks, and the loss of a class: the same in all ways, and
// what each of them must leave.
#include "tests/model/support_categorical.h"

enum { K = 27, N = SAMPLES * ITEM, BLOCK = 50 };

// A step: x_t before and after, what else it reads and writes. `a` has the numbers, no pointers.
typedef struct {
    Categorical a;
    float *logits, memory[N];
    int32_t before[N], x[N];
    double race[N];
    CategoricalLevel level[SAMPLES];
} Step;

typedef void (*StepOp)(Stream *stream, Categorical a);
typedef struct {
    StepOp op;
    Categorical a;
} StepCall;

static void call_step(Stream *stream, OpBuffer *b, const void *shape) {
    const StepCall *call = shape;
    Categorical a = call->a;
    a.logits = b[0].device, a.sample = b[1].device, a.x_t = b[2].device, a.memory = b[3].device;
    a.race = b[4].device, a.level = b[5].device, a.base = b[6].device, a.x_0 = b[7].device;
    call->op(stream, a);
}

static Step *step_new(RefreshKind kind) {
    Step *step = ops_memory(1, sizeof *step);
    step->logits = ops_numbers(N * K, 5);
    for (int i = 0; i < N * K; ++i) step->logits[i] *= 5;
    for (int i = 0; i < N; i += 7) // equals
        step->logits[i * K + 5] = step->logits[i * K + 3 + i % 2] = step->logits[i * K + 20] = 5;
    for (int i = 0; i < N; ++i) step->x[i] = kind >= REVEAL_DRAWN && i % 3 > 0 ? K : i % K;
    step->a = (Categorical){.samples = SAMPLES,
                            .item = ITEM,
                            .end = ITEM,
                            .classes = K,
                            .kind = kind,
                            .steps = 10,
                            .temperature = 0.8,
                            .key = rng_key(8, RNG_ANCESTRAL, 3)};
    return step;
}

static void step_free(Step *step) {
    free(step->logits);
    free(step);
}

static void step_run(Step *step, StepOp op) {
    StepCall call = {op, step->a};
    bool races = step->a.kind >= REVEAL_DRAWN;
    memcpy(step->before, step->x, sizeof step->x);
    OpBuffer b[] = {{step->logits, N * K, OP_IN, NULL, OP_F32},
                    {sample_numbers, 2 * SAMPLES, OP_IN, NULL, OP_F32},
                    {step->x, N, OP_INOUT, NULL, OP_F32},
                    {step->memory, N, OP_INOUT, NULL, OP_F32},
                    {races ? step->race : NULL, 2 * N, OP_OUT, NULL, OP_F64},
                    {step->level, TOKEN_LEVEL_WORDS, OP_IN, NULL, OP_F32},
                    base_buffer(K),
                    {step->before, N, OP_IN, NULL, OP_F32}};
    EXPECT_EQ(ops_run("a step", call_step, &call, b, 8), 0);
}

static int best_of(const float *logits) {
    int best = 0;
    for (int k = 1; k < K; ++k) best = logits[k] > logits[best] ? k : best;
    return best;
}

static void softmax_of(const float *logits, long double *p) {
    double wide[K];
    for (int k = 0; k < K; ++k) wide[k] = (double)logits[k];
    softmax_reference(wide, K, p);
}

// More likely classes have less than the share.
static void test_categorical_advance_truncates(void) {
    Step *step = step_new(REFRESH_FRACTION);
    int wrong = 0, likeliest = 0;
    for (int s = 0; s < SAMPLES; ++s) step->level[s].form = CATEGORICAL_GUESS;
    step->a.truncation = 0.6;
    step_run(step, categorical_advance);
    for (int i = 0; i < N; ++i) {
        const float *logits = step->logits + i * K;
        long double p[CLASSES_REFERENCE], above = 0;
        softmax_of(logits, p);
        for (int k = 0; k < K; ++k) above += p[k] > p[step->x[i]] ? p[k] : 0;
        wrong += above >= 0.6L;
        likeliest += step->x[i] == best_of(logits);
    }
    EXPECT_EQ(wrong, 0);
    EXPECT(likeliest > N / 4 && likeliest < N * 3 / 4);
    step_free(step);
}

static void test_categorical_refresh_to_the_likeliest(void) {
    Step *step = step_new(REFRESH_ARGMAX);
    int wrong = 0, stay = 0;
    step_run(step, categorical_refresh);
    for (int i = 0; i < N; ++i) {
        long double p[CLASSES_REFERENCE];
        softmax_of(step->logits + i * K, p);
        wrong += step->x[i] != best_of(step->logits + i * K);
        wrong += fabsl((long double)step->memory[i] - p[step->x[i]]) > 1e-6L;
        if (i % 5 == 0) step->memory[i] = step->memory[0]; // equals
        step->x[i] = K;
    }
    EXPECT_EQ(wrong, 0);
    step->a.kind = REFRESH_UNCERTAIN, step->a.share = 0.25;
    step_run(step, categorical_refresh);
    for (int i = 0; i < N; ++i) {
        wrong += step->x[i] != K && step->x[i] != best_of(step->logits + i * K);
        for (int j = i / ITEM * ITEM; j < (i / ITEM + 1) * ITEM; ++j) // who stays is more certain
            wrong += step->x[i] == K && step->x[j] != K && step->memory[j] > step->memory[i];
        stay += step->x[i] == K;
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(stay, SAMPLES * (ITEM / 4 + 1));
    step_free(step);
}

static void test_categorical_refresh_of_a_fraction(void) {
    Step *step = step_new(REFRESH_FRACTION);
    int changed = 0;
    step->a.share = 0.5;
    step->a.key.step = 0;
    for (int s = 0; s < SAMPLES; ++s) step->memory[s] = 1; // cleared by the first step
    step_run(step, categorical_refresh);
    for (int i = 0; i < N; ++i) changed += step->x[i] != step->before[i];
    EXPECT(changed > N / 3 && changed < N / 2); // some draw what they were
    EXPECT(step->memory[0] == 0 && step->memory[SAMPLES - 1] == 0);
    step->a.share = 0; // nothing changes, which counts from step 10 on
    step->a.key.step = 9;
    step_run(step, categorical_refresh);
    EXPECT(step->memory[0] == 0);
    step->a.key.step = 10;
    step_run(step, categorical_refresh);
    EXPECT(step->memory[0] == 1 && step->memory[SAMPLES - 1] == 1);
    step->memory[1] = 0;
    step->a.share = 1;
    step_run(step, categorical_refresh);
    EXPECT(memcmp(step->x, step->before, ITEM * sizeof *step->x) == 0);
    EXPECT(memcmp(step->x + ITEM, step->before + ITEM, ITEM * sizeof *step->x) != 0);
    step->a.share = 0.005; // a change of any token counts
    for (step->a.key.step = 11; step->a.key.step < 17; ++step->a.key.step) {
        for (int s = 0; s < SAMPLES; ++s) step->memory[s] = 0;
        step_run(step, categorical_refresh);
        for (int s = 0; s < SAMPLES; ++s) {
            size_t at = (size_t)s * ITEM;
            bool stays = memcmp(step->x + at, step->before + at, ITEM * sizeof *step->x) == 0;
            EXPECT(step->memory[s] == (stays ? 1 : 0));
        }
    }
    step_free(step);
}

// m/steps of m masks, rounded up, those of the first blocks before others.
static void check_reveal(RefreshKind kind, int64_t block, double truncation) {
    Step *step = step_new(kind);
    int wrong = 0;
    step->a.block = block, step->a.truncation = truncation, step->a.purity = 2;
    step->a.begin = 7;
    step_run(step, categorical_reveal);
    for (int s = 0; s < SAMPLES; ++s) {
        int64_t masks = 0, revealed = 0, first_left = ITEM, last = 0;
        for (int64_t e = 0; e < ITEM; ++e) {
            int32_t was = step->before[s * ITEM + e], is = step->x[s * ITEM + e];
            if (e >= step->a.begin && was == K) {
                ++masks;
                if (is == K) first_left = e < first_left ? e : first_left;
                if (is != K) ++revealed, last = e;
            } else {
                wrong += is != was;
            }
            wrong += is < 0 || is > K;
        }
        EXPECT_EQ(revealed, (masks + 9) / 10);
        wrong += block > 0 && last / block > first_left / block;
    }
    EXPECT_EQ(wrong, 0);
    step_free(step);
}

static void test_categorical_reveal(void) {
    check_reveal(REVEAL_DRAWN, 0, 0);
    check_reveal(REVEAL_DRAWN, BLOCK / 5, 0.7);
    check_reveal(REVEAL_SUREST, 0, 0.7);
    check_reveal(REVEAL_SUREST, BLOCK, 0);
}

static void test_categorical_corrupt_counts_masks_of_blocks(void) {
    Step *step = step_new(REFRESH_FRACTION);
    step->a.block = BLOCK;
    for (int s = 0; s < SAMPLES; ++s) step->level[s].masks = 3 * s; // 0 of sample 0: not counted
    step_run(step, categorical_corrupt);
    for (int s = 1; s < SAMPLES; ++s)
        for (int first = 0; first + BLOCK <= ITEM; first += BLOCK) {
            int masks = 0;
            for (int e = first; e < first + BLOCK; ++e) masks += step->x[s * ITEM + e] == K;
            EXPECT_EQ(masks, 3 * s);
        }
    step_free(step);
}

static void test_categorical_corrupt_by_matrices(void) {
    Step *step = step_new(REFRESH_FRACTION);
    int wrong = 0;
    set_dense(K);
    for (int s = 0; s < SAMPLES; ++s) step->level[s].form = CATEGORICAL_DENSE;
    step_run(step, categorical_corrupt);
    for (int64_t i = 0; i < N; ++i) {
        const double *row = base + ((3 * (i / ITEM) + 2) * K + step->before[i]) * K;
        uint32_t bits[4];
        int64_t e = i % ITEM;
        rng_block(step->a.key, sample_numbers[i / ITEM], (uint32_t)(e / 2), bits);
        double goal = rng_uniform_f64(bits[2 * (e % 2)], bits[2 * (e % 2) + 1]), running = 0;
        int k = 0;
        while (k + 1 < K && (running += row[k]) <= goal) ++k;
        wrong += step->x[i] != k;
    }
    EXPECT_EQ(wrong, 0);
    base = NULL;
    step_free(step);
}

static void call_class_loss(Stream *stream, OpBuffer *b, const void *shape) {
    ClassLoss a = *(const ClassLoss *)shape;
    a.out = b[0].device, a.label = b[1].device, a.dout = b[2].device;
    a.loss = b[3].device, a.wrong = b[4].device;
    class_loss(stream, a);
}

static void test_class_loss(void) {
    enum { MANY = 9, PLACES = 7, SIZE = MANY * K * PLACES };
    ClassLoss shape = {.samples = MANY, .places = PLACES, .classes = K};
    float *out = ops_numbers(SIZE, 3), *dout = ops_memory(SIZE, sizeof *dout), loss[MANY];
    int32_t *label = some_tokens(MANY, K, 4);
    double wrong[MANY];
    OpBuffer b[] = {{out, SIZE, OP_IN, NULL, OP_F32},
                    {label, MANY, OP_IN, NULL, OP_F32},
                    {dout, SIZE, OP_OUT, NULL, OP_F32},
                    {loss, MANY, OP_OUT, NULL, OP_F32},
                    {wrong, 2 * MANY, OP_OUT, NULL, OP_F64}};
    EXPECT_EQ(ops_run("class_loss", call_class_loss, &shape, b, 5), 0);
    for (int s = 0; s < MANY; ++s) {
        float mean[K];
        long double p[CLASSES_REFERENCE];
        for (int k = 0; k < K; ++k) {
            double sum = 0;
            for (int i = 0; i < PLACES; ++i) sum += (double)out[(s * K + k) * PLACES + i];
            mean[k] = (float)(sum / PLACES);
        }
        softmax_of(mean, p);
        EXPECT_NEAR((double)loss[s], -(double)logl(p[label[s]]), 1e-6);
        EXPECT(wrong[s] == (best_of(mean) != label[s]));
        for (int i = 0; i < K * PLACES; ++i)
            EXPECT_NEAR((double)dout[s * K * PLACES + i],
                        ((double)p[i / PLACES] - (i / PLACES == label[s])) / PLACES, 1e-7);
    }
    free(out), free(dout), free(label);
}

int main(void) {
    RUN(test_categorical_advance_truncates);
    RUN(test_categorical_refresh_to_the_likeliest);
    RUN(test_categorical_refresh_of_a_fraction);
    RUN(test_categorical_reveal);
    RUN(test_categorical_corrupt_counts_masks_of_blocks);
    RUN(test_categorical_corrupt_by_matrices);
    RUN(test_class_loss);
    return test_report();
}
