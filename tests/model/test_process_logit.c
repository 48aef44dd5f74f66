// process.logit: the way of a level to the network and of a sample back, and what bounds take into
// account for it, against the probability of each level.
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

enum { SIDE = 4, DIMS = SIDE * SIDE };

static ProcessConfig config_of(const char *name, float logit) {
    ProcessConfig config = {.steps = 1000, .dequantise = true, .logit = logit};
    snprintf(config.name, sizeof config.name, "%s", name);
    return config;
}

static float level_of(int v) {
    return (float)v / 127.5f - 1;
}

// In, on a level; and back, from the answer that makes x0_hat what was seen.
static void test_there_and_back(void) {
    enum { N = 256 };
    ProcessConfig config = config_of("variational-sde", 0.05f);
    SamplerConfig one = {.solver = "ddim", .steps = 1, .guidance = 1};
    ProcessCase c;
    Sampler *sampler;
    process_case_open(&c, "late", &config, shape_image(SIDE), N);
    static float x_0[N * DIMS], seen[N * DIMS], back[N * DIMS], seen_again[N * DIMS];
    static int32_t label[N];
    static uint64_t sample[N];
    static double time[N];
    for (int i = 0; i < N; ++i) sample[i] = (uint64_t)i, time[i] = 0.5;
    for (int i = 0; i < N * DIMS; ++i) x_0[i] = level_of(i / DIMS);
    GrainBatch batch = {1, 2, N, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
    case_download(&c, seen, c.pass.x_0, sizeof seen);
    memcpy(seen_again, seen, sizeof seen);
    EXPECT_OK(sampler_open(c.process, &one, &sampler));
    sampler_begin(sampler, c.stream, &c.pass, N, 1);
    GaussianNumbers n = gaussian_numbers(c.process, 1);
    axpby(c.stream,
          (Elementwise){
              .x = c.pass.x_0, .y = c.pass.out, .n = N * DIMS, .a = (float)(1 / n.hat_out)});
    axpby(c.stream, (Elementwise){.x = c.pass.x_t,
                                  .y = c.pass.out,
                                  .n = N * DIMS,
                                  .a = (float)(-n.hat_x / n.hat_out),
                                  .b = 1});
    sampler_advance(sampler, c.stream, &c.pass, N, 0, 1);
    case_download(&c, back, c.pass.x_t, sizeof back);
    process_restore(c.process, seen_again, N * DIMS);
    double places = 0;
    for (int i = 0; i < N * DIMS; ++i) {
        double z = 1 / (1 + exp(-(double)seen[i])), place = (z - 0.05) / 0.9 * 256 - i / DIMS;
        EXPECT(place > -1e-4 && place < 1 + 1e-4);
        EXPECT_NEAR(((double)back[i] + 1) * 127.5, i / DIMS + place - 0.5, 2e-2);
        EXPECT_NEAR(seen_again[i], back[i], 1e-4);
        places += place / (N * DIMS);
    }
    EXPECT_NEAR(places, 0.5, 5 * sqrt(1.0 / 12 / (N * DIMS)));
    sampler_close(sampler);
    process_case_close(&c);
}

static double normal_below(double z) {
    double y = log(z / (1 - z));
    return 0.5 * erfc(-y * M_SQRT1_2);
}

// Tables against sums over u, and e^-nats under N(0,1) against the mass of a level, which it
// bounds.
static void check_tables(const char *name, float logit) {
    enum { STEPS = 20000 };
    ProcessConfig config = config_of(name, logit);
    NetworkShape shape = shape_image(SIDE);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    double a = (double)logit, total = 0;
    for (int v = 0; v < 256; v += v == 0 || v >= 250 ? 1 : 10) {
        double nats = 0, square = 0, low = a + (1 - 2 * a) * v / 256, width = (1 - 2 * a) / 256;
        for (int i = 0; i < STEPS; ++i) {
            double z = low + width * (i + 0.5) / STEPS, y = log(z / (1 - z));
            nats += log(z * (1 - z)) / STEPS;
            square += y * y / STEPS;
        }
        EXPECT_NEAR(process->logit_nats[v], nats, 1e-3 * (double)(logit < 1e-3f) + 1e-7);
        EXPECT_NEAR(process->logit_square[v], square, 1e-3 * (double)(logit < 1e-3f) + 1e-6);
    }
    for (int v = 0; v < 256; ++v) {
        float x_0[DIMS];
        for (int i = 0; i < DIMS; ++i) x_0[i] = level_of(v);
        double low = a + (1 - 2 * a) * v / 256;
        double mass = normal_below(low + (1 - 2 * a) / 256) - normal_below(low);
        double nats = process_scale_nats(process, x_0) / DIMS + 0.5 * log(2 * M_PI) +
                      0.5 * gaussian_square_sum(process, x_0) / DIMS;
        EXPECT(exp(-nats) <= mass * (1 + 1e-6));
        EXPECT_NEAR(process_flow_nats(process, (float[DIMS]){0}, x_0),
                    DIMS * (nats - 0.5 * gaussian_square_sum(process, x_0) / DIMS), 1e-6);
        total += exp(-nats);
    }
    double within = normal_below(1 - a) - normal_below(a);
    EXPECT(total <= within && total > (logit < 1e-3f ? 0.97 : 0.999) * within);
    process_close(process);
}

static void test_tables(void) {
    check_tables("variational-sde", 0.05f);
    check_tables("score-sde", 0.2f);
    check_tables("score-sde", 1e-4f);
}

// The bounds' other constants are those of y: KL(N(alpha y, sigma^2) || N(0,1)).
static void test_prior(void) {
    ProcessConfig config = config_of("variational-sde", 0.05f);
    NetworkShape shape = shape_image(SIDE);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    float x_0[DIMS];
    for (int i = 0; i < DIMS; ++i) x_0[i] = level_of(7);
    GaussianPoint end = gaussian_point(process, 1);
    double kl = end.keep * process->logit_square[7] + end.noise - 1 - log(end.noise);
    EXPECT_NEAR(process_bound_prior(process, x_0) - process_scale_nats(process, x_0),
                DIMS * 0.5 * kl, 1e-9);
    EXPECT_NEAR(process_elbo_rest(process, x_0) - process_bound_prior(process, x_0),
                DIMS * 0.5 * log(2 * M_PI * M_E * end.noise), 1e-9);
    process_close(process);
}

static void test_wrong_configurations(void) {
    ProcessConfig config = config_of("variational-sde", 0.05f);
    NetworkShape image = shape_image(SIDE), vector = shape_vector(2);
    Process *process;
    config.dequantise = false;
    EXPECT_FAIL(process_open(&config, &image, &process), BAD_CONFIG, "process.dequantise: true");
    EXPECT_FAIL(process_open(&config, &vector, &process), BAD_CONFIG, "process.dequantise: true");
    config.dequantise = true, config.data_std = 0.5f;
    EXPECT_FAIL(process_open(&config, &image, &process), BAD_CONFIG, "without data_mean");
    config.data_std = 1, config.logit = 0.45f;
    EXPECT_FAIL(process_open(&config, &image, &process), BAD_CONFIG, "1e-4 to 0.4");
}

int main(void) {
    RUN(test_there_and_back);
    RUN(test_tables);
    RUN(test_prior);
    RUN(test_wrong_configurations);
    return test_report();
}
