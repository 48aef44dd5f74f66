// The plan of a sampler run: which times, and the way from one to the next.
#include <math.h>
#include <stdlib.h>

#include "model/process/process_impl.h"

static bool is_multistep(const Sampler *sampler) {
    return strncmp(sampler->config.solver, "dpm-", 4) == 0;
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
        if (heun && i > 0 && sampler->process->system->churn != NULL)
            from = sampler->process->system->churn(&sampler->config, whole, from);
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

// The time that step i begins at, of those that are kept where time is discrete: DDIM's own begin
// at 1 and end T/n short of T; the others include both, as improved DDPM's respacing does.
static double plain_time(const Sampler *sampler, int i) {
    int steps = sampler->process->config.steps, n = sampler->steps, left = n - 1 - i;
    if (is_continuous(sampler->process->system)) return time_at(sampler, (double)i / n);
    if (word_is(sampler->config.solver, "ddim")) return 1 + (int)((int64_t)left * steps / n);
    return n == 1 ? steps : 1 + (int)llround((double)left * (steps - 1) / (n - 1));
}

// Steps from one time to the next, the last to the data. Unrolled, argmax takes two evaluations for
// a step, and the times say nothing.
static void plan_plain(Sampler *sampler) {
    bool pairs = word_is(sampler->config.solver, "argmax"), multi = is_multistep(sampler);
    for (int i = 0; i < sampler->steps; ++i)
        sampler->step[i] = (SamplerStep){pairs && i % 2 == 1 ? STEP_UNROLLED
                                         : multi             ? STEP_MULTI
                                                             : STEP_SOLVER,
                                         plain_time(sampler, i),
                                         i + 1 < sampler->steps ? plain_time(sampler, i + 1) : 0};
}

// The way of one block, again for each.
static void plan_blocks(Sampler *sampler, int blocks) {
    int each = sampler->block_steps = sampler->steps /= blocks;
    plan_plain(sampler);
    sampler->steps *= blocks;
    for (int i = each; i < sampler->steps; ++i) sampler->step[i] = sampler->step[i - each];
}

// The same times upwards, one step less: none begins at the data themselves.
static void plan_invert(Sampler *sampler) {
    int n = sampler->steps--;
    for (int i = 0; i < n / 2; ++i) {
        SamplerStep other = sampler->step[i];
        sampler->step[i] = sampler->step[n - 1 - i];
        sampler->step[n - 1 - i] = other;
    }
    for (int i = 0; i + 1 < n; ++i) sampler->step[i].to = sampler->step[i + 1].time;
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
    int blocks = process->config.block > 0 ? (int)process->items / process->config.block : 1;
    FAIL_IF(n < blocks, BAD_CONFIG, "sampler.steps is %d, and there are %d blocks to be drawn", n,
            blocks);
    FAIL_IF(system->one_step && n < steps, BAD_CONFIG,
            "sampler.steps is %d; %s diffusion knows steps between neighbouring times only: choose"
            " 0 for all of them",
            config.steps, system->name);
    FAIL_IF(config.lambda > 0 && !word_is(config.solver, "em"), BAD_CONFIG,
            "sampler.lambda is %g, which is for sampler.solver: em", (double)config.lambda);
    FAIL_IF(
        process->mask < 0 && (word_is(config.solver, "remask") || word_is(config.solver, "purity")),
        BAD_CONFIG, "sampler.solver is %s, which is for masks: choose ancestral", config.solver);
    FAIL_IF(config.churn > 0 && !word_is(config.solver, "heun"), BAD_CONFIG,
            "sampler.churn is %g, which is for sampler.solver: heun", (double)config.churn);
    FAIL_IF(config.truncation > 0 && config.truncation < 1 && !process_is_tokens(process),
            BAD_CONFIG, "sampler.truncation is for symbols, and says nothing to %s; leave it away",
            system->name);
    FAIL_IF(config.purity > 0 && !word_is(config.solver, "purity"), BAD_CONFIG,
            "sampler.purity is for sampler.solver = purity; choose that, or leave it away");
    FAIL_IF(config.invert && (!word_is(config.solver, "ddim") || config.eta > 0 || n < 2),
            BAD_CONFIG,
            "what is drawn is inverted by sampler.solver: ddim alone, in 2 steps or more"
            " and without sampler.eta");
    Sampler *sampler = calloc(1, sizeof *sampler + (size_t)n * sizeof *sampler->step);
    FAIL_IF(sampler == NULL, NO_MEMORY, "no memory for a sampler of %d steps", n);
    *sampler = (Sampler){process, config, n, n};
    if (is_continuous(system) && !process_is_tokens(process) && !system->pairs)
        plan_continuous(sampler);
    else
        plan_blocks(sampler, blocks);
    if (config.invert) plan_invert(sampler);
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

int sampler_block(const Sampler *sampler, int i) {
    return i / sampler->block_steps;
}

// Beyond its interval (arXiv 2404.07724) there is none.
float sampler_guidance(const Sampler *sampler, int i) {
    const SamplerConfig *config = &sampler->config;
    float share = (float)(process_time_label(sampler->process, sampler->step[i].time) / 1000);
    bool inside = share >= config->guide_from && share <= config->guide_to;
    return inside || config->guide_to == 0 ? config->guidance : 1;
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
        axpby(stream, (Elementwise){.x = null + i * process->out_item,
                                    .y = pass->out + i * process->out_item,
                                    .n = n,
                                    .a = 1 - guidance,
                                    .b = guidance});
}
