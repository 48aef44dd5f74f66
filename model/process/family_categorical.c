// The tensor work of categorical processes.
#include "model/process/family_categorical.h"

#include <math.h>
#include <string.h>

static const CategoricalSystem *system_of(const Process *process) {
    return process->system->own;
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
    if (own->mass != NULL) ++shape->vocabulary; // the network reads the mask, and never says it
    return STATUS_OK;
}

// ---- numbers ----------------------------------------------------------------------------------

static double weight(const Process *process, double t) {
    (void)t;
    if (is_continuous(process->system)) return 1;
    return process->config.steps - process->system->first_time + 1;
}

// As A_t = A_s a, 1 - C_t = (1 - C_s) (1 - c), without a difference where there is no spread.
static CategoricalLevel masked_numbers(const Process *process, int t, int s) {
    const CategoricalSystem *system = system_of(process);
    CategoricalMass at = system->mass(process, t), before = system->mass(process, s);
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
                              .form = system->form};
}

CategoricalLevel categorical_numbers(const Process *process, int t, int s) {
    const NoiseTable *table = &process->table;
    const CategoricalSystem *system = system_of(process);
    if (system->mass != NULL) return masked_numbers(process, t, s);
    return (CategoricalLevel){.keep = table->keep[t],
                              .step_keep = table->keep[t] / table->keep[s],
                              .keep_before = table->keep[s],
                              .weight = weight(process, t),
                              .form = t > 1 ? system->form : system->first_form};
}

static void level(const Process *process, double t, double scale, void *row) {
    if (is_continuous(process->system)) { // the time is the share of noise
        *(CategoricalLevel *)row =
            (CategoricalLevel){.keep = 1 - t, .weight = scale, .form = system_of(process)->form};
        return;
    }
    CategoricalLevel numbers = categorical_numbers(process, (int)t, (int)t - 1);
    numbers.weight *= scale;
    *(CategoricalLevel *)row = numbers;
}

void categorical_upload_base(const Process *process, Stream *stream, Pass *pass) {
    const CategoricalSystem *system = system_of(process);
    if (system->base == NULL) return;
    for (int k = 0; k < process->vocabulary; ++k) pass->host_base[k] = system->base(process, k);
    stream_upload(stream, pass->base, pass->host_base,
                  (size_t)process->vocabulary * sizeof *pass->base);
}

// Device memory of the base distribution, NULL: uniform.
static const double *base_of(const Process *process, const Pass *pass) {
    return system_of(process)->base != NULL ? pass->base : NULL;
}

// ---- tensors ----------------------------------------------------------------------------------

static void corrupt(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                    RngKey key) {
    categorical_upload_base(process, stream, pass);
    categorical_corrupt(stream, (CategoricalCorrupt){.x_0 = pass->x_0,
                                                     .sample = pass->sample,
                                                     .level = pass->level,
                                                     .base = base_of(process, pass),
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
                             .base = base_of(process, pass),
                             .samples = samples,
                             .item = process->items,
                             .classes = process->vocabulary};
}

static void loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient) {
    CategoricalLoss args = loss_of(process, pass, samples);
    args.dlogits = gradient ? pass->dout : NULL;
    args.loss = pass->loss;
    args.accumulate = gradient && pass->number > 0;
    categorical_loss(stream, args);
}

static void bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    CategoricalLoss args = loss_of(process, pass, samples);
    args.error = pass->error;
    categorical_loss(stream, args);
}

static void draw_next(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                      CategoricalLevel level, double truncation, RngKey key) {
    categorical_advance(stream, (CategoricalAdvance){.logits = pass->out,
                                                     .x_t = pass->x_t,
                                                     .sample = pass->sample,
                                                     .base = base_of(process, pass),
                                                     .next = pass->x_t,
                                                     .samples = samples,
                                                     .item = process->items,
                                                     .classes = process->vocabulary,
                                                     .level = level,
                                                     .truncation = truncation,
                                                     .key = key});
}

static void next_pass(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                      RngKey key) {
    draw_next(process, stream, pass, samples, (CategoricalLevel){.form = system_of(process)->form},
              0, key);
}

// ---- sampling ---------------------------------------------------------------------------------

// The corruption at T of a class that is not kept; `purity` begins with masks alone.
static void begin_masked(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                         RngKey key) {
    const Process *process = sampler->process;
    CategoricalMass end = system_of(process)->mass(process, process->config.steps);
    double mask = word_is(sampler->config.solver, "purity") ? 1 : end.mask;
    CategoricalLevel *row = pass->host_level;
    for (int64_t i = 0; i < samples; ++i) row[i] = (CategoricalLevel){.mask = mask};
    stream_upload(stream, pass->level, row, (size_t)samples * sizeof *row);
    corrupt(process, stream, pass, samples, key);
}

static void begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, RngKey key) {
    const Process *process = sampler->process;
    if (system_of(process)->mass != NULL) {
        begin_masked(sampler, stream, pass, samples, key);
        return;
    }
    categorical_upload_base(process, stream, pass);
    categorical_prior(stream, (CategoricalPrior){.sample = pass->sample,
                                                 .base = base_of(process, pass),
                                                 .x = pass->x_t,
                                                 .samples = samples,
                                                 .item = process->items,
                                                 .classes = process->vocabulary,
                                                 .key = key});
}

// Whatever the time, the network guesses x_0; what is kept of the guess makes the next x.
static void refresh(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                    const SamplerStep *step, RngKey key) {
    const Process *process = sampler->process;
    bool argmax = word_is(sampler->config.solver, "argmax");
    RefreshKind whole = argmax ? REFRESH_ARGMAX : REFRESH_FRACTION;
    categorical_refresh(stream, (CategoricalRefresh){
                                    .logits = pass->out,
                                    .sample = pass->sample,
                                    .x = pass->x_t,
                                    .memory = pass->target,
                                    .samples = samples,
                                    .item = process->items,
                                    .classes = process->vocabulary,
                                    .kind = step->kind == STEP_UNROLLED ? REFRESH_UNCERTAIN : whole,
                                    .temperature = (double)sampler->config.temperature,
                                    .share = (double)sampler->config.share,
                                    .key = key});
}

// Which masked tokens become classes, whatever the time is (arXiv 2205.16007, sec. 4.2).
static void reveal(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                   const SamplerStep *step, RngKey key) {
    categorical_reveal(stream,
                       (CategoricalReveal){.logits = pass->out,
                                           .sample = pass->sample,
                                           .x = pass->x_t,
                                           .race = (double *)pass->dout, // [samples, items, K >= 2]
                                           .samples = samples,
                                           .item = sampler->process->items,
                                           .classes = sampler->process->vocabulary,
                                           .steps = sampler->steps - (int)(step - sampler->step),
                                           .purity = (double)sampler->config.purity,
                                           .truncation = (double)sampler->config.truncation,
                                           .key = key});
}

static void advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                    const SamplerStep *step, RngKey key) {
    const Process *process = sampler->process;
    if (process->system->unrolled)
        refresh(sampler, stream, pass, samples, step, key);
    else if (word_is(sampler->config.solver, "purity"))
        reveal(sampler, stream, pass, samples, step, key);
    else
        draw_next(process, stream, pass, samples,
                  categorical_numbers(process, (int)step->time, (int)step->to),
                  (double)sampler->config.truncation, key);
}

const ProcessFamily family_categorical = {
    .data = "symbols",
    .target = true,
    .level_bytes = sizeof(CategoricalLevel),
    .check = check,
    .level = level,
    .weight = weight,
    .corrupt = corrupt,
    .loss = loss,
    .bound_terms = bound_terms,
    .next_pass = next_pass,
    .begin = begin,
    .advance = advance,
};
