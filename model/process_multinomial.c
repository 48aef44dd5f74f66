// Multinomial diffusion (arXiv 2102.05379): tokens are replaced by uniform ones, the network's
// softmax is put in place of x_0 in the posterior ("plug-in"). Its best output is therefore the
// distribution of a token given all *other* noisy tokens, not given all of them.
#include <math.h>

#include "model/process_impl.h"

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

static Status check(const ProcessConfig *config, NetworkShape *shape) {
    FAIL_IF(!shape->tokens, BAD_CONFIG,
            "process.name is \"multinomial\", but the data are numbers; choose gaussian");
    TRY(process_check_choice("process.schedule", config->schedule, "cosine"));
    FAIL_IF(shape->vocabulary < 2 || shape->vocabulary > CATEGORICAL_CLASSES_MOST, BAD_CONFIG,
            "the data have %d symbols; multinomial diffusion takes 2 to %d", shape->vocabulary,
            (int)CATEGORICAL_CLASSES_MOST);
    shape->out_channels = shape->vocabulary;
    return STATUS_OK;
}

// Uniform t: weight T makes the loss an unbiased estimate of the bound without its prior term, in
// nats (arXiv 2102.05379, eq. 18 with p_t = 1/T).
CategoricalLevel categorical_numbers(const Process *process, int t, int s) {
    const NoiseTable *table = &process->table;
    return (CategoricalLevel){.keep = table->keep[t],
                              .step_keep = table->keep[t] / table->keep[s],
                              .keep_before = table->keep[s],
                              .weight = process->config.steps};
}

static void level(const Process *process, int t, void *row) {
    *(CategoricalLevel *)row = categorical_numbers(process, t, t - 1);
}

// ---- tensors ----------------------------------------------------------------------------------

static void corrupt(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                    RngKey key) {
    categorical_corrupt(stream, (CategoricalCorrupt){.x_0 = pass->x_0,
                                                     .sample = pass->sample,
                                                     .level = pass->level,
                                                     .x_t = pass->x_t,
                                                     .samples = samples,
                                                     .item = process->items,
                                                     .classes = process->vocabulary,
                                                     .key = key});
}

static CategoricalLoss loss_of(const Process *process, Pass *pass, int64_t samples) {
    return (CategoricalLoss){.logits = pass->out,
                             .x_0 = pass->x_0,
                             .x_t = pass->x_t,
                             .level = pass->level,
                             .samples = samples,
                             .item = process->items,
                             .classes = process->vocabulary};
}

static void loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient) {
    CategoricalLoss args = loss_of(process, pass, samples);
    args.dlogits = gradient ? pass->dout : NULL;
    args.loss = pass->loss;
    categorical_loss(stream, args);
}

static void bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    CategoricalLoss args = loss_of(process, pass, samples);
    args.error = pass->error;
    categorical_loss(stream, args);
}

// KL(A x_0 + (1-A)/K || 1/K) for each token; the same whatever x_0 is.
static double bound_prior(const Process *process, const void *x_0) {
    (void)x_0;
    double classes = process->vocabulary, keep = process->table.keep[process->config.steps];
    double rest = process->table.noise[process->config.steps];
    double here = keep + rest / classes, each = here * log(classes * here);
    each += (classes - 1) * rest / classes * log(rest);
    return (double)process->items * each;
}

// ---- sampling ---------------------------------------------------------------------------------

static Status sampler_check(const SamplerConfig *config) {
    return process_check_choice("sampler.solver", config->solver, "ancestral");
}

static void begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, RngKey key) {
    categorical_prior(stream, (CategoricalPrior){.sample = pass->sample,
                                                 .x = pass->x_t,
                                                 .samples = samples,
                                                 .item = sampler->process->items,
                                                 .classes = sampler->process->vocabulary,
                                                 .key = key});
}

static void advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, int t,
                    int s, RngKey key) {
    categorical_advance(stream,
                        (CategoricalAdvance){.logits = pass->out,
                                             .x_t = pass->x_t,
                                             .sample = pass->sample,
                                             .next = pass->x_t,
                                             .samples = samples,
                                             .item = sampler->process->items,
                                             .classes = sampler->process->vocabulary,
                                             .level = categorical_numbers(sampler->process, t, s),
                                             .key = key});
}

const ProcessFamily process_multinomial = {
    .name = "multinomial",
    .level_bytes = sizeof(CategoricalLevel),
    .check = check,
    .fill = fill,
    .level = level,
    .corrupt = corrupt,
    .loss = loss,
    .bound_terms = bound_terms,
    .bound_prior = bound_prior,
    .sampler_check = sampler_check,
    .begin = begin,
    .advance = advance,
};
