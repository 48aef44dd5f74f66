// Discrete flow matching (arXiv 2407.15595): tokens of a source, masks or uniform classes, jump to
// those of the data one by one; t is the share that has not yet jumped. The loss is the plain cross
// entropy of the data. A sampler lets a token jump, with probability (t-s)/t, to a draw from the
// network's guess; the bound of that chain is arXiv 2412.03487's.
#include "model/process/family_categorical.h"

static CategoricalMass mass(const ProcessConfig *config, double t) {
    bool uniform = word_is(config->schedule, "uniform");
    return (CategoricalMass){1 - t, uniform ? t : 0, uniform ? 0 : t};
}

static double rate(UNUSED const ProcessConfig *config, double t) {
    return 1 / t;
}

static const CategoricalSystem own = {.form = CATEGORICAL_GUESS, .mass = mass, .rate = rate};

const ProcessSystem system_discrete_flow = {
    .name = "discrete-flow",
    .family = &family_categorical,
    .choices = {.schedule = "uniform, absorbing",
                .times = "uniform, stratified",
                .solver = "ancestral"},
    .end = 1,
    .own = &own,
};
