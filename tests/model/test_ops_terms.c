// Terms of the bound of Gaussian diffusion: values and gradients against the definitions in long
// double, for each kind of term and of variance; the decoder against masses in long double.
#include <math.h>

#include "tests/model/support_ops.h"
#include "tests/test.h"

typedef struct {
    int64_t samples, item;
    bool has_variance, clip, gradient, error;
} TermShape;

static void call_terms(Stream *stream, OpBuffer *b, const void *shape) {
    const TermShape *s = shape;
    gaussian_terms(stream, (Gaussian){.out = b[0].device,
                                      .x_0 = b[1].device,
                                      .x_t = b[2].device,
                                      .target = b[3].device,
                                      .level = b[4].device,
                                      .dout = s->gradient ? b[5].device : NULL,
                                      .loss = b[6].device,
                                      .error = s->error ? b[7].device : NULL,
                                      .samples = s->samples,
                                      .item = s->item,
                                      .has_variance = s->has_variance,
                                      .clip = s->clip});
}

// ---- the definition ---------------------------------------------------------------------------

static long double log_variance_reference(const GaussianVariance *variance, long double v) {
    long double z = variance->add + variance->mul * v;
    return variance->logistic ? -log1pl(expl(-z)) : z;
}

static long double normal_like(long double x) {
    return 1 / (1 + expl(-2 * sqrtl(2 / acosl(-1)) * (x + 0.044715L * x * x * x)));
}

static long double decoder_reference(float x_0, long double mean, long double log_variance) {
    long double std = expl(log_variance / 2), half = 1 / 255.0L;
    int level = (int)lrint(((double)x_0 + 1) * 127.5);
    long double center = level / 127.5L - 1;
    long double low = (center - half - mean) / std, high = (center + half - mean) / std;
    if (level == 0) return -logl(normal_like(high));
    if (level == 255) return -logl(normal_like(-low));
    long double mass =
        low > 0 ? normal_like(-low) - normal_like(-high) : normal_like(high) - normal_like(low);
    return -logl(fmaxl(mass, 1e-12L));
}

static long double levels_reference(float x_0, long double mean, long double variance) {
    long double sum = 0, own = 0;
    int level = (int)fmin(fmax(nearbyint(((double)x_0 + 1) * 128 - 0.5), 0), 255);
    for (int v = 0; v < 256; ++v) {
        long double gap = (v + 0.5L) / 128 - 1 - mean, mass = expl(-gap * gap / variance / 2);
        sum += mass;
        if (v == level) own = mass;
    }
    return logl(sum) - logl(own);
}

static long double term_reference(const GaussianLevel *l, float x_0, long double mean,
                                  long double v) {
    long double log_variance = log_variance_reference(&l->variance, v),
                variance = expl(log_variance);
    long double error = mean - x_0, gap = l->slope * error, known = expl(l->log_posterior);
    switch ((GaussianTerm)l->term) {
    case GAUSSIAN_KL:
        return 0.5L * (log_variance - l->log_posterior + (known + gap * gap) / variance - 1);
    case GAUSSIAN_DENSITY:
        return 0.5L * (logl(2 * acosl(-1)) + log_variance + error * error / variance);
    case GAUSSIAN_DECODER: return decoder_reference(x_0, mean, log_variance);
    case GAUSSIAN_LEVELS: return levels_reference(x_0, mean, variance);
    case GAUSSIAN_NOTHING: break;
    }
    return 0;
}

// Of one element; `stopped` takes the term's mean from there.
static long double loss_reference(const GaussianLevel *l, float x_0, float x_t, float target,
                                  long double out, long double stopped, long double v) {
    long double mean = (long double)l->hat_x * x_t + (long double)l->hat_out * stopped;
    long double gap = out - target;
    return l->weight * gap * gap + l->term_weight * term_reference(l, x_0, mean, v);
}

// ---- values and gradients ---------------------------------------------------------------------

enum { SAMPLES = 9, ITEM = 333, N = SAMPLES * ITEM };

// Every kind of term and of variance, one a sample.
static GaussianLevel *levels(void) {
    static GaussianLevel row[SAMPLES];
    static const GaussianTerm terms[SAMPLES] = {
        GAUSSIAN_KL,      GAUSSIAN_KL,      GAUSSIAN_KL,      GAUSSIAN_DENSITY, GAUSSIAN_DENSITY,
        GAUSSIAN_DECODER, GAUSSIAN_DECODER, GAUSSIAN_NOTHING, GAUSSIAN_LEVELS};
    for (int i = 0; i < SAMPLES; ++i)
        row[i] = (GaussianLevel){.hat_x = 0.9f,
                                 .hat_out = i == 6   ? 0.9f
                                            : i == 8 ? 0.1f
                                                     : -0.4f + 0.1f * (float)i,
                                 .weight = i % 2 == 0 ? 0 : 1.5f,
                                 .term = terms[i],
                                 .term_weight = 1 + i,
                                 .slope = 0.3 + 0.1 * i,
                                 .log_posterior = -4 - i,
                                 .variance = {-3.5, i == 1 ? 0 : 0.8, i == 2 || i == 4},
                                 .mean_stops = i == 1 || i == 6};
    return row;
}

typedef struct {
    float *out, *x_0, *x_t, *target, *dout, loss[SAMPLES];
    double error[SAMPLES];
} TermCase;

// x_0 on 256 levels, x_t and out near it, so that masses are not all tiny.
static TermCase term_case(bool has_variance) {
    int64_t outs = N * (has_variance ? 2 : 1);
    TermCase c = {.out = ops_numbers(outs, 1),
                  .x_0 = ops_numbers(N, 2),
                  .x_t = ops_numbers(N, 3),
                  .target = ops_numbers(N, 4),
                  .dout = ops_memory(outs, 4)};
    for (int64_t i = 0; i < N; ++i) {
        c.x_0[i] = (float)lrintf((c.x_0[i] * 1.1f + 1) * 127.5f) / 127.5f - 1;
        c.x_0[i] = fminf(fmaxf(c.x_0[i], -1), 1);
        c.x_t[i] = c.x_0[i] + 0.05f * c.x_t[i];
    }
    return c;
}

static void run_case(TermCase *c, const TermShape *shape) {
    int64_t outs = N * (shape->has_variance ? 2 : 1);
    OpBuffer b[] = {{c->out, outs, OP_IN, NULL, OP_F32},
                    {c->x_0, N, OP_IN, NULL, OP_F32},
                    {c->x_t, N, OP_IN, NULL, OP_F32},
                    {c->target, N, OP_IN, NULL, OP_F32},
                    {levels(), SAMPLES * sizeof(GaussianLevel) / 4, OP_IN, NULL, OP_F32},
                    {c->dout, outs, shape->gradient ? OP_OUT : OP_IN, NULL, OP_F32},
                    {c->loss, SAMPLES, OP_OUT, NULL, OP_F32},
                    {c->error, 2 * SAMPLES, shape->error ? OP_OUT : OP_IN, NULL, OP_F64}};
    EXPECT_EQ(ops_run("gaussian_terms", call_terms, shape, b, 8), 0);
}

static void close_case(TermCase *c) {
    free(c->out), free(c->x_0), free(c->x_t), free(c->target), free(c->dout);
}

static void check_gradient(const TermCase *c, bool has_variance, int s, int64_t e) {
    const GaussianLevel *l = &levels()[s];
    int64_t i = s * ITEM + e, row = s * ITEM * (has_variance ? 2 : 1) + e;
    long double step = 1e-6L, out = c->out[row], v = has_variance ? c->out[row + ITEM] : 0;
    float x_0 = c->x_0[i], x_t = c->x_t[i], target = c->target[i];
    long double up = out + step, down = out - step;
    long double by_out =
        (loss_reference(l, x_0, x_t, target, up, l->mean_stops ? out : up, v) -
         loss_reference(l, x_0, x_t, target, down, l->mean_stops ? out : down, v)) /
        (2 * step);
    EXPECT_NEAR(c->dout[row], by_out, 2e-6 * (1 + fabs((double)by_out)));
    if (!has_variance) return;
    long double by_v = (loss_reference(l, x_0, x_t, target, out, out, v + step) -
                        loss_reference(l, x_0, x_t, target, out, out, v - step)) /
                       (2 * step);
    EXPECT_NEAR(c->dout[row + ITEM], by_v, 2e-6 * (1 + fabs((double)by_v)));
}

static void check_terms(bool has_variance) {
    TermCase c = term_case(has_variance);
    TermShape shape = {SAMPLES, ITEM, has_variance, .gradient = true, .error = true};
    run_case(&c, &shape);
    for (int s = 0; s < SAMPLES; ++s) {
        const GaussianLevel *l = &levels()[s];
        long double loss = 0, error = 0, size = 0;
        for (int64_t e = 0; e < ITEM; ++e) {
            int64_t i = s * ITEM + e, row = s * ITEM * (has_variance ? 2 : 1) + e;
            long double v = has_variance ? c.out[row + ITEM] : 0;
            long double mean =
                (long double)l->hat_x * c.x_t[i] + (long double)l->hat_out * c.out[row];
            long double one =
                loss_reference(l, c.x_0[i], c.x_t[i], c.target[i], c.out[row], c.out[row], v);
            loss += one;
            size += fabsl(one);
            error += term_reference(l, c.x_0[i], mean, v);
            check_gradient(&c, has_variance, s, e);
        }
        EXPECT_NEAR(c.loss[s], loss, 1e-6 * (double)(1 + size));
        if (l->term == GAUSSIAN_DECODER) continue; // exact there, like tanh here
        EXPECT_NEAR(c.error[s], error, 1e-6 * (double)(1 + size));
    }
    // Loss and error are the same where they are asked for alone.
    float loss[SAMPLES];
    memcpy(loss, c.loss, sizeof loss);
    shape.gradient = shape.error = false;
    run_case(&c, &shape);
    EXPECT(memcmp(loss, c.loss, sizeof loss) == 0);
    close_case(&c);
}

static void test_terms_and_gradients(void) {
    check_terms(false);
    check_terms(true);
}

static void test_error_clips_the_prediction(void) {
    TermCase c = term_case(false);
    TermShape shape = {SAMPLES, ITEM, false, .clip = true, .error = true};
    for (int64_t i = 0; i < N; ++i) c.out[i] *= 20;
    run_case(&c, &shape);
    for (int s = 0; s < 4; ++s) {
        const GaussianLevel *l = &levels()[s];
        long double error = 0;
        for (int64_t i = s * ITEM; i < (s + 1) * ITEM; ++i) {
            long double mean =
                (long double)l->hat_x * c.x_t[i] + (long double)l->hat_out * c.out[i];
            error += term_reference(l, c.x_0[i], fminl(fmaxl(mean, -1), 1), 0);
        }
        EXPECT_NEAR(c.error[s], error, 1e-6 * (double)(1 + fabsl(error)));
    }
    close_case(&c);
}

// ---- the exact decoder ------------------------------------------------------------------------

// -log P of each of the 256 levels, as 256 samples of one element.
static void decode_all(float mean, float std, double nats[256]) {
    static float x_0[256], x_t[256], out[256], target[256], dout[256], loss[256];
    static GaussianLevel level[256];
    for (int v = 0; v < 256; ++v) {
        x_0[v] = (float)v / 127.5f - 1;
        out[v] = mean;
        level[v] = (GaussianLevel){
            .hat_out = 1, .term = GAUSSIAN_DECODER, .variance = {.add = 2 * log((double)std)}};
    }
    TermShape shape = {256, 1, .error = true};
    OpBuffer b[] = {{out, 256, OP_IN, NULL, OP_F32},
                    {x_0, 256, OP_IN, NULL, OP_F32},
                    {x_t, 256, OP_IN, NULL, OP_F32},
                    {target, 256, OP_IN, NULL, OP_F32},
                    {level, 256 * sizeof *level / 4, OP_IN, NULL, OP_F32},
                    {dout, 256, OP_IN, NULL, OP_F32},
                    {loss, 256, OP_OUT, NULL, OP_F32},
                    {nats, 512, OP_OUT, NULL, OP_F64}};
    EXPECT_EQ(ops_run("gaussian_terms", call_terms, &shape, b, 8), 0);
}

static long double upper_tail(long double z) {
    return erfcl(z * (long double)M_SQRT1_2) / 2;
}

// By tails in long double, whose range reaches 150 deviations.
static double mass_reference(int v, float mean, float std) {
    long double center = v / 127.5L - 1, half = 1 / 255.0L;
    long double low = v == 0 ? -INFINITY : (center - half - mean) / std;
    long double high = v == 255 ? INFINITY : (center + half - mean) / std;
    if (low > 0) return (double)-logl(upper_tail(low) - upper_tail(high));
    if (high < 0) return (double)-logl(upper_tail(-high) - upper_tail(-low));
    return (double)-logl(1 - upper_tail(-low) - upper_tail(high));
}

static void test_decoder_masses(void) {
    static const float means[] = {0, -1, 0.9973f, 0.31f, 1.2f}, stds[] = {0.0064f, 0.02f, 0.5f};
    for (int m = 0; m < 5; ++m)
        for (int s = 0; s < 3; ++s) {
            double nats[256], total = 0;
            decode_all(means[m], stds[s], nats);
            for (int v = 0; v < 256; ++v) {
                total += exp(-nats[v]);
                double expected = mass_reference(v, means[m], stds[s]);
                if (expected > 11000) continue; // the reference ends here
                EXPECT_NEAR(nats[v], expected, 1e-9 * (1 + expected));
            }
            EXPECT_NEAR(total, 1, 1e-12);
        }
}

static void test_decoder_far_tails(void) {
    double nats[256];
    decode_all(-1, 0.0064f, nats);
    EXPECT(isfinite(nats[255]));
    double z = (2 - 1 / 255.0) / (double)0.0064f; // leading terms of the tail
    EXPECT_NEAR(nats[255], z * z / 2 + log(z) + 0.5 * log(2 * M_PI), 1e-3);
    for (int v = 2; v < 256; ++v) EXPECT(nats[v] > nats[v - 1] || v == 255);
    decode_all(0, 1e-4f, nats);
    for (int v = 0; v < 256; ++v) EXPECT(isfinite(nats[v]) && nats[v] >= 0);
}

int main(void) {
    RUN(test_terms_and_gradients);
    RUN(test_error_clips_the_prediction);
    RUN(test_decoder_masses);
    RUN(test_decoder_far_tails);
    return test_report();
}
