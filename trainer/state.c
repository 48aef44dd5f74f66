// What a Trainer remembers: weights, moments, averages, gradient buffers; saved, resumed, printed.
#include "trainer/trainer_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "model/bump.h"

// ---- memory -----------------------------------------------------------------------------------

// A named piece of the device's block; the plan tells of it when it is measured.
static void *take(Trainer *t, Bump *bump, const char *purpose, int64_t count, size_t bytes_each) {
    if (bump->base == NULL) plan_add(&t->plan, purpose, (size_t)count * bytes_each, 0);
    return bump_take(bump, count, bytes_each);
}

static void place_gradients(Trainer *t, Bump *device, Bump *host) {
    int lanes = t->engine.lanes, grains = t->grain_end - t->grain_begin, buffers = 0;
    t->grad_lane = bump_take(host, lanes, sizeof *t->grad_lane);
    for (int i = 0; i < lanes; ++i) {
        GradLane lane = {.begin = t->grain_begin + grains * i / lanes,
                         .end = t->grain_begin + grains * (i + 1) / lanes,
                         .first_buffer = buffers};
        lane.spare = tree_sum_slots(t->settings.train.grains, lane.begin, lane.end);
        buffers += lane.spare + (process_passes(t->engine.process) > 1);
        if (t->grad_lane != NULL) t->grad_lane[i] = lane;
    }
    t->gradient_stride = (t->engine.params.size + 15) / 16 * 16;
    t->gradients = take(t, device, "gradients", buffers * t->gradient_stride, sizeof(float));
}

// Passes of all grains: device memory of their stream, host rows of their own, since uploads of one
// grain may still be queued while the next is being prepared.
static void place_passes(Trainer *t, Bump *host) {
    const Engine *engine = &t->engine;
    int grains = t->grain_end - t->grain_begin;
    size_t row_bytes = process_pass_host_bytes(engine->process, t->grain_samples);
    t->pass = bump_take(host, grains, sizeof *t->pass);
    t->host_loss = bump_floats(host, grains * t->grain_samples);
    char *rows = bump_take(host, grains, row_bytes);
    for (int i = 0; rows != NULL && i < engine->lanes; ++i)
        for (int grain = t->grad_lane[i].begin; grain < t->grad_lane[i].end; ++grain) {
            int local = grain - t->grain_begin;
            process_pass_place(engine->process, engine->network, t->grain_samples,
                               engine->lane[i].pass_memory, rows + (size_t)local * row_bytes,
                               &t->pass[local]);
        }
}

static void place_board(Trainer *t, Bump *device, Bump *host) {
    int grains = t->settings.train.grains, parts = t->engine.params.parts;
    int world = t->ownership.world;
    t->totals.time = bump_take(host, world * SLOW_CAUSES, sizeof(double));
    bool learns = process_learns_times(t->engine.process);
    int losses = learns ? (int)t->settings.train.batch : 0;
    Board *board = &t->board;
    board->count = grains + parts + losses + world * BOARD_RANK_FIELDS;
    int numbers = board->count + GRAD_RESULTS;
    board->mine = take(t, device, "boards", numbers * (1 + (world > 1)), sizeof(double));
    board->all = board->mine == NULL || world == 1 ? board->mine : board->mine + numbers;
    double *values = board->values = bump_take(host, numbers, sizeof(double));
    if (values == NULL) return;
    board->loss_sum = values;
    board->square_sum = values + grains;
    board->sample_loss = learns ? values + grains + parts : NULL;
    board->rank = values + grains + parts + losses;
    board->result = values + board->count;
}

static void place(Trainer *t, Bump *device, Bump *host) {
    const Params *params = &t->engine.params;
    int64_t own = t->own_parts * params->part_size, ranges = params->parts + params->count;
    t->weights = take(t, device, "weights", params->size, sizeof(float));
    for (StateKind kind = STATE_ADAM_M; kind < STATE_KINDS; ++kind)
        t->own[kind] = take(t, device, state_kind_name(kind), own, sizeof(float));
    int64_t norms = own / PART_UNIT, apart = t->engine.lanes * (int64_t)params->count;
    if (norms < apart) norms = apart;
    t->norm = take(t, device, "norms", norms, sizeof(double));
    t->print = take(t, device, "fingerprints", ranges, sizeof(uint64_t));
    t->own_slot = bump_take(host, params->parts, sizeof *t->own_slot);
    t->range = bump_take(host, ranges, sizeof *t->range);
    t->host_norm = bump_take(host, norms, sizeof(double));
    t->host_print = bump_take(host, ranges, sizeof(uint64_t));
    t->tensor_print = bump_take(host, params->count, sizeof(uint64_t));
    t->replica_print = bump_take(host, t->ownership.world, sizeof(uint64_t));
    t->host_part = bump_floats(host, params->part_size);
    t->snapshot = bump_floats(host, STATE_KINDS * own);
    place_gradients(t, device, host);
    t->average = t->gradients; // between two steps nobody needs these
    place_passes(t, host);
    place_board(t, device, host);
}

// Lists the runs of tensors inside this rank's parts.
static void list_ranges(Trainer *t) {
    const Params *params = &t->engine.params;
    int slot = 0;
    for (int part = 0; part < params->parts; ++part) {
        t->own_slot[part] =
            ownership_owner(&t->ownership, part) == comm_rank(t->context.comm) ? slot++ : -1;
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
                           .decay = param->decay,
                           .begin = from,
                           .end = to,
                           .own = t->own_slot[part] * params->part_size + from - begin};
        }
    }
}

// Ownership and the plan, with sizes of the two blocks: no device needs to be open.
static void plan_state(Trainer *t, int world, int group, int rank, Bump *device, Bump *host) {
    const Params *params = &t->engine.params;
    int grains = t->settings.train.grains;
    const char *exchange = t->settings.device.exchange;
    bool by_host = strcmp(exchange, "host") == 0;
    if (strcmp(exchange, "nccl-sum") == 0) group = world; // NCCL knows of hosts itself
    ReduceWay way = t->plan.on_host ? REDUCE_DIRECT : by_host ? REDUCE_STAGED : REDUCE_QUEUED;
    ownership_init(&t->ownership, params, world, group, (size_t)t->settings.optim.bucket);
    for (int part = 0; part < params->parts; ++part)
        t->own_parts += ownership_owner(&t->ownership, part) == rank;
    place(t, device, host);
    int64_t own = t->own_parts * params->part_size;
    plan_add(&t->plan, "snapshot", 0, STATE_KINDS * (size_t)own * sizeof(float));
    plan_add(&t->plan, "exchange", reducer_device_bytes(&t->ownership, grains, rank, way),
             reducer_host_bytes(&t->ownership, grains, rank, way));
    engine_plan(&t->engine, &t->plan);
}

void trainer_foresee(const RunSettings *settings, const Engine *model, int world, int group,
                     int rank, int streams, bool on_host, Plan *out) {
    Trainer t = {.settings = *settings, .engine = *model, .plan.on_host = on_host};
    grain_share(settings->train.grains, world, rank, &t.grain_begin, &t.grain_end);
    t.grain_samples = t.engine.capacity = settings->train.batch / settings->train.grains;
    t.engine.lanes = streams;
    t.engine.backward = true;
    plan_state(&t, world, group, rank, &(Bump){0}, &(Bump){0});
    *out = t.plan;
}

Status state_open(Trainer *t) {
    t->print_step = -1;
    Comm *comm = t->context.comm;
    Engine *engine = &t->engine;
    Bump device = {0}, host = {0};
    t->plan.on_host = engine->device->on_host;
    plan_state(t, comm_world(comm), comm_group(comm), comm_rank(comm), &device, &host);
    plan_add(&t->plan, "read-ahead", 0, loader_bytes(t->loader));
    TRY(device_alloc(engine->device, device.used, &t->device_memory));
    t->host_memory = calloc(1, host.used);
    FAIL_IF(t->host_memory == NULL, NO_MEMORY, "no memory for the records of a step");
    place(t, &(Bump){t->device_memory, 0}, &(Bump){t->host_memory, 0});
    list_ranges(t);
    return STATUS_OK;
}

void state_close(Trainer *t) {
    if (t->engine.device == NULL) return;
    (void)!engine_wait(&t->engine);
    checkpoint_save_abandon(t->save);
    reducer_close(t->reducer);
    device_release(t->engine.device, t->device_memory);
    free(t->host_memory);
    sample_set_clear(&t->suspects);
    sample_set_clear(&t->left_out);
    sample_set_clear(&t->lost);
    sample_set_clear(&t->lost_new);
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

static float *snapshot_of(const Trainer *t, StateKind kind, int part) {
    return t->snapshot +
           ((int)kind * t->own_parts + t->own_slot[part]) * t->engine.params.part_size;
}

static Status take_snapshot(Trainer *t) {
    for (int part = 0; part < t->engine.params.parts; ++part)
        for (StateKind kind = 0; kind < STATE_KINDS && t->own_slot[part] >= 0; ++kind)
            stream_download(t->engine.lane[part % t->engine.lanes].stream,
                            snapshot_of(t, kind, part), part_memory(t, kind, part),
                            part_bytes(t, part));
    return engine_wait(&t->engine);
}

static Status get_part(void *context, StateKind kind, int part, const float **numbers) {
    Trainer *t = context;
    Stream *stream = t->engine.lane[0].stream;
    *numbers = t->save_is_live ? t->host_part : snapshot_of(t, kind, part);
    if (!t->save_is_live) return STATUS_OK;
    stream_download(stream, t->host_part, part_memory(t, kind, part), part_bytes(t, part));
    return stream_wait(stream);
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
    process_set_times(t->engine.process, NULL);
    for (int part = 0; part < params->parts; ++part) {
        if (t->own_slot[part] < 0) continue;
        int64_t begin, end;
        params_part(params, part, &begin, &end);
        params_draw(params, t->settings.train.seed, begin, end, t->host_part);
        TRY(set_part(t, STATE_WEIGHT, part, t->host_part));
        TRY(set_part(t, STATE_EMA_0, part, t->host_part));
        TRY(set_part(t, STATE_EMA_1, part, t->host_part));
        memset(t->host_part, 0, part_bytes(t, part));
        TRY(set_part(t, STATE_ADAM_M, part, t->host_part));
        TRY(set_part(t, STATE_ADAM_V, part, t->host_part));
    }
    t->step = t->skipped = t->skips_in_row = 0;
    t->print_step = -1;
    sample_set_clear(&t->suspects);
    return reducer_gather_weights(t->reducer, t->weights, t->engine.lane[0].stream);
}

// Offers a weight that this rank does not own, if there is one.
static void drill_weight(const Trainer *t) {
    int part = 0;
    int64_t begin, end;
    while (part < t->engine.params.parts && t->own_slot[part] >= 0) ++part;
    if (part == t->engine.params.parts) return;
    params_part(&t->engine.params, part, &begin, &end);
    t->context.drill(&(DrillPlace){.point = DRILL_WEIGHT,
                                   .rank = comm_rank(t->context.comm),
                                   .step = t->step,
                                   .stream = t->engine.lane[0].stream,
                                   .number = t->weights + begin});
}

Status state_fetch(Trainer *t) {
    if (!t->fetch.due) return STATUS_OK;
    t->fetch.due = false;
    return reducer_gather_weights(t->reducer, t->weights, t->engine.lane[0].stream);
}

Status state_fingerprint(Trainer *t) {
    const Params *params = &t->engine.params;
    if (t->print_step == t->step) return STATUS_OK;
    TRY(state_fetch(t));
    if (t->context.drill != NULL) drill_weight(t);
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
    t->print_step = t->step;
    return replica_check(t);
}

static Status tell_good(Trainer *t) {
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/step-%09" PRId64, t->settings.run.dir, t->saved_step));
    t->context.good_checkpoint(path);
    return STATUS_OK;
}

// Whoever has taken the run over saves from now on.
static Status check_lock(Trainer *t) {
    Status (*check)(void) = is_rank_0(t) ? t->context.folder_check : NULL;
    return comm_share_status(t->context.comm, check != NULL ? check() : STATUS_OK);
}

static json_t *make_facts(const Trainer *t) {
    int64_t count;
    const double *times = process_times(t->engine.process, &count);
    return json_pack("{s:o, s:s, s:s*, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o*}", "config",
                     json_hex64(t->context.fixed_hash), "device", t->engine.device->description,
                     "products", t->engine.device->choice, "data",
                     json_hex64(dataset_info(t->data)->identity), "skipped", (json_int_t)t->skipped,
                     "skips_in_row", (json_int_t)t->skips_in_row, "back_from",
                     (json_int_t)t->back_from, "suspects", sample_set_json(&t->suspects),
                     "left_out", sample_set_json(&t->left_out), "lost", sample_set_json(&t->lost),
                     "times", count > 0 ? json_numbers(times, count) : NULL);
}

// A key that older checkpoints lack is 0 there.
static Status read_count(const json_t *facts, const char *key, int64_t most, int64_t *out) {
    *out = 0;
    if (json_object_get(facts, key) == NULL) return STATUS_OK;
    return json_get_i64(facts, key, "manifest.json", 0, most, out);
}

// What the law of times has learned.
static Status read_times(Trainer *t, const json_t *facts) {
    int64_t count;
    (void)process_times(t->engine.process, &count);
    double *state = calloc((size_t)count + 1, sizeof *state);
    FAIL_IF(state == NULL, NO_MEMORY, "no memory for the law of times");
    Status status = STATUS_OK;
    if (count > 0) status = json_get_numbers(facts, "times", "manifest.json", count, state);
    if (status == STATUS_OK) process_set_times(t->engine.process, state);
    free(state);
    return status;
}

// What follows the semicolon of a description, a driver's version, decides no bits.
static void compare_device(const Trainer *t, const json_t *facts) {
    const char *was = json_string_value(json_object_get(facts, "device"));
    const char *is = t->engine.device->description;
    size_t bytes = strcspn(is, ";");
    if (was == NULL || (strcspn(was, ";") == bytes && strncmp(was, is, bytes) == 0)) return;
    report_say(t,
               "the checkpoint was written on other hardware (%s), this is %s: equal only"
               " statistically from here",
               was, is);
}

// Samples that are left out already stay so.
static Status read_facts(Trainer *t, const json_t *facts, uint64_t *identity) {
    int64_t in_row;
    TRY(json_get_hex64(facts, "data", "manifest.json", identity));
    TRY(json_get_i64(facts, "skipped", "manifest.json", 0, INT64_MAX, &t->skipped));
    TRY(read_count(facts, "skips_in_row", INT32_MAX, &in_row));
    TRY(read_count(facts, "back_from", INT64_MAX, &t->back_from));
    t->skips_in_row = (int)in_row;
    compare_device(t, facts);
    TRY(read_times(t, facts));
    sample_set_clear(&t->suspects);
    TRY(sample_set_read(facts, "suspects", "manifest.json", &t->suspects));
    TRY(sample_set_read(facts, "left_out", "manifest.json", &t->left_out));
    return sample_set_read(facts, "lost", "manifest.json", &t->lost);
}

Status state_save_start(Trainer *t) {
    t->save_started = clock_now();
    t->save_step = t->step;
    TRY(check_lock(t));
    TRY(state_fingerprint(t));
    double began = clock_now();
    FAIL_IF(t->astray != 0, FAILED, "step %" PRId64 " is not saved: %s", t->step, t->astray_text);
    if (!t->save_is_live) TRY(take_snapshot(t));
    t->save_held += clock_now() - began;
    CheckpointRun run = checkpoint_run(t);
    CheckpointMeta meta = {
        .step = t->step,
        .samples = t->step * t->settings.train.batch,
        .fingerprint = t->fingerprint,
        .facts = make_facts(t),
    };
    Status status = checkpoint_save_start(&run, &meta, t->settings.checkpoint.keep, &t->save);
    json_decref(meta.facts);
    return status;
}

Status state_save_finish(Trainer *t) {
    double began = clock_now(), written = checkpoint_save_wait(t->save), went_on = clock_now();
    t->save_held += went_on - began;
    CheckpointSave *save = t->save;
    t->save = NULL;
    Status status = check_lock(t);
    if (status != STATUS_OK) checkpoint_save_abandon(save);
    TRY(status);
    TRY(checkpoint_save_finish(save));
    t->save_failed_at = t->save_failures = 0;
    t->saved_step = t->save_step;
    t->last_save = t->save_started;
    t->save_seconds = written - t->save_started + clock_now() - went_on;
    return tell_good(t);
}

Status state_resume(Trainer *t, bool *found) {
    CheckpointRun run = checkpoint_run(t);
    CheckpointMeta meta = {0};
    TRY(checkpoint_load(&run, t->context.warn, &meta, found));
    if (!*found) return STATUS_OK;
    uint64_t identity = 0;
    Status status = read_facts(t, meta.facts, &identity);
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
    t->print_step = -1;
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
        axpby(stream, (Elementwise){.x = part_memory(t, kind, part),
                                    .y = t->average + begin,
                                    .n = end - begin,
                                    .a = 1});
    }
    TRY(stream_wait(stream));
    return reducer_gather_weights(t->reducer, t->average, stream);
}
