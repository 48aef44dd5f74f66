// Masked diffusion in continuous time on the source S4: its bound is the entropy, whether masks are
// drawn one by one or counted; the offset of the authors' code; a table that our own corruption and
// loss bring there; the sampler's law.
#include <math.h>

#include "tests/model/support_masks.h"
#include "tests/test.h"

static const double entropy = 1.332958; // bits a token

static CategoricalMass masks(double t) {
    return (CategoricalMass){1 - t, 0, t};
}

static void open_mdlm(ProcessCase *c, const char *backend, int64_t capacity) {
    ProcessConfig config = {.name = "mdlm", .steps = 100, .batch = 256};
    process_case_open(c, backend, &config, shape_tokens(LENGTH, K), capacity);
    EXPECT_EQ(c->shape.vocabulary, K + 1);
    EXPECT_EQ(c->shape.out_channels, K);
    EXPECT(!c->shape.time_input);
}

static double error[COUPLES];

// The best p(x_0|x_t) depends on which tokens are masked alone.
static void fill_errors(const ProcessCase *c) {
    CategoricalMass mass = masks(0.5);
    CategoricalLevel level = categorical_numbers(c->process, 0.5, 0);
    couple_errors(c, &level, answer_best, &mass, error);
}

// Bits a token of the masked tokens where each is masked with probability `share`.
static double masked_bits(double share) {
    double nats = 0;
    for (int at = 0; at < COUPLES; ++at)
        nats += couple_probability(masks(share), at / SEEN, at % SEEN) * error[at];
    return nats / (LENGTH * M_LN2);
}

// The mean over t in [low, 1] of masked_bits(high t)/t: a polynomial of degree 3, which Gauss' rule
// of four points integrates exactly.
static double integral(double low, double high) {
    static const double node[] = {0.3399810435848563, 0.8611363115940526};
    static const double weight[] = {0.6521451548625461, 0.3478548451374538};
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
        double at = i % 2 == 0 ? node[i / 2] : -node[i / 2];
        double t = 0.5 * (1 + low) + 0.5 * (1 - low) * at;
        sum += 0.5 * weight[i / 2] * masked_bits(high * t) / t;
    }
    return sum;
}

static void test_bound_is_the_entropy(void) {
    ProcessCase c;
    open_mdlm(&c, "late", COUPLES);
    fill_errors(&c);
    EXPECT_NEAR(integral(0, 1), entropy, 2e-6);
    // What the authors' code tells: t above 1e-3, and never all masked.
    EXPECT_NEAR(integral(1e-3, 1 - 1e-3), 1.331588975, 2e-6);
    EXPECT_NEAR(integral(0, 1 - 1e-3), 1.331416, 2e-6);
    EXPECT_NEAR(integral(1e-3, 1), 1.333131, 2e-6);
    process_case_close(&c);
}

// Ours: the times, weights and corruption of an evaluation, by draws.
static void test_bound_as_it_is_evaluated(void) {
    enum { DRAWS = 81 * 400 };
    static int32_t x_0[DRAWS][LENGTH], x_t[DRAWS][LENGTH], label[DRAWS];
    static uint64_t sample[DRAWS];
    static double time[DRAWS], weight[DRAWS];
    ProcessCase c;
    open_mdlm(&c, "cpu", COUPLES);
    fill_errors(&c);
    double sum = 0, squares = 0, total = 0;
    for (int s = 0; s < DRAWS; ++s) {
        for (int i = 0; i < LENGTH; ++i) x_0[s][i] = token_of(s % STATES, i);
        sample[s] = (uint64_t)s;
        time[s] = process_bound_time(c.process, fmod((s / STATES + .5) / 400, 1), &weight[s]);
    }
    for (int at = 0; at < DRAWS; at += COUPLES) {
        int n = DRAWS - at < COUPLES ? DRAWS - at : COUPLES;
        GrainBatch batch = {3, 0, n, x_0[at], label, sample + at};
        process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time + at, 7);
        case_download(&c, x_t[at], c.pass.x_t, n * (int64_t)sizeof *x_t);
    }
    for (int s = 0; s < DRAWS; ++s) {
        int y = seen_state(x_t[s]);
        EXPECT_EQ(masks_among(y), (int)lround(time[s] * LENGTH));
        double p = source_probability(s % STATES);
        double bits = weight[s] * error[s % STATES * SEEN + y] / (LENGTH * M_LN2);
        sum += p * bits, squares += p * bits * bits, total += p;
    }
    double mean = sum / total;
    EXPECT_NEAR(mean, entropy, 5 * sqrt((squares / total - mean * mean) / (DRAWS / 30.0)));
    EXPECT_NEAR(process_bound_prior(c.process, x_0), 0, 0);
    EXPECT_EQ(process_first_time(c.process), 0); // where nothing is to be told
    CategoricalLevel level;
    c.process->system->family->level(c.process, 0, 1, &level);
    EXPECT_EQ(level.form, CATEGORICAL_NOTHING);
    process_case_close(&c);
}

// ---- trained ----------------------------------------------------------------------------------

enum { BATCH = 256, ROUNDS = 3000 };
static double table[SEEN][LENGTH][K];

static void answer_table(const void *context, int x_t, float logits[LENGTH][K]) {
    (void)context;
    for (int i = 0; i < LENGTH * K; ++i) logits[i / K][i % K] = (float)table[x_t][i / K][i % K];
}

// A step of SGD, rate 10 for the mean over the batch and tokens, falling to 0.
static void descend(ProcessCase *c, int round) {
    static int32_t x[BATCH][LENGTH], row[BATCH][LENGTH], label[BATCH];
    static uint64_t sample[BATCH];
    static float number[BATCH][LENGTH][K];
    double rate = 10 * (1 - (double)round / ROUNDS) / (BATCH * LENGTH);
    draw_source(round, BATCH, x);
    for (int s = 0; s < BATCH; ++s) sample[s] = (uint64_t)(round * BATCH + s);
    GrainBatch batch = {3, (uint64_t)round, BATCH, x, label, sample};
    process_corrupt(c->process, c->network, c->stream, &c->pass, &batch);
    case_download(c, row, c->pass.x_t, sizeof row);
    for (int s = 0; s < BATCH; ++s) answer_table(NULL, seen_state(row[s]), number[s]);
    case_upload(c, c->pass.out, number, sizeof number);
    process_loss(c->process, c->stream, &c->pass, BATCH, true);
    case_download(c, number, c->pass.dout, sizeof number);
    for (int s = 0; s < BATCH; ++s)
        for (int i = 0; i < LENGTH * K; ++i)
            table[seen_state(row[s])][i / K][i % K] -= rate * (double)number[s][i / K][i % K];
}

static void check_trained(const char *times) {
    ProcessConfig config = {.name = "mdlm", .steps = 100, .batch = BATCH};
    snprintf(config.times, sizeof config.times, "%s", times);
    ProcessCase c, wide;
    process_case_open(&c, "cpu", &config, shape_tokens(LENGTH, K), BATCH);
    memset(table, 0, sizeof table);
    for (int round = 0; round < ROUNDS; ++round) descend(&c, round);
    process_case_close(&c);
    open_mdlm(&wide, "cpu", COUPLES);
    CategoricalLevel level = categorical_numbers(wide.process, 0.5, 0);
    couple_errors(&wide, &level, answer_table, NULL, error);
    double bits = integral(0, 1);
    printf("%s times: %.6f bits a token\n", times, bits);
    EXPECT(bits > entropy - 2e-6 && bits < 1.3345);
    process_case_close(&wide);
}

static void test_a_trained_table_reaches_the_entropy(void) {
    check_trained("stratified");
    check_trained("uniform"); // LLaDA's
}

// ---- sampling ---------------------------------------------------------------------------------

// One step of the chain in which each masked token is drawn with probability (t-s)/t.
static void step_law(double stay, const double law[SEEN], double next[SEEN]) {
    memset(next, 0, SEEN * sizeof *next);
    for (int x = 0; x < SEEN; ++x) {
        double p[LENGTH][K];
        if (law[x] == 0) continue;
        best_answer(masks(0.5), x, p);
        for (int y = 0; y < SEEN; ++y) {
            double way = law[x];
            for (int i = 0; i < LENGTH; ++i) {
                int from = seen_token(x, i), to = seen_token(y, i);
                way *= from != MASK ? from == to : to == MASK ? stay : (1 - stay) * p[i][to];
            }
            next[y] += way;
        }
    }
}

static void check_sampler(const char *backend, int steps, double distance) {
    enum { DRAWS = 8000 };
    static double law[2][SEEN], count[SEEN], source[SEEN];
    SamplerConfig config = {.solver = "ancestral", .steps = steps, .guidance = 1};
    ProcessCase c;
    open_mdlm(&c, backend, DRAWS);
    memset(law, 0, sizeof law);
    law[0][SEEN - 1] = 1;
    for (int i = 0; i < steps; ++i)
        step_law((double)(steps - i - 1) / (steps - i), law[i % 2], law[(i + 1) % 2]);
    draw_states(&c, &config, DRAWS, NULL, answer_best, half_masked, count);
    for (int state = 0; state < STATES; ++state) source[seen_of(state)] = source_probability(state);
    EXPECT(chi_square(count, law[steps % 2]) < 155.4); // 80 degrees: false alarms below 1e-6
    EXPECT(variation(law[steps % 2], source) < distance);
    process_case_close(&c);
}

static void test_sampler_draws_the_source(void) {
    check_sampler("cpu", 100, 0.006);
    check_sampler("late", 6, 0.08);
}

int main(void) {
    RUN(test_bound_is_the_entropy);
    RUN(test_bound_as_it_is_evaluated);
    RUN(test_a_trained_table_reaches_the_entropy);
    RUN(test_sampler_draws_the_source);
    return test_report();
}
