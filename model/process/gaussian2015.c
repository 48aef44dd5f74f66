// Sohl-Dickstein et al. 2015 (arXiv 1503.03585), Gaussian: its schedule, its reverse kernel and its
// bound K, as the authors' code has them where code and paper differ.
//
// The network gives a mean coefficient m and a variance coefficient v of each dimension:
//   x_{t-1} ~ N( sqrt(1-b_t) x_t + sqrt(b_t) m,  sigm(v / sqrt(T) + logit b_t) )
// The first step is the forward kernel backwards, p(x_0|x_1) = N(sqrt(1-b_1) x_1, b_1): nothing to
// be learned. The kernel is reversible with respect to N(0,1), so this costs exactly
// log N(x_0) - log N(x_1) more than q(x_1|x_0), which vanishes on the mean of data of variance 1.
//
// The bound here is -K in nats with that correction, hence a bound on any data.
#include <math.h>

#include "model/process/family_gaussian.h"

// 1 / b_t falls evenly from T to 2, so that each step destroys about as much of the data; a floor,
// and more noise in the first step.
static void fill(const ProcessConfig *config, double *step_noise) {
    int steps = config->steps;
    for (int t = 1; t <= steps; ++t) {
        double share = steps > 1 ? (double)(t - 1) / (steps - 1) : 1;
        double least = 1e-6 + (t == 1 ? 1e-3 : 0);
        step_noise[t] = least + (1 - least - 1e-5) / (steps - share * (steps - 2));
    }
}

static GaussianVariance variance(const Process *process, double t, double s) {
    double b = gaussian_step_noise(process, t, s);
    return (GaussianVariance){
        .add = log(b / (1 - b)), .mul = 1 / sqrt(process->config.steps), .logistic = true};
}

// mean = c_x x_t + c_0 x0_hat for the posterior's c: what x0_hat must be for the mean above. At
// t = 1 the posterior is x_0 itself.
static void numbers(const Process *process, double time, GaussianNumbers *out) {
    const NoiseTable *table = &process->table;
    int t = (int)time;
    double b = table->step_noise[t];
    double c_x = t > 1 ? sqrt(1 - b) * table->noise[t - 1] / table->noise[t] : 0;
    double c_0 = t > 1 ? out->slope : 1;
    out->hat_x = (sqrt(1 - b) - c_x) / c_0;
    out->hat_out = t > 1 ? sqrt(b) / c_0 : 0;
    out->term = t > 1 ? GAUSSIAN_KL : GAUSSIAN_NOTHING;
    out->variance = t > 1 ? variance(process, t, t - 1) : (GaussianVariance){0};
    out->term_weight = process->config.steps - 1;
}

// Entropies of a dimension, nats.
static double entropy(double variance) {
    return 0.5 * log(2 * M_PI * M_E * variance);
}

static double prior(const Process *process, const void *x_0) {
    const NoiseTable *table = &process->table;
    int steps = process->config.steps;
    double first = table->step_noise[1], keep = table->keep[steps], noise = table->noise[steps];
    double squares = gaussian_square_sum(process, x_0), n = (double)process->items;
    // - H_q(X_T|X_0) + H_q(X_1|X_0) + the cross-entropy of X_T to N(0,1), H_p(X_T) on such data
    double nats = n * (entropy(first) - entropy(noise) + 0.5 * log(2 * M_PI) + 0.5 * noise) +
                  0.5 * keep * squares;
    // - E [log N(x_0) - log N(x_1)]
    return nats + 0.5 * first * (squares - n);
}

// - log N(x; 0, I)
static double null_nats(const Process *process, const void *x_0) {
    return 0.5 * ((double)process->items * log(2 * M_PI) + gaussian_square_sum(process, x_0));
}

static const GaussianSystem own = {.numbers = numbers, .variance = variance, .has_variance = true};

const ProcessSystem system_gaussian2015 = {
    .name = "gaussian2015",
    .family = &family_gaussian,
    .choices = {.loss = "vlb", .solver = "ddim, ddpm"},
    .starts_late = true,
    .fill = fill,
    .prior = prior,
    .null_nats = null_nats,
    .own = &own,
};
