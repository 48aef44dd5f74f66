// Score entropy discrete diffusion (arXiv 2310.16834): the network says how much likelier each
// class of a token would be than the one it has. Total noise is log-linear, sigma = - log A_t; what
// is not kept is masked ("absorbing") or uniform.
#include "model/process/family_categorical.h"

static bool is_uniform(const ProcessConfig *config) {
    return word_is(config->schedule, "uniform");
}

// What uniform noise keeps at t = 1, as in the authors' code; masks cover all.
static const double least = 1e-3;

static CategoricalMass mass(const ProcessConfig *config, double t) {
    if (!is_uniform(config)) return (CategoricalMass){1 - t, 0, t};
    return (CategoricalMass){1 - (1 - least) * t, (1 - least) * t, 0};
}

// d sigma/dt, for masks times the ratio 1/(e^sigma - 1) that the scores are told in units of.
static double rate(const ProcessConfig *config, double t) {
    return is_uniform(config) ? (1 - least) / (1 - (1 - least) * t) : 1 / t;
}

static const CategoricalSystem own = {
    .form = CATEGORICAL_SCORE, .mass = mass, .rate = rate, .weighted = true};

const ProcessSystem system_sedd = {
    .name = "sedd",
    .family = &family_categorical,
    .choices = {.schedule = "absorbing, uniform",
                .times = "uniform, stratified",
                .solver = "ancestral"},
    .begin = 1e-3,
    .end = 1,
    .prior = categorical_prior_nats,
    .own = &own,
};
