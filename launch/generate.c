// The sampling loop behind launch/generate.h.
#include "launch/generate.h"

#include <stdlib.h>

#include "base/journal.h"
#include "launch/console.h"
#include "launch/inference.h"

int32_t generate_label(const Engine *engine, int32_t label, uint64_t sample) {
    int32_t classes = engine->shape.classes;
    if (classes == 0 || label == LABEL_NONE) return classes; // the null class
    if (label == LABEL_CYCLE) return (int32_t)(sample % (uint64_t)classes);
    return label;
}

static void upload_labels(EngineLane *lane, const int32_t *label, int64_t samples) {
    stream_upload(lane->stream, lane->pass.label, label, (size_t)samples * sizeof *label);
}

// One step of one group. Guidance needs a second pass, without the label or by the guide.
static void queue_step(const Engine *engine, int lane_index, const GenerateRequest *request,
                       int step) {
    EngineLane *lane = &engine->lane[lane_index];
    Pass *pass = &lane->pass;
    int64_t samples = engine->capacity;
    float guidance = sampler_guidance(request->sampler, step);
    inference_upload_time(engine, lane_index, samples, sampler_time(request->sampler, step));
    const Guide *guide = request->guide;
    bool guided = guidance != 1 && (engine->shape.classes > 0 || guide != NULL);
    upload_labels(lane, guided && guide == NULL ? lane->null_label : pass->host_label, samples);
    if (guided && guide == NULL) inference_forward(engine, lane_index, samples, pass->dout);
    if (guided && guide != NULL) guide_forward(guide, engine, lane_index, samples, pass->dout);
    upload_labels(lane, pass->host_label, samples);
    inference_forward(engine, lane_index, samples, pass->out);
    if (guided) process_guide(engine->process, lane->stream, pass, pass->dout, samples, guidance);
    sampler_advance(request->sampler, lane->stream, pass, samples, step, request->seed);
}

// Samples are drawn in whole groups of `capacity` that begin at multiples of it, wanted or not: a
// matrix product of another height may round differently, and sample i must not know its company.
static void begin_group(const Engine *engine, EngineLane *lane, const GenerateRequest *request,
                        int64_t group) {
    Pass *pass = &lane->pass;
    for (int64_t i = 0; i < engine->capacity; ++i) {
        pass->host_sample[i] = (uint64_t)(group * engine->capacity + i);
        pass->host_label[i] = generate_label(engine, request->label, pass->host_sample[i]);
    }
    stream_upload(lane->stream, pass->sample, pass->host_sample,
                  (size_t)engine->capacity * sizeof *pass->sample);
    sampler_begin(request->sampler, lane->stream, pass, engine->capacity, request->seed);
    size_t item_bytes = (size_t)engine_item(engine) * 4;
    for (int64_t i = 0; i < engine->capacity && request->start != NULL; ++i) {
        int64_t at = group * engine->capacity + i - request->first;
        if (at >= 0 && at < request->count)
            stream_upload(lane->stream, (char *)pass->x_t + (size_t)i * item_bytes,
                          (const char *)request->start + (size_t)at * item_bytes, item_bytes);
    }
}

// Downloads the wanted samples of a group.
static void end_group(const Engine *engine, EngineLane *lane, const GenerateRequest *request,
                      int64_t group, char *out) {
    size_t item_bytes = (size_t)engine_item(engine) * 4;
    int64_t begin = group * engine->capacity, end = begin + engine->capacity;
    int64_t from = begin > request->first ? begin : request->first;
    int64_t to = end < request->first + request->count ? end : request->first + request->count;
    stream_download(lane->stream, out + (size_t)(from - request->first) * item_bytes,
                    (const char *)lane->pass.x_t + (size_t)(from - begin) * item_bytes,
                    (size_t)(to - from) * item_bytes);
}

// The places that are given, after `step` steps. Noise of the steps' own, never of another draw.
static Status hold_known(const Engine *engine, const GenerateRequest *request, InfillHold *hold,
                         int groups, int step) {
    if (hold == NULL) return STATUS_OK;
    bool done = step == sampler_steps(request->sampler);
    for (int i = 0; i < groups; ++i)
        infill_hold_queue(hold, i, request->seed, done ? 0 : sampler_time(request->sampler, step),
                          (uint64_t)step);
    TRY(engine_wait(engine));
    for (int i = 0; i < groups; ++i) infill_hold_put(hold, i);
    return engine_wait(engine);
}

// The frames that are due after `step` steps: of F frames the last is due after all.
static void keep_frames(const Engine *engine, const GenerateRequest *request, int64_t group,
                        int world, int groups, int step, char *out) {
    int steps = sampler_steps(request->sampler), frames = request->frames > 1 ? request->frames : 1;
    size_t bytes = (size_t)(request->count * engine_item(engine)) * 4;
    for (int frame = 0; frame < frames; ++frame) {
        int due = frames > 1 ? generate_frame_step(request->sampler, frame, frames) : steps;
        for (int i = 0; i < groups && due == step; ++i)
            end_group(engine, &engine->lane[i], request, group + i * world,
                      out + (size_t)frame * bytes);
    }
}

static void tell_progress(const Engine *engine, const GenerateRequest *request, int64_t group,
                          int groups, int step) {
    int64_t first = request->first / engine->capacity;
    int64_t all = (request->first + request->count - 1) / engine->capacity + 1 - first;
    double done = (double)step / sampler_steps(request->sampler);
    console_done(((double)(group - first) + groups * done) / (double)all);
}

// Some groups of this rank, which has every world-th: one on each stream.
static Status run_groups(Engine *engine, const GenerateRequest *request, InfillHold *hold,
                         int64_t group, int world, int groups, char *out) {
    for (int i = 0; i < groups; ++i)
        begin_group(engine, &engine->lane[i], request, group + i * world);
    TRY(engine_wait(engine));
    for (int step = 0;; ++step) {
        TRY(hold_known(engine, request, hold, groups, step));
        keep_frames(engine, request, group, world, groups, step, out);
        if (step == sampler_steps(request->sampler)) break;
        for (int i = 0; i < groups; ++i) queue_step(engine, i, request, step);
        TRY(engine_wait(engine));
        journal_proceed();
        tell_progress(engine, request, group, groups * world, step + 1);
    }
    return engine_wait(engine);
}

static Status run_all(Engine *engine, Comm *comm, const GenerateRequest *request, InfillHold *hold,
                      char *out) {
    int world = comm_world(comm);
    int64_t end = (request->first + request->count - 1) / engine->capacity + 1;
    int64_t group = request->first / engine->capacity + comm_rank(comm);
    for (; group < end; group += engine->lanes * world) {
        int64_t left = (end - group - 1) / world + 1;
        int groups = left < engine->lanes ? (int)left : engine->lanes;
        TRY(run_groups(engine, request, hold, group, world, groups, out));
    }
    return STATUS_OK;
}

Status generate(Engine *engine, Comm *comm, const GenerateRequest *request, void **out) {
    InfillHold *hold = NULL;
    int64_t frames = request->frames > 1 ? request->frames : 1;
    TRY(engine_use(engine, request->weights));
    // Four-byte numbers travel as words of eight; each group is zero on all ranks but one.
    size_t words = (size_t)(frames * request->count * engine_item(engine) + 1) / 2;
    FAIL_IF(words > INT32_MAX, BAD_USAGE, "%lld samples are too many at a time; draw fewer (-n)",
            (long long)request->count);
    uint64_t *samples = calloc(words, sizeof *samples);
    FAIL_IF(samples == NULL, NO_MEMORY, "no memory for %lld samples", (long long)request->count);
    Status status = STATUS_OK;
    if (request->infill != NULL && request->infill->known != NULL)
        status = infill_hold_open(engine, request->infill, &hold);
    if (status == STATUS_OK) status = run_all(engine, comm, request, hold, (char *)samples);
    infill_hold_close(hold);
    if (status == STATUS_OK) status = comm_sum_u64(comm, samples, (int)words);
    if (status != STATUS_OK) free(samples);
    *out = samples;
    return status;
}
