// Score entropy on the source S4, with the true ratios: the absorbing loss is that of masked
// diffusion, the uniform one integrates to the entropy; the analytic sampler.
#include <math.h>

#include "tests/model/support_masks.h"
#include "tests/test.h"

static void open_sedd(ProcessCase *c, const char *backend, const char *schedule, int64_t capacity) {
    ProcessConfig config = {.name = "sedd", .steps = 100, .batch = 256};
    snprintf(config.schedule, sizeof config.schedule, "%s", schedule);
    process_case_open(c, backend, &config, shape_tokens(LENGTH, K), capacity);
    EXPECT(c->shape.time_input);
    EXPECT_EQ(c->shape.vocabulary, strcmp(schedule, "uniform") == 0 ? K : K + 1);
}

static void answer_units(const void *context, int x_t, float logits[LENGTH][K]) {
    answer_best(context, x_t, logits);
    for (int i = 0; i < LENGTH * K; ++i) logits[i / K][i % K] += (float)log(K);
}

static void test_absorbing_is_masked_diffusion(void) {
    static double sedd[COUPLES], mdlm[COUPLES];
    ProcessConfig masked = {.name = "mdlm", .steps = 100, .batch = 256};
    ProcessCase c, other;
    open_sedd(&c, "late", "absorbing", COUPLES);
    process_case_open(&other, "cpu", &masked, shape_tokens(LENGTH, K), COUPLES);
    for (double t = 0.1; t < 1; t += 0.2) {
        CategoricalLevel level = categorical_numbers(c.process, t, 0);
        CategoricalLevel wanted = categorical_numbers(other.process, t, 0);
        CategoricalMass mass = {level.keep, 0, level.mask};
        couple_errors(&c, &level, answer_units, &mass, sedd);
        couple_errors(&other, &wanted, answer_best, &mass, mdlm);
        double sum = 0, sum_wanted = 0;
        for (int at = 0; at < COUPLES; ++at) {
            double p = couple_probability(mass, at / SEEN, at % SEEN);
            if (p == 0) continue;
            sum += p * level.weight * sedd[at];
            sum_wanted += p * wanted.weight * mdlm[at];
        }
        EXPECT_NEAR(sum, sum_wanted, 1e-6); // ratios and probabilities in fp32
    }
    process_case_close(&c);
    process_case_close(&other);
}

// ---- uniform ----------------------------------------------------------------------------------

// log q_t(x with token i replaced by k) - log q_t(x), of states without masks.
static void answer_ratios(const void *context, int x_t, float logits[LENGTH][K]) {
    const CategoricalMass *mass = context;
    static double q[SEEN];
    static CategoricalMass of = {-1, 0, 0};
    if (memcmp(&of, mass, sizeof of) != 0) {
        of = *mass;
        for (int y = 0; y < SEEN; ++y) {
            q[y] = 0;
            for (int x = 0; x < STATES && masks_among(y) == 0; ++x)
                q[y] += couple_probability(of, x, y);
        }
    }
    for (int i = 0; i < LENGTH; ++i)
        for (int k = 0; k < K; ++k) {
            int other = (x_t & ~(3 << 2 * i)) | k << 2 * i;
            logits[i][k] = masks_among(x_t) > 0 ? 0 : (float)log(q[other] / q[x_t]);
        }
}

// Bits a token of the error at keep = A.
static double uniform_bits(const ProcessCase *c, double keep) {
    static double error[COUPLES];
    CategoricalMass mass = {keep, 1 - keep, 0};
    CategoricalLevel level = {.keep = keep, .weight = 1, .form = CATEGORICAL_SCORE};
    double nats = 0;
    couple_errors(c, &level, answer_ratios, &mass, error);
    for (int at = 0; at < COUPLES; ++at) {
        double p = couple_probability(mass, at / SEEN, at % SEEN);
        if (p > 0) nats += p * error[at];
    }
    return nats / (LENGTH * M_LN2);
}

// The integral over sigma = - log keep from 1e-7 to 30, by the trapezoidal rule in its logarithm;
// and over our own times with our own weights, which end at keep = 1e-3: the prior is the rest.
static void test_uniform_bound_is_the_entropy(void) {
    enum { POINTS = 250, OURS = 400 };
    ProcessCase c;
    open_sedd(&c, "cpu", "uniform", COUPLES);
    double step = log(30 / 1e-7) / (POINTS - 1), sum = 0, ours = 0;
    for (int i = 0; i < POINTS; ++i) {
        double sigma = 1e-7 * exp(i * step);
        sum += (i == 0 || i == POINTS - 1 ? 0.5 : 1) * step * sigma * uniform_bits(&c, exp(-sigma));
    }
    EXPECT_NEAR(sum, 1.332956, 2e-6);
    for (int i = 0; i < OURS; ++i) {
        double weight, t = process_bound_time(c.process, (i + 0.5) / OURS, &weight);
        ours += weight * uniform_bits(&c, categorical_numbers(c.process, t, 0).keep) / OURS;
    }
    int32_t x_0[LENGTH] = {0};
    ours += process_bound_prior(c.process, x_0) / (LENGTH * M_LN2);
    EXPECT_NEAR(ours, 1.332958, 2e-5);
    process_case_close(&c);
}

// ---- sampling ---------------------------------------------------------------------------------

static CategoricalMass mass_at(const Process *process, double t) {
    double keep = categorical_numbers(process, t, 0).keep;
    return (CategoricalMass){keep, 1 - keep, 0};
}

static double uniform_distance(const char *backend, int steps) {
    enum { DRAWS = 20000 };
    static double count[SEEN], source[SEEN];
    SamplerConfig config = {.solver = "auto", .steps = steps, .guidance = 1};
    ProcessCase c;
    open_sedd(&c, backend, "uniform", DRAWS);
    draw_states(&c, &config, DRAWS, NULL, answer_ratios, mass_at, count);
    process_case_close(&c);
    source_law(source);
    return variation(count, source);
}

// 81 states by 20,000 draws are 0.023 away from their own law on average.
static void test_samplers_draw_the_source(void) {
    double coarse = uniform_distance("cpu", 4), fine = uniform_distance("late", 100);
    EXPECT(fine < 0.035 && coarse < 0.2 && coarse > 2 * fine);
}

int main(void) {
    RUN(test_absorbing_is_masked_diffusion);
    RUN(test_uniform_bound_is_the_entropy);
    RUN(test_samplers_draw_the_source);
    return test_report();
}
