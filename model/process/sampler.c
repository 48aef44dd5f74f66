// The plan of a sampler run: which times, and the way from one to the next.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/process/process_impl.h"

// Time i of n kept ones, rising from i = 0. DDIM's own grid begins at 1 and ends T/n short of T;
// the others include both ends, as improved DDPM's respacing does.
static int kept_time(const char *solver, int steps, int n, int i) {
    if (strcmp(solver, "ddim") == 0) return 1 + (int)((int64_t)i * steps / n);
    if (n == 1) return steps;
    return 1 + (int)llround((double)i * (steps - 1) / (n - 1));
}

Status sampler_open(const Process *process, const SamplerConfig *given, Sampler **out) {
    *out = NULL;
    SamplerConfig config = *given;
    const ProcessSystem *system = process->system;
    TRY(process_resolve_choice(system->name, "sampler.solver", system->family->solvers,
                               config.solver, sizeof config.solver));
    int steps = process->config.steps, n = config.steps > 0 ? config.steps : steps;
    FAIL_IF(config.steps < 0 || config.steps > steps, BAD_CONFIG,
            "sampler.steps is %d; choose 1 to process.steps = %d, or 0 for all of them",
            config.steps, steps);
    FAIL_IF(system->one_step && n < steps, BAD_CONFIG,
            "sampler.steps is %d; %s diffusion knows steps between neighbouring times only: choose"
            " 0 for all of them",
            config.steps, system->name);
    FAIL_IF(!isfinite(config.guidance), BAD_CONFIG, "sampler.guidance is not a finite number");
    FAIL_IF(!(config.eta >= 0 && config.eta <= 1), BAD_CONFIG,
            "sampler.eta is %g; choose 0 (deterministic) to 1 (ancestral)", (double)config.eta);
    Sampler *sampler = calloc(1, sizeof *sampler + ((size_t)n + 1) * sizeof *sampler->time);
    FAIL_IF(sampler == NULL, NO_MEMORY, "no memory for a sampler of %d steps", n);
    *sampler = (Sampler){process, config, n};
    for (int i = 0; i < n; ++i) sampler->time[n - 1 - i] = kept_time(config.solver, steps, n, i);
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
    const ProcessFamily *family = sampler->process->system->family;
    pass_upload_base(sampler->process, stream, pass);
    family->begin(sampler, stream, pass, samples, rng_key(seed, RNG_PRIOR, 0));
}

void sampler_advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, int i,
                     uint64_t seed) {
    REQUIRE(i >= 0 && i < sampler->steps);
    const ProcessFamily *family = sampler->process->system->family;
    family->advance(sampler, stream, pass, samples, sampler->time[i], sampler->time[i + 1],
                    rng_key(seed, RNG_ANCESTRAL, (uint64_t)i));
}

void process_guide(const Process *process, Stream *stream, Pass *pass, float *null, int64_t samples,
                   float guidance) {
    // The prediction of each sample; a variance behind it stays that of the label.
    int64_t predicts = process_is_tokens(process) ? process->out_item : process->items;
    int64_t rows = predicts == process->out_item ? 1 : samples, n = samples * predicts / rows;
    for (int64_t i = 0; i < rows; ++i)
        axpby(stream, (Axpby){.x = null + i * process->out_item,
                              .y = pass->out + i * process->out_item,
                              .n = n,
                              .a = 1 - guidance,
                              .b = guidance});
}
