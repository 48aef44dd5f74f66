// Block diffusion on the source S4: the bound of the best network is the entropy for every size of
// a block, that of a network that forgets the blocks before is the entropy of each block alone;
// masks are counted in each block; a table that our own corruption and loss bring to the entropy;
// the sampler's law.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/support_masks.h"
#include "tests/test.h"

static const double entropy = 1.332958; // bits a token

static CategoricalMass masks(double t) {
    return (CategoricalMass){1 - t, 0, t};
}

static void open_blocks(ProcessCase *c, const char *backend, int block, int64_t capacity) {
    ProcessConfig config = {.name = "mdlm", .steps = 100, .batch = 256, .block = block};
    process_case_open(c, backend, &config, shape_tokens(LENGTH, K), capacity);
    EXPECT_EQ(c->shape.block, block);
}

// What the network is told of when it says token i: x_0 in the blocks before, x_t in its own, masks
// behind.
static int told(int x_0, int x_t, int i, int block, bool forgets) {
    int state = 0, first = i / block * block;
    for (int k = 0; k < LENGTH; ++k) {
        int token = k >= first + block ? MASK
                    : k >= first       ? seen_token(x_t, k)
                    : forgets          ? MASK
                                       : seen_token(x_0, k);
        state |= token << 2 * k;
    }
    return state;
}

// ---- the bound --------------------------------------------------------------------------------

static double error[COUPLES];

static void fill_errors(const ProcessCase *c, const double answer[SEEN][LENGTH][K], bool forgets) {
    static int32_t x_0[COUPLES][LENGTH], x_t[COUPLES][LENGTH];
    static float logits[COUPLES][LENGTH][K];
    CategoricalLevel level = categorical_numbers(c->process, 0.5, 0), *row = c->pass.host_level;
    for (int at = 0; at < COUPLES; ++at) {
        for (int i = 0; i < LENGTH; ++i) {
            x_0[at][i] = token_of(at / SEEN, i), x_t[at][i] = seen_token(at % SEEN, i);
            int state = told(seen_of(at / SEEN), at % SEEN, i, c->process->config.block, forgets);
            for (int k = 0; k < K; ++k) logits[at][i][k] = (float)answer[state][i][k];
        }
        row[at] = level;
    }
    case_upload(c, c->pass.x_0, x_0, sizeof x_0);
    case_upload(c, c->pass.x_t, x_t, sizeof x_t);
    case_upload(c, c->pass.out, logits, sizeof logits);
    case_upload(c, c->pass.level, row, COUPLES * (int64_t)sizeof *row);
    process_bound_terms(c->process, c->stream, (Pass *)&c->pass, COUPLES);
    case_download(c, error, c->pass.error, COUPLES * (int64_t)sizeof *error);
}

static void best_answers(double answer[SEEN][LENGTH][K]) {
    for (int x = 0; x < SEEN; ++x) {
        double p[LENGTH][K];
        best_answer(masks(0.5), x, p);
        for (int i = 0; i < LENGTH * K; ++i)
            answer[x][i / K][i % K] = log(fmax(p[i / K][i % K], 1e-300));
    }
}

// Bits a token: the integral over t of the masked tokens' error over t where each is masked with
// probability t, a polynomial of degree 3: Gauss' rule of four points is exact.
static double bound(void) {
    static const double node[] = {0.3399810435848563, 0.8611363115940526};
    static const double weight[] = {0.6521451548625461, 0.3478548451374538};
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
        double t = 0.5 + 0.5 * (i % 2 == 0 ? node[i / 2] : -node[i / 2]), nats = 0;
        for (int at = 0; at < COUPLES; ++at)
            nats += couple_probability(masks(t), at / SEEN, at % SEEN) * error[at];
        sum += 0.5 * weight[i / 2] * nats / t;
    }
    return sum / (LENGTH * M_LN2);
}

// Bits of the tokens of block b.
static double block_entropy(int b, int block) {
    double p[STATES] = {0}, bits = 0;
    for (int state = 0; state < STATES; ++state) {
        int part = 0;
        for (int i = b * block; i < (b + 1) * block; ++i) part = part * K + token_of(state, i);
        p[part] += source_probability(state);
    }
    for (int part = 0; part < STATES; ++part) bits -= p[part] > 0 ? p[part] * log2(p[part]) : 0;
    return bits;
}

static void test_bound_is_the_entropy(void) {
    static double answer[SEEN][LENGTH][K];
    best_answers(answer);
    for (int block = 1; block <= LENGTH; block *= 2) {
        ProcessCase c;
        double alone = 0;
        open_blocks(&c, block == 2 ? "late" : "cpu", block, COUPLES);
        fill_errors(&c, answer, false);
        EXPECT_NEAR(bound(), entropy, 2e-6);
        fill_errors(&c, answer, true);
        for (int b = 0; b < LENGTH / block; ++b) alone += block_entropy(b, block) / LENGTH;
        EXPECT_NEAR(bound(), alone, 2e-6);
        EXPECT(block == LENGTH ? fabs(alone - entropy) < 2e-6 : alone > entropy + 0.05);
        process_case_close(&c);
    }
}

// As it is evaluated: every block has as many masks as the time says, each set of them as likely as
// any other, and the weights make the mean the bound.
static void test_masks_are_counted_in_each_block(void) {
    enum { DRAWS = 6000, BLOCK = 2 };
    static int32_t x_0[DRAWS][LENGTH], x_t[DRAWS][LENGTH], label[DRAWS];
    static uint64_t sample[DRAWS];
    static double time[DRAWS], weight[DRAWS];
    ProcessCase c;
    open_blocks(&c, "cpu", BLOCK, DRAWS);
    for (int s = 0; s < DRAWS; ++s) {
        for (int i = 0; i < LENGTH; ++i) x_0[s][i] = token_of(s % STATES, i);
        sample[s] = (uint64_t)s;
        time[s] = process_bound_time(c.process, (s + .5) / DRAWS, &weight[s]);
        EXPECT_NEAR(weight[s] * time[s], 1, 1e-12);
    }
    GrainBatch batch = {3, 0, DRAWS, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 7);
    case_download(&c, x_t, c.pass.x_t, sizeof x_t);
    EXPECT_NEAR(time[0], 0.5, 0);
    EXPECT_NEAR(time[DRAWS - 1], 1, 0);
    int first = 0, equal = 0, half = 0;
    for (int s = 0; s < DRAWS; ++s) {
        bool one = time[s] == 0.5;
        for (int b = 0; b < LENGTH / BLOCK; ++b) {
            int count = (x_t[s][2 * b] == MASK) + (x_t[s][2 * b + 1] == MASK);
            EXPECT_EQ(count, one ? 1 : 2);
        }
        half += one, first += one && x_t[s][0] == MASK;
        equal += one && (x_t[s][0] == MASK) == (x_t[s][2] == MASK);
    }
    EXPECT_EQ(half, DRAWS / 2);
    EXPECT_NEAR(first / (double)half, 0.5, 5 * 0.5 / sqrt(half));
    EXPECT_NEAR(equal / (double)half, 0.5, 5 * 0.5 / sqrt(half)); // blocks know nothing of another
    process_case_close(&c);
}

// ---- trained ----------------------------------------------------------------------------------

enum { BATCH = 256, ROUNDS = 3000, BLOCK = 2 };
static double table[SEEN][LENGTH][K];

// A step of SGD, rate 10 for the mean over the batch and tokens, falling to 0. What the network is
// told comes from its input as process_network_input makes it.
static void descend(ProcessCase *c, int round) {
    static int32_t x[BATCH][LENGTH], row[BATCH][LENGTH], context[BATCH][LENGTH], label[BATCH];
    static uint64_t sample[BATCH];
    static float number[BATCH][LENGTH][K];
    double rate = 10 * (1 - (double)round / ROUNDS) / (BATCH * LENGTH);
    draw_source(round, BATCH, x);
    for (int s = 0; s < BATCH; ++s) sample[s] = (uint64_t)(round * BATCH + s);
    GrainBatch batch = {3, (uint64_t)round, BATCH, x, label, sample};
    NetworkInput input;
    process_corrupt(c->process, c->network, c->stream, &c->pass, &batch);
    process_network_input(c->process, &c->pass, &batch, false, &input);
    case_download(c, row, input.ids, sizeof row);
    case_download(c, context, input.context, sizeof context);
    for (int s = 0; s < BATCH; ++s)
        for (int i = 0; i < LENGTH * K; ++i) {
            int state = told(seen_state(context[s]), seen_state(row[s]), i / K, BLOCK, false);
            number[s][i / K][i % K] = (float)table[state][i / K][i % K];
        }
    case_upload(c, c->pass.out, number, sizeof number);
    process_loss(c->process, c->stream, &c->pass, BATCH, true);
    case_download(c, number, c->pass.dout, sizeof number);
    for (int s = 0; s < BATCH; ++s)
        for (int i = 0; i < LENGTH * K; ++i) {
            int state = told(seen_state(context[s]), seen_state(row[s]), i / K, BLOCK, false);
            table[state][i / K][i % K] -= rate * (double)number[s][i / K][i % K];
        }
}

static void test_a_trained_table_reaches_the_entropy(void) {
    ProcessCase c, wide;
    open_blocks(&c, "cpu", BLOCK, BATCH);
    for (int round = 0; round < ROUNDS; ++round) descend(&c, round);
    process_case_close(&c);
    open_blocks(&wide, "cpu", BLOCK, COUPLES);
    fill_errors(&wide, (const double(*)[LENGTH][K])table, false);
    double bits = bound();
    printf("%.6f bits a token\n", bits);
    EXPECT(bits > entropy - 2e-6 && bits < 1.3345);
    process_case_close(&wide);
}

// ---- sampling ---------------------------------------------------------------------------------

// A step in which each masked token of block b is drawn with probability 1 - stay.
static void step_law(double stay, int b, int block, const double law[SEEN], double next[SEEN]) {
    memset(next, 0, SEEN * sizeof *next);
    for (int x = 0; x < SEEN; ++x) {
        double p[LENGTH][K];
        if (law[x] == 0) continue;
        best_answer(masks(0.5), x, p);
        for (int y = 0; y < SEEN; ++y) {
            double way = law[x];
            for (int i = 0; i < LENGTH; ++i) {
                int from = seen_token(x, i), to = seen_token(y, i);
                way *= from != MASK || i / block != b ? from == to
                       : to == MASK                   ? stay
                                                      : (1 - stay) * p[i][to];
            }
            next[y] += way;
        }
    }
}

static void check_sampler(const char *backend, const char *solver, int block, int each,
                          double distance) {
    enum { DRAWS = 8000 };
    static double law[2][SEEN], count[SEEN], source[SEEN];
    int blocks = LENGTH / block, now = 0;
    SamplerConfig config = {.steps = each * blocks + blocks - 1, .guidance = 1, .temperature = 1};
    snprintf(config.solver, sizeof config.solver, "%s", solver);
    ProcessCase c;
    open_blocks(&c, backend, block, DRAWS);
    memset(law, 0, sizeof law);
    law[0][SEEN - 1] = 1;
    for (int i = 0; i < each * blocks; ++i, now = 1 - now)
        step_law((double)(each - i % each - 1) / (each - i % each), i / each, block, law[now],
                 law[1 - now]);
    draw_states(&c, &config, DRAWS, NULL, answer_best, half_masked, count);
    source_law(source);
    // 80 degrees: false alarms below 1e-6
    EXPECT(chi_square(count, word_is(solver, "ancestral") ? law[now] : source) < 155.4);
    EXPECT_NEAR(variation(law[now], source), 0, distance);
    process_case_close(&c);
}

static void test_sampler_draws_block_after_block(void) {
    check_sampler("cpu", "ancestral", 2, 50, 0.008);
    check_sampler("late", "ancestral", 2, 2, 0.18);
    check_sampler("cpu", "ancestral", 1, 1, 1e-12); // letter by letter: exact
    check_sampler("late", "remask", 1, 1, 1e-12);
}

static void test_sampler_plan(void) {
    ProcessCase c;
    Sampler *sampler;
    open_blocks(&c, "cpu", 2, 1);
    SamplerConfig config = {.solver = "auto", .steps = 7, .guidance = 1};
    EXPECT_OK(sampler_open(c.process, &config, &sampler));
    EXPECT_EQ(sampler_steps(sampler), 6);
    for (int i = 0; i < 6; ++i) {
        EXPECT_EQ(sampler_block(sampler, i), i / 3);
        EXPECT_NEAR(sampler_time(sampler, i), 1 - i % 3 / 3.0, 1e-12);
    }
    sampler_close(sampler);
    config.steps = 1;
    EXPECT_FAIL(sampler_open(c.process, &config, &sampler), BAD_CONFIG,
                "sampler.steps is 1, and there are 2 blocks to be drawn");
    process_case_close(&c);
}

static void test_refusals(void) {
    Process *process;
    NetworkShape shape = shape_tokens(LENGTH, K);
    ProcessConfig config = {.name = "mdlm", .steps = 100, .batch = 4, .block = 3};
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG,
                "process.block is 3; it is for mdlm, and must divide data.length 4");
    config = (ProcessConfig){.name = "d3pm", .steps = 100, .batch = 4, .block = 2};
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "it is for mdlm");
}

int main(void) {
    RUN(test_bound_is_the_entropy);
    RUN(test_masks_are_counted_in_each_block);
    RUN(test_a_trained_table_reaches_the_entropy);
    RUN(test_sampler_draws_block_after_block);
    RUN(test_sampler_plan);
    RUN(test_refusals);
    return test_report();
}
