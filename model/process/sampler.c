// The plan of a sampler run: which times, and the way from one to the next.
#include <math.h>
#include <stdlib.h>

#include "model/process/process_impl.h"

// Time i of n kept ones, rising from i = 0. DDIM's own grid begins at 1 and ends T/n short of T;
// the others include both ends, as improved DDPM's respacing does.
static bool is_multistep(const Sampler *sampler) {
    return strncmp(sampler->config.solver, "dpm-", 4) == 0;
}

static int kept_time(const char *solver, int steps, int n, int i) {
    if (word_is(solver, "ddim")) return 1 + (int)((int64_t)i * steps / n);
    if (n == 1) return steps;
    return 1 + (int)llround((double)i * (steps - 1) / (n - 1));
}

static void plan_discrete(Sampler *sampler) {
    int steps = sampler->process->config.steps, n = sampler->steps;
    for (int i = 0; i < n; ++i) {
        SamplerStep *step = &sampler->step[n - 1 - i];
        step->time = kept_time(sampler->config.solver, steps, n, i);
        step->to = i > 0 ? sampler->step[n - i].time : 0;
        if (is_multistep(sampler)) step->kind = STEP_MULTI;
    }
}

// The times of a walk from `end` to sample_end, even or as the system or the solver has them.
static double time_at(const Sampler *sampler, double share) {
    const ProcessSystem *system = sampler->process->system;
    if (is_multistep(sampler))
        return share == 0   ? system->end
               : share == 1 ? system->sample_end
                            : system->family->time_between(sampler->process, system->sample_end,
                                                           system->end, 1 - share);
    if (system->grid != NULL) return system->grid(share);
    return system->end + share * (system->sample_end - system->end);
}

// In steps of one evaluation or of two; the last evaluation gives the mean.
static void plan_continuous(Sampler *sampler) {
    bool heun = word_is(sampler->config.solver, "heun"), pc = word_is(sampler->config.solver, "pc");
    int each = heun || pc ? 2 : 1, whole = (sampler->steps - 1) / each;
    sampler->steps = whole * each + 1;
    for (int i = 0; i < whole; ++i) {
        double from = time_at(sampler, (double)i / whole);
        double to = time_at(sampler, (i + 1.0) / whole);
        SamplerStep *step = &sampler->step[i * each];
        if (heun) {
            step[0] = (SamplerStep){STEP_HEUN_1, from, to};
            step[1] = (SamplerStep){STEP_HEUN_2, to, from};
        } else {
            if (pc) step[0] = (SamplerStep){STEP_CORRECT, from, from};
            step[pc] = (SamplerStep){is_multistep(sampler) ? STEP_MULTI : STEP_SOLVER, from, to};
        }
    }
    sampler->step[whole * each] =
        (SamplerStep){STEP_SOLVER, time_at(sampler, whole > 0 ? 1 : 0), 0};
}

// Symbols in continuous time: even steps to the data. Unrolled, argmax takes two evaluations for a
// step, and the times say nothing.
static void plan_symbols(Sampler *sampler) {
    bool pairs = word_is(sampler->config.solver, "argmax");
    double n = sampler->steps;
    for (int i = 0; i < sampler->steps; ++i)
        sampler->step[i] = (SamplerStep){pairs && i % 2 == 1 ? STEP_UNROLLED : STEP_SOLVER,
                                         1 - i / n, 1 - (i + 1) / n};
}

Status sampler_open(const Process *process, const SamplerConfig *given, Sampler **out) {
    *out = NULL;
    SamplerConfig config = *given;
    const ProcessSystem *system = process->system;
    FAIL_IF(system->autoencoder, BAD_CONFIG,
            "%s draws nothing by itself: `dye encode` a data set, train a system on its tokens, and"
            " draw with --decode; in training, set sample.every to 0",
            system->name);
    FAIL_IF(system->classifier, BAD_CONFIG,
            "a classifier draws nothing: draw with another run, and measure how far that is with"
            " `dye distance --features`; in training, set sample.every to 0");
    TRY(process_resolve_choice(system->name, "sampler.solver", system->choices.solver,
                               config.solver, sizeof config.solver));
    int steps = process->config.steps, n = config.steps > 0 ? config.steps : steps;
    FAIL_IF(config.steps < 0 || (config.steps > steps && !is_continuous(system)), BAD_CONFIG,
            "sampler.steps is %d; choose 1 to process.steps = %d, or 0 for all of them",
            config.steps, steps);
    FAIL_IF(system->one_step && n < steps, BAD_CONFIG,
            "sampler.steps is %d; %s diffusion knows steps between neighbouring times only: choose"
            " 0 for all of them",
            config.steps, system->name);
    FAIL_IF(!isfinite(config.guidance), BAD_CONFIG, "sampler.guidance is not a finite number");
    FAIL_IF(!(config.eta >= 0 && config.eta <= 1), BAD_CONFIG,
            "sampler.eta is %g; choose 0 (deterministic) to 1 (ancestral)", (double)config.eta);
    bool warm = system->unrolled || word_is(config.solver, "remask");
    FAIL_IF(warm && !(config.temperature > 0), BAD_CONFIG,
            "sampler.temperature is %g; choose a number above 0", (double)config.temperature);
    FAIL_IF(!(config.lambda >= 0 && config.lambda <= 1), BAD_CONFIG,
            "sampler.lambda is %g; choose 0 (the reverse SDE) to 1 (the ODE)",
            (double)config.lambda);
    FAIL_IF(config.lambda > 0 && !word_is(config.solver, "em"), BAD_CONFIG,
            "sampler.lambda is %g, which is for sampler.solver: em", (double)config.lambda);
    FAIL_IF(!(config.truncation >= 0 && config.truncation <= 1), BAD_CONFIG,
            "sampler.truncation is %g; choose above 0 to 1 (none)", (double)config.truncation);
    FAIL_IF(config.truncation > 0 && config.truncation < 1 && !process_is_tokens(process),
            BAD_CONFIG, "sampler.truncation is for symbols, and says nothing to %s; leave it away",
            system->name);
    FAIL_IF(!(config.purity >= 0) || !isfinite(config.purity), BAD_CONFIG,
            "sampler.purity is %g; choose a finite number from 0 (none)", (double)config.purity);
    FAIL_IF(config.purity > 0 && !word_is(config.solver, "purity"), BAD_CONFIG,
            "sampler.purity is for sampler.solver = purity; choose that, or leave it away");
    Sampler *sampler = calloc(1, sizeof *sampler + (size_t)n * sizeof *sampler->step);
    FAIL_IF(sampler == NULL, NO_MEMORY, "no memory for a sampler of %d steps", n);
    *sampler = (Sampler){process, config, n};
    if (!is_continuous(system))
        plan_discrete(sampler);
    else if (process_is_tokens(process))
        plan_symbols(sampler);
    else
        plan_continuous(sampler);
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
    return sampler->step[i].time;
}

void sampler_begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                   uint64_t seed) {
    const ProcessFamily *family = sampler->process->system->family;
    family->begin(sampler, stream, pass, samples, rng_key(seed, RNG_PRIOR, 0));
}

void sampler_advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, int i,
                     uint64_t seed) {
    REQUIRE(i >= 0 && i < sampler->steps);
    const ProcessFamily *family = sampler->process->system->family;
    family->advance(sampler, stream, pass, samples, &sampler->step[i],
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
