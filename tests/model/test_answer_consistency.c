// Consistency training: the curriculum, the law of cells, the boundary, a pair of levels with the
// same noise and the loss between them, what the exact f costs, and what it draws.
#include <math.h>

#include "model/process/edm.h"
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

static const double data = 0.5; // of the data, and sigma_data of images

static void open_consistency(ProcessCase *c, const char *backend, int side, int64_t capacity) {
    ProcessConfig config = {
        .name = "consistency", .steps = 1000, .batch = capacity, .train_steps = 800000};
    process_case_open(c, backend, &config, shape_image(side), capacity);
    EXPECT_EQ(process_passes(c->process), 2);
    EXPECT(!process_has_gradient(c->process, 0) && process_has_gradient(c->process, 1));
    EXPECT(process_bound_unit(c->process) == NULL);
}

// f of data N(0, data^2), exactly: x at sigma goes where its flow has EDM_LEAST.
static double exact(double sigma) {
    return sqrt((data * data + EDM_LEAST * EDM_LEAST) / (data * data + sigma * sigma));
}

static void test_curriculum(void) {
    static const struct {
        uint64_t step;
        int cells;
    } row[] = {{0, 10},      {99999, 10},   {100000, 20},   {250000, 40},
               {399999, 80}, {600000, 640}, {700000, 1280}, {799999, 1280}};
    ProcessCase c;
    open_consistency(&c, "cpu", 4, 1);
    for (size_t i = 0; i < sizeof row / sizeof *row; ++i)
        EXPECT_EQ(consistency_cells(c.process, row[i].step), row[i].cells);
    process_case_close(&c);
}

// Cells of the grid of 9 and 18 levels and so on: each time is in its cell, and neighbours meet.
static void test_cells(void) {
    for (int cells = 9; cells <= 80; cells += 71) {
        double lower, upper, before = 1;
        for (int i = 0; i < cells; ++i) {
            double top = edm_grid((double)i / cells), bottom = edm_grid((i + 1.0) / cells);
            double weight = consistency_cell(0.3 * top + 0.7 * bottom, cells, &lower, &upper);
            EXPECT_NEAR(upper, before, 1e-12);
            EXPECT(lower < upper);
            EXPECT_NEAR(weight, 1 / (edm_sigma(upper) - edm_sigma(lower)), 1e-9 * weight);
            before = lower;
        }
        EXPECT_NEAR(edm_sigma(lower), EDM_LEAST, 1e-9);
    }
    EXPECT_NEAR(edm_sigma(edm_grid(0)), EDM_MOST, 1e-9);
}

// ln sigma is normal with mean -1.1 and deviation 2 between the ends (iCT, table 1).
static void test_law_of_levels(void) {
    enum { DRAWS = 200000 };
    static const double edge[] = {0.01, 0.1, 0.5, 3, 20};
    ProcessCase c;
    open_consistency(&c, "cpu", 4, 16);
    double first = erf((log(EDM_LEAST) + 1.1) / (2 * M_SQRT2));
    double last = erf((log(EDM_MOST) + 1.1) / (2 * M_SQRT2));
    for (size_t i = 0; i < sizeof edge / sizeof *edge; ++i) {
        double below = 0,
               wanted = (erf((log(edge[i]) + 1.1) / (2 * M_SQRT2)) - first) / (last - first);
        for (int s = 0; s < DRAWS; ++s)
            below += edm_sigma(process_draw_time(c.process, 5, 0, (uint64_t)s)) < edge[i];
        EXPECT_NEAR(below / DRAWS, wanted, 5 * sqrt(0.25 / DRAWS));
    }
    process_case_close(&c);
}

static void test_boundary(void) {
    ProcessCase c;
    open_consistency(&c, "cpu", 4, 1);
    GaussianNumbers n = gaussian_numbers(c.process, 0x1p-40);
    EXPECT_NEAR(n.hat_x, sqrt(EDM_LEAST * EDM_LEAST + data * data), 1e-9); // f(x) is x
    EXPECT_NEAR(n.hat_out, 0, 1e-12);
    double sigma = 3;
    n = gaussian_numbers(c.process, log(sigma / EDM_LEAST) / log(EDM_MOST / EDM_LEAST));
    double skip = data * data / ((sigma - EDM_LEAST) * (sigma - EDM_LEAST) + data * data);
    EXPECT_NEAR(n.hat_x, skip * sqrt(sigma * sigma + data * data), 1e-9);
    EXPECT_NEAR(n.hat_out, (sigma - EDM_LEAST) * data / sqrt(sigma * sigma + data * data), 1e-9);
    process_case_close(&c);
}

// ---- a pair -----------------------------------------------------------------------------------

enum { SIDE = 4, ITEM = SIDE * SIDE, BATCH = 40 };

// What the network has to say for f to be exact, of x_t at sigma.
static float answer(const ProcessCase *c, double t, float x_t) {
    GaussianNumbers n = gaussian_numbers(c->process, t);
    double sigma = edm_sigma(t), x = (double)x_t * sqrt(sigma * sigma + data * data);
    return n.hat_out > 0 ? (float)((exact(sigma) * x - n.hat_x * (double)x_t) / n.hat_out) : 0;
}

typedef struct {
    float x_0[BATCH][ITEM], x_t[2][BATCH][ITEM], out[BATCH][ITEM], target[BATCH][ITEM];
    float dout[BATCH][ITEM], loss[BATCH];
    double lower[BATCH], upper[BATCH], weight[BATCH];
} Pair;
static Pair pair;

// Both passes of a training batch, the network exact but for `wrong` in the upper one.
static void run_pair(ProcessCase *c, uint64_t step, double wrong) {
    static int32_t label[BATCH];
    static uint64_t sample[BATCH];
    for (int s = 0; s < BATCH; ++s) {
        sample[s] = step * BATCH + (uint64_t)s;
        double t = process_draw_time(c->process, 3, step, sample[s]);
        pair.weight[s] = consistency_cell(t, consistency_cells(c->process, step), &pair.lower[s],
                                          &pair.upper[s]);
        for (int i = 0; i < ITEM; ++i) pair.x_0[s][i] = (float)sin(s + 7.3 * i) * 0.7f;
    }
    GrainBatch batch = {3, step, BATCH, pair.x_0, label, sample};
    process_corrupt(c->process, c->network, c->stream, &c->pass, &batch);
    for (int number = 0; number < 2; ++number) {
        const double *t = number == 0 ? pair.lower : pair.upper;
        if (number > 0) process_next_pass(c->process, c->stream, &c->pass, BATCH);
        case_download(c, pair.x_t[number], c->pass.x_t, sizeof *pair.x_t);
        for (int i = 0; i < BATCH * ITEM; ++i)
            pair.out[i / ITEM][i % ITEM] =
                answer(c, t[i / ITEM], pair.x_t[number][i / ITEM][i % ITEM]) +
                (float)(number * wrong * cos(i));
        case_upload(c, c->pass.out, pair.out, sizeof pair.out);
    }
    process_loss(c->process, c->stream, &c->pass, BATCH, true);
    case_download(c, pair.target, c->pass.target, sizeof pair.target);
    case_download(c, pair.dout, c->pass.dout, sizeof pair.dout);
    case_download(c, pair.loss, c->pass.loss, sizeof pair.loss);
}

// x at a level, of x_t in coordinates of variance 1.
static double unscaled(int number, int s, int i) {
    double sigma = edm_sigma(number == 0 ? pair.lower[s] : pair.upper[s]);
    return (double)pair.x_t[number][s][i] * sqrt(sigma * sigma + data * data);
}

static void test_pair_has_the_same_noise(void) {
    ProcessCase c;
    open_consistency(&c, "late", SIDE, BATCH);
    run_pair(&c, 300000, 0);
    double sum = 0, squares = 0;
    for (int s = 0; s < BATCH; ++s)
        for (int i = 0; i < ITEM; ++i) {
            double low = (unscaled(0, s, i) - (double)pair.x_0[s][i]) / edm_sigma(pair.lower[s]);
            double high = (unscaled(1, s, i) - (double)pair.x_0[s][i]) / edm_sigma(pair.upper[s]);
            double rounding = 1e-6 / edm_sigma(pair.lower[s]);
            EXPECT_NEAR(low, high, 1e-5 + rounding);
            sum += high, squares += high * high;
            double f = exact(edm_sigma(pair.lower[s])) * unscaled(0, s, i);
            EXPECT_NEAR((double)pair.target[s][i], f, 1e-5 * (1 + fabs(f)));
        }
    EXPECT_NEAR(sum / (BATCH * ITEM), 0, 5 / sqrt(BATCH * ITEM));
    EXPECT_NEAR(squares / (BATCH * ITEM), 1, 5 * sqrt(2.0 / (BATCH * ITEM)));
    process_case_close(&c);
}

// weight (sqrt(|f - f^-|^2 + c^2) - c), twice because the trainer takes the mean of two passes.
static void test_loss_between_them(void) {
    ProcessCase c;
    double root_c = 0.00054 * sqrt(ITEM);
    open_consistency(&c, "late", SIDE, BATCH);
    run_pair(&c, 0, 0.3);
    for (int s = 0; s < BATCH; ++s) {
        GaussianNumbers n = gaussian_numbers(c.process, pair.upper[s]);
        double squares = root_c * root_c, gap[ITEM];
        for (int i = 0; i < ITEM; ++i) {
            gap[i] = n.hat_x * (double)pair.x_t[1][s][i] + n.hat_out * (double)pair.out[s][i] -
                     (double)pair.target[s][i];
            squares += gap[i] * gap[i];
        }
        double wanted = 2 * pair.weight[s] * (sqrt(squares) - root_c);
        EXPECT_NEAR((double)pair.loss[s], wanted, 2e-3 * wanted + 1e-4 * pair.weight[s]);
        for (int i = 0; i < ITEM; ++i)
            EXPECT_NEAR((double)pair.dout[s][i],
                        2 * pair.weight[s] * n.hat_out * gap[i] / sqrt(squares),
                        2e-3 * pair.weight[s] * n.hat_out);
    }
    process_case_close(&c);
}

// The mean over neighbouring levels of the expected square, one dimension: it falls with the square
// of their distance, and so does what a network learns from its own.
static void test_exact_f_costs_little(void) {
    static const struct {
        int levels;
        double cost;
    } row[] = {{10, 1.64e-2}, {18, 4.83e-3}, {40, 9.31e-4}, {80, 2.27e-4}};
    for (size_t i = 0; i < sizeof row / sizeof *row; ++i) {
        int cells = row[i].levels - 1;
        double sum = 0;
        for (int k = 0; k < cells; ++k) {
            double lower, upper;
            (void)consistency_cell(edm_grid((k + 0.5) / cells), cells, &lower, &upper);
            double low = exact(edm_sigma(lower)), high = exact(edm_sigma(upper));
            double noise = high * edm_sigma(upper) - low * edm_sigma(lower);
            sum += (high - low) * (high - low) * data * data + noise * noise;
        }
        EXPECT_NEAR(sum / cells, row[i].cost, 0.004 * row[i].cost);
    }
}

// ---- sampling ---------------------------------------------------------------------------------

static double drawn_std(int steps) {
    enum { DRAWS = 4000 };
    static float x[DRAWS][ITEM], out[DRAWS][ITEM];
    SamplerConfig config = {.solver = "auto", .steps = steps, .guidance = 1};
    ProcessCase c;
    Sampler *sampler;
    open_consistency(&c, "late", SIDE, DRAWS);
    EXPECT_OK(sampler_open(c.process, &config, &sampler));
    EXPECT_EQ(sampler_steps(sampler), steps);
    case_number_samples(&c, 0, DRAWS);
    sampler_begin(sampler, c.stream, &c.pass, DRAWS, 11);
    for (int i = 0; i < steps; ++i) {
        case_download(&c, x, c.pass.x_t, sizeof x);
        for (int k = 0; k < DRAWS * ITEM; ++k)
            out[k / ITEM][k % ITEM] = answer(&c, sampler_time(sampler, i), x[k / ITEM][k % ITEM]);
        case_upload(&c, c.pass.out, out, sizeof out);
        sampler_advance(sampler, c.stream, &c.pass, DRAWS, i, 11);
    }
    case_download(&c, x, c.pass.x_t, sizeof x);
    double squares = 0;
    for (int k = 0; k < DRAWS * ITEM; ++k)
        squares += (double)x[k / ITEM][k % ITEM] * (double)x[k / ITEM][k % ITEM];
    sampler_close(sampler);
    process_case_close(&c);
    return sqrt(squares / (DRAWS * ITEM));
}

// One evaluation, and a few, from N(0, 80^2): the data's deviation.
static void test_samplers_draw_the_data(void) {
    for (int steps = 1; steps <= 3; ++steps) EXPECT_NEAR(drawn_std(steps), data, 0.008);
}

int main(void) {
    RUN(test_curriculum);
    RUN(test_cells);
    RUN(test_law_of_levels);
    RUN(test_boundary);
    RUN(test_pair_has_the_same_noise);
    RUN(test_loss_between_them);
    RUN(test_exact_f_costs_little);
    RUN(test_samplers_draw_the_data);
    return test_report();
}
