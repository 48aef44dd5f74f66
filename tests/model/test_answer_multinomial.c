// Multinomial diffusion against exact enumeration: bounds of the best network, what the plug-in
// form wants, and a table of logits that training brings to the same bound.
#include "model/process/family_categorical.h"
#include "tests/model/support_process.h"
#include "tests/model/support_source.h"
#include "tests/test.h"

// ---- bound ------------------------------------------------------------------------------------

// All pairs (x_0, x_t) as one pass: sample x_0 * STATES + x_t.
static void upload_pairs(const ProcessCase *c) {
    static int32_t x_0[PAIRS][LENGTH], x_t[PAIRS][LENGTH];
    for (int pair = 0; pair < PAIRS; ++pair)
        for (int i = 0; i < LENGTH; ++i) {
            x_0[pair][i] = token_of(pair / STATES, i);
            x_t[pair][i] = token_of(pair % STATES, i);
        }
    case_upload(c, c->pass.x_0, x_0, sizeof x_0);
    case_upload(c, c->pass.x_t, x_t, sizeof x_t);
}

static void upload_best_logits(const ProcessCase *c, double keep) {
    static float logits[PAIRS][LENGTH][K];
    for (int x_t = 0; x_t < STATES; ++x_t) {
        double p[LENGTH][K];
        leave_one_out(keep, x_t, p);
        for (int x_0 = 0; x_0 < STATES; ++x_0)
            for (int i = 0; i < LENGTH; ++i)
                for (int k = 0; k < K; ++k) logits[x_0 * STATES + x_t][i][k] = (float)log(p[i][k]);
    }
    case_upload(c, c->pass.out, logits, sizeof logits);
}

static void upload_level(const ProcessCase *c, int t, int64_t samples) {
    CategoricalLevel *row = c->pass.host_level;
    for (int64_t s = 0; s < samples; ++s)
        c->process->system->family->level(c->process, t, 1, row + s);
    case_upload(c, c->pass.level, row, samples * (int64_t)sizeof *row);
}

// Expectation of term(t) over the source and its corruption, nats a sequence.
static double expected_term(ProcessCase *c, int t) {
    static double error[PAIRS];
    double keep = c->process->table.keep[t], sum = 0;
    upload_best_logits(c, keep);
    upload_level(c, t, PAIRS);
    process_bound_terms(c->process, c->stream, &c->pass, PAIRS);
    case_download(c, error, c->pass.error, sizeof error);
    for (int pair = 0; pair < PAIRS; ++pair) {
        double weight = source_probability(pair / STATES);
        for (int i = 0; i < LENGTH; ++i)
            weight *=
                uniform_kernel(keep, token_of(pair / STATES, i), token_of(pair % STATES, i), K);
        sum += weight * error[pair];
    }
    return sum;
}

static double best_bound(const char *backend, int steps) {
    ProcessConfig config = config_multinomial(steps);
    ProcessCase c;
    process_case_open(&c, backend, &config, shape_tokens(LENGTH, K), PAIRS);
    upload_pairs(&c);
    int32_t x_0[LENGTH] = {0};
    double nats = process_bound_prior(c.process, x_0);
    for (int t = 1; t <= steps; ++t) nats += expected_term(&c, t);
    EXPECT_EQ(process_loss_items(c.process), LENGTH);
    EXPECT_TEXT(process_bound_unit(c.process), "bits_per_token");
    process_case_close(&c);
    return nats / (LENGTH * M_LN2);
}

static void test_bound_of_the_best_network(void) {
    EXPECT_NEAR(best_bound("cpu", 1), 1.541694, 1e-6);
    EXPECT_NEAR(best_bound("late", 2), 1.435855, 1e-6);
    EXPECT_NEAR(best_bound("cpu", 4), 1.390512499, 1e-8);
    EXPECT_NEAR(best_bound("cpu", 8), 1.362452, 1e-6);
    EXPECT_NEAR(best_bound("cpu", 16), 1.347733, 1e-6);
    EXPECT_NEAR(best_bound("cpu", 64), 1.336640, 1e-6);
}

// One token of four symbols, H = 1.75 bits. The plug-in form wants the prior, whatever x_t is; the
// posterior p(x_0 | x_t) is a better guess of x_0 and gives a badly wrong bound.
enum { ONE_K = 4 };
static const double one_prior[ONE_K] = {.5, .25, .125, .125};

static double one_token_bound(int steps, bool posterior) {
    ProcessConfig config = config_multinomial(steps);
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_tokens(1, ONE_K), ONE_K * ONE_K);
    int32_t x_0[ONE_K * ONE_K], x_t[ONE_K * ONE_K];
    for (int pair = 0; pair < ONE_K * ONE_K; ++pair)
        x_0[pair] = pair / ONE_K, x_t[pair] = pair % ONE_K;
    case_upload(&c, c.pass.x_0, x_0, sizeof x_0);
    case_upload(&c, c.pass.x_t, x_t, sizeof x_t);
    double nats = process_bound_prior(c.process, x_0);
    for (int t = 1; t <= steps; ++t) {
        float logits[ONE_K * ONE_K][ONE_K];
        double error[ONE_K * ONE_K], keep = c.process->table.keep[t];
        for (int pair = 0; pair < ONE_K * ONE_K; ++pair)
            for (int k = 0; k < ONE_K; ++k) {
                double p = one_prior[k];
                if (posterior) p *= uniform_kernel(keep, k, x_t[pair], ONE_K);
                logits[pair][k] = (float)log(p);
            }
        case_upload(&c, c.pass.out, logits, sizeof logits);
        upload_level(&c, t, ONE_K * ONE_K);
        process_bound_terms(c.process, c.stream, &c.pass, ONE_K * ONE_K);
        case_download(&c, error, c.pass.error, sizeof error);
        for (int pair = 0; pair < ONE_K * ONE_K; ++pair)
            nats += one_prior[x_0[pair]] * uniform_kernel(keep, x_0[pair], x_t[pair], ONE_K) *
                    error[pair];
    }
    process_case_close(&c);
    return nats / M_LN2;
}

static void test_plug_in_wants_the_other_tokens(void) {
    EXPECT_NEAR(one_token_bound(4, false), 1.750039, 1e-6);
    EXPECT_NEAR(one_token_bound(20, false), 1.750002, 1e-6);
    EXPECT_NEAR(one_token_bound(100, false), 1.750000, 1e-6);
    EXPECT_NEAR(one_token_bound(4, true), 2.375273, 1e-6);
    EXPECT_NEAR(one_token_bound(20, true), 2.603406, 1e-6);
    EXPECT_NEAR(one_token_bound(100, true), 2.654016, 1e-6);
}

// ---- training ---------------------------------------------------------------------------------

// A network that is a table of logits [t][81 states][4][3], by Adam on the exact expectation of the
// gradient: it must come to the bound of the best network.
enum { TABLE_STEPS = 2, TABLE = STATES * LENGTH * K };

typedef struct {
    float logit[TABLE];
    double m[TABLE], v[TABLE], gradient[TABLE];
} LogitTable;

static void spread_logits(const ProcessCase *c, const LogitTable *table) {
    static float logits[PAIRS][TABLE / STATES];
    for (int pair = 0; pair < PAIRS; ++pair)
        memcpy(logits[pair], table->logit + pair % STATES * (TABLE / STATES), sizeof logits[pair]);
    case_upload(c, c->pass.out, logits, sizeof logits);
}

// The gradient of the expected term at t; returns the term, nats.
static double expected_gradient(ProcessCase *c, int t, LogitTable *table) {
    static float slope[PAIRS][TABLE / STATES], loss[PAIRS];
    double keep = c->process->table.keep[t], sum = 0;
    spread_logits(c, table);
    upload_level(c, t, PAIRS);
    process_loss(c->process, c->stream, &c->pass, PAIRS, true);
    case_download(c, slope, c->pass.dout, sizeof slope);
    case_download(c, loss, c->pass.loss, sizeof loss);
    memset(table->gradient, 0, sizeof table->gradient);
    for (int pair = 0; pair < PAIRS; ++pair) {
        double weight = source_probability(pair / STATES) / c->process->config.steps;
        for (int i = 0; i < LENGTH; ++i)
            weight *=
                uniform_kernel(keep, token_of(pair / STATES, i), token_of(pair % STATES, i), K);
        sum += weight * (double)loss[pair];
        double *gradient = table->gradient + pair % STATES * (TABLE / STATES);
        for (int i = 0; i < TABLE / STATES; ++i) gradient[i] += weight * (double)slope[pair][i];
    }
    return sum;
}

static void adam(LogitTable *table, int step, double rate) {
    for (int i = 0; i < TABLE; ++i) {
        double g = table->gradient[i];
        table->m[i] = 0.9 * table->m[i] + 0.1 * g;
        table->v[i] = 0.999 * table->v[i] + 0.001 * g * g;
        double m = table->m[i] / (1 - pow(0.9, step)), v = table->v[i] / (1 - pow(0.999, step));
        table->logit[i] -= (float)(rate * m / (sqrt(v) + 1e-12));
    }
}

static void test_a_trained_table_reaches_the_bound(void) {
    enum { ROUNDS = 150 };
    static LogitTable table[TABLE_STEPS + 1];
    ProcessConfig config = config_multinomial(TABLE_STEPS);
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_tokens(LENGTH, K), PAIRS);
    upload_pairs(&c);
    int32_t x_0[LENGTH] = {0};
    double nats = 0;
    for (int round = 1; round <= ROUNDS; ++round) {
        nats = process_bound_prior(c.process, x_0);
        for (int t = 1; t <= TABLE_STEPS; ++t) {
            nats += expected_gradient(&c, t, &table[t]);
            adam(&table[t], round, 0.3 * (1 - (double)round / ROUNDS));
        }
    }
    double bits = nats / (LENGTH * M_LN2);
    EXPECT(bits > 1.435855 - 1e-6 && bits < 1.435855 + 2e-4);
    process_case_close(&c);
}

int main(void) {
    RUN(test_bound_of_the_best_network);
    RUN(test_plug_in_wants_the_other_tokens);
    RUN(test_a_trained_table_reaches_the_bound);
    return test_report();
}
