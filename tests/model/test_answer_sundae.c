// SUNDAE against enumeration on the source S4: the fixed point of the unrolled loss, a table of
// logits that our own corruption, loss and passes bring there, and the sampler's distribution,
// which is not that of the data.
#include <math.h>

#include "model/process/family_categorical.h"
#include "tests/model/support_process.h"
#include "tests/model/support_source.h"
#include "tests/test.h"

// ---- by enumeration, in float64 ---------------------------------------------------------------

typedef struct {
    int length, classes, states;
    double p[STATES];           // of the data
    double p_0[STATES][STATES]; // of (x, y), y with a share of noise that is uniform in (0,1)
    double p_1[STATES][STATES]; // of (x, a draw from the guess at y)
    double f[STATES][LENGTH][K + 1];
} Exact;

static Exact exact;

static int digit(const Exact *e, int state, int i) {
    while (i-- > 0) state /= e->classes;
    return state % e->classes;
}

// The integral over alpha of the product over tokens, of degree `length`: by Simpson's rule.
static double corruption(const Exact *e, int x, int y) {
    enum { CUTS = 60 };
    double sum = 0;
    for (int cut = 0; cut <= CUTS; ++cut) {
        double alpha = (double)cut / CUTS, product = 1;
        for (int i = 0; i < e->length; ++i)
            product *= uniform_kernel(1 - alpha, digit(e, x, i), digit(e, y, i), e->classes);
        sum += product * (cut == 0 || cut == CUTS ? 1 : cut % 2 == 1 ? 4 : 2);
    }
    return sum / (3 * CUTS);
}

static void open_exact(Exact *e, int length, int classes, const double *p) {
    *e = (Exact){.length = length, .classes = classes, .states = 1};
    for (int i = 0; i < length; ++i) e->states *= classes;
    for (int x = 0; x < e->states; ++x) {
        e->p[x] = p[x];
        for (int y = 0; y < e->states; ++y) e->p_0[x][y] = p[x] * corruption(e, x, y);
    }
}

// Probability that one draw from the guess at `from` is `to`, with each token drawn with
// probability `share`, else left.
static double move(const Exact *e, int from, int to, double share) {
    double product = 1;
    for (int i = 0; i < e->length; ++i)
        product *= share * e->f[from][i][digit(e, to, i)] +
                   (digit(e, from, i) == digit(e, to, i) ? 1 - share : 0);
    return product;
}

static void unroll(Exact *e) {
    memset(e->p_1, 0, sizeof e->p_1);
    for (int y = 0; y < e->states; ++y)
        for (int to = 0; to < e->states; ++to) {
            double moves = move(e, y, to, 1);
            for (int x = 0; x < e->states; ++x) e->p_1[x][to] += e->p_0[x][y] * moves;
        }
}

// The best guess for x_0 where pairs come from p_0, and from p_1 as often if `unrolled`.
static void guess(Exact *e, bool unrolled) {
    for (int y = 0; y < e->states; ++y)
        for (int i = 0; i < e->length; ++i) {
            double sum = 0, part[K + 1] = {0};
            for (int x = 0; x < e->states; ++x) {
                double here = e->p_0[x][y] + (unrolled ? e->p_1[x][y] : 0);
                part[digit(e, x, i)] += here;
                sum += here;
            }
            for (int k = 0; k < e->classes; ++k) e->f[y][i][k] = part[k] / sum;
        }
}

// Mean cross entropy of a token in bits over pairs.
static double cross_entropy(const Exact *e, const double p[STATES][STATES]) {
    double nats = 0;
    for (int x = 0; x < e->states; ++x)
        for (int y = 0; y < e->states; ++y)
            for (int i = 0; i < e->length; ++i) nats -= p[x][y] * log(e->f[y][i][digit(e, x, i)]);
    return nats / (e->length * M_LN2);
}

static void find_fixed_point(Exact *e) {
    guess(e, false);
    for (int round = 0; round < 30; ++round) {
        unroll(e);
        guess(e, true);
    }
    unroll(e);
}

static void open_source(Exact *e) {
    double p[STATES];
    for (int x = 0; x < STATES; ++x) {
        int state = 0; // its tokens as digits in our order
        for (int i = LENGTH - 1; i >= 0; --i) state = state * K + token_of(x, i);
        p[state] = source_probability(x);
    }
    open_exact(e, LENGTH, K, p);
}

static void test_fixed_points(void) {
    static const double one[4] = {.5, .25, .125, .125};
    open_source(&exact);
    guess(&exact, false);
    unroll(&exact);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_0), 1.150054, 1e-6);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_1), 1.478716, 1e-6);
    find_fixed_point(&exact);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_0), 1.180838, 1e-6);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_1), 1.462584, 1e-6);
    open_exact(&exact, 1, 4, one);
    guess(&exact, false);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_0), 1.362517, 1e-6);
    find_fixed_point(&exact);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_0), 1.407913, 1e-6);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_1), 1.747957, 1e-6);
    EXPECT_NEAR(exact.f[0][0][0], 0.696230, 1e-6);
}

// ---- the distribution that a chain of guesses ends in ------------------------------------------

// One step of the chain; single: of one token, chosen evenly.
static void step_chain(const Exact *e, double share, bool single, const double *from, double *to) {
    memset(to, 0, (size_t)e->states * sizeof *to);
    for (int y = 0; y < e->states; ++y)
        for (int next = 0; next < e->states; ++next) {
            int differ = 0, last = 0;
            for (int i = 0; i < e->length; ++i)
                if (digit(e, y, i) != digit(e, next, i)) ++differ, last = i;
            double one = 0;
            for (int i = 0; i < e->length; ++i)
                if (differ == 0 || (differ == 1 && i == last))
                    one += e->f[y][i][digit(e, next, i)] / e->length;
            to[next] += from[y] * (single ? one : move(e, y, next, share));
        }
}

static double distance(const Exact *e, const double *p) {
    double sum = 0;
    for (int x = 0; x < e->states; ++x) sum += fabs(p[x] - e->p[x]) / 2;
    return sum;
}

static double stationary_distance(const Exact *e, double share, bool single) {
    double p[2][STATES];
    for (int x = 0; x < e->states; ++x) p[0][x] = 1.0 / e->states;
    for (int i = 0; i < 120; ++i) step_chain(e, share, single, p[i % 2], p[(i + 1) % 2]);
    return distance(e, p[0]);
}

// That this is large is the system's nature: nobody may "mend" it.
static void test_the_chain_does_not_end_in_the_data(void) {
    open_source(&exact);
    find_fixed_point(&exact);
    EXPECT_NEAR(stationary_distance(&exact, 1, false), 0.30875, 1e-5);
    EXPECT_NEAR(stationary_distance(&exact, 0, true), 0.20982, 1e-5);
    EXPECT_NEAR(stationary_distance(&exact, 0.3, false), 0.23165, 1e-5);
}

// ---- our own passes ---------------------------------------------------------------------------

enum { BATCH = 256, ROUNDS = 5000 };

static ProcessConfig config_sundae(int passes) {
    return (ProcessConfig){.name = "sundae",
                           .steps = 1000,
                           .schedule = "auto",
                           .head = "auto",
                           .variance = "auto",
                           .loss = "auto",
                           .times = "auto",
                           .unroll = passes};
}

static double guesses[STATES][LENGTH][K];
static int32_t row[BATCH][LENGTH];
static float number[BATCH][LENGTH][K];

static int state_of(const int32_t tokens[LENGTH]) {
    return tokens[0] + K * (tokens[1] + K * (tokens[2] + K * tokens[3]));
}

// What the table says of x_t.
static void answer(const ProcessCase *c, int64_t samples) {
    case_download(c, row, c->pass.x_t, samples * (int64_t)sizeof row[0]);
    for (int s = 0; s < samples; ++s)
        for (int i = 0; i < LENGTH; ++i)
            for (int k = 0; k < K; ++k) number[s][i][k] = (float)guesses[state_of(row[s])][i][k];
    case_upload(c, c->pass.out, number, samples * (int64_t)sizeof number[0]);
}

static void draw_exact(int round, int32_t x[BATCH][LENGTH]) {
    for (int s = 0; s < BATCH; ++s) {
        uint32_t bits[4];
        rng_block(rng_key(9, RNG_DATA, (uint64_t)round), (uint64_t)s, 0, bits);
        double goal = rng_uniform_f64(bits[0], bits[1]), sum = 0;
        int state = 0;
        while (state < STATES - 1 && (sum += exact.p[state]) <= goal) ++state;
        for (int i = 0; i < LENGTH; ++i) x[s][i] = digit(&exact, state, i);
    }
}

// A step of SGD, rate 10 for the mean over batch, tokens and passes; returns that loss in nats.
static double descend(ProcessCase *c, int round) {
    static int32_t x[BATCH][LENGTH], label[BATCH];
    static uint64_t sample[BATCH];
    static double slope[STATES][LENGTH][K];
    static float loss[BATCH];
    int passes = process_passes(c->process);
    double scale = 1.0 / (BATCH * (double)process_loss_items(c->process) * passes), sum = 0;
    draw_exact(round, x);
    memset(slope, 0, sizeof slope);
    for (int s = 0; s < BATCH; ++s) sample[s] = (uint64_t)(round * BATCH + s);
    GrainBatch batch = {3, (uint64_t)round, BATCH, x, label, sample};
    process_corrupt(c->process, c->network, c->stream, &c->pass, &batch);
    for (int pass = 0; pass < passes; ++pass) {
        if (pass > 0) process_next_pass(c->process, c->stream, &c->pass, BATCH);
        answer(c, BATCH);
        process_loss(c->process, c->stream, &c->pass, BATCH, true);
        case_download(c, number, c->pass.dout, sizeof number);
        for (int s = 0; s < BATCH; ++s)
            for (int i = 0; i < LENGTH * K; ++i)
                (&slope[state_of(row[s])][0][0])[i] += (double)(&number[s][0][0])[i] * scale;
    }
    case_download(c, loss, c->pass.loss, sizeof loss);
    for (int s = 0; s < BATCH; ++s) sum += (double)loss[s] * scale;
    double rate = 10 * (1 - (double)round / ROUNDS);
    for (int i = 0; i < STATES * LENGTH * K; ++i)
        (&guesses[0][0][0])[i] -= rate * (&slope[0][0][0])[i];
    return sum;
}

static void take_table(Exact *e) {
    for (int y = 0; y < STATES; ++y)
        for (int i = 0; i < LENGTH; ++i) {
            double sum = 0;
            for (int k = 0; k < K; ++k) sum += exp(guesses[y][i][k]);
            for (int k = 0; k < K; ++k) e->f[y][i][k] = exp(guesses[y][i][k]) / sum;
        }
    unroll(e);
}

static void test_a_trained_table_reaches_the_fixed_point(void) {
    ProcessConfig config = config_sundae(2);
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_tokens(LENGTH, K), BATCH);
    EXPECT(!c.shape.time_input && process_bound_unit(c.process) == NULL);
    open_source(&exact);
    double mean = 0;
    for (int round = 0; round < ROUNDS; ++round) {
        double loss = descend(&c, round);
        if (round >= ROUNDS / 2) mean += loss / (ROUNDS - ROUNDS / 2) / M_LN2;
    }
    take_table(&exact);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_0), 1.180838, 0.002);
    EXPECT_NEAR(cross_entropy(&exact, exact.p_1), 1.462584, 0.002);
    EXPECT_NEAR(mean, 1.321711, 0.005); // below the entropy of 1.332958: no likelihood
    process_case_close(&c);
}

// ---- samplers ---------------------------------------------------------------------------------

// The share of each state after `steps` steps of the chain, of which those that change nothing from
// the 11th on are the last.
static void expect_fractions(const Exact *e, double share, int steps, double *out) {
    double moving[STATES], next[STATES], resting[STATES] = {0};
    for (int x = 0; x < STATES; ++x) moving[x] = 1.0 / STATES;
    for (int i = 0; i < steps; ++i) {
        step_chain(e, share, false, moving, next);
        for (int x = 0; x < STATES && i >= 10; ++x) {
            double stays = moving[x] * move(e, x, x, share);
            resting[x] += stays;
            next[x] -= stays;
        }
        memcpy(moving, next, sizeof moving);
    }
    for (int x = 0; x < STATES; ++x) out[x] = moving[x] + resting[x];
}

static void run_sampler(ProcessCase *c, Sampler *sampler, uint64_t first) {
    case_number_samples(c, first, BATCH);
    sampler_begin(sampler, c->stream, &c->pass, BATCH, 5);
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        answer(c, BATCH);
        sampler_advance(sampler, c->stream, &c->pass, BATCH, i, 5);
    }
    case_download(c, row, c->pass.x_t, sizeof row);
}

static void test_fraction_draws_what_its_chain_says(void) {
    enum { BATCHES = 40, STEPS = 14 };
    ProcessConfig config = config_sundae(2);
    SamplerConfig sampler_config = {
        .solver = "auto", .steps = STEPS, .guidance = 1, .temperature = 1, .share = 0.6f};
    ProcessCase c;
    Sampler *sampler;
    static double count[STATES], expected[STATES];
    process_case_open(&c, "late", &config, shape_tokens(LENGTH, K), BATCH);
    EXPECT_OK(sampler_open(c.process, &sampler_config, &sampler));
    open_source(&exact);
    find_fixed_point(&exact);
    for (int i = 0; i < STATES * LENGTH * K; ++i)
        (&guesses[0][0][0])[i] = log(exact.f[i / (LENGTH * K)][i / K % LENGTH][i % K]);
    for (int b = 0; b < BATCHES; ++b) {
        run_sampler(&c, sampler, (uint64_t)(b * BATCH));
        for (int s = 0; s < BATCH; ++s) ++count[state_of(row[s])];
    }
    expect_fractions(&exact, 0.6, STEPS, expected);
    double square = 0;
    for (int x = 0; x < STATES; ++x) {
        double wanted = expected[x] * BATCH * BATCHES;
        square += (count[x] - wanted) * (count[x] - wanted) / wanted;
    }
    EXPECT(square < 80 + 5 * sqrt(160)); // chi-square, 80 degrees: false alarms below 1e-5
    sampler_close(sampler);
    process_case_close(&c);
}

// Two tokens of three are certain; the third is asked again.
static void test_argmax_keeps_the_certain(void) {
    static const float first[3][2] = {{3, 0}, {0, 0.5f}, {0, 2}},
                       second[3][2] = {{0, 1}, {1, 0}, {1, 0}};
    ProcessConfig config = config_sundae(2);
    SamplerConfig sampler_config = {
        .solver = "argmax", .steps = 2, .guidance = 1, .temperature = 1, .share = 0.6f};
    ProcessCase c;
    Sampler *sampler;
    int32_t x[3];
    process_case_open(&c, "late", &config, shape_tokens(3, 2), 1);
    EXPECT_OK(sampler_open(c.process, &sampler_config, &sampler));
    case_number_samples(&c, 0, 1);
    sampler_begin(sampler, c.stream, &c.pass, 1, 5);
    case_upload(&c, c.pass.out, first, sizeof first);
    sampler_advance(sampler, c.stream, &c.pass, 1, 0, 5);
    case_download(&c, x, c.pass.x_t, sizeof x);
    EXPECT(x[0] == 0 && x[1] == 1 && x[2] == 1);
    case_upload(&c, c.pass.out, second, sizeof second);
    sampler_advance(sampler, c.stream, &c.pass, 1, 1, 5);
    case_download(&c, x, c.pass.x_t, sizeof x);
    EXPECT(x[0] == 0 && x[1] == 0 && x[2] == 1);
    sampler_close(sampler);
    process_case_close(&c);
}

int main(void) {
    RUN(test_fixed_points);
    RUN(test_the_chain_does_not_end_in_the_data);
    RUN(test_a_trained_table_reaches_the_fixed_point);
    RUN(test_fraction_draws_what_its_chain_says);
    RUN(test_argmax_keeps_the_certain);
    return test_report();
}
