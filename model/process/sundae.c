// SUNDAE, step-unrolled denoising autoencoders (arXiv 2112.06749): a share alpha of the tokens,
// uniform in (0,1), is replaced by uniform ones, and the network guesses the text without being
// told the share; then it is asked again for what was drawn from its guess. The loss is the mean
// cross entropy of all guesses. It trains a chain whose stationary distribution is near that of the
// data but not that (`answer-sundae` measures how far): there is no likelihood, and none is told.
#include "model/process/family_categorical.h"

static Status check(const ProcessConfig *config, UNUSED const NetworkShape *shape) {
    FAIL_IF(config->unroll < 1 || config->unroll > PROCESS_PASSES_MOST, BAD_CONFIG,
            "process.unroll is %d; choose 1 to %d passes", config->unroll, PROCESS_PASSES_MOST);
    return STATUS_OK;
}

static CategoricalMass mass(UNUSED const ProcessConfig *config, double t) {
    return (CategoricalMass){1 - t, t, 0};
}

static const CategoricalSystem own = {.form = CATEGORICAL_GUESS, .mass = mass};

const ProcessSystem system_sundae = {
    .name = "sundae",
    .family = &family_categorical,
    .choices = {.solver = "fraction, argmax"},
    .end = 1,
    .timeless = true,
    .unrolled = true,
    .check = check,
    .own = &own,
};
