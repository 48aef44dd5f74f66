// Inversion behind launch/reconstruct.h.
#include "launch/reconstruct.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "launch/generate.h"

// One way, by a sampler with these settings.
static Status walk(Trained *trained, Comm *comm, SamplerConfig config, bool invert, int64_t count,
                   const float *start, void **out) {
    Sampler *sampler;
    snprintf(config.solver, sizeof config.solver, "ddim");
    config.invert = invert;
    config.guidance = 1;
    TRY(sampler_open(trained->engine.process, &config, &sampler));
    GenerateRequest request = {.sampler = sampler,
                               .weights = trained->weights,
                               .count = count,
                               .label = LABEL_NONE,
                               .start = start};
    Status status = generate(&trained->engine, comm, &request, out);
    sampler_close(sampler);
    return status;
}

// As the process sees it: what process_restore undoes.
static void scale(const Process *process, int64_t n, float *x) {
    float ends[2] = {0, 1};
    process_restore(process, ends, 2);
    for (int64_t i = 0; i < n; ++i) x[i] = (x[i] - ends[0]) / (ends[1] - ends[0]);
}

static double difference(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum / (double)n);
}

static Status there_and_back(Trained *trained, Comm *comm, const SamplerConfig *config,
                             int64_t count, float *x, double *rms, void **noise, void **back) {
    int64_t item = engine_item(&trained->engine);
    float *original = x + count * item; // until the end
    TRY(trained_read(trained, count, original, NULL));
    memcpy(x, original, (size_t)(count * item) * sizeof *x);
    scale(trained->engine.process, count * item, x);
    TRY(walk(trained, comm, *config, true, count, x, noise));
    TRY(walk(trained, comm, *config, false, count, *noise, back));
    const float *drawn = *back;
    float ends[2] = {0, 1};
    process_restore(trained->engine.process, ends, 2);
    *rms = difference(original, drawn, count * item) / (double)(ends[1] - ends[0]);
    for (int64_t i = 0; i < count; ++i) { // pairs; originals are read before they are written over
        memmove(x + 2 * i * item, original + i * item, (size_t)item * sizeof *x);
        memcpy(x + (2 * i + 1) * item, drawn + i * item, (size_t)item * sizeof *x);
    }
    return STATUS_OK;
}

Status reconstruct(Trained *trained, Comm *comm, const SamplerConfig *sampler, int64_t count,
                   float **out, double *rms) {
    *out = NULL;
    FAIL_IF(process_is_tokens(trained->engine.process) || trained->settings.process.logit > 0,
            BAD_USAGE,
            "--reconstruct is for systems of numbers whose sampler.solver may be ddim,"
            " without process.logit");
    float *x = calloc((size_t)(2 * count * engine_item(&trained->engine)), sizeof *x);
    FAIL_IF(x == NULL, NO_MEMORY, "no memory for %lld samples", (long long)(2 * count));
    void *noise = NULL, *back = NULL;
    Status status = there_and_back(trained, comm, sampler, count, x, rms, &noise, &back);
    free(noise), free(back);
    if (status == STATUS_OK)
        *out = x;
    else
        free(x);
    return status;
}
