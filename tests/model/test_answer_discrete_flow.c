// Discrete flow matching on the source S4. The bound of its chain, as the integral that we
// evaluate, against the limit of chains of ever more steps, whose bound is a sum of divergences;
// against the entropy; and what the chain draws.
#include <math.h>

#include "tests/model/support_masks.h"
#include "tests/test.h"

static void open_flow(ProcessCase *c, const char *backend, const char *schedule, int64_t capacity) {
    ProcessConfig config = {.name = "discrete-flow", .steps = 100, .batch = 256};
    snprintf(config.schedule, sizeof config.schedule, "%s", schedule);
    process_case_open(c, backend, &config, shape_tokens(LENGTH, K), capacity);
}

static CategoricalMass uniform_mass(double t) {
    return (CategoricalMass){1 - t, t, 0};
}

// Bits a token: the mean over uniform points of our weights and errors.
static double integral(const char *schedule, int points) {
    static double error[COUPLES];
    ProcessCase c;
    open_flow(&c, "cpu", schedule, COUPLES);
    double nats = 0;
    for (int i = 0; i < points; ++i) {
        double weight, t = process_bound_time(c.process, (i + 0.5) / points, &weight);
        CategoricalLevel level;
        c.process->system->family->level(c.process, t, 1, &level);
        EXPECT_NEAR(level.weight, 1, 0);
        CategoricalMass mass = {level.keep, 1 - level.keep - level.mask, level.mask};
        couple_errors(&c, &level, answer_best, &mass, error);
        double choices[] = {1, 4, 6, 4, 1};
        for (int at = 0; at < COUPLES; ++at) {
            double p = couple_probability(mass, at / SEEN, at % SEEN);
            if (level.masks > 0 && p > 0)
                p = masks_among(at % SEEN) == level.masks
                        ? source_probability(at / SEEN) / choices[level.masks]
                        : 0;
            if (p > 0) nats += p * weight * error[at] / points;
        }
    }
    process_case_close(&c);
    return nats / (LENGTH * M_LN2);
}

// Bits a token of the chain of n even steps in which a token jumps with probability (t-s)/t: the
// sum of KL( jump to x_0 || jump to a draw from p ). The first x is uniform, as the prior.
static double chain_bits(int n) {
    double nats = 0;
    for (int i = 0; i < n; ++i) {
        double t = 1 - (double)i / n, jump = 1.0 / (n - i);
        for (int state = 0; state < STATES; ++state) {
            int y = seen_of(state);
            double p[LENGTH][K];
            best_answer(uniform_mass(t), y, p);
            for (int x_0 = 0; x_0 < STATES; ++x_0) {
                double mass = couple_probability(uniform_mass(t), x_0, y);
                for (int j = 0; j < LENGTH; ++j) {
                    int is = token_of(state, j), goal = token_of(x_0, j);
                    double stays = 1 - jump + jump * p[j][is];
                    double kl = is == goal ? -log(stays) : -jump * log(p[j][goal]);
                    if (is != goal && jump < 1) kl += (1 - jump) * log((1 - jump) / stays);
                    nats += mass * kl;
                }
            }
        }
    }
    return nats / (LENGTH * M_LN2);
}

// The chain's bound falls short of its limit by a multiple of log(n)/n: Aitken's extrapolation.
static void test_bound_is_the_limit_of_chains(void) {
    double fine = chain_bits(512), middle = chain_bits(256), coarse = chain_bits(128);
    double limit = fine + (fine - middle) * (fine - middle) / ((middle - coarse) - (fine - middle));
    double bound = integral("uniform", 150);
    printf("bits a token: bound %.6f, chains %.6f %.6f %.6f, limit %.6f\n", bound, coarse, middle,
           fine, limit);
    EXPECT_NEAR(bound, limit, 2e-4);
    EXPECT(bound > 1.332958);
}

static void test_masks_give_the_entropy(void) {
    EXPECT_NEAR(integral("absorbing", LENGTH), 1.332958, 1e-6);
}

// ---- sampling ---------------------------------------------------------------------------------

static CategoricalMass mass_at(const Process *process, double t) {
    (void)process;
    return uniform_mass(t);
}

static double uniform_distance(int steps) {
    enum { DRAWS = 20000 };
    static double count[SEEN], source[SEEN];
    SamplerConfig config = {.solver = "auto", .steps = steps, .guidance = 1};
    ProcessCase c;
    open_flow(&c, "late", "uniform", DRAWS);
    draw_states(&c, &config, DRAWS, NULL, answer_best, mass_at, count);
    process_case_close(&c);
    source_law(source);
    return variation(count, source);
}

static void test_sampler_draws_the_source(void) {
    double coarse = uniform_distance(4), fine = uniform_distance(100);
    EXPECT(fine < 0.035 && coarse > 2 * fine);
}

int main(void) {
    RUN(test_bound_is_the_limit_of_chains);
    RUN(test_masks_give_the_entropy);
    RUN(test_sampler_draws_the_source);
    return test_report();
}
