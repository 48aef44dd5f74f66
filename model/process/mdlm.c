// Masked diffusion in continuous time (MDLM, arXiv 2406.07524; MD4, 2406.04329; LLaDA, 2502.09992):
// tokens become masks one after another, and the network says, without being told the time, what
// the masked ones were. Its loss is the bound itself, the cross entropy of masked tokens over the
// share t of them; it is the same for every schedule of t. The best output is p(x_0|x_t).
// With process.block it is block diffusion (BD3-LM, 2503.09573): the same within each block, given
// those before it.
#include "model/process/family_categorical.h"

static CategoricalMass mass(UNUSED const ProcessConfig *config, double t) {
    return (CategoricalMass){1 - t, 0, t};
}

static double rate(UNUSED const ProcessConfig *config, double t) {
    return 1 / t;
}

// Of all tokens, whatever t: the weight of the loss has 1/t in it.
static double aux(const Process *process, double t) {
    return process->config.aux > 0 ? (double)process->config.aux * t : 0;
}

static const CategoricalSystem own = {
    .form = CATEGORICAL_GUESS, .mass = mass, .aux = aux, .rate = rate, .weighted = true};

const ProcessSystem system_mdlm = {
    .name = "mdlm",
    .family = &family_categorical,
    .choices = {.times = "stratified, uniform", .solver = "ancestral, remask, purity"},
    .end = 1,
    .timeless = true,
    .blocks = true,
    .own = &own,
};
