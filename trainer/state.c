// What a Trainer remembers: weights, moments, averages, gradient buffers; saved, resumed, printed.
#include "trainer/trainer_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

// ---- memory -----------------------------------------------------------------------------------

// Lists the runs of tensors inside this rank's parts.
static Status list_ranges(Trainer *t) {
    const Params *params = &t->engine.params;
    t->own_slot = malloc((size_t)params->parts * sizeof *t->own_slot);
    t->range = malloc((size_t)(params->parts + params->count) * sizeof *t->range);
    FAIL_IF(t->own_slot == NULL || t->range == NULL, NO_MEMORY, "no memory for the part table");
    int rank = comm_rank(t->context.comm);
    for (int part = 0; part < params->parts; ++part) {
        bool own = ownership_owner(&t->ownership, part) == rank;
        t->own_slot[part] = own ? t->own_parts++ : -1;
    }
    for (int part = 0; part < params->parts; ++part) {
        if (t->own_slot[part] < 0) continue;
        int64_t begin, end;
        params_part(params, part, &begin, &end);
        for (int i = 0; i < params->count; ++i) {
            const Param *param = &params->list[i];
            int64_t from = param->offset > begin ? param->offset : begin;
            int64_t to = param->offset + param->size < end ? param->offset + param->size : end;
            if (from >= to) continue;
            t->range[t->ranges++] =
                (OwnRange){.tensor = i,
                           .part = part,
                           .begin = from,
                           .end = to,
                           .own = t->own_slot[part] * params->part_size + from - begin};
        }
    }
    return STATUS_OK;
}

static Status take(Trainer *t, const char *purpose, size_t bytes, void *out) {
    void *memory;
    TRY(device_alloc(t->engine.device, bytes > 0 ? bytes : 64, &memory));
    memcpy(out, &memory, sizeof memory);
    plan_add(&t->plan, purpose, bytes, 1);
    return STATUS_OK;
}

static Status take_host(size_t bytes, void *out) {
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    FAIL_IF(memory == NULL, NO_MEMORY, "no memory for %zu bytes of step records", bytes);
    memcpy(out, &memory, sizeof memory);
    return STATUS_OK;
}

static Status take_gradients(Trainer *t) {
    int lanes = t->engine.lanes, grains = t->grain_end - t->grain_begin, total = 0;
    size_t bytes = (size_t)t->engine.params.size * sizeof(float);
    TRY(take_host((size_t)lanes * sizeof *t->grad_lane, &t->grad_lane));
    for (int i = 0; i < lanes; ++i) {
        GradLane *lane = &t->grad_lane[i];
        lane->begin = t->grain_begin + grains * i / lanes;
        lane->end = t->grain_begin + grains * (i + 1) / lanes;
        int slots = tree_sum_slots(t->settings.train.grains, lane->begin, lane->end);
        TRY(take_host((size_t)slots * sizeof *lane->slot, &lane->slot));
        lane->slots = slots;
        for (int k = 0; k < slots; ++k) {
            void *memory;
            TRY(device_alloc(t->engine.device, bytes, &memory));
            lane->slot[k] = memory;
        }
        total += slots;
    }
    plan_add(&t->plan, "gradients", bytes, total);
    return STATUS_OK;
}

// Passes of all grains: device memory of their stream, host rows of their own, since uploads of one
// grain may still be queued while the next is being prepared.
static Status take_passes(Trainer *t) {
    Engine *engine = &t->engine;
    int grains = t->grain_end - t->grain_begin;
    size_t host_bytes = process_pass_host_bytes(engine->process, t->grain_samples);
    TRY(take_host((size_t)grains * sizeof *t->pass, &t->pass));
    TRY(take_host((size_t)grains * sizeof *t->pass_host, &t->pass_host));
    TRY(take_host((size_t)grains * (size_t)t->grain_samples * sizeof(float), &t->host_loss));
    for (int i = 0; i < engine->lanes; ++i)
        for (int grain = t->grad_lane[i].begin; grain < t->grad_lane[i].end; ++grain) {
            int local = grain - t->grain_begin;
            TRY(take_host(host_bytes, &t->pass_host[local]));
            process_pass_place(engine->process, engine->network, t->grain_samples,
                               engine->lane[i].pass_memory, t->pass_host[local], &t->pass[local]);
        }
    return STATUS_OK;
}

static Status take_board(Trainer *t) {
    int grains = t->settings.train.grains, parts = t->engine.params.parts;
    int world = comm_world(t->context.comm);
    t->board.count = 2 * grains + parts + world * BOARD_RANK_FIELDS;
    TRY(take_host((size_t)t->board.count * sizeof(double), &t->board.values));
    t->board.numerator = t->board.values;
    t->board.denominator = t->board.numerator + grains;
    t->board.square_sum = t->board.denominator + grains;
    t->board.rank = t->board.square_sum + parts;
    TRY(take_host((size_t)world * sizeof(double), &t->totals.sorted));
    return take_host((size_t)world * sizeof(double), &t->totals.arrival);
}

Status state_open(Trainer *t) {
    const Params *params = &t->engine.params;
    int grains = t->settings.train.grains, rank = comm_rank(t->context.comm);
    ownership_init(&t->ownership, params, comm_world(t->context.comm),
                   (size_t)t->settings.optim.bucket);
    TRY(list_ranges(t));
    size_t all = (size_t)params->size * sizeof(float);
    size_t own = (size_t)(t->own_parts * params->part_size) * sizeof(float);
    size_t norms = (size_t)(t->own_parts * (params->part_size / PART_UNIT)) * sizeof(double);
    TRY(take(t, "weights", all, &t->weights));
    TRY(take(t, "gathered average", all, &t->average));
    for (StateKind kind = STATE_ADAM_M; kind < STATE_KINDS; ++kind)
        TRY(take(t, state_kind_name(kind), own, &t->own[kind]));
    TRY(take(t, "norms", norms, &t->norm));
    TRY(take(t, "fingerprints", (size_t)t->ranges * sizeof(uint64_t), &t->print));
    TRY(take_host(norms, &t->host_norm));
    TRY(take_host((size_t)t->ranges * sizeof(uint64_t), &t->host_print));
    TRY(take_host((size_t)params->count * sizeof(uint64_t), &t->tensor_print));
    TRY(take_host((size_t)params->part_size * sizeof(float), &t->host_part));
    TRY(take_gradients(t));
    TRY(take_passes(t));
    TRY(take_board(t));
    TRY(reducer_open(t->context.comm, t->engine.device, &t->ownership, grains, &t->reducer));
    plan_add(&t->plan, "exchange",
             reducer_host_bytes(&t->ownership, grains, rank) +
                 reducer_device_bytes(&t->ownership, grains, rank),
             1);
    plan_add(&t->plan, "read-ahead", loader_bytes(t->loader), 1);
    engine_plan(&t->engine, &t->plan);
    return STATUS_OK;
}

void state_close(Trainer *t) {
    Device *device = t->engine.device;
    if (device == NULL) return;
    (void)!engine_wait(&t->engine);
    reducer_close(t->reducer);
    for (int i = 0; t->grad_lane != NULL && i < t->engine.lanes; ++i) {
        GradLane *lane = &t->grad_lane[i];
        for (int k = 0; k < lane->slots; ++k) device_release(device, lane->slot[k]);
        free(lane->slot);
    }
    for (int i = 0; t->pass_host != NULL && i < t->grain_end - t->grain_begin; ++i)
        free(t->pass_host[i]);
    for (StateKind kind = STATE_ADAM_M; kind < STATE_KINDS; ++kind)
        device_release(device, t->own[kind]);
    void *on_device[] = {t->weights, t->average, t->norm, t->print};
    for (size_t i = 0; i < sizeof on_device / sizeof *on_device; ++i)
        device_release(device, on_device[i]);
    void *on_host[] = {t->grad_lane,    t->pass,      t->pass_host,    t->host_loss,
                       t->own_slot,     t->range,     t->host_norm,    t->host_print,
                       t->tensor_print, t->host_part, t->board.values, t->totals.arrival,
                       t->totals.sorted};
    for (size_t i = 0; i < sizeof on_host / sizeof *on_host; ++i) free(on_host[i]);
}

// ---- one part, to and from the host -----------------------------------------------------------

static float *part_memory(const Trainer *t, StateKind kind, int part) {
    int64_t begin, end;
    params_part(&t->engine.params, part, &begin, &end);
    if (kind == STATE_WEIGHT) return t->weights + begin;
    REQUIRE(t->own_slot[part] >= 0);
    return t->own[kind] + t->own_slot[part] * t->engine.params.part_size;
}

static size_t part_bytes(const Trainer *t, int part) {
    int64_t begin, end;
    params_part(&t->engine.params, part, &begin, &end);
    return (size_t)(end - begin) * sizeof(float);
}

static Status get_part(void *context, StateKind kind, int part, const float **numbers) {
    Trainer *t = context;
    Stream *stream = t->engine.lane[0].stream;
    stream_download(stream, t->host_part, part_memory(t, kind, part), part_bytes(t, part));
    TRY(stream_wait(stream));
    *numbers = t->host_part;
    return STATUS_OK;
}

static Status set_part(void *context, StateKind kind, int part, const float *numbers) {
    Trainer *t = context;
    Stream *stream = t->engine.lane[0].stream;
    stream_upload(stream, part_memory(t, kind, part), numbers, part_bytes(t, part));
    return stream_wait(stream);
}

static CheckpointRun checkpoint_run(Trainer *t) {
    return (CheckpointRun){t->context.comm,
                           t->settings.run.dir,
                           &t->engine.params,
                           &t->ownership,
                           {t, get_part, set_part}};
}

// ---- start, save, resume ----------------------------------------------------------------------

Status state_draw(Trainer *t) {
    const Params *params = &t->engine.params;
    Stream *stream = t->engine.lane[0].stream;
    for (int part = 0; part < params->parts; ++part) {
        int64_t begin, end;
        params_part(params, part, &begin, &end);
        params_draw(params, t->settings.train.seed, begin, end, t->host_part);
        TRY(set_part(t, STATE_WEIGHT, part, t->host_part));
        if (t->own_slot[part] < 0) continue;
        TRY(set_part(t, STATE_EMA_0, part, t->host_part));
        TRY(set_part(t, STATE_EMA_1, part, t->host_part));
    }
    return stream_wait(stream);
}

Status state_fingerprint(Trainer *t) {
    const Params *params = &t->engine.params;
    for (int i = 0; i < t->ranges; ++i) {
        const OwnRange *range = &t->range[i];
        Stream *stream = t->engine.lane[i % t->engine.lanes].stream;
        fingerprint(stream, (Fingerprint){.x = t->weights + range->begin,
                                          .sum = t->print + i,
                                          .n = range->end - range->begin,
                                          .first = (uint64_t)range->begin});
        stream_download(stream, t->host_print + i, t->print + i, sizeof *t->print);
    }
    TRY(engine_wait(&t->engine));
    memset(t->tensor_print, 0, (size_t)params->count * sizeof *t->tensor_print);
    for (int i = 0; i < t->ranges; ++i) t->tensor_print[t->range[i].tensor] += t->host_print[i];
    TRY(comm_sum_u64(t->context.comm, t->tensor_print, params->count));
    t->fingerprint = 0;
    for (int i = 0; i < params->count; ++i) t->fingerprint += t->tensor_print[i];
    return STATUS_OK;
}

static Status tell_good(Trainer *t) {
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/step-%09" PRId64, t->settings.run.dir, t->saved_step));
    t->context.good_checkpoint(path);
    t->last_save = clock_now();
    return STATUS_OK;
}

Status state_save(Trainer *t) {
    double started = clock_now();
    // Whoever has taken the run over saves from now on.
    TRY(comm_share_status(t->context.comm, is_rank_0(t) ? run_lock_check(t->lock) : STATUS_OK));
    TRY(state_fingerprint(t));
    CheckpointRun run = checkpoint_run(t);
    char fixed[17];
    snprintf(fixed, sizeof fixed, "%016" PRIx64, t->context.fixed_hash);
    CheckpointMeta meta = {
        .step = t->step,
        .samples = t->step * t->settings.train.batch,
        .fingerprint = t->fingerprint,
        .facts = json_pack("{s:s, s:o, s:I}", "config", fixed, "data",
                           json_hex64(dataset_info(t->data)->identity), "skipped",
                           (json_int_t)t->skipped),
    };
    Status status = checkpoint_save(&run, &meta, t->settings.checkpoint.keep);
    json_decref(meta.facts);
    TRY(status);
    t->saved_step = t->step;
    t->save_seconds = clock_now() - started;
    return tell_good(t);
}

Status state_resume(Trainer *t, bool *found) {
    CheckpointRun run = checkpoint_run(t);
    CheckpointMeta meta = {0};
    TRY(checkpoint_load(&run, t->context.warn, &meta, found));
    if (!*found) return STATUS_OK;
    int64_t skipped = 0;
    uint64_t identity = 0;
    Status status = json_get_i64(meta.facts, "skipped", "manifest.json", 0, INT64_MAX, &skipped);
    if (status == STATUS_OK)
        status = json_get_hex64(meta.facts, "data", "manifest.json", &identity);
    json_decref(meta.facts);
    TRY(status);
    FAIL_IF(identity != dataset_info(t->data)->identity, BAD_DATA,
            "the data set at %s is not the one that this run was trained on (its index differs);"
            " point data.path at the old one, or start over with --fresh",
            t->settings.data.path);
    FAIL_IF(meta.samples != meta.step * t->settings.train.batch, BAD_CONFIG,
            "the checkpoint counts %" PRId64 " samples at step %" PRId64
            ", which does not fit train.batch = %" PRId64,
            meta.samples, meta.step, t->settings.train.batch);
    t->step = t->saved_step = meta.step;
    t->skipped = skipped;
    TRY(reducer_gather_weights(t->reducer, t->weights, t->engine.lane[0].stream));
    TRY(state_fingerprint(t));
    FAIL_IF(t->fingerprint != meta.fingerprint, BAD_DATA,
            "the weights that were loaded from step %" PRId64 " have fingerprint %016" PRIx64
            ", but %016" PRIx64 " was saved; run `dye verify %s`",
            meta.step, t->fingerprint, meta.fingerprint, t->settings.run.dir);
    return tell_good(t);
}

Status state_gather_average(Trainer *t, StateKind kind) {
    Stream *stream = t->engine.lane[0].stream;
    for (int part = 0; part < t->engine.params.parts; ++part) {
        if (t->own_slot[part] < 0) continue;
        int64_t begin, end;
        params_part(&t->engine.params, part, &begin, &end);
        axpby(stream, (Axpby){.x = part_memory(t, kind, part),
                              .y = t->average + begin,
                              .n = end - begin,
                              .a = 1});
    }
    TRY(stream_wait(stream));
    return reducer_gather_weights(t->reducer, t->average, stream);
}
