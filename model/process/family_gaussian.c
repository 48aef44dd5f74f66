// The tensor work of Gaussian processes: numbers of a time, then a few operations. Samplers are
// those of DDPM (arXiv 2006.11239) and DDIM (2010.02502).
#include "model/process/family_gaussian.h"

#include <math.h>
#include <string.h>

static const GaussianSystem *system_of(const Process *process) {
    return process->system->own;
}

static bool has_variance(const Process *process) {
    const GaussianSystem *system = system_of(process);
    return system->has_variance != NULL && system->has_variance(&process->config);
}

static Status check(const ProcessSystem *system, const ProcessConfig *config, NetworkShape *shape) {
    const GaussianSystem *own = system->own;
    bool halves = own->has_variance != NULL && own->has_variance(config);
    shape->out_channels = shape->channels * (halves ? 2 : 1);
    return STATUS_OK;
}

// ---- numbers ----------------------------------------------------------------------------------

double gaussian_step_noise(const Process *process, int t, int s) {
    const NoiseTable *table = &process->table;
    if (table->keep[s] > 0.5) return (table->noise[t] - table->noise[s]) / table->keep[s];
    return 1 - table->keep[t] / table->keep[s];
}

double gaussian_posterior_variance(const Process *process, int t, int s) {
    const NoiseTable *table = &process->table;
    return gaussian_step_noise(process, t, s) * table->noise[s] / table->noise[t];
}

GaussianNumbers gaussian_numbers(const Process *process, int t) {
    const NoiseTable *table = &process->table;
    GaussianNumbers numbers = {.keep = sqrt(table->keep[t]), .noise = sqrt(table->noise[t])};
    if (t > 1) {
        numbers.slope = sqrt(table->keep[t - 1]) * table->step_noise[t] / table->noise[t];
        numbers.log_posterior = log(gaussian_posterior_variance(process, t, t - 1));
    }
    system_of(process)->numbers(process, t, &numbers);
    return numbers;
}

static double weight(const Process *process, int t) {
    GaussianNumbers numbers = gaussian_numbers(process, t);
    return numbers.term_weight > 0 ? numbers.term_weight : numbers.weight;
}

static void level(const Process *process, int t, double scale, void *row) {
    GaussianNumbers n = gaussian_numbers(process, t);
    *(GaussianLevel *)row = (GaussianLevel){
        .keep = (float)n.keep,
        .noise = (float)n.noise,
        .target_x0 = (float)n.target_x0,
        .target_eps = (float)n.target_eps,
        .hat_x = (float)n.hat_x,
        .hat_out = (float)n.hat_out,
        .weight = (float)(scale * n.weight),
        .term = n.term,
        .mean_stops = n.mean_stops,
        .term_weight = scale * n.term_weight,
        .slope = n.slope,
        .log_posterior = n.log_posterior,
        .variance = n.variance,
    };
}

double gaussian_square_sum(const Process *process, const void *x_0) {
    const float *x = x_0;
    double mean = (double)process->config.data_mean, std = (double)process->config.data_std;
    double width = (double)process->width, sum = (double)process->items * width * width / 12;
    for (int64_t i = 0; i < process->items; ++i)
        sum += ((double)x[i] - mean) * ((double)x[i] - mean);
    return sum / (std * std);
}

// ---- tensors ----------------------------------------------------------------------------------

static void corrupt(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                    RngKey key) {
    gaussian_corrupt(stream, (GaussianCorrupt){.x_0 = pass->x_0,
                                               .sample = pass->sample,
                                               .level = pass->level,
                                               .x_t = pass->x_t,
                                               .target = pass->target,
                                               .samples = samples,
                                               .item = process->items,
                                               .key = key});
}

static GaussianTerms terms_of(const Process *process, Pass *pass, int64_t samples) {
    return (GaussianTerms){.out = pass->out,
                           .x_0 = pass->x_0,
                           .x_t = pass->x_t,
                           .target = pass->target,
                           .level = pass->level,
                           .samples = samples,
                           .item = process->items,
                           .has_variance = has_variance(process)};
}

static void loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient) {
    float *dout = gradient ? pass->dout : NULL;
    if (word_is(process->config.loss, "simple")) {
        gaussian_loss(stream, (GaussianLoss){.out = pass->out,
                                             .target = pass->target,
                                             .level = pass->level,
                                             .dout = dout,
                                             .loss = pass->loss,
                                             .samples = samples,
                                             .item = process->items});
        return;
    }
    GaussianTerms args = terms_of(process, pass, samples);
    args.dout = dout;
    args.loss = pass->loss;
    gaussian_terms(stream, args);
}

static void bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    GaussianTerms args = terms_of(process, pass, samples);
    args.error = pass->error;
    args.clip = process->image;
    gaussian_terms(stream, args);
}

// ---- sampling ---------------------------------------------------------------------------------

GaussianStep gaussian_step(const Process *process, const SamplerConfig *config, int t, int s) {
    const NoiseTable *table = &process->table;
    double keep_t = table->keep[t], keep_s = table->keep[s];
    double noise_t = table->noise[t], noise_s = table->noise[s];
    if (word_is(config->solver, "ddim")) {
        double std = (double)config->eta * sqrt(gaussian_posterior_variance(process, t, s));
        double by_x = sqrt(fmax(noise_s - std * std, 0) / noise_t);
        return (GaussianStep){by_x, sqrt(keep_s) - by_x * sqrt(keep_t), .std = std};
    }
    GaussianStep step = {
        .by_x = sqrt(keep_t / keep_s) * noise_s / noise_t,
        .by_x0 = sqrt(keep_s) * gaussian_step_noise(process, t, s) / noise_t,
    };
    if (s == 0) return step; // the last step gives the mean
    step.variance = system_of(process)->variance(process, t, s);
    step.has_variance = has_variance(process);
    if (!step.has_variance) step.std = exp(0.5 * step.variance.add);
    return step;
}

static void begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, RngKey key) {
    gaussian_prior(stream, (GaussianPrior){.sample = pass->sample,
                                           .x = pass->x_t,
                                           .samples = samples,
                                           .item = sampler->process->items,
                                           .std = 1,
                                           .key = key});
}

static void advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, int t,
                    int s, RngKey key) {
    const Process *process = sampler->process;
    GaussianNumbers numbers = gaussian_numbers(process, t);
    GaussianStep step = gaussian_step(process, &sampler->config, t, s);
    gaussian_advance(stream, (GaussianAdvance){.x = pass->x_t,
                                               .out = pass->out,
                                               .sample = pass->sample,
                                               .next = pass->x_t,
                                               .samples = samples,
                                               .item = process->items,
                                               .out_item = process->out_item,
                                               .hat_x = numbers.hat_x,
                                               .hat_out = numbers.hat_out,
                                               .by_x = step.by_x,
                                               .by_x0 = step.by_x0,
                                               .std = step.std,
                                               .variance = step.variance,
                                               .has_variance = step.has_variance,
                                               .clip = sampler->config.clip && process->image,
                                               .key = key});
    if (s > 0 || (process->config.data_mean == 0 && process->config.data_std == 1)) return;
    rescale(stream, (Rescale){.x = pass->x_t,
                              .sample = pass->sample,
                              .y = pass->x_t,
                              .samples = samples,
                              .item = process->items,
                              .scale = process->config.data_std,
                              .shift = process->config.data_mean});
}

const ProcessFamily family_gaussian = {
    .data = "numbers",
    .solvers = "ddim, ddpm",
    .level_bytes = sizeof(GaussianLevel),
    .target = true,
    .check = check,
    .level = level,
    .weight = weight,
    .corrupt = corrupt,
    .loss = loss,
    .bound_terms = bound_terms,
    .begin = begin,
    .advance = advance,
};
