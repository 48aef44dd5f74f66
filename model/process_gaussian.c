// Gaussian diffusion in discrete time: DDPM (arXiv 2006.11239) with the schedules of improved DDPM
// (2102.09672) and the samplers of DDPM and DDIM (2010.02502). Everything is numbers per time; the
// tensor work is four operations.
#include <math.h>
#include <string.h>

#include "model/process_impl.h"

static bool is(const char *text, const char *choice) {
    return strcmp(text, choice) == 0;
}

// ---- schedule ---------------------------------------------------------------------------------

static double half_circle(double share) { // share = t/T; the iDDPM offset s = 0.008
    return cos((share + 0.008) / 1.008 * M_PI_2);
}

static void fill(const ProcessConfig *config, double *step_noise) {
    int steps = config->steps;
    double scale = 1000.0 / steps;
    for (int t = 1; t <= steps; ++t) {
        if (is(config->schedule, "cosine")) {
            double ratio = half_circle((double)t / steps) / half_circle((double)(t - 1) / steps);
            step_noise[t] = fmin(1 - ratio * ratio, 0.999);
        } else {
            double share = steps > 1 ? (double)(t - 1) / (steps - 1) : 0;
            step_noise[t] = scale * (1e-4 + share * (0.02 - 1e-4));
        }
    }
}

static Status check(const ProcessConfig *config, NetworkShape *shape) {
    FAIL_IF(shape->tokens, BAD_CONFIG,
            "process.name is \"gaussian\", but the data are symbols; choose multinomial");
    TRY(process_check_choice("process.schedule", config->schedule, "cosine, linear"));
    TRY(process_check_choice("process.head", config->head, "eps, x0, v"));
    TRY(process_check_choice("process.variance", config->variance, "fixed-small, fixed-large"));
    FAIL_IF(is(config->schedule, "linear") && config->steps <= 20, BAD_CONFIG,
            "process.steps is %d; the linear schedule needs at least 21, or its last step keeps"
            " nothing",
            config->steps);
    shape->out_channels = shape->channels;
    return STATUS_OK;
}

// ---- levels -----------------------------------------------------------------------------------

// 1 - A_t / A_s: the noise of the composed step from s to t, without cancellation at either end.
static double step_noise_of(const NoiseTable *table, int t, int s) {
    if (table->keep[s] > 0.5) return (table->noise[t] - table->noise[s]) / table->keep[s];
    return 1 - table->keep[t] / table->keep[s];
}

// Reverse variance of the step from t to s: b~ or b of that step.
static double reverse_variance(const Process *process, const char *variance, int t, int s) {
    const NoiseTable *table = &process->table;
    double step = step_noise_of(table, t, s);
    if (is(variance, "fixed-large")) return step;
    return step * table->noise[s] / table->noise[t];
}

static void set_head(const char *head, double keep, double noise, GaussianNumbers *out) {
    if (is(head, "eps")) {
        out->target_eps = 1;
        out->hat_x = 1 / keep;
        out->hat_out = -noise / keep;
    } else if (is(head, "x0")) {
        out->target_x0 = 1;
        out->hat_out = 1;
    } else { // v = keep eps - noise x_0 (arXiv 2202.00512)
        out->target_x0 = -noise;
        out->target_eps = keep;
        out->hat_x = keep;
        out->hat_out = -noise;
    }
}

static void set_bound(const Process *process, int t, GaussianNumbers *out) {
    const NoiseTable *table = &process->table;
    double dims = (double)process->items;
    if (t == 1) {
        double variance = table->step_noise[1];
        out->std = sqrt(variance);
        out->decode = process->image;
        out->error_scale = 1 / (2 * variance);
        out->error_offset = dims * 0.5 * log(2 * M_PI * variance);
        return;
    }
    double small = reverse_variance(process, "fixed-small", t, t - 1);
    double variance = reverse_variance(process, process->config.variance, t, t - 1);
    double slope = sqrt(table->keep[t - 1]) * table->step_noise[t] / table->noise[t];
    out->std = sqrt(variance);
    out->error_scale = slope * slope / (2 * variance);
    out->error_offset = dims * 0.5 * (log(variance / small) + small / variance - 1);
}

GaussianNumbers gaussian_numbers(const Process *process, int t) {
    GaussianNumbers numbers = {.keep = sqrt(process->table.keep[t]),
                               .noise = sqrt(process->table.noise[t])};
    set_head(process->config.head, numbers.keep, numbers.noise, &numbers);
    set_bound(process, t, &numbers);
    return numbers;
}

static void level(const Process *process, int t, void *row) {
    GaussianNumbers n = gaussian_numbers(process, t);
    *(GaussianLevel *)row = (GaussianLevel){
        .keep = (float)n.keep,
        .noise = (float)n.noise,
        .target_x0 = (float)n.target_x0,
        .target_eps = (float)n.target_eps,
        .hat_x = (float)n.hat_x,
        .hat_out = (float)n.hat_out,
        .weight = 1,
        .std = (float)n.std,
        .error_scale = (float)n.error_scale,
        .error_offset = (float)n.error_offset,
        .decode = n.decode,
    };
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

static void loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient) {
    gaussian_loss(stream, (GaussianLoss){.out = pass->out,
                                         .target = pass->target,
                                         .level = pass->level,
                                         .dout = gradient ? pass->dout : NULL,
                                         .loss = pass->loss,
                                         .samples = samples,
                                         .item = process->items});
}

static void bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    gaussian_error(stream, (GaussianError){.x_0 = pass->x_0,
                                           .x_t = pass->x_t,
                                           .out = pass->out,
                                           .level = pass->level,
                                           .error = pass->error,
                                           .samples = samples,
                                           .item = process->items,
                                           .clip = process->image});
}

// KL(N(sqrt(A) x, 1 - A) || N(0, 1)) summed over dimensions.
static double bound_prior(const Process *process, const void *x_0) {
    const float *x = x_0;
    double keep = process->table.keep[process->config.steps];
    double noise = process->table.noise[process->config.steps], squares = 0;
    for (int64_t i = 0; i < process->items; ++i) squares += (double)x[i] * (double)x[i];
    double each = noise - 1 - log(noise);
    return 0.5 * (keep * squares + (double)process->items * each);
}

// ---- sampling ---------------------------------------------------------------------------------

static Status sampler_check(const SamplerConfig *config) {
    TRY(process_check_choice("sampler.solver", config->solver, "ddpm, ddim"));
    FAIL_IF(!(config->eta >= 0 && config->eta <= 1), BAD_CONFIG,
            "sampler.eta is %g; choose 0 (deterministic) to 1 (ancestral)", (double)config->eta);
    return STATUS_OK;
}

GaussianStep gaussian_step(const Process *process, const SamplerConfig *config, int t, int s) {
    const NoiseTable *table = &process->table;
    double keep_t = table->keep[t], keep_s = table->keep[s];
    double noise_t = table->noise[t], noise_s = table->noise[s];
    double small = reverse_variance(process, "fixed-small", t, s);
    if (is(config->solver, "ddim")) {
        double std = (double)config->eta * sqrt(small);
        double by_x = sqrt(fmax(noise_s - std * std, 0) / noise_t);
        return (GaussianStep){by_x, sqrt(keep_s) - by_x * sqrt(keep_t), std};
    }
    double variance = reverse_variance(process, process->config.variance, t, s);
    return (GaussianStep){
        .by_x = sqrt(keep_t / keep_s) * noise_s / noise_t,
        .by_x0 = sqrt(keep_s) * step_noise_of(table, t, s) / noise_t,
        .std = s == 0 ? 0 : sqrt(variance), // the last step gives the mean
    };
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
    GaussianNumbers numbers = gaussian_numbers(sampler->process, t);
    GaussianStep step = gaussian_step(sampler->process, &sampler->config, t, s);
    gaussian_advance(stream,
                     (GaussianAdvance){.x = pass->x_t,
                                       .out = pass->out,
                                       .sample = pass->sample,
                                       .next = pass->x_t,
                                       .samples = samples,
                                       .item = sampler->process->items,
                                       .hat_x = numbers.hat_x,
                                       .hat_out = numbers.hat_out,
                                       .by_x = step.by_x,
                                       .by_x0 = step.by_x0,
                                       .std = step.std,
                                       .clip = sampler->config.clip && sampler->process->image,
                                       .key = key});
}

const ProcessFamily process_gaussian = {
    .name = "gaussian",
    .level_bytes = sizeof(GaussianLevel),
    .target = true,
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
