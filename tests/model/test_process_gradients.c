// The loss of every system, through every head, variance, loss and law of the time: its gradient
// against differences of the loss itself, along random directions.
#include "model/process/process_impl.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

enum { SAMPLES = 6, DIRECTIONS = 4, OUT_MOST = 2048 };

typedef struct {
    const char *name, *schedule, *head, *variance, *loss;
    bool image;
} GradientCase;

static const GradientCase cases[] = {
    {"ddpm", "cosine", "eps", "fixed-small", "simple", true},
    {"ddpm", "linear", "x0", "fixed-large", "vlb", true},
    {"ddpm", "cosine", "v", "fixed-small", "vlb", false},
    {"ddpm", "cosine", "eps", "learned-range", "hybrid", true},
    {"ddpm", "cosine", "x0", "learned-range", "vlb", false},
    {"ddpm", "linear", "v", "learned", "vlb", true},
    {"ddpm", "linear", "v", "learned", "hybrid", false},
    {"ddpm", "cosine", "x0", "fixed-small", "simple", false},
    {"ddpm", "cosine", "v", "fixed-large", "simple", true},
    {"ddpm", "linear", "eps", "fixed-large", "vlb", true},
    {"ddpm", "cosine", "eps", "learned", "vlb", false},
    {"ddpm", "cosine", "x0", "learned-range", "hybrid", true},
    {"score-sde", "vp", "eps", "", "simple", true},
    {"score-sde", "vp", "eps", "", "likelihood", false},
    {"score-sde", "ve", "x0", "", "simple", false},
    {"score-sde", "sub-vp", "v", "", "simple", true},
    {"flow", "linear", "velocity", "", "simple", true},
    {"edm", "", "edm", "", "simple", true},
    {"vdm", "", "residual", "", "discrete", false},
    {"vdm", "", "eps", "", "continuous", true},
    {"gaussian2015", "", "", "", "vlb", false},
    {"gaussian2015", "", "", "", "vlb", true},
    {"variational-sde", "", "score", "", "", false},
    {"autoencoder", "", "", "", "vlb", true},
    {"classifier", "", "", "", "", true},
    {"vdm", "", "residual", "", "continuous", true},
    {"vdm", "", "eps", "", "discrete", false},
    {"multinomial", "", "", "", "", false},
    {"binomial", "", "", "", "", false},
    {"sundae", "", "", "", "", false},
    {"vq", "released", "", "", "", false},
    {"vq", "paper", "", "", "", false},
    {"d3pm", "", "", "", "", false},
    {"d3pm", "gaussian", "", "", "", false},
    {"mdlm", "", "", "", "", false},
    {"sedd", "absorbing", "", "", "", false},
    {"sedd", "uniform", "", "", "", false},
    {"discrete-flow", "uniform", "", "", "", false},
    {"discrete-flow", "absorbing", "", "", "", false},
};

static ProcessConfig config_of(const GradientCase *c) {
    bool one = strcmp(c->name, "autoencoder") == 0 || strcmp(c->name, "classifier") == 0;
    ProcessConfig config = {.steps = one ? 1 : 30, .rate = 0.3f, .unroll = 2, .batch = SAMPLES};
    if (strcmp(c->name, "vq") == 0) config.aux = 0.2f;
    snprintf(config.name, sizeof config.name, "%s", c->name);
    snprintf(config.schedule, sizeof config.schedule, "%s", c->schedule);
    snprintf(config.head, sizeof config.head, "%s", c->head);
    snprintf(config.variance, sizeof config.variance, "%s", c->variance);
    snprintf(config.loss, sizeof config.loss, "%s", c->loss);
    return config;
}

static bool is_of_symbols(const GradientCase *c) {
    return c->head[0] == 0 && c->loss[0] == 0 && !c->image;
}

static NetworkShape shape_of(const GradientCase *c) {
    if (is_of_symbols(c)) return shape_tokens(16, strcmp(c->name, "binomial") == 0 ? 2 : 5);
    return c->image ? shape_image(4) : shape_vector(16);
}

static double uniform_of(uint64_t i) {
    return (double)(mix64(i * MIX_GOLDEN) >> 11) * 0x1p-53;
}

static void fill_data(const GradientCase *c, void *x_0, int32_t symbols) {
    for (int i = 0; i < SAMPLES * 16; ++i) {
        double u = uniform_of((uint64_t)i);
        if (is_of_symbols(c))
            ((int32_t *)x_0)[i] = (int32_t)(u * symbols);
        else // on the 256 levels
            ((float *)x_0)[i] = (float)floor(u * 256) / 127.5f - 1;
    }
}

// Losses [SAMPLES] at out + step * direction; with `slope`, the gradient too.
static void losses_at(ProcessCase *p, const float *out, const float *direction, float step,
                      float *loss, float *slope) {
    int64_t n = SAMPLES * p->out_bytes / 4;
    static float moved[OUT_MOST];
    for (int64_t i = 0; i < n; ++i) moved[i] = out[i] + step * direction[i];
    case_upload(p, p->pass.out, moved, n * 4);
    process_loss(p->process, p->stream, &p->pass, SAMPLES, slope != NULL);
    case_download(p, loss, p->pass.loss, SAMPLES * 4);
    if (slope != NULL) case_download(p, slope, p->pass.dout, n * 4);
}

// Of the hybrid loss only the variance's half is the gradient of the whole.
static int64_t first_of(const GradientCase *c, int64_t item) {
    return strcmp(c->loss, "hybrid") == 0 ? item / 2 : 0;
}

static void check_case(const GradientCase *c) {
    static float out[OUT_MOST], direction[OUT_MOST], slope[OUT_MOST], zero[OUT_MOST];
    float x_0[SAMPLES * 16], at[SAMPLES], up[SAMPLES], down[SAMPLES], step = 2e-3f;
    int32_t label[SAMPLES] = {0, 9, 3, 3, 5, 1};
    uint64_t sample[SAMPLES];
    ProcessConfig config = config_of(c);
    ProcessCase p;
    process_case_open(&p, "cpu", &config, shape_of(c), SAMPLES);
    int64_t item = p.out_bytes / 4, n = SAMPLES * item;
    REQUIRE(n <= OUT_MOST);
    fill_data(c, x_0, shape_of(c).vocabulary);
    for (int i = 0; i < SAMPLES; ++i) sample[i] = (uint64_t)i;
    GrainBatch batch = {3, 1, SAMPLES, x_0, label, sample};
    process_corrupt(p.process, p.network, p.stream, &p.pass, &batch);
    for (int64_t i = 0; i < n; ++i) out[i] = (float)(uniform_of(1000 + (uint64_t)i) - 0.5);
    losses_at(&p, out, zero, 0, at, slope);
    for (int d = 0; d < DIRECTIONS; ++d) {
        for (int64_t i = 0; i < n; ++i)
            direction[i] = i % item < first_of(c, item)
                               ? 0
                               : (float)uniform_of((uint64_t)(d * n + i) + 77777) - 0.5f;
        losses_at(&p, out, direction, step, up, NULL);
        losses_at(&p, out, direction, -step, down, NULL);
        for (int s = 0; s < SAMPLES; ++s) {
            double expected = 0, size = 0;
            for (int64_t i = s * item; i < (s + 1) * item; ++i) {
                expected += (double)slope[i] * (double)direction[i];
                size += fabs((double)slope[i] * (double)direction[i]);
            }
            double got = ((double)up[s] - (double)down[s]) / (2 * (double)step);
            double rounding = 2e-7 * fabs((double)at[s]) / (double)step;
            EXPECT_NEAR(got, expected, 2e-3 * size + rounding + 1e-6);
        }
    }
    process_case_close(&p);
}

static void test_gradients_of_all_losses(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        int before = test_failures;
        check_case(&cases[i]);
        if (test_failures > before)
            fprintf(stderr, "  in case %zu: %s %s %s\n", i, cases[i].name, cases[i].head,
                    cases[i].loss);
    }
}

int main(void) {
    RUN(test_gradients_of_all_losses);
    return test_report();
}
