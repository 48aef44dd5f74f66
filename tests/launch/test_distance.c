// Distances of sets whose answer is known in closed form.
#include <math.h>

#include "launch/distance.h"
#include "tests/test.h"

enum { WIDTH = 4, POINTS = 2 * WIDTH };
#define R 0.70710678118654752

// Columns, each sqrt of an axis' variance times a direction.
static const double PLAIN[WIDTH][WIDTH] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
static const double TURNED[WIDTH][WIDTH] = {
    {R, -R, 0, 0}, {R, R, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};

// 8 points whose unbiased covariance is `axes` diag(variance) axes^T: plus and minus each axis.
static void points(const double axes[WIDTH][WIDTH], const double variance[WIDTH], double mean,
                   float *out) {
    for (int i = 0; i < POINTS; ++i)
        for (int j = 0; j < WIDTH; ++j) {
            double along = sqrt(variance[i / 2] * (POINTS - 1) / 2) * axes[j][i / 2];
            out[i * WIDTH + j] = (float)(mean + (i % 2 == 0 ? along : -along));
        }
}

static double frechet(const float *a, const float *b) {
    double out = NAN;
    EXPECT_OK(distance_frechet(a, POINTS, b, POINTS, WIDTH, &out));
    return out;
}

static void test_frechet_of_equal_sets_is_zero(void) {
    float a[POINTS * WIDTH];
    points(TURNED, (double[]){3, 0.5, 2, 0}, 1, a); // a feature that never changes, too
    EXPECT_NEAR(frechet(a, a), 0, 1e-7);
}

static void test_frechet_of_a_shift(void) {
    float a[POINTS * WIDTH], b[POINTS * WIDTH];
    points(TURNED, (double[]){3, 0.5, 2, 1}, 0, a);
    points(TURNED, (double[]){3, 0.5, 2, 1}, 1.5, b);
    EXPECT_NEAR(frechet(a, b), 4 * 1.5 * 1.5, 1e-5);
}

// Covariances that commute: the sum of (s_a - s_b)^2 over the axes.
static void test_frechet_of_scales(void) {
    float a[POINTS * WIDTH], b[POINTS * WIDTH];
    points(TURNED, (double[]){4, 1, 9, 0.25}, 0, a);
    points(TURNED, (double[]){1, 16, 0.25, 0.25}, 0, b);
    EXPECT_NEAR(frechet(a, b), 1 + 9 + 2.5 * 2.5, 1e-5);
}

// Covariances that do not: for 2 x 2 blocks (tr sqrt(AB))^2 = tr AB + 2 sqrt(det AB). A =
// diag(4,1), B = diag(9,1) turned by 45 degrees = [[5,4],[4,5]]: tr AB = 25, det AB = 36.
static void test_frechet_of_turned_gaussians(void) {
    float a[POINTS * WIDTH], b[POINTS * WIDTH];
    points(PLAIN, (double[]){4, 1, 1, 1}, 0, a);
    points(TURNED, (double[]){9, 1, 1, 1}, 0.5, b);
    double known = 4 * 0.25 + 5 + 10 - 2 * sqrt(25 + 2 * sqrt(36));
    EXPECT_NEAR(frechet(a, b), known, 1e-5);
    EXPECT_NEAR(frechet(b, a), known, 1e-5);
}

// On a line: real 0..9, of which the ends reach 3 and the others 2.
static void test_precision_and_recall(void) {
    float real[10], drawn[5] = {4, 4.25F, 4.5F, 5, 40};
    for (int i = 0; i < 10; ++i) real[i] = (float)i;
    double precision = 0, recall = 0;
    EXPECT_OK(distance_precision_recall(real, 10, real, 10, 1, &precision, &recall));
    EXPECT_NEAR(precision, 1, 0);
    EXPECT_NEAR(recall, 1, 0);
    // The drawn reach 1, 0.75, 0.5, 1 and 35.75: 4 covers 3 and 4, and 40 what is above.
    EXPECT_OK(distance_precision_recall(real, 10, drawn, 5, 1, &precision, &recall));
    EXPECT_NEAR(precision, 4.0 / 5, 0);
    EXPECT_NEAR(recall, 7.0 / 10, 0);
    // 12 lies just where the reach of 9, which is 3, ends; 13 and what follows do not.
    float edge[4] = {12, 13, 14, 15};
    EXPECT_OK(distance_precision_recall(real, 10, edge, 4, 1, &precision, &recall));
    EXPECT_NEAR(precision, 1.0 / 4, 0);
    EXPECT_NEAR(recall, 1.0 / 10, 0); // 9 = 12 - 3
}

static void test_sets_that_are_refused(void) {
    float x[4] = {0, 1, 2, NAN};
    double out, recall;
    EXPECT_FAIL(distance_frechet(x, 1, x, 3, 1, &out), BAD_USAGE, "2 or more");
    EXPECT_FAIL(distance_frechet(x, 3, x, 4, 1, &out), NUMERIC, "number 3");
    EXPECT_FAIL(distance_precision_recall(x, 3, x, 3, 1, &out, &recall), BAD_USAGE, "4 or more");
}

int main(void) {
    RUN(test_frechet_of_equal_sets_is_zero);
    RUN(test_frechet_of_a_shift);
    RUN(test_frechet_of_scales);
    RUN(test_frechet_of_turned_gaussians);
    RUN(test_precision_and_recall);
    RUN(test_sets_that_are_refused);
    return test_report();
}
