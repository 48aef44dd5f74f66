// The classifier against what is known of it: the loss from its definition in long double, its
// gradient from differences of that, log K where it knows nothing, and, learned by our own
// gradients from labels that a picture does not settle, their entropy, their frequencies and the
// error of the best guess.
#include <math.h>

#include "model/process/process_impl.h"
#include "tests/model/support_ops.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

// ---- the operation ----------------------------------------------------------------------------

enum { ROWS = 5, CLASSES_MOST = 40, OUT_MOST = ROWS * CLASSES_MOST * 13 };

typedef struct {
    int64_t places;
    int32_t classes;
    bool gradient;
} ClassShape;

typedef struct {
    float out[OUT_MOST], dout[OUT_MOST], loss[ROWS];
    double wrong[ROWS];
    int32_t label[ROWS];
} ClassCase;

static void call_class_loss(Stream *stream, OpBuffer *b, const void *shape) {
    const ClassShape *s = shape;
    class_loss(stream, (ClassLoss){.out = b[0].device,
                                   .label = b[1].device,
                                   .dout = s->gradient ? b[2].device : NULL,
                                   .loss = b[3].device,
                                   .wrong = b[4].device,
                                   .samples = ROWS,
                                   .places = s->places,
                                   .classes = s->classes});
}

static void run_class_loss(ClassCase *c, const ClassShape *shape) {
    int64_t n = ROWS * shape->places * shape->classes;
    OpBuffer b[] = {{c->out, n, OP_IN, NULL, OP_F32},
                    {c->label, ROWS, OP_IN, NULL, OP_F32},
                    {shape->gradient ? c->dout : NULL, n, OP_OUT, NULL, OP_F32},
                    {c->loss, ROWS, OP_OUT, NULL, OP_F32},
                    {c->wrong, 2 * ROWS, OP_OUT, NULL, OP_F32}};
    EXPECT_EQ(ops_run("class_loss", call_class_loss, shape, b, 5), 0);
}

// Of one row, with `add` added to number `at`. Also the likeliest class.
static long double loss_reference(const ClassShape *shape, const float *out, int label, int64_t at,
                                  long double add, int *best) {
    long double logits[CLASSES_MOST], sum = 0;
    *best = 0;
    for (int c = 0; c < shape->classes; ++c) {
        logits[c] = 0;
        for (int64_t i = c * shape->places; i < (c + 1) * shape->places; ++i)
            logits[c] += (out[i] + (i == at ? add : 0)) / (long double)shape->places;
        if (logits[c] > logits[*best]) *best = c;
        sum += expl(logits[c]);
    }
    return logl(sum) - logits[label];
}

static void check_class_loss(int64_t places, int32_t classes) {
    static ClassCase c;
    ClassShape shape = {places, classes, true};
    int64_t item = places * classes, n = ROWS * item;
    float *numbers = ops_numbers(n, 5);
    for (int64_t i = 0; i < n; ++i) c.out[i] = 4 * numbers[i];
    free(numbers);
    for (int s = 0; s < ROWS; ++s) c.label[s] = s * 3 % classes;
    run_class_loss(&c, &shape);
    for (int s = 0; s < ROWS; ++s) {
        const float *out = c.out + s * item;
        int best, ignored;
        double loss = (double)loss_reference(&shape, out, c.label[s], -1, 0, &best);
        EXPECT_NEAR((double)c.loss[s], loss, 3e-7 * (1 + loss));
        EXPECT(c.wrong[s] == (best != c.label[s]));
        for (int64_t i = 0; i < item; ++i) {
            long double h = 1e-4L * (long double)places;
            double slope = (double)((loss_reference(&shape, out, c.label[s], i, h, &ignored) -
                                     loss_reference(&shape, out, c.label[s], i, -h, &ignored)) /
                                    (2 * h));
            EXPECT_NEAR((double)c.dout[s * item + i], slope, 1e-7 + 1e-6 * fabs(slope));
        }
    }
    float before[ROWS];
    memcpy(before, c.loss, sizeof before);
    shape.gradient = false;
    run_class_loss(&c, &shape);
    EXPECT(memcmp(before, c.loss, sizeof before) == 0);
}

static void test_loss_is_its_definition(void) {
    check_class_loss(1, 2);
    check_class_loss(13, 7);
    check_class_loss(12, CLASSES_MOST);
}

static void test_loss_at_the_ends(void) {
    static ClassCase c;
    ClassShape shape = {2, 3, true};
    memset(&c, 0, sizeof c);
    for (int i = 0; i < 2; ++i) c.out[6 + i] = 3000, c.out[12 + i] = 3000;
    c.out[18] = NAN;
    c.label[2] = 2;
    c.label[4] = 1; // of equals the first is the likeliest
    run_class_loss(&c, &shape);
    EXPECT_NEAR((double)c.loss[0], log(3), 1e-7);
    EXPECT_NEAR((double)c.loss[1], 0, 0);
    EXPECT_NEAR((double)c.loss[2], 3000, 1e-3);
    EXPECT(isnan(c.loss[3]) && isnan(c.dout[18]));
    EXPECT_NEAR((double)c.loss[4], log(3), 1e-7);
    EXPECT(c.wrong[0] == 0 && c.wrong[1] == 0 && c.wrong[2] == 1 && c.wrong[4] == 1);
    EXPECT_NEAR((double)c.dout[12], 0.5, 1e-7);
    EXPECT_NEAR((double)c.dout[16], -0.5, 1e-7);
}

// ---- the system -------------------------------------------------------------------------------

enum { SIDE = 4, PIXELS = SIDE * SIDE, SAMPLES = 8, CLASSES = 4, OUT = CLASSES * PIXELS };

static const int32_t labels[SAMPLES] = {0, 1, 0, 2, 0, 1, 0, 3};
static const uint64_t numbers[SAMPLES] = {7, 6, 5, 4, 3, 2, 1, 0};

static ProcessConfig class_config(void) {
    return (ProcessConfig){.name = "classifier", .steps = 1};
}

static NetworkShape class_shape(void) {
    NetworkShape shape = shape_image(SIDE);
    shape.classes = CLASSES;
    return shape;
}

static void put_out(ProcessCase *c, const float table[OUT]) {
    static float out[SAMPLES][OUT];
    for (int s = 0; s < SAMPLES; ++s) memcpy(out[s], table, sizeof out[s]);
    case_upload(c, c->pass.out, out, sizeof out);
}

static void test_network_sees_the_data_and_no_label(void) {
    ProcessConfig config = class_config();
    ProcessCase c;
    process_case_open(&c, "late", &config, class_shape(), SAMPLES);
    EXPECT_EQ(c.shape.out_channels, CLASSES);
    EXPECT(!c.shape.time_input && process_is_classifier(c.process));
    EXPECT(process_bound_unit(c.process) == NULL);
    EXPECT_EQ(process_loss_items(c.process), 1);
    static float x_0[SAMPLES * PIXELS], x_t[SAMPLES * PIXELS];
    int32_t told[SAMPLES], kept[SAMPLES];
    double time[SAMPLES];
    for (int i = 0; i < SAMPLES * PIXELS; ++i) x_0[i] = (float)(i * 53 % 256) / 127.5f - 1;
    for (int i = 0; i < SAMPLES; ++i) time[i] = process_first_time(c.process);
    GrainBatch batch = {3, 1, SAMPLES, x_0, labels, numbers};
    for (int held_out = 0; held_out < 2; ++held_out) {
        if (held_out)
            process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
        else
            process_corrupt(c.process, c.network, c.stream, &c.pass, &batch);
        NetworkInput input;
        process_network_input(c.process, &c.pass, &batch, false, &input);
        case_download(&c, x_t, input.x, sizeof x_t);
        EXPECT(memcmp(x_t, x_0, sizeof x_t) == 0);
        case_download(&c, told, input.label, sizeof told);
        case_download(&c, kept, c.pass.label, sizeof kept);
        for (int s = 0; s < SAMPLES; ++s) EXPECT_EQ(told[s], CLASSES);
        EXPECT(memcmp(kept, labels, sizeof kept) == 0);
    }
    process_case_close(&c);
}

// One picture with labels 0, 1, 2, 3 at 1/2, 1/4, 1/8, 1/8: 1.75 bits are all that is left.
static void test_learns_what_is_to_be_learned(void) {
    enum { ITERATIONS = 600 };
    static float x_0[SAMPLES * PIXELS], dout[SAMPLES * OUT], table[OUT];
    float loss[SAMPLES];
    double error[SAMPLES], share[CLASSES] = {0.5, 0.25, 0.125, 0.125};
    ProcessConfig config = class_config();
    ProcessCase c;
    process_case_open(&c, "late", &config, class_shape(), SAMPLES);
    GrainBatch batch = {3, 1, SAMPLES, x_0, labels, numbers};
    process_corrupt(c.process, c.network, c.stream, &c.pass, &batch);
    double mean = 0, wrong = 0, sum = 0;
    for (int i = 0; i < ITERATIONS; ++i) {
        put_out(&c, table);
        process_loss(c.process, c.stream, &c.pass, SAMPLES, true);
        case_download(&c, loss, c.pass.loss, sizeof loss);
        if (i == 0)
            for (int s = 0; s < SAMPLES; ++s) EXPECT_NEAR((double)loss[s], log(CLASSES), 1e-7);
        case_download(&c, dout, c.pass.dout, sizeof dout);
        for (int k = 0; k < SAMPLES * OUT; ++k) table[k % OUT] -= 2.0f * PIXELS / SAMPLES * dout[k];
    }
    process_bound_terms(c.process, c.stream, &c.pass, SAMPLES);
    case_download(&c, error, c.pass.error, sizeof error);
    for (int s = 0; s < SAMPLES; ++s) mean += (double)loss[s] / SAMPLES, wrong += error[s];
    EXPECT_NEAR(mean, 1.75 * M_LN2, 1e-6);
    EXPECT_NEAR(wrong / SAMPLES, 0.5, 0);
    for (int k = 0; k < CLASSES; ++k) sum += exp((double)table[k * PIXELS]);
    for (int k = 0; k < CLASSES; ++k)
        EXPECT_NEAR(exp((double)table[k * PIXELS]) / sum, share[k], 1e-5);
    process_case_close(&c);
}

static void test_refusals(void) {
    ProcessConfig config = class_config();
    NetworkShape shape = class_shape(), alone = class_shape(), words = shape_tokens(8, 5);
    Process *process;
    alone.classes = 0;
    words.classes = 3;
    EXPECT_FAIL(process_open(&config, &alone, &process), BAD_CONFIG, "the data have 0 classes");
    EXPECT_FAIL(process_open(&config, &words, &process), BAD_CONFIG, "for numbers");
    config.label_drop = 0.1f;
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "learns from each label");
    config.label_drop = 0;
    config.steps = 50;
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "has one step");
    config.steps = 1;
    snprintf(config.head, sizeof config.head, "eps");
    EXPECT_FAIL(process_open(&config, &shape, &process), BAD_CONFIG, "process.head");
    config.head[0] = 0;
    EXPECT_OK(process_open(&config, &shape, &process));
    SamplerConfig solver = {.guidance = 1};
    Sampler *sampler;
    EXPECT_FAIL(sampler_open(process, &solver, &sampler), BAD_CONFIG, "draws nothing");
    EXPECT_FAIL(process_flow_check(process), BAD_CONFIG, "no probability flow");
    process_close(process);
}

int main(void) {
    RUN(test_loss_is_its_definition);
    RUN(test_loss_at_the_ends);
    RUN(test_network_sees_the_data_and_no_label);
    RUN(test_learns_what_is_to_be_learned);
    RUN(test_refusals);
    return test_report();
}
