// D3PM (arXiv 2107.03006), two kinds of noise; beside the bound stands the cross entropy of the
// data.
//
// absorbing: at time t a share t/T of the tokens is masked. Of masked tokens the paper's form, the
// network's softmax in the place of x_0, and the mixture are the same; tokens that are seen are
// taken for the data. The softmax at its best is therefore p(x_0|x_t).
//
// gaussian, for classes that are in an order: a step goes far as a normal number does (app. A.2.3).
#include <math.h>
#include <string.h>

#include "model/process/family_categorical.h"

enum { NUMBERS_MOST = 1 << 25 }; // of the kernels

static bool is_gaussian(const ProcessConfig *config) {
    return word_is(config->schedule, "gaussian");
}

static CategoricalMass mass(const ProcessConfig *config, double t) {
    if (is_gaussian(config)) return (CategoricalMass){0, 1, 0}; // no masks
    return (CategoricalMass){1 - t / config->steps, 0, t / config->steps};
}

// The paper's for text and for images.
static double aux(const Process *process, UNUSED double t) {
    if (process->config.aux >= 0) return (double)process->config.aux;
    return is_gaussian(&process->config) ? 0.001 : 0.01;
}

// ---- kernels ----------------------------------------------------------------------------------

// Q_t, eq. 8 of the appendix; b from 1e-4 to 0.02 in 1000 steps, as much in all for other T.
static void step_fill(const ProcessConfig *config, int classes, int t, double *kernel) {
    double share = config->steps > 1 ? (t - 1.0) / (config->steps - 1) : 0.5, total = 1;
    double b = (1e-4 + share * (0.02 - 1e-4)) * 1000 / config->steps;
    double width = 0.25 * (classes - 1) * (classes - 1) * b;
    for (int n = 1; n < classes; ++n) total += 2 * exp(-n * n / width);
    for (int i = 0; i < classes; ++i) {
        double stays = 1;
        for (int j = 0; j < classes; ++j) {
            double goes = i == j ? 0 : exp(-(i - j) * (i - j) / width) / total;
            kernel[i * classes + j] = goes;
            stays -= goes;
        }
        kernel[i * classes + i] = stays;
    }
}

// kernel <- kernel Q_t, with room for a kernel and a row behind it.
static void multiply_step(const ProcessConfig *config, int classes, int t, double *kernel,
                          double *room) {
    double *row = room + classes * classes;
    step_fill(config, classes, t, room);
    for (int i = 0; i < classes; ++i) {
        for (int j = 0; j < classes; ++j) row[j] = 0;
        for (int k = 0; k < classes; ++k)
            for (int j = 0; j < classes; ++j)
                row[j] += kernel[i * classes + k] * room[k * classes + j];
        memcpy(kernel + i * classes, row, (size_t)classes * sizeof *row);
    }
}

static int64_t tables(const ProcessConfig *config, int classes, double *out) {
    int64_t n = (int64_t)classes * classes, count = (config->steps + 3) * n; // two of them are room
    if (!is_gaussian(config)) return 0;
    for (int i = 0; i < classes && out != NULL; ++i) out[i * classes + i] = 1;
    for (int t = 1; t <= config->steps && out != NULL; ++t) {
        memcpy(out + t * n, out + (t - 1) * n, (size_t)n * sizeof *out);
        multiply_step(config, classes, t, out + t * n, out + (config->steps + 1) * n);
    }
    return count;
}

static void between(const Process *process, int from, int to, double *kernel) {
    int classes = process->vocabulary, n = classes * classes;
    step_fill(&process->config, classes, from + 1, kernel);
    for (int t = from + 2; t <= to; ++t)
        multiply_step(&process->config, classes, t, kernel, kernel + n);
}

static Status check(const ProcessConfig *config, const NetworkShape *shape) {
    int64_t n = (int64_t)shape->vocabulary * shape->vocabulary;
    FAIL_IF(is_gaussian(config) && config->steps * n > NUMBERS_MOST, BAD_CONFIG,
            "process.steps is %d; with %d symbols the kernels leave room for %lld", config->steps,
            shape->vocabulary, (long long)(NUMBERS_MOST / n));
    return STATUS_OK;
}

// KL(q(x_T|x_0) || uniform).
static double prior(const Process *process, const void *x_0) {
    const int32_t *token = x_0;
    int classes = process->vocabulary;
    double nats = 0;
    for (int64_t i = 0; i < process->items && process->dense != NULL; ++i) {
        const double *row =
            process->dense + ((int64_t)process->config.steps * classes + token[i]) * classes;
        for (int k = 0; k < classes; ++k) nats += row[k] > 0 ? row[k] * log(row[k] * classes) : 0;
    }
    return nats;
}

static const CategoricalSystem own = {
    .form = CATEGORICAL_MIXTURE, .mass = mass, .aux = aux, .between = between};

const ProcessSystem system_d3pm = {
    .name = "d3pm",
    .family = &family_categorical,
    .choices = {.schedule = "absorbing, gaussian",
                .times = "uniform, stratified",
                .solver = "ancestral, remask, purity"},
    .check = check,
    .tables = tables,
    .prior = prior,
    .own = &own,
};
