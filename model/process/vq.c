// VQ-Diffusion (arXiv 2111.14822): a token keeps its class, is drawn uniformly, or is masked for
// good. The network's softmax is averaged over ("mixture"): the posterior of every class it gives
// to x_0, by its probability. Its best output is therefore p(x_0|x_t) itself, and at t = 1 the
// decoder is the softmax. Samplers begin with masks, and uniform classes where x_T has none.
#include <math.h>

#include "model/process/family_categorical.h"

// A_t falls and C_t rises in even steps. `released` is the authors' code, where 1e-6 is uniform at
// all t; in the paper that share grows to 0.1.
static CategoricalMass mass(const ProcessConfig *config, double t) {
    if (t == 0) return (CategoricalMass){.keep = 1};
    int steps = config->steps;
    double along = steps > 1 ? (t - 1) / (steps - 1) : 1;
    double last = word_is(config->schedule, "paper") ? 0.9 : 0.99999;
    double keep = 0.99999 + along * (9e-6 - 0.99999), mask = 9e-6 + along * (last - 9e-6);
    return (CategoricalMass){keep, 1 - keep - mask, mask};
}

static double aux(const Process *process, double t) {
    const ProcessConfig *config = &process->config;
    double each = config->aux < 0 ? 5e-4 : (double)config->aux;
    return config->aux_adaptive ? each * (2 - t / config->steps) : each;
}

// KL(q(x_T|x_0) || the mask with C_T, else a uniform class) for each token; the same for all x_0.
static double prior(const Process *process, UNUSED const void *x_0) {
    CategoricalMass end = mass(&process->config, process->config.steps);
    double classes = process->vocabulary, each = (1 - end.mask) / classes;
    double rest = end.spread / classes, here = end.keep + rest;
    return (double)process->items *
           (here * log(here / each) + (classes - 1) * rest * log(rest / each));
}

static const CategoricalSystem own = {.form = CATEGORICAL_MIXTURE, .mass = mass, .aux = aux};

const ProcessSystem system_vq = {
    .name = "vq",
    .family = &family_categorical,
    .choices = {.schedule = "released, paper",
                .times = "importance, uniform",
                .solver = "ancestral, purity, remask"},
    .prior = prior,
    .own = &own,
};
