// Sohl-Dickstein et al. 2015 (arXiv 1503.03585), binomial: bits that are redrawn, b_t = 1/(T-t+1)
// of them in step t, as ones at `process.rate`. The network gives the distribution of x_{t-1}
// itself. The first step is the forward kernel backwards, which is reversible with respect to the
// base distribution pi: it costs E[log pi(x_0) - log pi(x_1)] more than q(x_1|x_0), which is 0 on
// the mean where the rate is that of the data. The bound here is -K in nats with that correction.
#include <math.h>

#include "model/process/family_categorical.h"

static Status check(UNUSED const ProcessConfig *config, const NetworkShape *shape) {
    FAIL_IF(shape->vocabulary != 2, BAD_CONFIG,
            "the data have %d symbols; binomial diffusion is for two", shape->vocabulary);
    return STATUS_OK;
}

static void fill(const ProcessConfig *config, double *step_noise) {
    for (int t = 1; t <= config->steps; ++t) step_noise[t] = 1.0 / (config->steps - t + 1);
}

static double base(const Process *process, int k) {
    double rate = (double)process->config.rate;
    return k == 1 ? rate : 1 - rate;
}

static double entropy(double p) {
    double q = 1 - p, nats = 0;
    if (p > 0) nats -= p * log(p);
    if (q > 0) nats -= q * log(q);
    return nats;
}

// Of a bit: H_q(X_1|X_0) - H_q(X_T|X_0) + cross-entropy of X_T to pi - E [log pi(x_0) - log
// pi(x_1)].
static double prior(const Process *process, const void *x_0) {
    const int32_t *x = x_0;
    const NoiseTable *table = &process->table;
    int steps = process->config.steps;
    double nats[2], rate = base(process, 1), log_pi[2] = {log(1 - rate), log(rate)};
    for (int bit = 0; bit < 2; ++bit) {
        double first = table->keep[1] * bit + rate * table->noise[1];
        double last = table->keep[steps] * bit + rate * table->noise[steps];
        nats[bit] = entropy(first) - entropy(last) - last * log_pi[1] - (1 - last) * log_pi[0] -
                    log_pi[bit] + first * log_pi[1] + (1 - first) * log_pi[0];
    }
    double sum = 0;
    for (int64_t i = 0; i < process->items; ++i) sum += nats[x[i] != 0];
    return sum;
}

// - log pi(x): the noise itself as a model.
static double null_nats(const Process *process, const void *x_0) {
    const int32_t *x = x_0;
    double sum = 0;
    for (int64_t i = 0; i < process->items; ++i) sum -= log(base(process, x[i] != 0));
    return sum;
}

static const CategoricalSystem own = {.form = CATEGORICAL_DIRECT, .base = base};

const ProcessSystem system_binomial = {
    .name = "binomial",
    .family = &family_categorical,
    .choices = {.solver = "ancestral"},
    .starts_late = true,
    .one_step = true,
    .check = check,
    .fill = fill,
    .prior = prior,
    .null_nats = null_nats,
    .own = &own,
};
