// D3PM with discretised Gaussian noise on the source S4: kernels as products of the paper's
// matrices, the bound of the best network by enumeration of all pairs, corruption, the law of the
// sampler.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/process/family_categorical.h"
#include "tests/model/support_process.h"
#include "tests/model/support_source.h"
#include "tests/test.h"

enum { STEPS_MOST = 16 };
typedef double Kernel[K][K];

// Austin et al. 2021, app. A.2.3, in its own words.
static void paper_step(int t, int steps, Kernel q) {
    double low = 1e-4, high = 0.02, width = (K - 1) * (K - 1);
    double b = (low + (high - low) * (t - 1) / (steps - 1)) * 1000 / steps, norm = 0;
    for (int n = -(K - 1); n <= K - 1; ++n) norm += exp(-4.0 * n * n / (width * b));
    for (int i = 0; i < K; ++i) {
        double rest = 0;
        for (int j = 0; j < K; ++j) {
            if (i == j) continue;
            q[i][j] = exp(-4.0 * (i - j) * (i - j) / (width * b)) / norm;
            rest += q[i][j];
        }
        q[i][i] = 1 - rest;
    }
}

// Of the steps from + 1 .. to.
static void paper_kernel(int from, int to, int steps, Kernel q) {
    for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j) q[i][j] = i == j;
    for (int t = from + 1; t <= to; ++t) {
        Kernel step, next = {{0}};
        paper_step(t, steps, step);
        for (int i = 0; i < K * K * K; ++i)
            next[i / (K * K)][i % K] += q[i / (K * K)][i / K % K] * step[i / K % K][i % K];
        memcpy(q, next, sizeof next);
    }
}

static void open_gaussian(ProcessCase *c, const char *backend, int steps, int64_t capacity) {
    ProcessConfig config = {.name = "d3pm", .schedule = "gaussian", .steps = steps, .aux = -1};
    process_case_open(c, backend, &config, shape_tokens(LENGTH, K), capacity);
    EXPECT_EQ(c->shape.vocabulary, K); // no mask
    EXPECT_EQ(process_mask(c->process), -1);
}

static void test_kernels_are_products(void) {
    ProcessCase c;
    open_gaussian(&c, "cpu", STEPS_MOST, 1);
    const CategoricalSystem *system = c.process->system->own;
    for (int from = 0; from < STEPS_MOST; from += 3)
        for (int to = from + 1; to <= STEPS_MOST; to += 4) {
            double got[3 * K * K];
            Kernel wanted, whole;
            paper_kernel(from, to, STEPS_MOST, wanted);
            paper_kernel(0, to, STEPS_MOST, whole);
            system->between(c.process, from, to, got);
            for (int i = 0; i < K * K; ++i) {
                EXPECT_NEAR(got[i], wanted[i / K][i % K], 1e-14);
                EXPECT_NEAR(c.process->dense[to * K * K + i], whole[i / K][i % K], 1e-14);
            }
        }
    for (int i = 0; i < K * K; ++i) // towards the end all are alike
        EXPECT_NEAR(c.process->dense[STEPS_MOST * K * K + i], 1.0 / K, 0.06);
    process_case_close(&c);
}

// ---- the best network -------------------------------------------------------------------------

static double way(const Kernel q, int from, int to, int skip) {
    double p = 1;
    for (int i = 0; i < LENGTH; ++i)
        if (i != skip) p *= q[token_of(from, i)][token_of(to, i)];
    return p;
}

// p(x_0i = k | x_t), without x_ti itself where `alone`: what the network is to say at t = 1, else.
static void best(const Kernel whole, int x_t, bool alone, double p[LENGTH][K]) {
    memset(p, 0, sizeof(double) * LENGTH * K);
    for (int i = 0; i < LENGTH; ++i) {
        double sum = 0;
        for (int x_0 = 0; x_0 < STATES; ++x_0)
            p[i][token_of(x_0, i)] +=
                source_probability(x_0) * way(whole, x_0, x_t, alone ? i : -1);
        for (int k = 0; k < K; ++k) sum += p[i][k];
        for (int k = 0; k < K; ++k) p[i][k] /= sum;
    }
}

// q(x_si | x_t), s < t: a draw of token i given all tokens of x_t.
static void reverse(const Kernel whole, const Kernel before, const Kernel step, int x_t,
                    double p[LENGTH][K]) {
    double guess[LENGTH][K];
    best(whole, x_t, true, guess);
    for (int i = 0; i < LENGTH; ++i) {
        double sum = 0;
        for (int c = 0; c < K; ++c) {
            p[i][c] = 0;
            for (int j = 0; j < K; ++j) p[i][c] += guess[i][j] * before[j][c];
            p[i][c] *= step[c][token_of(x_t, i)];
            sum += p[i][c];
        }
        for (int c = 0; c < K; ++c) p[i][c] /= sum;
    }
}

// Nats of the term at t: the mean of KL(q(x_{t-1,i} | x_t, x_0) || q(x_{t-1,i} | x_t)), and at t =
// 1 of - log p(x_0 | x_1).
static double term_by_enumeration(int t, int steps) {
    Kernel whole, before, step;
    paper_kernel(0, t, steps, whole);
    paper_kernel(0, t - 1, steps, before);
    paper_step(t, steps, step);
    double nats = 0;
    for (int x_t = 0; x_t < STATES; ++x_t) {
        double p[LENGTH][K];
        if (t == 1)
            best(whole, x_t, false, p);
        else
            reverse(whole, before, step, x_t, p);
        for (int x_0 = 0; x_0 < STATES; ++x_0) {
            double couple = source_probability(x_0) * way(whole, x_0, x_t, -1);
            for (int i = 0; i < LENGTH; ++i) {
                int from = token_of(x_0, i), to = token_of(x_t, i);
                if (t == 1) nats -= couple * log(p[i][from]);
                for (int c = 0; c < K && t > 1; ++c) {
                    double q = before[from][c] * step[c][to] / whole[from][to];
                    nats += q > 0 ? couple * q * log(q / p[i][c]) : 0;
                }
            }
        }
    }
    return nats;
}

static double prior_by_enumeration(int steps) {
    Kernel whole;
    paper_kernel(0, steps, steps, whole);
    double nats = 0;
    for (int x_0 = 0; x_0 < STATES; ++x_0)
        for (int i = 0; i < LENGTH; ++i)
            for (int k = 0; k < K; ++k) {
                double q = whole[token_of(x_0, i)][k];
                nats += source_probability(x_0) * q * log(q * K);
            }
    return nats;
}

// The term as Dye has it, with the best network's answers.
static double term(ProcessCase *c, int t, int steps) {
    static int32_t x_0[PAIRS][LENGTH], x_t[PAIRS][LENGTH], label[PAIRS];
    static float logits[PAIRS][LENGTH][K];
    static double error[PAIRS], time[PAIRS];
    static uint64_t sample[PAIRS];
    Kernel whole;
    paper_kernel(0, t, steps, whole);
    for (int at = 0; at < PAIRS; ++at) {
        double p[LENGTH][K];
        for (int i = 0; i < LENGTH; ++i)
            x_0[at][i] = token_of(at / STATES, i), x_t[at][i] = token_of(at % STATES, i);
        if (at < STATES) best(whole, at, t > 1, p);
        for (int i = 0; i < LENGTH * K && at < STATES; ++i)
            logits[at][i / K][i % K] = (float)log(p[i / K][i % K]);
        if (at >= STATES) memcpy(logits[at], logits[at % STATES], sizeof *logits);
        time[at] = t;
    }
    GrainBatch batch = {3, 0, PAIRS, x_0, label, sample};
    process_corrupt_at(c->process, c->network, c->stream, &c->pass, &batch, time, 7);
    case_upload(c, c->pass.x_t, x_t, sizeof x_t);
    case_upload(c, c->pass.out, logits, sizeof logits);
    process_bound_terms(c->process, c->stream, &c->pass, PAIRS);
    case_download(c, error, c->pass.error, sizeof error);
    double nats = 0;
    for (int at = 0; at < PAIRS; ++at)
        nats +=
            source_probability(at / STATES) * way(whole, at / STATES, at % STATES, -1) * error[at];
    return nats;
}

static void test_bound_of_the_best_network(void) {
    static const int steps[] = {4, STEPS_MOST};
    double before = 9;
    for (int k = 0; k < 2; ++k) {
        ProcessCase c;
        open_gaussian(&c, k == 0 ? "cpu" : "late", steps[k], PAIRS);
        double nats = prior_by_enumeration(steps[k]), prior = 0;
        for (int x_0 = 0; x_0 < STATES; ++x_0) {
            int32_t token[LENGTH];
            for (int i = 0; i < LENGTH; ++i) token[i] = token_of(x_0, i);
            prior += source_probability(x_0) * process_bound_prior(c.process, token);
        }
        EXPECT_NEAR(prior, nats, 1e-12);
        for (int t = 1; t <= steps[k]; ++t) {
            double wanted = term_by_enumeration(t, steps[k]);
            EXPECT_NEAR(term(&c, t, steps[k]), wanted, 2e-6);
            nats += wanted;
        }
        double bits = nats / (LENGTH * M_LN2);
        printf("%d steps: %.6f bits a token\n", steps[k], bits);
        EXPECT(bits > 1.332958 && bits < before); // not below the entropy; more steps are better
        before = bits;
        process_case_close(&c);
    }
    EXPECT_NEAR(before, 1.35, 0.02);
}

// ---- draws ------------------------------------------------------------------------------------

static void test_corruption(void) {
    enum { DRAWS = 20000, T = 5 };
    static int32_t x_0[DRAWS][LENGTH], x_t[DRAWS][LENGTH], label[DRAWS];
    static uint64_t sample[DRAWS];
    static double time[DRAWS];
    ProcessCase c;
    Kernel whole;
    double count[K][K] = {{0}}, square = 0;
    open_gaussian(&c, "cpu", STEPS_MOST, DRAWS);
    paper_kernel(0, T, STEPS_MOST, whole);
    for (int s = 0; s < DRAWS; ++s) {
        for (int i = 0; i < LENGTH; ++i) x_0[s][i] = (s + i) % K;
        sample[s] = (uint64_t)s, time[s] = T;
    }
    GrainBatch batch = {3, 0, DRAWS, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 7);
    case_download(&c, x_t, c.pass.x_t, sizeof x_t);
    for (int i = 0; i < DRAWS * LENGTH; ++i)
        ++count[x_0[i / LENGTH][i % LENGTH]][x_t[i / LENGTH][i % LENGTH]];
    for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j) {
            double wanted = whole[i][j] * (count[i][0] + count[i][1] + count[i][2]);
            square += (count[i][j] - wanted) * (count[i][j] - wanted) / wanted;
        }
    EXPECT(square < 38.3); // 6 degrees: false alarms below 1e-6
    process_case_close(&c);
}

// The chain of `kept` times of the best network, as a law of states.
static void chain_law(const Sampler *sampler, int steps, double law[STATES]) {
    double next[STATES];
    for (int x = 0; x < STATES; ++x) law[x] = 1.0 / STATES;
    for (int n = 0; n < sampler_steps(sampler); ++n) {
        Kernel whole, before, step;
        int t = (int)sampler->step[n].time, s = (int)sampler->step[n].to;
        paper_kernel(0, t, steps, whole);
        paper_kernel(0, s, steps, before);
        paper_kernel(s, t, steps, step);
        memset(next, 0, sizeof next);
        for (int x = 0; x < STATES; ++x) {
            double p[LENGTH][K];
            if (s == 0)
                best(whole, x, t > 1, p);
            else
                reverse(whole, before, step, x, p);
            for (int y = 0; y < STATES; ++y) {
                double way = law[x];
                for (int i = 0; i < LENGTH; ++i) way *= p[i][token_of(y, i)];
                next[y] += way;
            }
        }
        memcpy(law, next, sizeof next);
    }
}

static void check_sampler(int steps, int kept, double most) {
    enum { DRAWS = 8000 };
    static int32_t x[DRAWS][LENGTH];
    static float logits[DRAWS][LENGTH][K];
    double law[STATES], count[STATES] = {0}, square = 0, off = 0;
    SamplerConfig config = {.solver = "ancestral", .steps = kept, .guidance = 1};
    ProcessCase c;
    Sampler *sampler;
    open_gaussian(&c, "cpu", steps, DRAWS);
    EXPECT_OK(sampler_open(c.process, &config, &sampler));
    case_number_samples(&c, 500, DRAWS);
    sampler_begin(sampler, c.stream, &c.pass, DRAWS, 11);
    for (int n = 0; n < sampler_steps(sampler); ++n) {
        Kernel whole;
        int t = (int)sampler_time(sampler, n);
        paper_kernel(0, t, steps, whole);
        case_download(&c, x, c.pass.x_t, sizeof x);
        for (int s = 0; s < DRAWS; ++s) {
            double p[LENGTH][K];
            int state = 0;
            for (int i = 0; i < LENGTH; ++i) state = state * K + x[s][i];
            best(whole, state, t > 1, p);
            for (int i = 0; i < LENGTH * K; ++i)
                logits[s][i / K][i % K] = (float)log(p[i / K][i % K]);
        }
        case_upload(&c, c.pass.out, logits, sizeof logits);
        sampler_advance(sampler, c.stream, &c.pass, DRAWS, n, 11);
    }
    case_download(&c, x, c.pass.x_t, sizeof x);
    for (int s = 0; s < DRAWS; ++s) {
        int state = 0;
        for (int i = 0; i < LENGTH; ++i) state = state * K + x[s][i];
        ++count[state];
    }
    chain_law(sampler, steps, law);
    for (int y = 0; y < STATES; ++y) {
        if (law[y] * DRAWS > 0.5) square += pow(count[y] - DRAWS * law[y], 2) / (DRAWS * law[y]);
        off += fabs(law[y] - source_probability(y)) / 2;
    }
    EXPECT(square < 155.4); // 80 degrees: false alarms below 1e-6
    printf("%d of %d steps: %.4f from the source\n", kept, steps, off);
    EXPECT(off < most);
    sampler_close(sampler);
    process_case_close(&c);
}

static void test_sampler_law(void) {
    check_sampler(STEPS_MOST, STEPS_MOST, 0.05);
    check_sampler(STEPS_MOST, 5, 0.2);
}

static void test_refusals(void) {
    Process *process;
    Sampler *sampler;
    NetworkShape shape = shape_tokens(LENGTH, 256);
    ProcessConfig config = {.name = "d3pm", .schedule = "gaussian", .steps = 1000, .aux = -1};
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG,
                "process.steps is 1000; with 256 symbols the kernels leave room for 512");
    shape = shape_tokens(LENGTH, K);
    EXPECT_OK(process_open(&config, &shape, &process));
    EXPECT_FAIL(sampler_open(process,
                             &(SamplerConfig){.solver = "remask", .steps = 9, .guidance = 1},
                             &sampler),
                BAD_CONFIG, "sampler.solver is remask, which is for masks: choose ancestral");
    process_close(process);
}

int main(void) {
    RUN(test_kernels_are_products);
    RUN(test_bound_of_the_best_network);
    RUN(test_corruption);
    RUN(test_sampler_law);
    RUN(test_refusals);
    return test_report();
}
