// DDPM against closed forms on N(0,s^2), where the best denoiser is known: bounds with each fixed
// variance, and a learned one that its gradient must bring to the best variance of every step.
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

static Process *open_vector(const char *variance, const char *loss) {
    ProcessConfig config = config_gaussian("linear", "eps", variance);
    snprintf(config.loss, sizeof config.loss, "%s", loss);
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

static double prior_bits(const Process *process, double s) {
    float x_0[3] = {(float)s, (float)s, (float)-s}; // the mean of x^2 is s^2
    return process_bound_prior(process, x_0) / (3 * M_LN2);
}

// A term's mean over x_0 where x0_hat has this square error, all per dimension.
static double term_mean(const GaussianNumbers *n, double error) {
    double log_variance = n->variance.add, precision = exp(-log_variance);
    EXPECT(n->variance.mul == 0 && !n->variance.logistic);
    if (n->term == GAUSSIAN_DENSITY)
        return 0.5 * (log(2 * M_PI) + log_variance + error * precision);
    EXPECT_EQ(n->term, GAUSSIAN_KL);
    double ratio = exp(n->log_posterior - log_variance);
    return 0.5 *
           (log_variance - n->log_posterior + ratio - 1 + n->slope * n->slope * error * precision);
}

static double bound_bits(const Process *process, double s) {
    double nats = 0;
    for (int t = 1; t <= process->config.steps; ++t) {
        GaussianNumbers n = gaussian_numbers(process, t);
        nats += term_mean(&n, best_error(process, t, s));
    }
    return nats / M_LN2 + prior_bits(process, s);
}

// Entropy of N(0,1) = 2.047096 bits a dimension.
static void test_bound_of_the_best_denoiser(void) {
    Process *large = open_vector("fixed-large", "simple");
    Process *small = open_vector("fixed-small", "simple");
    EXPECT_NEAR(bound_bits(large, 1), 2.047096, 1e-6);
    EXPECT_NEAR(bound_bits(small, 1), 2.717793, 1e-6);
    EXPECT_NEAR(bound_bits(large, 0.5), 1.048671, 1e-6);
    EXPECT_NEAR(bound_bits(small, 0.5), 1.705467, 1e-6);
    EXPECT_NEAR(prior_bits(small, 1), 2.911e-5, 1e-8);
    EXPECT_NEAR(prior_bits(small, 0.5), 7.28e-6, 1e-8);
    EXPECT_TEXT(process_bound_unit(small), "bits_per_dim");
    EXPECT_EQ(process_loss_items(small), 3);
    process_close(large);
    process_close(small);
}

// ---- a learned variance -----------------------------------------------------------------------

// One sample of one dimension for each time. x_0 is the root of the mean square error of the best
// denoiser and x_t, out are 0: the term is then the mean of the term over data and noise.
enum { T = 1000 };

typedef struct {
    ProcessCase c;
    float x_0[T], zero[T], out[T][2], slope[T][2], m[T];
    double error[T], v2[T];
} LearnCase;

static double sum_terms(LearnCase *l, bool gradient) {
    double nats = 0;
    case_upload(&l->c, l->c.pass.out, l->out, sizeof l->out);
    if (gradient) {
        process_loss(l->c.process, l->c.stream, &l->c.pass, T, true);
        case_download(&l->c, l->slope, l->c.pass.dout, sizeof l->slope);
    }
    process_bound_terms(l->c.process, l->c.stream, &l->c.pass, T);
    case_download(&l->c, l->error, l->c.pass.error, sizeof l->error);
    for (int t = 0; t < T; ++t) nats += l->error[t];
    return nats;
}

static void open_learn_case(LearnCase *l, const char *variance, const char *loss, double s) {
    ProcessConfig config = config_gaussian("linear", "eps", variance);
    snprintf(config.loss, sizeof config.loss, "%s", loss);
    process_case_open(&l->c, "cpu", &config, shape_vector(1), T);
    GaussianLevel *row = l->c.pass.host_level;
    for (int t = 1; t <= T; ++t) {
        l->x_0[t - 1] = (float)sqrt(best_error(l->c.process, t, s));
        l->c.process->system->family->level(l->c.process, t, 1, &row[t - 1]);
    }
    case_upload(&l->c, l->c.pass.x_0, l->x_0, sizeof l->x_0);
    case_upload(&l->c, l->c.pass.x_t, l->zero, sizeof l->zero);
    case_upload(&l->c, l->c.pass.target, l->zero, sizeof l->zero);
    case_upload(&l->c, l->c.pass.level, row, T * (int64_t)sizeof *row);
}

// Adam on v alone.
static void learn(LearnCase *l, int rounds) {
    for (int round = 1; round <= rounds; ++round) {
        (void)sum_terms(l, true);
        for (int t = 0; t < T; ++t) {
            float g = l->slope[t][1], rate = 0.2f * (1 - (float)round / (float)rounds);
            l->m[t] = 0.9f * l->m[t] + 0.1f * g;
            l->v2[t] = 0.99 * l->v2[t] + 0.01 * (double)g * (double)g;
            double m = (double)l->m[t] / (1 - pow(0.9, round));
            double v2 = l->v2[t] / (1 - pow(0.99, round));
            l->out[t][1] -= rate * (float)(m / (sqrt(v2) + 1e-15));
        }
    }
}

static double prior_of_one(const Process *process, double s) {
    float x_0 = (float)s;
    return process_bound_prior(process, &x_0);
}

static void check_learned(const char *variance, const char *loss) {
    static LearnCase l;
    memset(&l, 0, sizeof l);
    double s = 0.5;
    open_learn_case(&l, variance, loss, s);
    double prior = prior_of_one(l.c.process, s);
    bool range = strcmp(variance, "learned-range") == 0;
    if (range) EXPECT_NEAR((sum_terms(&l, false) + prior) / M_LN2, 1.231720, 1e-6);
    if (!range) // log b_t, to begin near
        for (int t = 1; t <= T; ++t) l.out[t - 1][1] = (float)log(l.c.process->table.step_noise[t]);
    learn(&l, 300);
    EXPECT_NEAR((sum_terms(&l, false) + prior) / M_LN2, 1.047096, range ? 2e-6 : 2e-5);
    // The hybrid loss leaves the mean to the squares.
    for (int t = 0; t < T && strcmp(loss, "hybrid") == 0; ++t)
        EXPECT_NEAR(l.slope[t][0], 2 * (l.out[t][0] - l.zero[t]), 0);
    process_case_close(&l.c);
}

static void test_learned_variance_finds_the_best(void) {
    check_learned("learned-range", "vlb");
    check_learned("learned-range", "hybrid");
    check_learned("learned", "vlb");
}

// Improved DDPM, eq. 15, at both ends and for composed steps of a respaced sampler.
static void test_range_of_the_learned_variance(void) {
    ProcessConfig config = config_gaussian("cosine", "v", "learned-range");
    snprintf(config.loss, sizeof config.loss, "hybrid");
    NetworkShape shape = shape_vector(3);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    EXPECT_EQ(shape.out_channels, 6);
    SamplerConfig sampler = {.solver = "ddpm"};
    static const int pairs[][2] = {{2, 1}, {500, 499}, {800, 300}};
    for (int i = 0; i < 3; ++i) {
        int t = pairs[i][0], s = pairs[i][1];
        GaussianStep step = gaussian_step(process, &sampler, t, s);
        EXPECT(step.has_variance);
        const NoiseTable *table = &process->table;
        double b = 1 - table->keep[t] / table->keep[s],
               small = b * table->noise[s] / table->noise[t];
        EXPECT_NEAR(exp(step.variance.add + step.variance.mul), b, 1e-12);
        EXPECT_NEAR(exp(step.variance.add - step.variance.mul), small, 1e-12);
    }
    GaussianNumbers first = gaussian_numbers(process, 1);
    EXPECT_NEAR(exp(first.variance.add + first.variance.mul), process->table.step_noise[1], 1e-15);
    EXPECT_NEAR(exp(first.variance.add - first.variance.mul),
                gaussian_posterior_variance(process, 2, 1), 1e-15);
    process_close(process);
}

int main(void) {
    RUN(test_bound_of_the_best_denoiser);
    RUN(test_learned_variance_finds_the_best);
    RUN(test_range_of_the_learned_variance);
    return test_report();
}
