// Multinomial diffusion (arXiv 2102.05379): tokens are replaced by uniform ones, the network's
// softmax is put in place of x_0 in the posterior ("plug-in"). Its best output is therefore the
// distribution of a token given all *other* noisy tokens, not given all of them. At t = 1 the
// decoder is that of the authors' code: the posterior with A_0 = 1.
#include <math.h>

#include "model/process/family_categorical.h"

// As the authors' code: f is a cosine without the square, a_t^2 is clipped at 0.001 and A_t is the
// product of the clipped a_t.
static void fill(const ProcessConfig *config, double *step_noise) {
    int steps = config->steps;
    double before = cos(0.008 / 1.008 * M_PI_2);
    for (int t = 1; t <= steps; ++t) {
        double f = cos(((double)t / steps + 0.008) / 1.008 * M_PI_2);
        double squared = f / before * (f / before);
        step_noise[t] = 1 - sqrt(fmax(squared, 0.001));
        before = f;
    }
}

static const CategoricalSystem own = {.form = CATEGORICAL_PLUG_IN};

const ProcessSystem system_multinomial = {
    .name = "multinomial",
    .family = &family_categorical,
    .choices = {.schedule = "cosine",
                .times = "uniform, importance, stratified",
                .solver = "ancestral"},
    .fill = fill,
    .prior = categorical_prior_nats,
    .own = &own,
};
