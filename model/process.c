// What all processes share: tables, the memory of a pass, times, labels, uploads; the plan of a
// sampler run.
#include "model/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/bump.h"
#include "model/process_impl.h"

enum { PROCESS_STEPS_MOST = 100000 };

static const ProcessFamily *const families[] = {&process_gaussian, &process_multinomial};
enum { FAMILIES = sizeof families / sizeof families[0] };

// ---- opening ----------------------------------------------------------------------------------

Status process_check_choice(const char *key, const char *name, const char *choices) {
    size_t length = strlen(name);
    for (const char *at = choices; *at != 0; at += strspn(at, ", ")) {
        size_t n = strcspn(at, ",");
        if (n == length && strncmp(at, name, n) == 0) return STATUS_OK;
        at += n;
    }
    FAIL(BAD_CONFIG, "%s is \"%s\"; choose one of: %s", key, name, choices);
}

static Status find_family(const char *name, const ProcessFamily **out) {
    for (int i = 0; i < FAMILIES; ++i) {
        *out = families[i];
        if (strcmp(name, families[i]->name) == 0) return STATUS_OK;
    }
    return process_check_choice("process.name", name, "gaussian, multinomial");
}

static void table_fill(Process *process, double *zeros, size_t rows) {
    NoiseTable table = process->table = (NoiseTable){zeros, zeros + rows, zeros + 2 * rows};
    process->family->fill(&process->config, table.step_noise);
    table.keep[0] = 1;
    for (size_t t = 1; t < rows; ++t) {
        table.keep[t] = table.keep[t - 1] * (1 - table.step_noise[t]);
        table.noise[t] = table.noise[t - 1] + table.keep[t - 1] * table.step_noise[t];
    }
}

Status process_open(const ProcessConfig *config, NetworkShape *shape, Process **out) {
    *out = NULL;
    const ProcessFamily *family;
    TRY(find_family(config->name, &family));
    FAIL_IF(config->steps < 1 || config->steps > PROCESS_STEPS_MOST, BAD_CONFIG,
            "process.steps is %d; choose 1 to %d", config->steps, PROCESS_STEPS_MOST);
    FAIL_IF(!(config->label_drop >= 0 && config->label_drop <= 1), BAD_CONFIG,
            "process.label_drop is %g; choose 0 to 1", (double)config->label_drop);
    TRY(family->check(config, shape));
    shape->time_input = true;

    size_t rows = (size_t)config->steps + 1;
    Process *process = calloc(1, sizeof *process + 3 * rows * sizeof *process->numbers);
    FAIL_IF(process == NULL, NO_MEMORY, "no memory for a process of %d steps", config->steps);
    process->family = family;
    process->config = *config;
    process->items =
        shape->tokens ? shape->length : (int64_t)shape->channels * shape->height * shape->width;
    process->vocabulary = shape->tokens ? shape->vocabulary : 0;
    process->null_label = shape->classes;
    process->image = !shape->tokens && (shape->height > 1 || shape->width > 1);
    table_fill(process, process->numbers, rows);
    *out = process;
    return STATUS_OK;
}

void process_close(Process *process) {
    free(process);
}

bool process_is_tokens(const Process *process) {
    return process->vocabulary > 0;
}

int process_steps(const Process *process) {
    return process->config.steps;
}

const char *process_bound_unit(const Process *process) {
    return process_is_tokens(process) ? "bits_per_token" : "bits_per_dim";
}

int64_t process_loss_items(const Process *process) {
    return process->items;
}

// ---- memory of a pass -------------------------------------------------------------------------

static size_t place_device(const Process *process, const Network *network, Pass *pass,
                           void *memory) {
    Bump bump = {.base = memory};
    int64_t n = pass->capacity, in = n * network_in_item(network);
    int64_t out = n * network_out_item(network);
    pass->x_0 = bump_take(&bump, in, 4);
    pass->x_t = bump_take(&bump, in, 4);
    pass->target = process->family->target ? bump_take(&bump, in, 4) : NULL;
    pass->out = bump_take(&bump, out, 4);
    pass->dout = bump_take(&bump, out, 4);
    pass->level = bump_take(&bump, n, process->family->level_bytes);
    pass->time = bump_take(&bump, n * TIME_FEATURES, sizeof *pass->time);
    pass->label = bump_take(&bump, n, sizeof *pass->label);
    pass->sample = bump_take(&bump, n, sizeof *pass->sample);
    pass->loss = bump_take(&bump, n, sizeof *pass->loss);
    pass->error = bump_take(&bump, n, sizeof *pass->error);
    return bump.used;
}

static size_t place_host(const Process *process, Pass *pass, void *memory) {
    Bump bump = {.base = memory};
    int64_t n = pass->capacity;
    pass->host_level = bump_take(&bump, n, process->family->level_bytes);
    pass->host_time = bump_take(&bump, n * TIME_FEATURES, sizeof *pass->host_time);
    pass->host_label = bump_take(&bump, n, sizeof *pass->host_label);
    pass->host_sample = bump_take(&bump, n, sizeof *pass->host_sample);
    return bump.used;
}

size_t process_pass_bytes(const Process *process, const Network *network, int64_t capacity) {
    Pass pass = {.capacity = capacity};
    return place_device(process, network, &pass, NULL);
}

size_t process_pass_host_bytes(const Process *process, int64_t capacity) {
    Pass pass = {.capacity = capacity};
    return place_host(process, &pass, NULL);
}

void process_pass_place(const Process *process, const Network *network, int64_t capacity,
                        void *device_memory, void *host_memory, Pass *out) {
    *out = (Pass){.capacity = capacity};
    place_device(process, network, out, device_memory);
    place_host(process, out, host_memory);
}

// ---- training ---------------------------------------------------------------------------------

double process_draw_time(const Process *process, uint64_t seed, uint64_t step, uint64_t sample) {
    uint32_t bits[4];
    rng_block(rng_key(seed, RNG_TIME, step), sample, 0, bits);
    return 1 + floor(rng_uniform_f64(bits[0], bits[1]) * process->config.steps);
}

static int32_t draw_label(const Process *process, const GrainBatch *batch, int64_t i) {
    uint32_t bits[4];
    rng_block(rng_key(batch->seed, RNG_LABEL_DROP, batch->step), batch->sample[i], 0, bits);
    bool dropped = rng_uniform(bits[0]) < process->config.label_drop;
    return dropped ? process->null_label : batch->label[i];
}

// Sample i of the grain at time t, into the host rows.
static void fill_row(const Process *process, const Network *network, Pass *pass, int64_t i,
                     double time) {
    int t = (int)time;
    REQUIRE(t >= 1 && t <= process->config.steps && t == time);
    char *level = pass->host_level;
    process->family->level(process, t, level + (size_t)i * process->family->level_bytes);
    network_time_features(network, time * 1000 / process->config.steps,
                          pass->host_time + i * TIME_FEATURES);
}

static void upload_and_corrupt(const Process *process, Stream *stream, Pass *pass,
                               const GrainBatch *batch, RngKey key) {
    size_t n = (size_t)batch->samples;
    memcpy(pass->host_sample, batch->sample, n * sizeof *pass->host_sample);
    stream_upload(stream, pass->x_0, batch->x_0, n * (size_t)process->items * 4);
    stream_upload(stream, pass->sample, pass->host_sample, n * sizeof *pass->sample);
    stream_upload(stream, pass->label, pass->host_label, n * sizeof *pass->label);
    stream_upload(stream, pass->level, pass->host_level, n * process->family->level_bytes);
    stream_upload(stream, pass->time, pass->host_time, n * TIME_FEATURES * sizeof *pass->time);
    process->family->corrupt(process, stream, pass, batch->samples, key);
}

void process_corrupt(const Process *process, const Network *network, Stream *stream, Pass *pass,
                     const GrainBatch *batch) {
    REQUIRE(batch->samples <= pass->capacity);
    for (int64_t i = 0; i < batch->samples; ++i) {
        fill_row(process, network, pass, i,
                 process_draw_time(process, batch->seed, batch->step, batch->sample[i]));
        pass->host_label[i] = draw_label(process, batch, i);
    }
    upload_and_corrupt(process, stream, pass, batch, rng_key(batch->seed, RNG_NOISE, batch->step));
}

void process_corrupt_at(const Process *process, const Network *network, Stream *stream, Pass *pass,
                        const GrainBatch *batch, const double *time, uint64_t draw) {
    REQUIRE(batch->samples <= pass->capacity);
    for (int64_t i = 0; i < batch->samples; ++i) {
        fill_row(process, network, pass, i, time[i]);
        pass->host_label[i] = batch->label[i];
    }
    upload_and_corrupt(process, stream, pass, batch, rng_key(batch->seed, RNG_EVAL_NOISE, draw));
}

void process_network_input(const Process *process, const Pass *pass, const GrainBatch *batch,
                           bool dropout_on, NetworkInput *out) {
    *out = (NetworkInput){
        .samples = batch->samples,
        .x = process_is_tokens(process) ? NULL : pass->x_t,
        .ids = process_is_tokens(process) ? pass->x_t : NULL,
        .time = pass->time,
        .label = pass->label,
        .sample = pass->sample,
        .dropout = rng_key(batch->seed, RNG_DROPOUT, batch->step),
        .dropout_on = dropout_on,
    };
}

void process_loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                  bool gradient) {
    process->family->loss(process, stream, pass, samples, gradient);
}

void process_leave_out(const Network *network, Stream *stream, Pass *pass, int64_t row) {
    static const float zeros[1024];
    int64_t item = network_out_item(network), most = sizeof zeros / sizeof *zeros;
    stream_upload(stream, pass->loss + row, zeros, sizeof *zeros);
    for (int64_t at = 0; at < item; at += most)
        stream_upload(stream, pass->dout + row * item + at, zeros,
                      (size_t)(item - at < most ? item - at : most) * sizeof *zeros);
}

void process_bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    process->family->bound_terms(process, stream, pass, samples);
}

double process_bound_prior(const Process *process, const void *x_0_host) {
    return process->family->bound_prior(process, x_0_host);
}

// ---- sampling ---------------------------------------------------------------------------------

// Time i of n kept ones, rising from i = 0. DDIM's own grid begins at 1 and ends T/n short of T;
// the others include both ends, as improved DDPM's respacing does.
static int kept_time(const char *solver, int steps, int n, int i) {
    if (strcmp(solver, "ddim") == 0) return 1 + (int)((int64_t)i * steps / n);
    if (n == 1) return steps;
    return 1 + (int)llround((double)i * (steps - 1) / (n - 1));
}

Status sampler_open(const Process *process, const SamplerConfig *config, Sampler **out) {
    *out = NULL;
    int steps = process->config.steps;
    FAIL_IF(config->steps < 0 || config->steps > steps, BAD_CONFIG,
            "sampler.steps is %d; choose 1 to process.steps = %d, or 0 for all of them",
            config->steps, steps);
    FAIL_IF(!isfinite(config->guidance), BAD_CONFIG, "sampler.guidance is not a finite number");
    TRY(process->family->sampler_check(config));
    int n = config->steps > 0 ? config->steps : steps;
    Sampler *sampler = calloc(1, sizeof *sampler + ((size_t)n + 1) * sizeof *sampler->time);
    FAIL_IF(sampler == NULL, NO_MEMORY, "no memory for a sampler of %d steps", n);
    *sampler = (Sampler){process, *config, n};
    for (int i = 0; i < n; ++i) sampler->time[n - 1 - i] = kept_time(config->solver, steps, n, i);
    *out = sampler;
    return STATUS_OK;
}

void sampler_close(Sampler *sampler) {
    free(sampler);
}

int sampler_steps(const Sampler *sampler) {
    return sampler->steps;
}

double sampler_time(const Sampler *sampler, int i) {
    REQUIRE(i >= 0 && i < sampler->steps);
    return sampler->time[i];
}

void sampler_begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                   uint64_t seed) {
    sampler->process->family->begin(sampler, stream, pass, samples, rng_key(seed, RNG_PRIOR, 0));
}

void sampler_advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, int i,
                     uint64_t seed) {
    REQUIRE(i >= 0 && i < sampler->steps);
    sampler->process->family->advance(sampler, stream, pass, samples, sampler->time[i],
                                      sampler->time[i + 1],
                                      rng_key(seed, RNG_ANCESTRAL, (uint64_t)i));
}
