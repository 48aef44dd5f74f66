// Multinomial diffusion: schedule, corruption, and the sampler against enumeration.
#include "model/process/family_categorical.h"
#include "tests/model/support_process.h"
#include "tests/model/support_source.h"
#include "tests/test.h"

// ---- schedule ---------------------------------------------------------------------------------

static Process *open_process(int steps) {
    ProcessConfig config = config_multinomial(steps);
    NetworkShape shape = shape_tokens(LENGTH, K);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    EXPECT_EQ(shape.out_channels, K);
    return process;
}

static void test_schedule(void) {
    Process *process = open_process(1000);
    const NoiseTable *table = &process->table;
    EXPECT_NEAR(table->keep[500], 0.70274, 5e-6);
    EXPECT_NEAR(table->keep[1000] / table->keep[999], sqrt(0.001), 1e-15);
    for (int t = 1; t < 1000; ++t) {
        double f = cos((t / 1000.0 + 0.008) / 1.008 * M_PI_2) / cos(0.008 / 1.008 * M_PI_2);
        EXPECT_NEAR(table->keep[t], f, 1e-13);
    }
    process_close(process);
}

static void test_composed_kernel(void) {
    Process *process = open_process(100);
    double product = 1;
    for (int t = 41; t <= 60; ++t) product *= categorical_numbers(process, t, t - 1).step_keep;
    CategoricalLevel level = categorical_numbers(process, 60, 40);
    EXPECT_NEAR(level.step_keep, product, 1e-14);
    EXPECT_NEAR(level.step_keep * level.keep_before, level.keep, 1e-15);
    process_close(process);
}

// ---- corruption -------------------------------------------------------------------------------

// 16000 tokens against the kernel; the critical value is that of 1e-6 at 4 degrees of freedom.
static void check_corruption(const char *backend, double time) {
    enum { SAMPLES = 16, TOKENS = 1000, SYMBOLS = 5, N = SAMPLES * TOKENS };
    ProcessConfig config = config_multinomial(100);
    ProcessCase c;
    process_case_open(&c, backend, &config, shape_tokens(TOKENS, SYMBOLS), SAMPLES);
    static int32_t x_0[N], x_t[N];
    for (int i = 0; i < N; ++i) x_0[i] = i % SYMBOLS;
    int32_t label[SAMPLES] = {0};
    uint64_t sample[SAMPLES];
    double times[SAMPLES];
    for (int i = 0; i < SAMPLES; ++i) sample[i] = 1000 + (uint64_t)i, times[i] = time;
    GrainBatch batch = {3, 0, SAMPLES, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, times, 2);
    case_download(&c, x_t, c.pass.x_t, sizeof x_t);
    double count[SYMBOLS] = {0}, square = 0, keep = c.process->table.keep[(int)time];
    for (int i = 0; i < N; ++i) ++count[(x_t[i] - x_0[i] + SYMBOLS) % SYMBOLS];
    for (int k = 0; k < SYMBOLS; ++k) {
        double expected = N * uniform_kernel(keep, 0, k, SYMBOLS);
        square += (count[k] - expected) * (count[k] - expected) / expected;
    }
    EXPECT(square < 33.4);
    process_case_close(&c);
}

static void test_corruption(void) {
    check_corruption("cpu", 10);
    check_corruption("late", 50);
    check_corruption("cpu", 100);
}

// ---- sampling ---------------------------------------------------------------------------------

static double best_logit[STATES][LENGTH][K]; // log of leave_one_out at the time of a step

static void fill_best_logits(double keep) {
    for (int x_t = 0; x_t < STATES; ++x_t) {
        double p[LENGTH][K];
        leave_one_out(keep, x_t, p);
        for (int i = 0; i < LENGTH; ++i)
            for (int k = 0; k < K; ++k) best_logit[x_t][i][k] = log(p[i][k]);
    }
}

static int state_of(const int32_t *x) {
    return ((x[0] * K + x[1]) * K + x[2]) * K + x[3];
}

// The law of states after a step of the sampler from `law`, by enumeration.
static void step_law(const CategoricalLevel *level, const double law[STATES], double next[STATES]) {
    memset(next, 0, STATES * sizeof *next);
    for (int x_t = 0; x_t < STATES; ++x_t) {
        double theta[LENGTH][K];
        for (int i = 0; i < LENGTH; ++i) {
            double total = 0;
            for (int k = 0; k < K; ++k) {
                double p = exp(best_logit[x_t][i][k]), kept = level->keep_before;
                theta[i][k] = uniform_kernel(level->step_keep, token_of(x_t, i), k, K) *
                              (kept * p + (1 - kept) / K);
                total += theta[i][k];
            }
            for (int k = 0; k < K; ++k) theta[i][k] /= total;
        }
        for (int y = 0; y < STATES; ++y) {
            double p = law[x_t];
            for (int i = 0; i < LENGTH; ++i) p *= theta[i][token_of(y, i)];
            next[y] += p;
        }
    }
}

enum { DRAWS = 8000 };

static void upload_answers(const ProcessCase *c) {
    static int32_t x[DRAWS][LENGTH];
    static float logits[DRAWS][LENGTH][K];
    case_download(c, x, c->pass.x_t, sizeof x);
    for (int s = 0; s < DRAWS; ++s)
        for (int i = 0; i < LENGTH; ++i)
            for (int k = 0; k < K; ++k) logits[s][i][k] = (float)best_logit[state_of(x[s])][i][k];
    case_upload(c, c->pass.out, logits, sizeof logits);
}

// Draws with the best network; `law` becomes the exact law of what it draws.
static void draw_states(ProcessCase *c, const Sampler *sampler, int32_t x[DRAWS][LENGTH],
                        double law[STATES]) {
    case_number_samples(c, 500, DRAWS);
    sampler_begin(sampler, c->stream, &c->pass, DRAWS, 11);
    for (int y = 0; y < STATES; ++y) law[y] = 1.0 / STATES;
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        int t = (int)sampler_time(sampler, i);
        fill_best_logits(c->process->table.keep[t]);
        upload_answers(c);
        sampler_advance(sampler, c->stream, &c->pass, DRAWS, i, 11);
        CategoricalLevel level = categorical_numbers(c->process, t, (int)sampler->step[i].to);
        double next[STATES];
        step_law(&level, law, next);
        memcpy(law, next, sizeof next);
    }
    case_download(c, x, c->pass.x_t, (int64_t)DRAWS * LENGTH * 4);
}

// Draws against the exact law of the reverse chain, and that law against the source.
static void check_sampler(const char *backend, int process_steps, int steps, double distance) {
    ProcessConfig config = config_multinomial(process_steps);
    SamplerConfig sampler_config = {.solver = "ancestral", .steps = steps, .guidance = 1};
    ProcessCase c;
    Sampler *sampler;
    process_case_open(&c, backend, &config, shape_tokens(LENGTH, K), DRAWS);
    EXPECT_OK(sampler_open(c.process, &sampler_config, &sampler));
    static int32_t x[DRAWS][LENGTH];
    double law[STATES], count[STATES] = {0}, square = 0, variation = 0;
    draw_states(&c, sampler, x, law);
    for (int s = 0; s < DRAWS; ++s) ++count[state_of(x[s])];
    for (int y = 0; y < STATES; ++y) {
        double expected = DRAWS * law[y];
        square += (count[y] - expected) * (count[y] - expected) / expected;
        variation += fabs(law[y] - source_probability(y)) / 2;
    }
    EXPECT(square < 80 + 5 * sqrt(2 * 80.0));
    EXPECT(variation < distance);
    sampler_close(sampler);
    process_case_close(&c);
}

static void test_sampler_draws_the_source(void) {
    check_sampler("cpu", 64, 0, 0.01);
    check_sampler("late", 16, 0, 0.03);
    check_sampler("cpu", 64, 8, 0.07); // composed steps
}

int main(void) {
    RUN(test_schedule);
    RUN(test_composed_kernel);
    RUN(test_corruption);
    RUN(test_sampler_draws_the_source);
    return test_report();
}
