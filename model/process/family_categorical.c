// The tensor work of categorical processes.
#include "model/process/family_categorical.h"

#include <math.h>
#include <string.h>

static const CategoricalSystem *system_of(const Process *process) {
    return process->system->own;
}

// Where all is noise, of a system that has `mass`.
static CategoricalMass last_mass(const ProcessSystem *system, const ProcessConfig *config) {
    const CategoricalSystem *own = system->own;
    return own->mass(config, is_continuous(system) ? system->end : config->steps);
}

int32_t process_mask(const Process *process) {
    bool stays = process->mask >= 0 && last_mass(process->system, &process->config).spread == 0;
    return stays ? process->mask : -1;
}

static Status check(const ProcessSystem *system, const ProcessConfig *config, NetworkShape *shape) {
    const CategoricalSystem *own = system->own;
    FAIL_IF(config->aux > 0 && own->aux == NULL, BAD_CONFIG,
            "process.aux is %g, which says nothing to %s; leave it away", (double)config->aux,
            system->name);
    FAIL_IF(shape->vocabulary < 2 || shape->vocabulary > CATEGORICAL_CLASSES_MOST, BAD_CONFIG,
            "the data have %d symbols; %s diffusion takes 2 to %d", shape->vocabulary, system->name,
            (int)CATEGORICAL_CLASSES_MOST);
    shape->out_channels = shape->vocabulary;
    if (own->mass != NULL && last_mass(system, config).mask > 0)
        ++shape->vocabulary; // the network reads it, and never says it
    return STATUS_OK;
}

// ---- numbers ----------------------------------------------------------------------------------

static double weight(const Process *process, double t) {
    const CategoricalSystem *own = system_of(process);
    if (is_continuous(process->system)) return own->weighted ? own->rate(&process->config, t) : 1;
    return process->config.steps - first_time(process->system) + 1;
}

// As A_t = A_s a, 1 - C_t = (1 - C_s) (1 - c), without a difference where there is no spread.
static CategoricalLevel mass_numbers(const Process *process, double t, double s) {
    const CategoricalSystem *system = system_of(process);
    CategoricalMass at = system->mass(&process->config, t);
    CategoricalMass before = system->mass(&process->config, s);
    double classes = before.keep + before.spread;
    double spread = at.spread * before.keep - at.keep * before.spread;
    return (CategoricalLevel){.keep = at.keep,
                              .step_keep = at.keep / before.keep,
                              .keep_before = before.keep,
                              .weight = weight(process, t),
                              .mask = at.mask,
                              .step_mask = (at.mask - before.mask) / classes,
                              .mask_before = before.mask,
                              .step_spread = spread / (before.keep * classes),
                              .spread_before = before.spread,
                              .aux = system->aux != NULL ? system->aux(process, t) : 0,
                              .stay = at.keep < 1 ? (1 - before.keep) / (1 - at.keep) : 0,
                              .form = system->form};
}

CategoricalLevel categorical_numbers(const Process *process, double t, double s) {
    const NoiseTable *table = &process->table;
    const CategoricalSystem *system = system_of(process);
    if (process->dense != NULL)
        return (CategoricalLevel){.weight = weight(process, t),
                                  .aux = system->aux(process, t),
                                  .form = CATEGORICAL_DENSE,
                                  .at = (int32_t)t,
                                  .to = (int32_t)s};
    if (system->mass != NULL) return mass_numbers(process, t, s);
    int at = (int)t, to = (int)s;
    return (CategoricalLevel){.keep = table->keep[at],
                              .step_keep = table->keep[at] / table->keep[to],
                              .keep_before = table->keep[to],
                              .weight = weight(process, t),
                              .form = at < first_time(process->system) ? CATEGORICAL_NOTHING
                                                                       : system->form};
}

// Tokens that masks are counted among: of a block, or all.
static double masked_among(const Process *process) {
    return process->config.block > 0 ? process->config.block : (double)process->items;
}

// In continuous time the step is the whole way from the data. With masks exactly as many tokens are
// masked as t is a share of: the mean over uniform t is that of masks drawn one by one, and varies
// less.
static void level(const Process *process, double t, double scale, void *row) {
    CategoricalLevel *level = row;
    if (!is_continuous(process->system)) {
        *level = categorical_numbers(process, t, t - 1);
    } else if (t <= 0 && system_of(process)->rate != NULL) {
        *level = (CategoricalLevel){.keep = 1, .form = CATEGORICAL_NOTHING};
    } else if (process->mask >= 0) {
        double masks = fmax(1, ceil(t * masked_among(process)));
        *level = categorical_numbers(process, masks / masked_among(process), 0);
        level->masks = (int32_t)masks;
    } else {
        *level = categorical_numbers(process, t, 0);
    }
    level->weight *= scale;
}

static double bound_time(const Process *process, double point, double *weight) {
    const CategoricalSystem *system = system_of(process);
    bool masks = process->mask >= 0;
    double n = masked_among(process);
    double t = masks ? (1 + floor(point * n)) / n : point * point; // where the rate is largest
    *weight = system->rate(&process->config, t) * (masks ? 1 : 2 * point);
    return t;
}

double categorical_prior_nats(const Process *process, UNUSED const void *x_0) {
    const ProcessConfig *config = &process->config;
    double keep = system_of(process)->mass != NULL ? last_mass(process->system, config).keep
                                                   : process->table.keep[config->steps];
    if (keep == 0) return 0;
    double classes = process->vocabulary, rest = 1 - keep, here = keep + rest / classes;
    double each = here * log(classes * here) + (classes - 1) * rest / classes * log(rest);
    return (double)process->items * each;
}

static void upload_kernels(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    size_t n = (size_t)process->vocabulary * (size_t)process->vocabulary;
    const CategoricalLevel *level = pass->host_level;
    for (int64_t i = 0; i < samples; ++i) {
        double *kernel = pass->host_base + 3 * (size_t)i * n;
        bool same = i > 0 && level[i].to == level[i - 1].to && level[i].at == level[i - 1].at;
        if (same) // as for all samples of a sampler
            memcpy(kernel, kernel - 3 * n, n * sizeof *kernel);
        else
            system_of(process)->between(process, level[i].to, level[i].at, kernel);
        memcpy(kernel + n, process->dense + (size_t)level[i].to * n, n * sizeof *kernel);
        memcpy(kernel + 2 * n, process->dense + (size_t)level[i].at * n, n * sizeof *kernel);
    }
    stream_upload(stream, pass->base, pass->host_base,
                  3 * (size_t)samples * n * sizeof *pass->base);
}

void categorical_upload_base(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    const CategoricalSystem *system = system_of(process);
    if (process->dense != NULL) upload_kernels(process, stream, pass, samples);
    if (system->base == NULL) return;
    for (int k = 0; k < process->vocabulary; ++k) pass->host_base[k] = system->base(process, k);
    stream_upload(stream, pass->base, pass->host_base,
                  (size_t)process->vocabulary * sizeof *pass->base);
}

// The same numbers for all samples.
static void upload_level(Stream *stream, Pass *pass, int64_t samples, CategoricalLevel level) {
    CategoricalLevel *row = pass->host_level;
    for (int64_t i = 0; i < samples; ++i) row[i] = level;
    stream_upload(stream, pass->level, row, (size_t)samples * sizeof *row);
}

// ---- tensors ----------------------------------------------------------------------------------

static Categorical args_of(const Process *process, const Pass *pass, int64_t samples, RngKey key) {
    return (Categorical){
        .logits = pass->out,
        .x_0 = pass->x_0,
        .sample = pass->sample,
        .level = pass->level,
        .base = system_of(process)->base != NULL || process->dense != NULL ? pass->base : NULL,
        .x_t = pass->x_t,
        .memory = pass->target,
        .race = (double *)pass->dout, // [samples, items, K >= 2]
        .samples = samples,
        .item = process->items,
        .end = process->items,
        .block = process->config.block,
        .classes = process->vocabulary,
        .key = key};
}

static void corrupt(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                    RngKey key) {
    categorical_upload_base(process, stream, pass, samples);
    categorical_corrupt(stream, args_of(process, pass, samples, key));
}

static void loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient) {
    Categorical args = args_of(process, pass, samples, (RngKey){0});
    args.dlogits = gradient ? pass->dout : NULL;
    args.loss = pass->loss;
    args.error = gradient ? NULL : pass->error;
    args.accumulate = gradient && pass->number > 0;
    categorical_loss(stream, args);
}

// What a guess at the level of the corruption says; nothing stays.
static void next_pass(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                      RngKey key) {
    categorical_advance(stream, args_of(process, pass, samples, key));
}

// ---- sampling ---------------------------------------------------------------------------------

// The corruption at T of a class that is not kept; `purity` begins with masks alone.
static void begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, RngKey key) {
    const Process *process = sampler->process;
    pass->context = pass->x_t;
    if (process->mask >= 0) {
        double mask = word_is(sampler->config.solver, "purity")
                          ? 1
                          : last_mass(process->system, &process->config).mask;
        upload_level(stream, pass, samples, (CategoricalLevel){.mask = mask});
        corrupt(process, stream, pass, samples, key);
        return;
    }
    Categorical args = args_of(process, pass, samples, key);
    if (process->dense != NULL) args.base = NULL; // uniform
    categorical_upload_base(process, stream, pass, 0);
    categorical_prior(stream, args);
}

// Whatever the time: a guess of x_0 of which a part is kept, or masked tokens that become classes
// (arXiv 2205.16007, sec. 4.2; 2502.09992).
static void choose_tokens(const Sampler *sampler, const SamplerStep *step, Stream *stream,
                          Categorical args) {
    const SamplerConfig *config = &sampler->config;
    args.steps = sampler->block_steps - (int)(step - sampler->step) % sampler->block_steps;
    if (config->block > 0) args.block = config->block;
    args.temperature = (double)config->temperature;
    args.share = (double)config->share;
    args.purity = (double)config->purity;
    args.kind = word_is(config->solver, "purity")   ? REVEAL_DRAWN
                : word_is(config->solver, "remask") ? REVEAL_SUREST
                : step->kind == STEP_UNROLLED       ? REFRESH_UNCERTAIN
                : word_is(config->solver, "argmax") ? REFRESH_ARGMAX
                                                    : REFRESH_FRACTION;
    if (args.kind == REVEAL_DRAWN || args.kind == REVEAL_SUREST)
        categorical_reveal(stream, args);
    else
        categorical_refresh(stream, args);
}

static void advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                    const SamplerStep *step, RngKey key) {
    const Process *process = sampler->process;
    Categorical args = args_of(process, pass, samples, key);
    args.truncation = (double)sampler->config.truncation;
    args.begin = args.block * sampler_block(sampler, (int)(step - sampler->step));
    if (args.block > 0) args.end = args.begin + args.block;
    if (word_is(sampler->config.solver, "ancestral")) {
        upload_level(stream, pass, samples, categorical_numbers(process, step->time, step->to));
        if (process->dense != NULL) upload_kernels(process, stream, pass, samples);
        categorical_advance(stream, args);
    } else {
        choose_tokens(sampler, step, stream, args);
    }
}

const ProcessFamily family_categorical = {
    .level_bytes = sizeof(CategoricalLevel),
    .check = check,
    .level = level,
    .weight = weight,
    .bound_time = bound_time,
    .corrupt = corrupt,
    .loss = loss,
    .next_pass = next_pass,
    .begin = begin,
    .advance = advance,
};
