// Binomial diffusion of 2015 on heartbeat sequences, 20 bits with a one every 5, against the bound
// of the best factorised reverse. By symmetry the phase of x_0 is 0, and of x_t only the numbers of
// ones among the positions of each phase matter: 5^5 states with binomial weights.
#include "model/process/family_categorical.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

enum { PHASES = 5, BEATS = 4, COUNTS = BEATS + 1, STATES = 3125, BITS = PHASES * BEATS };
// A token for each state, phase g and value v of a bit there.
enum { TOKENS = STATES * PHASES * 2 };

static int ones_of(int state, int phase) {
    static const int power[PHASES] = {1, 5, 25, 125, 625};
    return state / power[phase] % COUNTS;
}

// q(x_t = 1 | x_0) of a bit.
static double rate_at(const Process *process, int t, int x_0) {
    return process->table.keep[t] * x_0 + (double)process->config.rate * process->table.noise[t];
}

static double log_binomial(int n, double p) {
    static const double choose[COUNTS] = {1, 4, 6, 4, 1};
    return log(choose[n]) + n * log(p) + (BEATS - n) * log1p(-p);
}

// P(x_t is in the state | phase of x_0), and P(phase | state) under five phases alike.
static double state_law(const Process *process, int t, int state, double phase[PHASES]) {
    double ones[2] = {rate_at(process, t, 0), rate_at(process, t, 1)}, law[PHASES], total = 0;
    for (int k = 0; k < PHASES; ++k) {
        double sum = 0;
        for (int g = 0; g < PHASES; ++g) sum += log_binomial(ones_of(state, g), ones[g == k]);
        total += law[k] = exp(sum);
    }
    for (int k = 0; k < PHASES; ++k) phase[k] = law[k] / total;
    return law[0];
}

// q(x_{t-1} = 1 | x_t, x_0) of a bit.
static double posterior(const Process *process, int t, int x_t, int x_0) {
    double a = 1 - process->table.step_noise[t], b = process->table.step_noise[t];
    double rate = (double)process->config.rate, here = x_t ? rate : 1 - rate;
    double before = rate_at(process, t - 1, x_0);
    double one = (a * (x_t == 1) + b * here) * before;
    double zero = (a * (x_t == 0) + b * here) * (1 - before);
    return one / (one + zero);
}

typedef struct {
    int32_t x_0[TOKENS], x_t[TOKENS];
    float logit[TOKENS][2];
    double error[TOKENS], weight[TOKENS];
} Tokens;

// The best network's answers at t, and how many bits of all 20 are like each token on the mean.
static void fill_tokens(const Process *process, int t, Tokens *tokens) {
    double after[2][2];
    for (int v = 0; v < 2; ++v)
        for (int x_0 = 0; x_0 < 2; ++x_0) after[v][x_0] = posterior(process, t, v, x_0);
    for (int state = 0; state < STATES; ++state) {
        double phase[PHASES], law = state_law(process, t, state, phase);
        for (int g = 0; g < PHASES; ++g)
            for (int v = 0; v < 2; ++v) {
                int i = (state * PHASES + g) * 2 + v, ones = ones_of(state, g);
                double p = phase[g] * after[v][1] + (1 - phase[g]) * after[v][0];
                tokens->x_0[i] = g == 0;
                tokens->x_t[i] = v;
                tokens->logit[i][0] = 0;
                tokens->logit[i][1] = (float)(log(p) - log1p(-p));
                tokens->weight[i] = law * (v ? ones : BEATS - ones);
            }
    }
}

// K in bits a sequence.
static double best_bound(int steps, float rate) {
    static Tokens tokens;
    ProcessConfig config = {.name = "binomial", .steps = steps, .rate = rate};
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_tokens(1, 2), TOKENS);
    double nats = 0;
    for (int bit = 0; bit < 2; ++bit)
        nats += process_bound_prior(c.process, &(int32_t){bit}) * (bit ? BEATS : BITS - BEATS);
    categorical_upload_base(c.process, c.stream, &c.pass, 0);
    for (int t = 2; t <= steps; ++t) {
        fill_tokens(c.process, t, &tokens);
        CategoricalLevel *row = c.pass.host_level;
        for (int i = 0; i < TOKENS; ++i) row[i] = categorical_numbers(c.process, t, t - 1);
        case_upload(&c, c.pass.x_0, tokens.x_0, sizeof tokens.x_0);
        case_upload(&c, c.pass.x_t, tokens.x_t, sizeof tokens.x_t);
        case_upload(&c, c.pass.out, tokens.logit, sizeof tokens.logit);
        case_upload(&c, c.pass.level, row, TOKENS * (int64_t)sizeof *row);
        process_bound_terms(c.process, c.stream, &c.pass, TOKENS);
        case_download(&c, tokens.error, c.pass.error, sizeof tokens.error);
        for (int i = 0; i < TOKENS; ++i) nats += tokens.weight[i] * tokens.error[i];
    }
    process_case_close(&c);
    return -nats / M_LN2;
}

static void test_bound_of_the_best_network(void) {
    EXPECT_NEAR(best_bound(20, 0.2f), -4.842575, 1e-6);
    EXPECT_NEAR(best_bound(40, 0.2f), -3.740792, 1e-6);
    EXPECT_NEAR(best_bound(200, 0.2f), -2.679750, 1e-6);
    EXPECT_NEAR(best_bound(20, 0.5f), -5.952878, 1e-6);
}

static void test_schedule_and_null_model(void) {
    ProcessConfig config = {.name = "binomial", .steps = 2000, .rate = 0.2f};
    NetworkShape shape = shape_tokens(BITS, 2);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    for (int t = 0; t <= 2000; ++t) EXPECT_NEAR(process->table.keep[t], 1 - t / 2000.0, 1e-12);
    int32_t x_0[BITS];
    for (int i = 0; i < BITS; ++i) x_0[i] = i % PHASES == 0;
    EXPECT_NEAR(process_null_nats(process, x_0) / M_LN2, 14.438, 1e-3);
    EXPECT_EQ(process_time_at(process, 0), 2); // nothing is learned at t = 1
    EXPECT_EQ(process_time_at(process, 0.999999), 2000);
    process_close(process);
    config.steps = 10;
    shape = shape_tokens(BITS, 3);
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "for two");
}

// The bound is one of every sample, whatever the rate. With two steps b_2 = 1, x_2 forgets x_1, and
// a network that gives q(x_1|x_0) leaves - E log p(x_0|x_1) alone.
static void test_edges_by_enumeration(void) {
    static const float rates[] = {0.2f, 0.5f, 0.7f};
    for (int r = 0; r < 3; ++r) {
        ProcessConfig config = {.name = "binomial", .steps = 2, .rate = rates[r]};
        NetworkShape shape = shape_tokens(1, 2);
        Process *process;
        EXPECT_OK(process_open(&config, &shape, &process));
        double rate = (double)rates[r], pi[2] = {1 - rate, rate};
        double b_1 = process->table.step_noise[1];
        for (int x_0 = 0; x_0 < 2; ++x_0) {
            double nats = 0;
            for (int x_1 = 0; x_1 < 2; ++x_1) {
                double forward = (1 - b_1) * (x_1 == x_0) + b_1 * pi[x_1];
                nats -= forward * log((1 - b_1) * (x_1 == x_0) + b_1 * pi[x_0]);
            }
            EXPECT_NEAR(process_bound_prior(process, &(int32_t){x_0}), nats, 1e-12);
        }
        process_close(process);
    }
}

int main(void) {
    RUN(test_schedule_and_null_model);
    RUN(test_edges_by_enumeration);
    RUN(test_bound_of_the_best_network);
    return test_report();
}
