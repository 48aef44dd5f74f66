// Schedules that learn: the gradient of the whole bound by every parameter against differences of a
// float64 loss written here, the decoder against brute force, and closed forms of the bound, which
// knows a schedule by its ends alone.
#include "base/rng.h"
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

enum { SAMPLES = 5, ITEMS = 16, N = SAMPLES * ITEMS, LEVELS = 256, UNITS = 1024 };
enum { OWN_MOST = 2 + 3 * UNITS, SEED = 7, STEP = 3 };

typedef struct {
    const char *schedule, *head, *loss;
    bool image;
    int left_out; // a sample, -1: none
} Case;

static const Case cases[] = {
    {"scalar", "residual", "continuous", true, -1}, {"scalar", "eps", "discrete", false, -1},
    {"scalar", "residual", "discrete", true, 2},    {"net", "residual", "continuous", false, 1},
    {"net", "residual", "discrete", true, -1},      {"net", "eps", "continuous", true, -1},
};

static double uniform_of(uint64_t i) {
    return 2 * (double)(mix64(i * MIX_GOLDEN) >> 11) * 0x1p-53 - 1;
}

static ProcessConfig config_of(const char *schedule, const char *head, const char *loss) {
    ProcessConfig config = {.name = "vdm", .steps = 20, .batch = SAMPLES};
    snprintf(config.schedule, sizeof config.schedule, "%s", schedule);
    snprintf(config.head, sizeof config.head, "%s", head);
    snprintf(config.loss, sizeof config.loss, "%s", loss);
    return config;
}

static int own_of(const char *schedule) {
    return strcmp(schedule, "net") == 0 ? OWN_MOST : 2;
}

// Parameters with signs of both kinds, and a network that bends g by much.
static void fill_own(const char *schedule, double own[OWN_MOST]) {
    own[0] = (double)-12.7f, own[1] = (double)-8.2f;
    for (int k = 2; k < own_of(schedule); ++k) {
        double u = uniform_of((uint64_t)k);
        own[k] = (double)(float)((k - 2) / UNITS == 1 ? u + 2 : 6 * u); // biases to one side
    }
}

// Gives a process its parameters as the trainer does.
static float *use_own(ProcessCase *c, const double *own, int count) {
    float *host = calloc((size_t)c->params.size, sizeof *host);
    void *weights;
    REQUIRE(host != NULL);
    int64_t first = params_find(&c->params, "schedule.l1.weight")->offset;
    EXPECT_EQ(first + count, c->params.size);
    for (int k = 0; k < count; ++k) host[first + k] = (float)own[k];
    size_t bytes = (size_t)c->params.size * sizeof *host;
    EXPECT_OK(device_alloc(c->device, bytes, &weights));
    case_upload(c, weights, host, (int64_t)bytes);
    EXPECT_OK(process_use(c->process, c->stream, weights));
    free(host);
    return weights;
}

// ---- the loss in float64 ------------------------------------------------------------------------

typedef struct {
    const Case *kind;
    int own_count;
    double own[OWN_MOST];
    double x_0[N], eps[N], time[SAMPLES];
    double read_off, read_slope, read_at; // the decoder's nats, linear in g(0) about read_at
    double a[ITEMS][ITEMS], c[ITEMS][TIME_FEATURES]; // out = a z + c features
} Model;

static double g_of(const double *own, int count, double t, double *rate) {
    int units = (count - 2) / 3;
    double sum = 0, slope = 0;
    for (int j = 0; j < units; ++j) {
        double w_2 = fabs(own[2 + j]), w_3 = fabs(own[2 + 2 * units + j]);
        double half = 0.5 * (w_2 * 2 * (t - 0.5) + own[2 + units + j]); // 2 sigm(2x) - 1 = tanh x
        sum += w_3 * tanh(half) / 1024;
        slope += w_3 * w_2 / (cosh(half) * cosh(half)) / 1024;
    }
    *rate = fabs(own[0]) + slope;
    return own[1] + fabs(own[0]) * t + sum;
}

static double frequency_of(int k) {
    return exp(-log(10000.0) * (k % 128) / 127);
}

static void network_of(const Model *m, const double z[ITEMS], double label, double out[ITEMS]) {
    for (int i = 0; i < ITEMS; ++i) {
        out[i] = 0;
        for (int j = 0; j < ITEMS; ++j) out[i] += m->a[i][j] * z[j];
        for (int k = 0; k < TIME_FEATURES; ++k) {
            double angle = label * frequency_of(k);
            out[i] += m->c[i][k] * (k < 128 ? cos(angle) : sin(angle));
        }
    }
}

// Of the network's part of a sample: weight times squares.
static double diffusion_of(const Model *m, int s, int steps) {
    double rate, before, t = m->time[s], g = g_of(m->own, m->own_count, t, &rate);
    double alpha = sqrt(1 / (1 + exp(g))), sigma = sqrt(1 / (1 + exp(-g)));
    double z[ITEMS], out[ITEMS], squares = 0, weight = 0.5 * rate;
    for (int i = 0; i < ITEMS; ++i)
        z[i] = alpha * m->x_0[s * ITEMS + i] + sigma * m->eps[s * ITEMS + i];
    network_of(m, z, (g + 13.3) / 18.3 * 1000, out);
    for (int i = 0; i < ITEMS; ++i) {
        double eps_hat = out[i] + (strcmp(m->kind->head, "residual") == 0 ? z[i] : 0);
        squares += (eps_hat - m->eps[s * ITEMS + i]) * (eps_hat - m->eps[s * ITEMS + i]);
    }
    if (strcmp(m->kind->loss, "discrete") == 0) {
        before = g_of(m->own, m->own_count, t - 1.0 / steps, &rate);
        weight = 0.5 * steps * expm1(g - before);
    }
    return weight * squares;
}

// Of the start of a sample: KL(q(z_1|x) || N(0,1)).
static double start_of(const Model *m, int s) {
    double rate, g = g_of(m->own, m->own_count, 1, &rate), nats = 0;
    double keep = 1 / (1 + exp(g)), noise = 1 / (1 + exp(-g));
    for (int i = s * ITEMS; i < (s + 1) * ITEMS; ++i)
        nats += 0.5 * (keep * m->x_0[i] * m->x_0[i] + noise - log(noise) - 1);
    return nats;
}

static bool counts(const Model *m, int s) {
    return s != m->kind->left_out;
}

// Nats of sample s, but for the decoder's, which read_off has of all that count.
static double loss_of(const Model *m) {
    double rate, loss = m->read_off;
    loss += m->read_slope * (g_of(m->own, m->own_count, 0, &rate) - m->read_at);
    for (int s = 0; s < SAMPLES; ++s)
        if (counts(m, s)) loss += diffusion_of(m, s, 20) + start_of(m, s);
    return loss;
}

// Mean over eps of - log p(v | z_0), all levels in every sum.
static double read_brute(int v, double g, double h) {
    double sigma = exp(0.5 * g), mean = 0;
    for (double eps = -11; eps <= 11; eps += h) {
        double sum = 0;
        for (int w = 0; w < LEVELS; ++w) {
            double gap = ((v - w) / 128.0 + sigma * eps) / sigma;
            sum += exp(0.5 * (eps * eps - gap * gap));
        }
        mean += h / sqrt(2 * M_PI) * exp(-0.5 * eps * eps) * log(sum);
    }
    return mean;
}

static void fill_read_off(Model *m) {
    double rate, h = 1e-4, g = m->read_at = g_of(m->own, m->own_count, 0, &rate);
    for (int i = 0; i < N; ++i) {
        int v = (int)lrint((m->x_0[i] + 1) * 128 - 0.5);
        if (!counts(m, i / ITEMS)) continue;
        if (!m->kind->image) { // the entropy of N(0, e^g)
            m->read_off += 0.5 * log(2 * M_PI * M_E) + 0.5 * g;
            m->read_slope += 0.5;
            continue;
        }
        double up = read_brute(v, g + h, 0.1), down = read_brute(v, g - h, 0.1);
        m->read_off += 0.5 * (up + down);
        m->read_slope += (up - down) / (2 * h);
    }
}

// ---- the gradient -------------------------------------------------------------------------------

static void fill_model(Model *m, const Case *kind, const ProcessCase *c) {
    static float x_0[N];
    memset(m, 0, sizeof *m);
    m->kind = kind;
    m->own_count = own_of(kind->schedule);
    fill_own(kind->schedule, m->own);
    case_download(c, x_0, c->pass.x_0, sizeof x_0);
    for (int i = 0; i < N; ++i) {
        uint32_t bits[4];
        m->x_0[i] = (double)x_0[i];
        rng_block(rng_key(SEED, RNG_NOISE, STEP), (uint64_t)(i / ITEMS), (uint32_t)(i % ITEMS / 4),
                  bits);
        m->eps[i] = (double)rng_normal(bits[i % 4]);
    }
    for (int s = 0; s < SAMPLES; ++s)
        m->time[s] = process_draw_time(c->process, SEED, STEP, (uint64_t)s);
    for (int i = 0; i < ITEMS; ++i) {
        for (int j = 0; j < ITEMS; ++j) m->a[i][j] = 0.3 * uniform_of((uint64_t)(i * ITEMS + j));
        for (int k = 0; k < TIME_FEATURES; ++k)
            m->c[i][k] = 0.05 * uniform_of((uint64_t)(5000 + i * TIME_FEATURES + k));
    }
    fill_read_off(m);
}

// The linear network and its gradients, in place of a real one.
static void run_linear(ProcessCase *c, const Model *m, int left_out) {
    static float x_t[N], out[N], dout[N], dx[N], dtime[SAMPLES * TIME_FEATURES];
    case_download(c, x_t, c->pass.x_t, sizeof x_t);
    for (int s = 0; s < SAMPLES; ++s) {
        double rate, g = g_of(m->own, m->own_count, m->time[s], &rate), z[ITEMS], y[ITEMS];
        for (int i = 0; i < ITEMS; ++i) z[i] = (double)x_t[s * ITEMS + i];
        network_of(m, z, (g + 13.3) / 18.3 * 1000, y);
        for (int i = 0; i < ITEMS; ++i) out[s * ITEMS + i] = (float)y[i];
    }
    case_upload(c, c->pass.out, out, sizeof out);
    process_loss(c->process, c->stream, &c->pass, SAMPLES, true);
    if (left_out >= 0) process_leave_out(c->network, c->stream, &c->pass, left_out);
    case_download(c, dout, c->pass.dout, sizeof dout);
    for (int s = 0; s < SAMPLES; ++s) {
        for (int j = 0; j < ITEMS; ++j) {
            double sum = 0;
            for (int i = 0; i < ITEMS; ++i) sum += m->a[i][j] * (double)dout[s * ITEMS + i];
            dx[s * ITEMS + j] = (float)sum;
        }
        for (int k = 0; k < TIME_FEATURES; ++k) {
            double sum = 0;
            for (int i = 0; i < ITEMS; ++i) sum += m->c[i][k] * (double)dout[s * ITEMS + i];
            dtime[s * TIME_FEATURES + k] = (float)sum;
        }
    }
    case_upload(c, c->pass.dx, dx, sizeof dx);
    case_upload(c, c->pass.dtime, dtime, sizeof dtime);
}

// Errors count relative to the largest slope of the tensor.
static void check_slopes(Model *m, const float *grads, int first, int count, const char *what) {
    int stride = count > 40 ? count / 40 : 1;
    double largest = 0, worst = 0, h = count > 1 ? 1e-3 : 4e-6;
    for (int k = first; k < first + count; k += stride) {
        double at = m->own[k], up, down;
        if (fabs(at) < 2 * h) continue; // the edge of |w|
        m->own[k] = at + h, up = loss_of(m);
        m->own[k] = at - h, down = loss_of(m);
        m->own[k] = at;
        double expected = (up - down) / (2 * h), error = fabs((double)grads[k] - expected);
        if (fabs(expected) > largest) largest = fabs(expected);
        if (!(error <= worst)) worst = error;
    }
    ++test_checks;
    if (!(worst <= 1e-5 * largest) || largest == 0)
        TEST_FAIL("%s %s %s: slope by %s is off by %.3g of %.3g", m->kind->schedule, m->kind->head,
                  m->kind->loss, what, worst, largest);
}

static void fill_data(float x_0[N]) {
    for (int i = 0; i < N; ++i) // some at both edges
        x_0[i] =
            (float)floor(fmin(fmax(127.5 + 180 * uniform_of(900 + (uint64_t)i), 0), 255)) / 127.5f -
            1;
}

static void check_gradient(const Case *kind) {
    static Model m;
    static float x_0[N], grads[OWN_MOST], twice[OWN_MOST];
    int32_t label[SAMPLES] = {0};
    uint64_t sample[SAMPLES] = {0, 1, 2, 3, 4};
    float loss[SAMPLES];
    int own = own_of(kind->schedule);
    ProcessConfig config = config_of(kind->schedule, kind->head, kind->loss);
    ProcessCase c;
    void *gradient;
    process_case_open(&c, "late", &config, kind->image ? shape_image(4) : shape_vector(ITEMS),
                      SAMPLES);
    fill_own(kind->schedule, m.own);
    float *weights = use_own(&c, m.own, own);
    EXPECT_OK(device_alloc(c.device, (size_t)c.params.size * sizeof(float), &gradient));
    fill_data(x_0);
    GrainBatch batch = {SEED, STEP, SAMPLES, x_0, label, sample};
    process_corrupt(c.process, c.network, c.stream, &c.pass, &batch);
    fill_model(&m, kind, &c);
    run_linear(&c, &m, kind->left_out);
    case_download(&c, loss, c.pass.loss, sizeof loss);
    double sum = 0;
    for (int s = 0; s < SAMPLES; ++s) sum += (double)loss[s];
    EXPECT_NEAR(sum, loss_of(&m), 1e-6 * sum);
    float *tail = (float *)gradient + c.params.size - own;
    process_learn(c.process, c.stream, &c.pass, SAMPLES, gradient, false);
    case_download(&c, grads, tail, own * 4);
    process_learn(c.process, c.stream, &c.pass, SAMPLES, gradient, true);
    case_download(&c, twice, tail, own * 4);
    for (int k = 0; k < own; ++k) EXPECT(twice[k] == 2 * grads[k]);
    check_slopes(&m, grads, 0, 1, "l1.weight");
    check_slopes(&m, grads, 1, 1, "l1.bias");
    if (own > 2) {
        check_slopes(&m, grads, 2, UNITS, "l2.weight");
        check_slopes(&m, grads, 2 + UNITS, UNITS, "l2.bias");
        check_slopes(&m, grads, 2 + 2 * UNITS, UNITS, "l3.weight");
    }
    device_release(c.device, weights);
    device_release(c.device, gradient);
    process_case_close(&c);
}

static void test_gradient(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) check_gradient(&cases[i]);
}

// ---- with a real network ------------------------------------------------------------------------

// The sum of losses at parameters `own`; and with `grads` its gradient, by the trainer's calls.
static double network_loss(ProcessCase *c, const NetworkMemory *memory, const float *x_0,
                           float *weights, const double own[2], float *grads) {
    int32_t label[SAMPLES] = {0};
    uint64_t sample[SAMPLES] = {0, 1, 2, 3, 4};
    float loss[SAMPLES], at[2] = {(float)own[0], (float)own[1]};
    GrainBatch batch = {SEED, STEP, SAMPLES, x_0, label, sample};
    NetworkInput input;
    case_upload(c, weights + c->params.size - 2, at, sizeof at);
    EXPECT_OK(process_use(c->process, c->stream, weights));
    process_corrupt(c->process, c->network, c->stream, &c->pass, &batch);
    process_network_input(c->process, &c->pass, &batch, false, &input);
    network_forward(c->network, c->stream, memory, &input, c->pass.out);
    process_loss(c->process, c->stream, &c->pass, SAMPLES, grads != NULL);
    if (grads != NULL) {
        network_backward(c->network, c->stream, memory, &input, c->pass.dout, grads, false,
                         c->pass.dx);
        process_learn(c->process, c->stream, &c->pass, SAMPLES, grads, false);
    }
    case_download(c, loss, c->pass.loss, sizeof loss);
    double sum = 0;
    for (int s = 0; s < SAMPLES; ++s) sum += (double)loss[s];
    return sum;
}

static void test_gradient_through_a_network(void) {
    static float x_0[N];
    ProcessConfig config = config_of("scalar", "residual", "continuous");
    ProcessCase c;
    process_case_open(&c, "late", &config, shape_vector(ITEMS), SAMPLES);
    double own[2] = {11, -6}, h = 2e-3;
    void *weights, *grads, *activations;
    size_t bytes = (size_t)c.params.size * sizeof(float);
    EXPECT_OK(device_alloc(c.device, bytes, &weights));
    EXPECT_OK(device_alloc(c.device, bytes, &grads));
    EXPECT_OK(
        device_alloc(c.device, network_activation_bytes(c.network, SAMPLES, true), &activations));
    float *host = calloc(1, bytes), got[2];
    REQUIRE(host != NULL);
    for (int64_t k = 0; k < c.params.size; ++k)
        host[k] = (float)(0.4 * uniform_of((uint64_t)k + 31));
    case_upload(&c, weights, host, (int64_t)bytes);
    fill_data(x_0);
    NetworkMemory memory = {.weights = weights, .activations = activations, .backward = true};
    (void)network_loss(&c, &memory, x_0, weights, own, grads);
    case_download(&c, got, (float *)grads + c.params.size - 2, sizeof got);
    for (int k = 0; k < 2; ++k) {
        // Of fourth order: features of the time turn a thousand times as fast as g.
        double at = own[k], loss[2], slope = 0;
        for (int i = 1; i <= 2; ++i) {
            for (int side = 0; side < 2; ++side) {
                own[k] = at + (side == 0 ? i : -i) * h;
                loss[side] = network_loss(&c, &memory, x_0, weights, own, NULL);
            }
            slope += (i == 1 ? 8 : -1) * (loss[0] - loss[1]) / (12 * h);
        }
        own[k] = at;
        EXPECT_NEAR((double)got[k], slope, 1e-3 * fabs(slope));
    }
    free(host);
    device_release(c.device, weights);
    device_release(c.device, grads);
    device_release(c.device, activations);
    process_case_close(&c);
}

// ---- the decoder --------------------------------------------------------------------------------

static void check_decoder(double g, int stride) {
    ProcessConfig config = config_of("scalar", "auto", "auto");
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_image(4), 1);
    double own[2] = {18.3, g}, h = 1e-4;
    float *weights = use_own(&c, own, 2);
    g = (double)(float)g;
    for (int v = 0; v < LEVELS; v += stride) {
        double up = read_brute(v, g + h, 0.0625), down = read_brute(v, g - h, 0.0625);
        EXPECT_NEAR(c.process->level_nats[v], 0.5 * (up + down), 1e-8 + 1e-9);
        EXPECT_NEAR(c.process->level_slope[v], (up - down) / (2 * h), 1e-7);
    }
    if (g < -13) {
        double mean = 0;
        for (int v = 0; v < LEVELS; ++v) mean += c.process->level_nats[v] / LEVELS;
        EXPECT_NEAR(mean, 0.007217, 1e-6);
    }
    device_release(c.device, weights);
    process_case_close(&c);
}

static void test_decoder(void) {
    check_decoder(-13.3, 6);
    check_decoder(-9, 17);
    check_decoder(-3, 36);
}

// ---- the bound ----------------------------------------------------------------------------------

// The diffusion loss of the best network on N(0,s^2): of the bound's times, and of training's.
static void check_diffusion(const char *schedule, const double *own, double s, double expected) {
    enum { POINTS = 4000 };
    ProcessConfig config = config_of(schedule, "auto", "continuous");
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_vector(1), 1);
    float *weights = use_own(&c, own, own_of(schedule));
    double bound = 0, trained = 0;
    for (int i = 0; i < POINTS; ++i) {
        double weight, point = (i + 0.5) / POINTS;
        double t = process_bound_time(c.process, point, &weight);
        GaussianNumbers n = gaussian_numbers(c.process, t);
        bound += weight * 0.5 * n.slope * n.slope * best_error(c.process, t, s) / POINTS;
        t = process_time_at(c.process, point);
        GaussianPoint at = gaussian_point(c.process, t);
        trained += gaussian_numbers(c.process, t).weight * at.keep / at.noise *
                   best_error(c.process, t, s) / POINTS;
    }
    EXPECT_NEAR(bound, expected, 1e-5);
    EXPECT_NEAR(trained, expected, 1e-5);
    device_release(c.device, weights);
    process_case_close(&c);
}

static void test_diffusion_loss_knows_the_ends_alone(void) {
    static double own[OWN_MOST];
    double first[2] = {18.3, -13.3}, rate;
    check_diffusion("scalar", first, 1, 6.646643);
    check_diffusion("scalar", first, 0.5, 5.956015);
    fill_own("net", own);
    double g_0 = g_of(own, OWN_MOST, 0, &rate), g_1 = g_of(own, OWN_MOST, 1, &rate);
    EXPECT(fabs(g_of(own, OWN_MOST, 0.2, &rate) - (0.8 * g_0 + 0.2 * g_1)) > 0.1); // it is bent
    check_diffusion("net", own, 1, 0.5 * log((1 + exp(-g_0)) / (1 + exp(-g_1))));
    check_diffusion("net", own, 0.5, 0.5 * log((1 + 0.25 * exp(-g_0)) / (1 + 0.25 * exp(-g_1))));
}

// As it begins, the schedule is the fixed one; and samplers read what process_use has found.
static void test_beginning(void) {
    ProcessConfig config = config_of("scalar", "auto", "auto"), fixed = config_of("linear", "", "");
    ProcessCase c, f;
    process_case_open(&c, "late", &config, shape_vector(1), 1);
    process_case_open(&f, "late", &fixed, shape_vector(1), 1);
    EXPECT(params_find(&f.params, "schedule.l1.weight") == NULL && f.pass.dx == NULL);
    float begin[2];
    params_draw(&c.params, 1, c.params.size - 2, c.params.size, begin);
    EXPECT(begin[0] == 18.3f && begin[1] == -13.3f);
    double own[2] = {(double)begin[0], (double)begin[1]}, other[2] = {-20, -13};
    float *weights = use_own(&c, own, 2);
    SamplerConfig sampling = {.solver = "ddpm", .steps = 11, .guidance = 1};
    Sampler *sampler;
    EXPECT_OK(sampler_open(c.process, &sampling, &sampler));
    for (double t = 0.1; t <= 1; t += 0.3) {
        GaussianPoint at = gaussian_point(c.process, t), to = gaussian_point(f.process, t);
        EXPECT_NEAR(at.keep_rate, to.keep_rate, 1e-6);
        EXPECT_NEAR(at.noise, to.noise, 1e-6);
        EXPECT_NEAR(process_time_label(c.process, t), 1000 * t, 1e-4);
    }
    double variance = 1;
    for (int i = 0; i < 10; ++i) {
        double t = sampler->step[i].time;
        GaussianStep step = gaussian_step(c.process, &sampling, t, sampler->step[i].to);
        double factor = step.by_x + step.by_x0 * best_gain(c.process, t, 0.5);
        variance = factor * factor * variance + step.std * step.std;
    }
    EXPECT_NEAR(sqrt(variance), 0.338525, 1e-6);
    float *changed = use_own(&c, other, 2);
    EXPECT_NEAR(gaussian_point(c.process, 0.5).noise, 1 / (1 + exp(3)), 1e-12);
    EXPECT_NEAR(process_time_label(c.process, 0.5), 1000 * (13.3 - 3) / 18.3, 1e-9);
    sampler_close(sampler);
    device_release(c.device, weights);
    device_release(c.device, changed);
    process_case_close(&c);
    process_case_close(&f);
}

static void test_weights_of_the_net_begin_small(void) {
    static float begin[OWN_MOST];
    ProcessConfig config = config_of("net", "auto", "auto");
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_vector(1), 1);
    params_draw(&c.params, 1, c.params.size - OWN_MOST, c.params.size, begin);
    double squares[3] = {0};
    for (int k = 2; k < OWN_MOST; ++k)
        squares[(k - 2) / UNITS] += (double)begin[k] * (double)begin[k] / UNITS;
    EXPECT(begin[0] == 18.3f && begin[1] == -13.3f && squares[1] == 0);
    EXPECT_NEAR(sqrt(squares[0]), 0.01, 1e-3);
    EXPECT_NEAR(sqrt(squares[2]), 0.01, 1e-3);
    for (int i = 0; i < c.params.count; ++i)
        if (strncmp(c.params.list[i].name, "schedule.", 9) == 0) EXPECT(!c.params.list[i].decay);
    process_case_close(&c);
}

int main(void) {
    RUN(test_gradient);
    RUN(test_gradient_through_a_network);
    RUN(test_decoder);
    RUN(test_diffusion_loss_knows_the_ends_alone);
    RUN(test_beginning);
    RUN(test_weights_of_the_net_begin_small);
    return test_report();
}
