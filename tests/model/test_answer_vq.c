// VQ-Diffusion against exact enumeration: bounds of the best network p(x_0|x_t), the mixture form
// on multinomial and on absorbing noise, samplers against the law of the chain that they walk.
#include "tests/model/support_masks.h"
#include "tests/test.h"

static ProcessConfig config_vq(int steps, const char *schedule) {
    ProcessConfig config = {.name = "vq", .steps = steps, .aux = 0.01f, .times = "uniform"};
    snprintf(config.schedule, sizeof config.schedule, "%s", schedule);
    return config;
}

// ---- the kernel, by its definition ------------------------------------------------------------

// The schedules as the paper and the code write them.
static CategoricalMass written(int t, int steps, double last) {
    double along = (t - 1.0) / (steps - 1);
    double keep = .99999 * (1 - along) + 9e-6 * along, mask = 9e-6 * (1 - along) + last * along;
    return (CategoricalMass){keep, 1 - keep - mask, mask};
}

static Process *open_vq(int steps, const char *schedule) {
    ProcessConfig config = config_vq(steps, schedule);
    NetworkShape shape = shape_tokens(LENGTH, K);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    EXPECT_EQ(shape.out_channels, K);
    EXPECT_EQ(shape.vocabulary, K + 1);
    return process;
}

static void check_schedule(const char *schedule, double last) {
    Process *process = open_vq(100, schedule);
    double chain[K + 1][K + 1] = {{0}}, most = 0;
    for (int i = 0; i <= K; ++i) chain[i][i] = 1;
    for (int t = 1; t <= 100; ++t) {
        CategoricalLevel level = categorical_numbers(process, t, t - 1);
        CategoricalMass step = {level.step_keep, level.step_spread, level.step_mask};
        double next[K + 1][K + 1] = {{0}};
        for (int i = 0; i <= K; ++i)
            for (int j = 0; j <= K; ++j)
                for (int k = 0; k <= K; ++k) next[i][k] += chain[i][j] * mass_kernel(step, j, k);
        memcpy(chain, next, sizeof chain);
        for (int i = 0; i <= K; ++i)
            for (int k = 0; k <= K; ++k)
                EXPECT_NEAR(chain[i][k], mass_kernel(written(t, 100, last), i, k), 1e-12);
        most = fmax(most, 1 - level.keep - level.mask);
    }
    EXPECT_NEAR(most, last == .9 ? 1 - .9 - 9e-6 : 1e-6, 1e-12);
    CategoricalLevel level = categorical_numbers(process, 60, 40);
    CategoricalMass step = {level.step_keep, level.step_spread, level.step_mask};
    for (int i = 0; i <= K; ++i)
        for (int k = 0; k <= K; ++k) {
            double composed = 0;
            for (int j = 0; j <= K; ++j)
                composed += mass_kernel(written(40, 100, last), i, j) * mass_kernel(step, j, k);
            EXPECT_NEAR(composed, mass_kernel(written(60, 100, last), i, k), 1e-12);
        }
    process_close(process);
}

static void test_schedules_are_products(void) {
    check_schedule("auto", .99999);
    check_schedule("paper", .9);
}

// ---- bound ------------------------------------------------------------------------------------

static CategoricalMass mass_of(const Process *process, int t) {
    CategoricalLevel level = categorical_numbers(process, t, t - 1);
    return (CategoricalMass){level.keep, 1 - level.keep - level.mask, level.mask};
}

// Bits a token of the terms at 1..T, without the prior.
static double best_terms(ProcessCase *c) {
    static double error[COUPLES];
    double nats = 0;
    for (int t = 1; t <= c->process->config.steps; ++t) {
        CategoricalMass mass = mass_of(c->process, t);
        CategoricalLevel level;
        c->process->system->family->level(c->process, t, 1, &level);
        couple_errors(c, &level, answer_best, &mass, error);
        for (int at = 0; at < COUPLES; ++at) {
            double p = couple_probability(mass, at / SEEN, at % SEEN);
            if (p > 0) nats += p * error[at];
        }
    }
    return nats / (LENGTH * M_LN2);
}

// Bits a token of KL(q(x_T|x_0) || q(x_T of a token)), which no run can know.
static double marginal_prior(CategoricalMass mass) {
    double bits = 0;
    for (int i = 0; i < LENGTH; ++i) {
        double data[K] = {0};
        for (int x = 0; x < STATES; ++x) data[token_of(x, i)] += source_probability(x);
        for (int v = 0; v <= MASK; ++v) {
            double marginal = 0;
            for (int k = 0; k < K; ++k) marginal += data[k] * mass_kernel(mass, k, v);
            for (int k = 0; k < K; ++k) {
                double q = mass_kernel(mass, k, v);
                if (q > 0) bits += data[k] * q * log2(q / marginal) / LENGTH;
            }
        }
    }
    return bits;
}

static void check_bound(const char *backend, const char *schedule, double terms, double whole,
                        double tolerance) {
    ProcessConfig config = config_vq(100, schedule);
    ProcessCase c;
    process_case_open(&c, backend, &config, shape_tokens(LENGTH, K), COUPLES);
    CategoricalMass end = mass_of(c.process, 100);
    double got = best_terms(&c);
    if (terms > 0) EXPECT_NEAR(got, terms, 1e-8);
    EXPECT_NEAR(got + marginal_prior(end), whole, tolerance);
    // Ours: uniform classes beside the mask. It costs what the source differs from uniform.
    int32_t x_0[LENGTH] = {0};
    double each = 0;
    for (int v = 0; v <= MASK; ++v) {
        double q = mass_kernel(end, 0, v), p = v == MASK ? end.mask : (1 - end.mask) / K;
        each += q * log(q / p);
    }
    EXPECT_NEAR(process_bound_prior(c.process, x_0), LENGTH * each, 1e-12);
    EXPECT(LENGTH * each > LENGTH * M_LN2 * marginal_prior(end));
    process_case_close(&c);
}

static void test_bound_of_the_best_network(void) {
    check_bound("late", "released", 1.334880634, 1.334891937, 1e-8);
    check_bound("cpu", "paper", 0, 1.334958, 1e-6);
}

// ---- other noises -----------------------------------------------------------------------------

static CategoricalMass multinomial_mass(const ProcessConfig *config, double t) {
    double before = cos(0.008 / 1.008 * M_PI_2), keep = 1;
    for (int i = 1; i <= (int)t; ++i) {
        double f = cos((i / (double)config->steps + 0.008) / 1.008 * M_PI_2);
        keep *= sqrt(fmax(f / before * (f / before), 0.001));
        before = f;
    }
    return (CategoricalMass){keep, 1 - keep, 0};
}

static CategoricalMass absorbing_mass(const ProcessConfig *config, double t) {
    double mask = t / config->steps;
    return (CategoricalMass){1 - mask, 0, mask};
}

// The mixture on the noise of `mass`, with the schedule of `of`.
static double mixture_bound(const ProcessSystem *of, int steps,
                            CategoricalMass (*mass)(const ProcessConfig *, double), double prior) {
    ProcessConfig config = {.name = "vq", .steps = steps};
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_tokens(LENGTH, K), COUPLES);
    CategoricalSystem own = {.form = CATEGORICAL_MIXTURE, .mass = mass};
    ProcessSystem system = *of;
    system.own = &own;
    Process *other, *vq = c.process;
    NetworkShape shape = shape_tokens(LENGTH, K);
    EXPECT_OK(process_open_as(&system, &config, &shape, &other));
    c.process = other;
    double bits = best_terms(&c) + prior;
    c.process = vq;
    process_close(other);
    process_case_close(&c);
    return bits;
}

static void test_mixture_on_other_noises(void) {
    double keep = multinomial_mass(&(ProcessConfig){.steps = 16}, 16).keep;
    double here = keep + (1 - keep) / K, rest = (1 - keep) / K;
    double prior = here * log2(K * here) + (K - 1) * rest * log2(K * rest);
    EXPECT_NEAR(mixture_bound(&system_multinomial, 16, multinomial_mass, prior), 1.347733, 1e-6);
    EXPECT_NEAR(mixture_bound(&system_vq, 1, absorbing_mass, 0), 1.542166, 1e-6);
    EXPECT_NEAR(mixture_bound(&system_vq, 4, absorbing_mass, 0), 1.381902, 1e-6);
    EXPECT_NEAR(mixture_bound(&system_vq, 16, absorbing_mass, 0), 1.344984, 1e-6);
}

// ---- sampling ---------------------------------------------------------------------------------

enum { DRAWS = 8000 };
static double best[SEEN][LENGTH][K]; // best_answer at the time of a step

static void fill_best(const Process *process, int t) {
    for (int y = 0; y < SEEN; ++y) best_answer(mass_of(process, t), y, best[y]);
}

static void upload_answers(const ProcessCase *c) {
    static int32_t x[DRAWS][LENGTH];
    static float logits[DRAWS][LENGTH][K];
    case_download(c, x, c->pass.x_t, sizeof x);
    for (int s = 0; s < DRAWS; ++s) {
        int y = x[s][0] | x[s][1] << 2 | x[s][2] << 4 | x[s][3] << 6;
        for (int i = 0; i < LENGTH; ++i)
            for (int k = 0; k < K; ++k) logits[s][i][k] = (float)log(fmax(best[y][i][k], 1e-300));
    }
    case_upload(c, c->pass.out, logits, sizeof logits);
}

// sum over j of p(x_0 = j) q(x_s|x_t, x_0 = j), by Bayes' rule.
static double reverse(const Process *process, int t, int s, const double p[K], int x_t, int x_s) {
    CategoricalLevel level = categorical_numbers(process, t, s);
    CategoricalMass step = {level.step_keep, level.step_spread, level.step_mask};
    CategoricalMass from = s > 0 ? mass_of(process, s) : (CategoricalMass){1, 0, 0};
    double sum = 0;
    for (int j = 0; j < K; ++j)
        sum += p[j] * mass_kernel(step, x_s, x_t) * mass_kernel(from, j, x_s) /
               mass_kernel(mass_of(process, t), j, x_t);
    return sum;
}

static void step_law(const Process *process, int t, int s, double law[SEEN]) {
    double next[SEEN] = {0};
    for (int x = 0; x < SEEN; ++x) {
        double p[LENGTH][K + 1];
        for (int i = 0; i < LENGTH; ++i)
            for (int k = 0; k <= K; ++k)
                p[i][k] = reverse(process, t, s, best[x][i], seen_token(x, i), k);
        for (int y = 0; y < SEEN; ++y) {
            double way = law[x];
            for (int i = 0; i < LENGTH; ++i) way *= p[i][seen_token(y, i)];
            next[y] += way;
        }
    }
    memcpy(law, next, sizeof next);
}

// Draws against the exact law of the reverse chain, and that law against the source. The critical
// value is that of a false alarm of 1e-6 at 80 degrees of freedom; without masks 81 states are
// left.
static void check_sampler(const char *backend, const char *schedule, int steps, double distance) {
    ProcessConfig config = config_vq(100, schedule);
    SamplerConfig sampler_config = {.solver = "auto", .steps = steps, .guidance = 1};
    ProcessCase c;
    Sampler *sampler;
    process_case_open(&c, backend, &config, shape_tokens(LENGTH, K), DRAWS);
    EXPECT_OK(sampler_open(c.process, &sampler_config, &sampler));
    static int32_t x[DRAWS][LENGTH];
    double law[SEEN], count[SEEN] = {0}, square = 0, variation = 0,
                      end = mass_of(c.process, 100).mask;
    case_number_samples(&c, 500, DRAWS);
    sampler_begin(sampler, c.stream, &c.pass, DRAWS, 11);
    for (int y = 0; y < SEEN; ++y) {
        law[y] = 1;
        for (int i = 0; i < LENGTH; ++i) law[y] *= seen_token(y, i) == MASK ? end : (1 - end) / K;
    }
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        int t = (int)sampler_time(sampler, i);
        fill_best(c.process, t);
        upload_answers(&c);
        sampler_advance(sampler, c.stream, &c.pass, DRAWS, i, 11);
        step_law(c.process, t, (int)sampler->step[i].to, law);
    }
    case_download(&c, x, c.pass.x_t, sizeof x);
    for (int s = 0; s < DRAWS; ++s) ++count[x[s][0] | x[s][1] << 2 | x[s][2] << 4 | x[s][3] << 6];
    for (int state = 0; state < STATES; ++state) {
        int y = 0;
        for (int i = 0; i < LENGTH; ++i) y |= token_of(state, i) << 2 * i;
        square += (count[y] - DRAWS * law[y]) * (count[y] - DRAWS * law[y]) / (DRAWS * law[y]);
        variation += fabs(law[y] - source_probability(state)) / 2;
    }
    EXPECT(square < 155.4);
    EXPECT(variation < distance);
    sampler_close(sampler);
    process_case_close(&c);
}

static void test_sampler_draws_the_source(void) {
    check_sampler("cpu", "released", 0, 0.01);
    check_sampler("late", "paper", 40, 0.03);
    check_sampler("cpu", "released", 10, 0.07); // composed steps
}

// ---- truncation, purity, guidance -------------------------------------------------------------

enum { WIDE = 10, CLASSES = 4 };

// The first `steps` steps of samples with the same logits at each; counts classes of
// token 0 in `count`, masks left after each step of sample 0 in `masks`.
static void draw_alike(const SamplerConfig *settings, const double p[WIDE][CLASSES],
                       double count[CLASSES + 1], int *masks, int steps) {
    static float logits[DRAWS][WIDE][CLASSES];
    static int32_t x[DRAWS][WIDE];
    ProcessConfig config = config_vq(20, "released");
    ProcessCase c;
    Sampler *sampler;
    process_case_open(&c, "late", &config, shape_tokens(WIDE, CLASSES), DRAWS);
    EXPECT_OK(sampler_open(c.process, settings, &sampler));
    for (int s = 0; s < DRAWS; ++s)
        for (int i = 0; i < WIDE; ++i)
            for (int k = 0; k < CLASSES; ++k) logits[s][i][k] = (float)log(p[i][k]) + 3;
    case_number_samples(&c, 0, DRAWS);
    sampler_begin(sampler, c.stream, &c.pass, DRAWS, 4);
    case_upload(&c, c.pass.out, logits, sizeof logits);
    for (int i = 0; i < steps; ++i) {
        sampler_advance(sampler, c.stream, &c.pass, DRAWS, i, 4);
        case_upload(&c, c.pass.out, logits, sizeof logits);
        case_download(&c, x, c.pass.x_t, sizeof x);
        masks[i] = 0;
        for (int j = 0; j < WIDE; ++j) masks[i] += x[0][j] == CLASSES;
        memset(count, 0, sizeof *count * (CLASSES + 1));
        for (int s = 0; s < DRAWS; ++s) ++count[x[s][0]];
    }
    sampler_close(sampler);
    process_case_close(&c);
}

static void fill_alike(double p[WIDE][CLASSES]) {
    for (int i = 0; i < WIDE; ++i) memcpy(p[i], (const double[]){.3, .5, .05, .15}, sizeof p[i]);
}

// 1e-6 at the degrees of freedom of two or three classes.
static void expect_law(const double *count, const double *law) {
    double square = 0;
    for (int k = 0; k <= CLASSES; ++k)
        if (law[k] > 0)
            square += (count[k] - DRAWS * law[k]) * (count[k] - DRAWS * law[k]) / (DRAWS * law[k]);
        else
            EXPECT_EQ((int)count[k], 0);
    EXPECT(square < 30.7);
}

static void test_truncation(void) {
    double p[WIDE][CLASSES], count[CLASSES + 1];
    int masks[20];
    fill_alike(p);
    SamplerConfig settings = {.solver = "ancestral", .guidance = 1, .steps = 3, .truncation = 1};
    draw_alike(&settings, p, count, masks, 3);
    expect_law(count, (const double[]){.3, .5, .05, .15, 0});
    settings.truncation = 0.86f;
    settings.steps = 1;
    draw_alike(&settings, p, count, masks, 1);
    expect_law(count, (const double[]){.3 / .95, .5 / .95, 0, .15 / .95, 0});
    snprintf(settings.solver, sizeof settings.solver, "purity");
    settings.truncation = 0.6f;
    draw_alike(&settings, p, count, masks, 1);
    expect_law(count, (const double[]){.3 / .8, .5 / .8, 0, 0, 0});
    settings.truncation = 0.1f; // one at least
    draw_alike(&settings, p, count, masks, 1);
    expect_law(count, (const double[]){0, 1, 0, 0, 0});
}

static void test_purity(void) {
    double p[WIDE][CLASSES], count[CLASSES + 1];
    int masks[20];
    fill_alike(p);
    SamplerConfig settings = {.solver = "purity", .steps = 4, .guidance = 1, .purity = 1};
    draw_alike(&settings, p, count, masks, 4);
    static const int left[] = {7, 4, 2, 0};
    for (int i = 0; i < 4; ++i) EXPECT_EQ(masks[i], left[i]);
    double total = .09 + .25 + .0025 + .0225; // p^2: all are equally sure
    expect_law(count, (const double[]){.09 / total, .25 / total, .0025 / total, .0225 / total, 0});
    // Of ten tokens one is revealed: token 0 by .9 of .9 + 9 * .5; sharpened by a power of 2 there.
    memcpy(p[0], (const double[]){.1 / 3, .1 / 3, .1 / 3, .9}, sizeof p[0]);
    settings.steps = WIDE;
    draw_alike(&settings, p, count, masks, 1);
    EXPECT_EQ(masks[0], WIDE - 1);
    double chosen = .9 / (.9 + 9 * .5), sure = .81 / (.81 + 3 * .01 / 9);
    double other = chosen * (1 - sure) / 3;
    expect_law(count, (const double[]){other, other, other, chosen * sure, 1 - chosen});
}

// Of logits or of their log-softmax: the same distribution.
static void test_guidance_is_of_log_probabilities(void) {
    enum { N = LENGTH * K };
    ProcessConfig config = config_vq(10, "released");
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_tokens(LENGTH, K), 1);
    float cond[N], null[N], out[N];
    for (int i = 0; i < N; ++i)
        cond[i] = (float)sin(i * 5.0) + 2, null[i] = (float)cos(i * 3.0) - 1;
    case_upload(&c, c.pass.out, cond, sizeof cond);
    case_upload(&c, c.pass.dout, null, sizeof null);
    process_guide(c.process, c.stream, &c.pass, c.pass.dout, 1, 2.5f);
    case_download(&c, out, c.pass.out, sizeof out);
    for (int i = 0; i < LENGTH; ++i) {
        double z_c = 0, z_u = 0, z = 0, total = 0;
        for (int k = i * K; k < (i + 1) * K; ++k)
            z_c += exp((double)cond[k]), z_u += exp((double)null[k]), z += exp((double)out[k]);
        double p[K];
        for (int k = 0; k < K; ++k) {
            double lc = (double)cond[i * K + k] - log(z_c), lu = (double)null[i * K + k] - log(z_u);
            total += p[k] = exp(lu + 2.5 * (lc - lu));
        }
        for (int k = 0; k < K; ++k)
            EXPECT_NEAR(exp((double)out[i * K + k]) / z, p[k] / total, 1e-6);
    }
    process_case_close(&c);
}

// ---- what says nothing ------------------------------------------------------------------------

static void test_keys_of_others_are_errors(void) {
    ProcessConfig config = config_multinomial(10), vq = config_vq(10, "cosine");
    NetworkShape shape = shape_tokens(LENGTH, K);
    Process *process;
    config.aux = 5e-4f;
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG,
                "process.aux is 0.0005, which");
    EXPECT_FAIL(process_open(&vq, &shape, &process), BAD_CONFIG, "released, paper");
    config.aux = -1;
    EXPECT_OK(process_open(&config, &shape, &process));
    Sampler *sampler;
    SamplerConfig settings = {.solver = "purity", .guidance = 1};
    EXPECT_FAIL(sampler_open(process, &settings, &sampler), BAD_CONFIG, "choose one of: ancestral");
    settings = (SamplerConfig){.guidance = 1, .purity = 1};
    EXPECT_FAIL(sampler_open(process, &settings, &sampler), BAD_CONFIG, "solver = purity");
    process_close(process);
    config = config_gaussian("auto", "auto", "auto");
    shape = shape_vector(2);
    EXPECT_OK(process_open(&config, &shape, &process));
    settings = (SamplerConfig){.guidance = 1, .truncation = 0.5f};
    EXPECT_FAIL(sampler_open(process, &settings, &sampler), BAD_CONFIG, "is for symbols");
    process_close(process);
}

int main(void) {
    RUN(test_schedules_are_products);
    RUN(test_bound_of_the_best_network);
    RUN(test_mixture_on_other_noises);
    RUN(test_sampler_draws_the_source);
    RUN(test_truncation);
    RUN(test_purity);
    RUN(test_guidance_is_of_log_probabilities);
    RUN(test_keys_of_others_are_errors);
    return test_report();
}
