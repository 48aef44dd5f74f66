// Systems: the table, opening one, and what is told of it.
#include "model/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/process/process_impl.h"

enum { PROCESS_STEPS_MOST = 100000 };

#define SYSTEM_ROW(name) &system_##name
static const ProcessSystem *const systems[] = {PROCESS_SYSTEMS(SYSTEM_ROW)};
#undef SYSTEM_ROW
enum { SYSTEMS = sizeof systems / sizeof systems[0] };

const char *process_names(void) {
    static char names[512]; // the same text whoever writes it
    char text[sizeof names] = "";
    for (int i = 0; i < SYSTEMS; ++i) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? ", " : "", systems[i]->name);
    }
    memcpy(names, text, sizeof names);
    return names;
}

static const ProcessSystem *find_system(const char *name) { // NULL: there is none
    for (int i = 0; i < SYSTEMS; ++i)
        if (word_is(name, systems[i]->name)) return systems[i];
    return NULL;
}

bool process_has_steps(const char *name) {
    const ProcessSystem *system = find_system(name);
    return system == NULL || !is_continuous(system);
}

// ---- opening ----------------------------------------------------------------------------------

static Status check_choice(const char *key, const char *name, const char *choices) {
    size_t length = strlen(name);
    for (const char *at = choices; *at != 0; at += strspn(at, ", ")) {
        size_t n = strcspn(at, ",");
        if (n == length && strncmp(at, name, n) == 0) return STATUS_OK;
        at += n;
    }
    FAIL(BAD_CONFIG, "%s is \"%s\"; choose one of: %s", key, name, choices);
}

Status process_resolve_choice(const char *system, const char *key, const char *choices, char *word,
                              size_t bytes) {
    if (word_is(word, "auto") || word[0] == 0) {
        snprintf(word, bytes, "%.*s", choices == NULL ? 0 : (int)strcspn(choices, ","),
                 choices == NULL ? "" : choices);
        return STATUS_OK;
    }
    FAIL_IF(choices == NULL, BAD_CONFIG, "%s is \"%s\", which says nothing to %s; leave it away",
            key, word, system);
    return check_choice(key, word, choices);
}

static Status resolve_words(const ProcessSystem *system, ProcessConfig *config) {
    const ProcessChoices *choices = &system->choices;
#define RESOLVE(word, given)                                                                       \
    TRY(process_resolve_choice(system->name, "process." #word, given, config->word,                \
                               sizeof config->word))
    RESOLVE(schedule, choices->schedule);
    RESOLVE(head, choices->head);
    RESOLVE(variance, choices->variance);
    RESOLVE(loss, choices->loss);
    RESOLVE(times, choices->times != NULL ? choices->times : "uniform, stratified");
#undef RESOLVE
    return STATUS_OK;
}

static Status check(const ProcessConfig *config, const ProcessSystem *system,
                    const NetworkShape *shape) {
    bool symbols = system->family == &family_categorical;
    FAIL_IF(shape->tokens != symbols, BAD_CONFIG,
            "process.name is \"%s\", which is for %s, but the data are %s; choose %s", system->name,
            symbols ? "symbols" : "numbers", shape->tokens ? "symbols" : "numbers",
            shape->tokens ? "multinomial" : "ddpm");
    FAIL_IF(config->block > 0 && (!system->blocks || shape->length % config->block != 0),
            BAD_CONFIG, "process.block is %d; it is for mdlm, and must divide data.length %d",
            config->block, shape->length);
    FAIL_IF(config->steps < first_time(system) || config->steps > PROCESS_STEPS_MOST, BAD_CONFIG,
            "process.steps is %d; choose %d to %d", config->steps, first_time(system),
            PROCESS_STEPS_MOST);
    bool image = !shape->tokens && !shape->latent && (shape->height > 1 || shape->width > 1);
    FAIL_IF(config->dequantise && !image, BAD_CONFIG,
            "process.dequantise is on, but the data are no images with levels; leave it away");
    TRY(logit_check(config));
    FAIL_IF(word_is(config->times, "stratified") && config->batch < 1, BAD_CONFIG,
            "process.times is \"stratified\", over the samples of a step, but the batch is %lld",
            (long long)config->batch);
    return system->check != NULL ? system->check(config, shape) : STATUS_OK;
}

static void fill_table(Process *process, size_t rows) {
    double *zeros = process->numbers;
    NoiseTable table = process->table = (NoiseTable){zeros, zeros + rows, zeros + 2 * rows};
    if (process->system->fill != NULL) process->system->fill(&process->config, table.step_noise);
    table.keep[0] = 1;
    for (size_t t = 1; t < rows; ++t) {
        table.keep[t] = table.keep[t - 1] * (1 - table.step_noise[t]);
        table.noise[t] = table.noise[t - 1] + table.keep[t - 1] * table.step_noise[t];
    }
}

// p(t) of t = 2..T.
static double proposal(const Process *process, int t) {
    return 0.5 / (process->config.steps - 1) + 0.5 / (t * process->harmonic);
}

static void fill_proposal(Process *process, size_t rows) {
    process->proposal = process->numbers + 3 * rows;
    for (size_t t = 2; t < rows; ++t) process->harmonic += 1.0 / (double)t;
    for (size_t t = 2; t < rows; ++t)
        process->proposal[t] = process->proposal[t - 1] + proposal(process, (int)t);
}

Status process_open(const ProcessConfig *config, NetworkShape *shape, Process **out) {
    *out = NULL;
    const ProcessSystem *system = find_system(config->name);
    if (system == NULL) return check_choice("process.name", config->name, process_names());
    return process_open_as(system, config, shape, out);
}

Status process_open_as(const ProcessSystem *system, const ProcessConfig *given, NetworkShape *shape,
                       Process **out) {
    *out = NULL;
    ProcessConfig config = *given;
    TRY(resolve_words(system, &config));
    TRY(check(&config, system, shape));
    TRY(system->family->check(system, &config, shape));
    shape->time_input = !system->timeless;
    shape->autoencoder = system->autoencoder;
    shape->block = config.block;

    size_t rows = (size_t)config.steps + 1, common = 4 * rows + 2 * LOGIT_LEVELS;
    int64_t own = system->tables != NULL ? system->tables(&config, shape->out_channels, NULL) : 0;
    Process *process =
        calloc(1, sizeof *process + (common + (size_t)own) * sizeof *process->numbers);
    FAIL_IF(process == NULL, NO_MEMORY, "no memory for a process of %d steps", config.steps);
    process->system = system;
    process->config = config;
    int64_t pixels = (int64_t)shape->height * shape->width;
    process->items = shape->tokens ? shape->length : shape->channels * pixels;
    process->out_item = shape->out_channels * (shape->tokens ? shape->length : pixels);
    process->vocabulary = shape->tokens ? shape->out_channels : 0; // without a mask
    process->mask =
        shape->tokens && shape->vocabulary > shape->out_channels ? process->vocabulary : -1;
    process->null_label = shape->classes;
    if (config.data_std == 0) process->config.data_std = 1;
    bool image = !shape->tokens && !shape->latent && (shape->height > 1 || shape->width > 1);
    bool rescaled = config.data_mean != 0 || process->config.data_std != 1;
    process->image = image && !config.dequantise && !rescaled;
    if (process->image && system->level_centers) process->config.data_std = 256 / 255.0f;
    if (word_is(config.loss, "discrete")) process->grid = config.steps;
    process->width = image && config.dequantise ? 1 / 127.5f : 0;
    process->logit_nats = process->numbers + 4 * rows;
    process->logit_square = process->logit_nats + LOGIT_LEVELS;
    if (config.logit > 0) logit_fill(process);
    if (own > 0) {
        process->dense = process->numbers + common;
        (void)system->tables(&process->config, process->vocabulary, process->dense);
    }
    fill_table(process, rows);
    fill_proposal(process, rows);
    Status status = time_law_open(config.times, first_time(system), config.steps, &process->law);
    if (status != STATUS_OK) {
        process_close(process);
        return status;
    }
    *out = process;
    return STATUS_OK;
}

void process_close(Process *process) {
    if (process == NULL) return;
    free(process->law);
    free(process);
}

bool process_is_tokens(const Process *process) {
    return process->vocabulary > 0;
}

void process_restore(const Process *process, float *x, int64_t n) {
    const ProcessConfig *config = &process->config;
    for (int64_t i = 0; i < n; ++i) {
        if (config->logit > 0) x[i] = 1 / (1 + expf(-x[i]));
        x[i] = x[i] * config->data_std + config->data_mean;
    }
}

const char *process_bound_unit(const Process *process) {
    const ProcessSystem *system = process->system;
    if (system->unrolled || system->pairs || system->classifier) return NULL;
    return process_is_tokens(process) ? "bits_per_token" : "bits_per_dim";
}

bool process_is_classifier(const Process *process) {
    return process->system->classifier;
}

int64_t process_loss_items(const Process *process) {
    return process->system->classifier ? 1 : process->items;
}

// ---- bound ------------------------------------------------------------------------------------

double process_scale_nats(const Process *process, const void *x_0) {
    if (process_is_tokens(process) || process->image) return 0;
    double unit = process->width > 0 ? (double)process->width : 1, bent = 0;
    if (process->config.logit > 0) bent = logit_sum(process, process->logit_nats, x_0);
    return (double)process->items * log((double)process->config.data_std / unit) + bent;
}

double process_bound_prior(const Process *process, const void *x_0_host) {
    const ProcessSystem *system = process->system;
    double nats = system->prior != NULL ? system->prior(process, x_0_host) : 0;
    return nats + process->code_nats + process_scale_nats(process, x_0_host);
}

void process_set_code(Process *process, int64_t places, int32_t codes) {
    process->code_nats = (double)places * log(codes);
}

double process_first_time(const Process *process) {
    if (process_is_tokens(process) && is_continuous(process->system)) return 0; // nothing is there
    return is_continuous(process->system) ? process->system->begin : 1;
}

double process_null_nats(const Process *process, const void *x_0_host) {
    const ProcessSystem *system = process->system;
    if (system->null_nats == NULL) return NAN;
    return system->null_nats(process, x_0_host) + process_scale_nats(process, x_0_host);
}

double process_bound_time(const Process *process, double point, double *weight) {
    if (is_continuous(process->system))
        return process->system->family->bound_time(process, point, weight);
    int steps = process->config.steps;
    *weight = 0;
    if (steps == 1) return 1;
    int t = first_above(process->proposal, 2, steps, point * process->proposal[steps]);
    *weight = 1 / proposal(process, t);
    return t;
}
