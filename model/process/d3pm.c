// D3PM (arXiv 2107.03006) with an absorbing state: at time t a share t/T of the tokens is masked,
// and beside the bound stands the cross entropy of the data. Of masked tokens the paper's form, the
// network's softmax in the place of x_0, and the mixture are the same; tokens that are seen are
// taken for the data. The softmax at its best is therefore p(x_0|x_t).
#include "model/process/family_categorical.h"

static CategoricalMass mass(const ProcessConfig *config, double t) {
    return (CategoricalMass){1 - t / config->steps, 0, t / config->steps};
}

static double aux(const Process *process, double t) {
    (void)t;
    return process->config.aux < 0 ? 0.01 : (double)process->config.aux; // the paper's, for text
}

static const CategoricalSystem own = {.form = CATEGORICAL_MIXTURE, .mass = mass, .aux = aux};

const ProcessSystem system_d3pm = {
    .name = "d3pm",
    .family = &family_categorical,
    .choices = {.schedule = "absorbing",
                .times = "uniform, stratified",
                .solver = "ancestral, remask, purity"},
    .first_time = 1,
    .own = &own,
};
