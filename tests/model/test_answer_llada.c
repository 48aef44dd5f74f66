// LLaDA's ways with masked diffusion on the source S4: the likelihood by counted masks, remasking
// of what is not sure, blocks, and infilling, each against enumeration.
#include <math.h>

#include "tests/model/support_masks.h"
#include "tests/test.h"

static const CategoricalMass half = {0.5, 0, 0.5};

static void open_masked(ProcessCase *c, const char *backend, int64_t capacity) {
    ProcessConfig config = {.name = "mdlm", .steps = 100, .times = "uniform"};
    process_case_open(c, backend, &config, shape_tokens(LENGTH, K), capacity);
}

// The mean over l = 1..4 masks, every choice of which alike, of 4/l times the masked cross entropy.
static void test_counted_masks_give_the_entropy(void) {
    static const double choices[] = {1, 4, 6, 4, 1};
    static double error[COUPLES];
    ProcessCase c;
    open_masked(&c, "cpu", COUPLES);
    double nats = 0;
    for (int l = 1; l <= LENGTH; ++l) {
        CategoricalLevel level;
        c.process->system->family->level(c.process, (l - 0.5) / LENGTH, 1, &level);
        EXPECT_EQ(level.masks, l);
        EXPECT_NEAR(level.weight, LENGTH / (double)l, 1e-12);
        couple_errors(&c, &level, answer_best, &half, error);
        for (int at = 0; at < COUPLES; ++at) {
            int x_0 = at / SEEN, x_t = at % SEEN;
            if (masks_among(x_t) != l || couple_probability(half, x_0, x_t) == 0) continue;
            nats += source_probability(x_0) / choices[l] * level.weight * error[at] / LENGTH;
        }
    }
    EXPECT_NEAR(nats / (LENGTH * M_LN2), 1.332958, 1e-6);
    process_case_close(&c);
}

// ---- remasking --------------------------------------------------------------------------------

// The law after one evaluation that reveals `reveals` tokens: every masked token draws a class, and
// the tokens whose draws are the most probable stay, the first of equals; the first block first.
static void reveal_law(int reveals, int block, const double law[SEEN], double next[SEEN]) {
    memset(next, 0, SEEN * sizeof *next);
    for (int x = 0; x < SEEN; ++x) {
        double p[LENGTH][K];
        float logits[LENGTH][K];
        if (law[x] == 0) continue;
        answer_best(&half, x, logits);
        for (int i = 0; i < LENGTH; ++i) {
            double sum = 0;
            for (int k = 0; k < K; ++k) sum += p[i][k] = exp((double)logits[i][k]);
            for (int k = 0; k < K; ++k) p[i][k] /= sum;
        }
        for (int state = 0; state < STATES; ++state) { // what all tokens draw, seen ones too
            double way = law[x];
            bool masked[LENGTH];
            for (int i = 0; i < LENGTH; ++i) {
                masked[i] = seen_token(x, i) == MASK;
                way *= masked[i] ? p[i][token_of(state, i)] : 1.0 / K;
            }
            int y = x;
            for (int left = reveals; left > 0; --left) {
                int best = -1;
                for (int i = 0; i < LENGTH; ++i) {
                    if (!masked[i]) continue;
                    bool surer = best >= 0 && i / block == best / block &&
                                 p[i][token_of(state, i)] > p[best][token_of(state, best)];
                    if (best < 0 || surer) best = i;
                }
                masked[best] = false;
                y = (y & ~(3 << 2 * best)) | token_of(state, best) << 2 * best;
            }
            next[y] += way;
        }
    }
}

static void check_remask(const char *backend, int steps, int block) {
    enum { DRAWS = 8000 };
    static double law[2][SEEN], count[SEEN];
    SamplerConfig config = {
        .solver = "remask", .steps = steps, .guidance = 1, .temperature = 1, .block = block};
    ProcessCase c;
    open_masked(&c, backend, DRAWS);
    memset(law, 0, sizeof law);
    law[0][SEEN - 1] = 1;
    for (int i = 0; i < steps; ++i)
        reveal_law(LENGTH / steps, block > 0 ? block : LENGTH, law[i % 2], law[(i + 1) % 2]);
    draw_states(&c, &config, DRAWS, NULL, answer_best, half_masked, count);
    EXPECT(chi_square(count, law[steps % 2]) < 155.4);
    process_case_close(&c);
}

static void test_remasking_keeps_the_surest(void) {
    check_remask("cpu", LENGTH, 0);
    check_remask("late", 2, 0);
    check_remask("cpu", LENGTH, 2);
    check_remask("cpu", 2, 1);
}

// Nearly without temperature it is the likeliest class of the surest token, again and again.
static void test_cold_is_the_likeliest(void) {
    static double count[SEEN];
    SamplerConfig config = {
        .solver = "remask", .steps = LENGTH, .guidance = 1, .temperature = 1e-3f, .block = 1};
    ProcessCase c;
    open_masked(&c, "cpu", 64);
    draw_states(&c, &config, 64, NULL, answer_best, half_masked, count);
    EXPECT_EQ(count[0], 64); // 0 is the likeliest first, and follows itself with 0.7
    process_case_close(&c);
}

// ---- infilling --------------------------------------------------------------------------------

// Tokens 0 and 3 are known: one by one the others come from their law given these.
static void check_infilling(const char *solver) {
    enum { DRAWS = 8000, STEPS = 200 };
    static const int32_t known[LENGTH] = {0, MASK, MASK, 2};
    static double count[SEEN], law[SEEN];
    SamplerConfig config = {.steps = STEPS, .guidance = 1, .temperature = 1};
    snprintf(config.solver, sizeof config.solver, "%s", solver);
    ProcessCase c;
    open_masked(&c, "cpu", DRAWS);
    double total = 0;
    memset(law, 0, sizeof law);
    for (int state = 0; state < STATES; ++state)
        if (token_of(state, 0) == 0 && token_of(state, 3) == 2)
            total += law[seen_of(state)] = source_probability(state);
    for (int y = 0; y < SEEN; ++y) law[y] /= total;
    draw_states(&c, &config, DRAWS, known, answer_best, half_masked, count);
    EXPECT(chi_square(count, law) < 46); // 8 degrees; both tokens at once are rare
    process_case_close(&c);
}

static void test_infilling_draws_what_is_left(void) {
    check_infilling("ancestral");
    check_infilling("purity");
}

int main(void) {
    RUN(test_counted_masks_give_the_entropy);
    RUN(test_remasking_keeps_the_surest);
    RUN(test_cold_is_the_likeliest);
    RUN(test_infilling_draws_what_is_left);
    return test_report();
}
