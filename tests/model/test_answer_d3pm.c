// D3PM with an absorbing state on the source S4: the table of bounds of the best network, kernels
// as products of matrices, and the weights of the loss.
#include <math.h>

#include "tests/model/support_masks.h"
#include "tests/test.h"

static void open_d3pm(ProcessCase *c, const char *backend, int steps) {
    ProcessConfig config = {.name = "d3pm", .steps = steps, .aux = -1};
    process_case_open(c, backend, &config, shape_tokens(LENGTH, K), COUPLES);
}

static CategoricalMass mass_at(int t, int steps) {
    return (CategoricalMass){1 - (double)t / steps, 0, (double)t / steps};
}

// Bits a token: terms at 1..T; at T all is masked, which the prior knows.
static double bound(const char *backend, int steps) {
    static double error[COUPLES];
    ProcessCase c;
    open_d3pm(&c, backend, steps);
    int32_t x_0[LENGTH] = {0};
    double nats = process_bound_prior(c.process, x_0);
    for (int t = 1; t <= steps; ++t) {
        CategoricalMass mass = mass_at(t, steps);
        CategoricalLevel level;
        c.process->system->family->level(c.process, t, 1, &level);
        couple_errors(&c, &level, answer_best, &mass, error);
        for (int at = 0; at < COUPLES; ++at) {
            double p = couple_probability(mass, at / SEEN, at % SEEN);
            if (p > 0) nats += p * error[at];
        }
    }
    process_case_close(&c);
    return nats / (LENGTH * M_LN2);
}

static void test_bounds_of_the_best_network(void) {
    static const struct {
        int steps;
        double bits;
    } row[] = {{1, 1.542166}, {2, 1.433085},  {4, 1.381902},
               {8, 1.357150}, {16, 1.344984}, {64, 1.335951}};
    for (size_t i = 0; i < sizeof row / sizeof *row; ++i)
        EXPECT_NEAR(bound(i % 2 == 0 ? "cpu" : "late", row[i].steps), row[i].bits, 1.5e-6);
}

// b_t = 1/(T - t + 1), one step after another, is our t/T.
static void test_kernels_are_products(void) {
    enum { STEPS = 50 };
    ProcessCase c;
    open_d3pm(&c, "cpu", STEPS);
    double chain[K + 1][K + 1] = {{0}};
    for (int i = 0; i <= K; ++i) chain[i][i] = 1;
    for (int t = 1; t <= STEPS; ++t) {
        double next[K + 1][K + 1] = {{0}}, b = 1.0 / (STEPS - t + 1);
        for (int i = 0; i <= K; ++i)
            for (int j = 0; j <= K; ++j) {
                next[i][j] += chain[i][j] * (j == MASK ? 1 : 1 - b);
                next[i][MASK] += j == MASK ? 0 : chain[i][j] * b;
            }
        memcpy(chain, next, sizeof chain);
        CategoricalLevel level = categorical_numbers(c.process, t, t - 1);
        CategoricalMass mass = {level.keep, 1 - level.keep - level.mask, level.mask};
        for (int i = 0; i <= K; ++i)
            for (int j = 0; j <= K; ++j) EXPECT_NEAR(chain[i][j], mass_kernel(mass, i, j), 1e-12);
        EXPECT_NEAR(level.step_mask, b, 1e-12);
        EXPECT_NEAR(level.weight, STEPS, 0);
        EXPECT_NEAR(level.aux, 0.01, 1e-9);
    }
    process_case_close(&c);
}

// The loss is T times the term at t and 0.01 of the cross entropy, of seen tokens as well.
static void test_loss(void) {
    enum { STEPS = 10, T = 4 };
    static const int32_t x_0[LENGTH] = {0, 1, 2, 1}, x_t[LENGTH] = {0, MASK, 2, MASK};
    static const float logits[LENGTH][K] = {{1, 0, 0}, {0, 2, 0}, {0, 0, 0}, {1, 1, -1}};
    ProcessCase c;
    float got;
    double wanted = 0;
    open_d3pm(&c, "late", STEPS);
    CategoricalLevel *row = c.pass.host_level;
    c.process->system->family->level(c.process, T, 1, row);
    case_upload(&c, c.pass.x_0, x_0, sizeof x_0);
    case_upload(&c, c.pass.x_t, x_t, sizeof x_t);
    case_upload(&c, c.pass.out, logits, sizeof logits);
    case_upload(&c, c.pass.level, row, sizeof *row);
    process_loss(c.process, c.stream, &c.pass, 1, true);
    case_download(&c, &got, c.pass.loss, sizeof got);
    for (int i = 0; i < LENGTH; ++i) {
        double sum = 0;
        for (int k = 0; k < K; ++k) sum += exp((double)logits[i][k]);
        double cross = log(sum) - (double)logits[i][x_0[i]];
        wanted += STEPS * cross * (0.01 + (x_t[i] == MASK ? 1.0 / T : 0));
    }
    EXPECT_NEAR((double)got, wanted, 1e-6 * wanted);
    process_case_close(&c);
}

int main(void) {
    RUN(test_bounds_of_the_best_network);
    RUN(test_kernels_are_products);
    RUN(test_loss);
    return test_report();
}
