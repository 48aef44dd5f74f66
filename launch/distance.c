// Frechet distance by Jacobi's eigenvalues, precision and recall by all pairs.
#include "launch/distance.h"

#include <math.h>
#include <stdlib.h>

enum { SWEEPS_MOST = 64 };

static Status check(const float *x, int64_t count, int width, int64_t least) {
    FAIL_IF(count < least, BAD_USAGE, "a distance wants sets of %d or more: ask for a larger count",
            (int)least);
    for (int64_t i = 0; i < count * width; ++i)
        FAIL_IF(!isfinite(x[i]), NUMERIC, "feature %d of number %lld is not finite",
                (int)(i % width), (long long)(i / width));
    return STATUS_OK;
}

// ---- Frechet ----------------------------------------------------------------------------------

static void moments(const float *x, int64_t count, int width, double *mean, double *covariance) {
    for (int64_t i = 0; i < count; ++i)
        for (int j = 0; j < width; ++j) mean[j] += x[i * width + j];
    for (int j = 0; j < width; ++j) mean[j] /= (double)count;
    for (int64_t i = 0; i < count; ++i)
        for (int j = 0; j < width; ++j)
            for (int k = 0; k < width; ++k)
                covariance[j * width + k] +=
                    (x[i * width + j] - mean[j]) * (x[i * width + k] - mean[k]);
    for (int j = 0; j < width * width; ++j) covariance[j] /= (double)(count - 1);
}

static void turn(double *x, double *y, double cosine, double sine) {
    double x_0 = *x, y_0 = *y;
    *x = cosine * x_0 - sine * y_0;
    *y = sine * x_0 + cosine * y_0;
}

// Cyclic Jacobi: afterwards the diagonal of the symmetric a [n,n] is its eigenvalues, and the rows
// of `vectors`, where it is not NULL and began as the unit matrix, are the eigenvectors.
static void diagonalise(double *a, double *vectors, int n) {
    for (int sweep = 0; sweep < SWEEPS_MOST; ++sweep) {
        double off = 0, all = 0;
        for (int i = 0; i < n * n; ++i) {
            all += a[i] * a[i];
            off += i / n != i % n ? a[i] * a[i] : 0;
        }
        if (off <= 1e-28 * all) return;
        for (int p = 0; p < n; ++p)
            for (int q = p + 1; q < n; ++q) {
                if (a[p * n + q] == 0) continue;
                double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
                double t = copysign(1, theta) / (fabs(theta) + hypot(theta, 1));
                double cosine = 1 / sqrt(t * t + 1), sine = t * cosine;
                for (int k = 0; k < n; ++k) turn(&a[p * n + k], &a[q * n + k], cosine, sine);
                for (int k = 0; k < n; ++k) turn(&a[k * n + p], &a[k * n + q], cosine, sine);
                for (int k = 0; vectors && k < n; ++k)
                    turn(&vectors[p * n + k], &vectors[q * n + k], cosine, sine);
            }
    }
}

static double root(double eigenvalue) {
    return eigenvalue > 0 ? sqrt(eigenvalue) : 0;
}

// tr (A^1/2 B A^1/2)^1/2 for A = V^T D V: that matrix has the eigenvalues of D^1/2 V B V^T D^1/2.
// Destroys a; v and work are zero.
static double trace_of_root(double *a, const double *b, double *v, double *work, double *m, int n) {
    for (int i = 0; i < n; ++i) v[i * n + i] = 1;
    diagonalise(a, v, n);
    for (int i = 0; i < n; ++i)
        for (int k = 0; k < n; ++k)
            for (int j = 0; j < n; ++j) work[i * n + j] += v[i * n + k] * b[k * n + j];
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            double sum = 0;
            for (int k = 0; k < n; ++k) sum += work[i * n + k] * v[j * n + k];
            m[i * n + j] = sum * root(a[i * n + i]) * root(a[j * n + j]);
        }
    diagonalise(m, NULL, n);
    double trace = 0;
    for (int i = 0; i < n; ++i) trace += root(m[i * n + i]);
    return trace;
}

Status distance_frechet(const float *a, int64_t count_a, const float *b, int64_t count_b, int width,
                        double *out) {
    TRY(check(a, count_a, width, 2));
    TRY(check(b, count_b, width, 2));
    size_t n = (size_t)width, square = n * n;
    double *memory = calloc(5 * square + 2 * n, sizeof *memory);
    FAIL_IF(!memory, NO_MEMORY, "no memory for covariances of %d features", width);
    double *cov_a = memory, *cov_b = cov_a + square, *scratch = cov_b + square;
    double *mean_a = scratch + 3 * square, *mean_b = mean_a + n, sum = 0;
    moments(a, count_a, width, mean_a, cov_a);
    moments(b, count_b, width, mean_b, cov_b);
    for (size_t j = 0; j < n; ++j) {
        double gap = mean_a[j] - mean_b[j];
        sum += gap * gap + cov_a[j * n + j] + cov_b[j * n + j];
    }
    sum -= 2 * trace_of_root(cov_a, cov_b, scratch, scratch + square, scratch + 2 * square, width);
    *out = sum > 0 ? sum : 0;
    free(memory);
    return STATUS_OK;
}

// ---- precision and recall ---------------------------------------------------------------------

static double squared(const float *x, const float *y, int width) {
    double sum = 0;
    for (int j = 0; j < width; ++j) sum += ((double)x[j] - y[j]) * ((double)x[j] - y[j]);
    return sum;
}

// Squared distance of each point to its DISTANCE_NEIGHBOURS-th nearest other.
static void reaches(const float *x, int64_t count, int width, double *reach) {
    for (int64_t i = 0; i < count; ++i) {
        double nearest[DISTANCE_NEIGHBOURS] = {INFINITY, INFINITY, INFINITY};
        for (int64_t j = 0; j < count; ++j) {
            double far = i == j ? INFINITY : squared(x + i * width, x + j * width, width);
            for (int k = 0; k < DISTANCE_NEIGHBOURS; ++k)
                if (far < nearest[k]) {
                    double farther = nearest[k];
                    nearest[k] = far;
                    far = farther;
                }
        }
        reach[i] = nearest[DISTANCE_NEIGHBOURS - 1];
    }
}

// Share of y that x covers.
static Status covered(const float *x, int64_t count_x, const float *y, int64_t count_y, int width,
                      double *out) {
    double *reach = malloc((size_t)count_x * sizeof *reach);
    FAIL_IF(!reach, NO_MEMORY, "no memory for the neighbours of %lld", (long long)count_x);
    reaches(x, count_x, width, reach);
    int64_t inside = 0;
    for (int64_t i = 0; i < count_y; ++i)
        for (int64_t j = 0; j < count_x; ++j)
            if (squared(y + i * width, x + j * width, width) <= reach[j]) {
                ++inside;
                break;
            }
    *out = (double)inside / (double)count_y;
    free(reach);
    return STATUS_OK;
}

Status distance_precision_recall(const float *real, int64_t count_real, const float *drawn,
                                 int64_t count_drawn, int width, double *precision,
                                 double *recall) {
    TRY(check(real, count_real, width, DISTANCE_NEIGHBOURS + 1));
    TRY(check(drawn, count_drawn, width, DISTANCE_NEIGHBOURS + 1));
    TRY(covered(real, count_real, drawn, count_drawn, width, precision));
    TRY(covered(drawn, count_drawn, real, count_real, width, recall));
    return STATUS_OK;
}
