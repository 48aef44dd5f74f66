// The ranking behind launch/candidates.h.
#include "launch/candidates.h"

#include <stdlib.h>
#include <string.h>

#include "launch/inference.h"

// One round of all streams: cross entropies of rows [first, first + count), into loss.
static Status rank_round(Engine *engine, const int32_t *drawn, int64_t first, int64_t count,
                         const double *time, float *loss) {
    int64_t item = engine_item(engine), capacity = engine->capacity;
    for (int i = 0; i < engine->lanes && i * capacity < count; ++i) {
        EngineLane *lane = &engine->lane[i];
        Pass *pass = &lane->pass;
        int64_t at = first + i * capacity, left = count - i * capacity;
        for (int64_t s = 0; s < capacity; ++s) pass->host_sample[s] = (uint64_t)(at + s);
        GrainBatch batch = {.samples = left < capacity ? left : capacity,
                            .x_0 = drawn + at * item,
                            .label = lane->null_label,
                            .sample = pass->host_sample};
        // At the first time nothing is replaced.
        process_corrupt_at(engine->process, engine->network, lane->stream, pass, &batch, time, 0);
        inference_forward(engine, i, batch.samples, pass->out);
        process_loss(engine->process, lane->stream, pass, batch.samples, false);
        stream_download(lane->stream, loss + at, pass->loss, (size_t)batch.samples * sizeof *loss);
    }
    return engine_wait(engine);
}

static void take_best(const Engine *engine, int32_t *drawn, int64_t count, int candidates,
                      const float *loss, double *nats) {
    int64_t item = engine_item(engine);
    for (int64_t s = 0; s < count; ++s) {
        int64_t best = s * candidates;
        for (int64_t i = best + 1; i < (s + 1) * candidates; ++i)
            if (loss[i] < loss[best]) best = i;
        memmove(drawn + s * item, drawn + best * item, (size_t)item * sizeof *drawn);
        if (nats != NULL)
            nats[s] = (double)loss[best] / (double)process_loss_items(engine->process);
    }
}

Status candidates_check(const Process *process) {
    FAIL_IF(process_bound_unit(process) != NULL || !process_is_tokens(process), BAD_USAGE,
            "--candidates: the model's own cross entropy ranks them, which is for sundae alone");
    return STATUS_OK;
}

Status candidates_choose(Engine *engine, int32_t *drawn, int64_t count, int candidates,
                         double *nats) {
    int64_t rows = count * candidates, round = engine->capacity * engine->lanes;
    float *loss = calloc((size_t)rows, sizeof *loss);
    double *time = calloc((size_t)engine->capacity, sizeof *time);
    Status status = STATUS_OK;
    if (loss == NULL || time == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory for %lld candidates", (long long)rows);
    for (int64_t s = 0; s < engine->capacity; ++s) time[s] = process_first_time(engine->process);
    for (int64_t at = 0; at < rows; at += round) {
        int64_t left = rows - at;
        TRY_OR(done, status,
               rank_round(engine, drawn, at, left < round ? left : round, time, loss));
    }
    take_best(engine, drawn, count, candidates, loss, nats);
done:
    free(loss);
    free(time);
    return status;
}
