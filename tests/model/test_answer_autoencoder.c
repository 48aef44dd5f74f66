// The autoencoder's bound against its definition, - log p(x|codes) + codes log(their number), with
// the discretised Gaussian of each pixel from libm; no time, no noise in what the network sees.
#include "model/process/family_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

enum { SIDE = 4, PIXELS = SIDE * SIDE, SAMPLES = 5 };

static double below(double x) {
    return 0.5 * erfc(-x / M_SQRT2);
}

// - log of the mass that N(mean, std^2) gives the level of x; the outer levels are open.
static double level_nats(double x, double mean, double std) {
    double up = x > 0.999 ? 1 : below((x + 1 / 255.0 - mean) / std);
    double down = x < -0.999 ? 0 : below((x - 1 / 255.0 - mean) / std);
    return -log(up - down);
}

static float level_of(int i) {
    return (float)(i * 53 % 256) / 127.5f - 1;
}

static void test_bound_is_that_of_a_vae(void) {
    ProcessConfig config = {.name = "autoencoder", .steps = 1};
    ProcessCase c;
    static float x_0[SAMPLES][PIXELS], x_t[SAMPLES][PIXELS], out[SAMPLES][2][PIXELS];
    int32_t label[SAMPLES] = {0};
    uint64_t sample[SAMPLES] = {0, 1, 2, 3, 4};
    double time[SAMPLES] = {1, 1, 1, 1, 1}, error[SAMPLES];
    process_case_open(&c, "late", &config, shape_image(SIDE), SAMPLES);
    EXPECT_EQ(c.shape.out_channels, 2);
    for (int i = 0; i < SAMPLES * PIXELS; ++i) {
        int s = i / PIXELS, p = i % PIXELS;
        x_0[s][p] = level_of(i);
        out[s][0][p] = 0.9f * x_0[s][p] + 0.01f * (float)(p - 8);
        out[s][1][p] = -1 - 0.2f * (float)(i % 11); // log variance
    }
    GrainBatch batch = {3, 1, SAMPLES, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
    case_download(&c, x_t, c.pass.x_t, sizeof x_t);
    EXPECT(memcmp(x_t, x_0, sizeof x_t) == 0);
    case_upload(&c, c.pass.out, out, sizeof out);
    process_bound_terms(c.process, c.stream, &c.pass, SAMPLES);
    case_download(&c, error, c.pass.error, sizeof error);
    process_set_code(c.process, network_code_places(c.network), 16);
    for (int s = 0; s < SAMPLES; ++s) {
        double nats = PIXELS * log(16); // a code for each pixel
        for (int p = 0; p < PIXELS; ++p)
            nats += level_nats((double)x_0[s][p], (double)out[s][0][p],
                               exp(0.5 * (double)out[s][1][p]));
        EXPECT_NEAR(error[s] + process_bound_prior(c.process, x_0[s]), nats, 1e-5);
    }
    double weight;
    (void)process_bound_time(c.process, 0.5, &weight);
    EXPECT_NEAR(weight, 0, 0); // there is no other term
    process_case_close(&c);
}

static void test_refusals(void) {
    ProcessConfig config = {.name = "autoencoder", .steps = 1000};
    NetworkShape shape = shape_image(SIDE), points = shape_vector(2);
    Process *process;
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "has one step");
    config.steps = 1;
    EXPECT_FAIL(process_open(&config, &points, &process), BAD_CONFIG, "which is for images");
    config.dequantise = true;
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "say nothing");
    config.dequantise = false;
    snprintf(config.head, sizeof config.head, "eps");
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "process.head");
}

int main(void) {
    RUN(test_bound_is_that_of_a_vae);
    RUN(test_refusals);
    return test_report();
}
