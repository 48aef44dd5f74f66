// One optimizer step: grains -> gradient -> ordered reduction -> board -> update -> gather.
//
// The device itself decides what the update is scaled by, and whether there is one. So where a
// single stream of a GPU does all (step_is_ahead), the host queues a step, goes on to the next, and
// reads what came of the first while the GPU computes the second.
#include "trainer/trainer_impl.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "trainer/schedule.h"

// ---- grains -----------------------------------------------------------------------------------

float *step_buffer(const Trainer *t, int number) {
    return t->gradients + number * t->gradient_stride;
}

// Elements [begin, end) of the merges of buffers.
static void merge_buffers(Trainer *t, Stream *stream, int first_buffer, const TreeMerge *merge,
                          int merges, int64_t begin, int64_t end) {
    for (int i = 0; i < merges; ++i)
        axpby(stream, (Elementwise){.x = step_buffer(t, first_buffer + merge[i].from) + begin,
                                    .y = step_buffer(t, first_buffer + merge[i].to) + begin,
                                    .n = end - begin,
                                    .a = 1,
                                    .b = 1});
}

static void drill_sample(const Trainer *t, Stream *stream, const Batch *batch, int64_t row,
                         const Pass *pass, int64_t pass_row) {
    DrillPlace place = {.point = DRILL_LOSS,
                        .rank = comm_rank(t->context.comm),
                        .step = batch->step + 1,
                        .sample = batch->index[row],
                        .stream = stream,
                        .number = pass->loss + pass_row};
    t->context.drill(&place);
    place.point = DRILL_GRADIENT;
    place.number = pass->dout + pass_row * network_out_item(t->engine.network);
    t->context.drill(&place);
}

static void bucket_range(const Trainer *t, int bucket, int64_t *begin, int64_t *end) {
    int first, last;
    int64_t ignored;
    ownership_shares(&t->ownership, bucket, 0, t->ownership.world, &first, &last);
    params_part(&t->engine.params, first, begin, &ignored);
    params_part(&t->engine.params, last - 1, &ignored, end);
}

// The elements [from, size) of the last grain's gradient are queued: merges what the tree joins of
// them, and lets their buckets go.
static void start_buckets(void *context, int64_t from) {
    Trainer *t = context;
    Reduction *reduction = &t->reduction;
    while (reduction->status == STATUS_OK && reduction->unstarted > 0) {
        int64_t begin, end;
        bucket_range(t, reduction->unstarted - 1, &begin, &end);
        if (begin < from) return;
        merge_buffers(t, t->engine.lane[0].stream, reduction->first_buffer, reduction->merge,
                      reduction->merges, begin, end);
        reduction->status =
            reducer_start(t->reducer, --reduction->unstarted, reduction->cover, reduction->covers);
    }
}

static void fetch_bucket(Trainer *t) {
    Fetch *fetch = &t->fetch;
    Engine *engine = &t->engine;
    int64_t begin, end;
    bucket_range(t, fetch->next, &begin, &end);
    if (fetch->status != STATUS_OK) return;
    fetch->status = reducer_queue_weights(t->reducer, t->weights, fetch->next++);
    if (engine->half_weights == NULL) return;
    halve(engine->device->side, (Elementwise){.x = t->weights + begin,
                                              .y = (uint16_t *)engine->half_weights + begin,
                                              .n = end - begin});
}

// Weights [0, to) are going to be read: lets their buckets come first, and the one behind them
// while they are used.
static void fetch_weights(void *context, int64_t to) {
    Trainer *t = context;
    Fetch *fetch = &t->fetch;
    int buckets = t->ownership.buckets;
    int64_t begin, end;
    for (; fetch->next < buckets && fetch->status == STATUS_OK; fetch_bucket(t)) {
        bucket_range(t, fetch->next, &begin, &end);
        if (begin >= to) break;
    }
    if (fetch->status != STATUS_OK) return;
    Stream *stream = t->engine.lane[0].stream;
    fetch->status = stream_after(stream, t->engine.device->side);
    if (fetch->next < buckets) return fetch_bucket(t);
    // The last: from here on the stream waits for nobody.
    if (fetch->status == STATUS_OK) fetch->status = reducer_mark(t->reducer, stream);
    if (fetch->status == STATUS_OK) fetch->status = stream_mark(stream, MARK_BEGIN);
}

void step_queue_grain(Trainer *t, int lane_index, int grain, const Batch *batch, float *grads,
                      bool add, int64_t only) {
    const Engine *engine = &t->engine;
    Stream *stream = engine->lane[lane_index].stream;
    int local = grain - t->grain_begin;
    int64_t first = local * t->grain_samples;
    Pass *pass = &t->pass[local];
    GrainBatch grain_batch = {
        .seed = t->settings.train.seed,
        .step = (uint64_t)batch->step,
        .samples = t->grain_samples,
        .x_0 = (const float *)batch->x + first * engine_item(engine), // 4 bytes either way
        .label = batch->label + first,
        .sample = batch->sample + first,
    };
    process_corrupt(engine->process, engine->network, stream, pass, &grain_batch);
    NetworkInput input;
    process_network_input(engine->process, pass, &grain_batch, t->settings.model.dropout > 0,
                          &input);
    NetworkMemory memory = engine_memory(engine, lane_index);
    memory.context = t;
    if (t->reduction.early) memory.written = start_buckets;
    if (t->fetch.on) memory.reads = fetch_weights;
    for (int number = 0; number < process_passes(engine->process); ++number) {
        if (number > 0) process_next_pass(engine->process, stream, pass, t->grain_samples);
        network_forward(engine->network, stream, &memory, &input, pass->out);
        if (!process_has_gradient(engine->process, number)) continue;
        process_loss(engine->process, stream, pass, t->grain_samples, true);
        for (int64_t i = 0; i < t->grain_samples; ++i) {
            if (t->context.drill != NULL) drill_sample(t, stream, batch, first + i, pass, i);
            if (batch->left_out[first + i] || (only >= 0 && i != only))
                process_leave_out(engine->network, stream, pass, i);
        }
        network_backward(engine->network, stream, &memory, &input, pass->dout, grads, add,
                         pass->dx);
        process_learn(engine->process, stream, pass, t->grain_samples, grads, add);
        add = true;
    }
    stream_download(stream, t->host_loss + first, pass->loss,
                    (size_t)t->grain_samples * sizeof(float));
}

// Whether buckets may travel while a grain is computed: between GPUs, for a single stream each, and
// where all parameters are the network's. The same on all ranks, or exchanges would not match: a
// rank of few grains may have fewer streams than another.
static bool may_overlap(const Trainer *t) {
    return reducer_is_queued(t->reducer) && t->settings.device.threads <= 1 &&
           !process_has_params(t->engine.process);
}

// Whether the grain that comes next is the last to write gradients, all of them in one pass.
static bool starts_early(const Trainer *t, const GradLane *lane) {
    return may_overlap(t) && lane->sum.next + 1 == lane->end &&
           process_passes(t->engine.process) == 1;
}

// What a grain's samples have lost, onto the board.
static void queue_loss(Trainer *t, int lane, int grain) {
    int64_t n = t->grain_samples;
    add_up(t->engine.lane[lane].stream, (AddUp){.x = t->pass[grain - t->grain_begin].loss,
                                                .sum = t->board.mine + grain,
                                                .n = n,
                                                .chunk = n});
}

static void queue_last_grain(Trainer *t, GradLane *lane, const Batch *batch) {
    Reduction *reduction = &t->reduction;
    bool add;
    int grain = lane->sum.next, slot = tree_sum_leaf(&lane->sum, &add);
    *reduction = (Reduction){
        .early = true, .first_buffer = lane->first_buffer, .unstarted = t->ownership.buckets};
    reduction->merges = tree_sum_merge(&lane->sum, reduction->merge);
    reduction->covers = lane->sum.depth;
    for (int k = 0; k < reduction->covers; ++k)
        reduction->cover[k] = step_buffer(t, lane->first_buffer + lane->sum.slot[k]);
    step_queue_grain(t, 0, grain, batch, step_buffer(t, lane->first_buffer + slot), add, -1);
    queue_loss(t, 0, grain);
    reduction->early = false;
    start_buckets(t, 0);
}

static void queue_next_grain(Trainer *t, int lane_index, const Batch *batch) {
    GradLane *lane = &t->grad_lane[lane_index];
    Stream *stream = t->engine.lane[lane_index].stream;
    if (starts_early(t, lane)) return queue_last_grain(t, lane, batch);
    bool add;
    int grain = lane->sum.next;
    int slot = tree_sum_leaf(&lane->sum, &add);
    // The tree adds whole grains: passes are summed before.
    bool apart = add && process_passes(t->engine.process) > 1;
    float *grads = step_buffer(t, lane->first_buffer + (apart ? lane->spare : slot));
    step_queue_grain(t, lane_index, grain, batch, grads, add && !apart, -1);
    queue_loss(t, lane_index, grain);
    if (apart)
        merge_buffers(t, stream, lane->first_buffer, &(TreeMerge){.from = lane->spare, .to = slot},
                      1, 0, t->engine.params.size);
    TreeMerge merge[TREE_COVER_MOST];
    int merges = tree_sum_merge(&lane->sum, merge);
    merge_buffers(t, stream, lane->first_buffer, merge, merges, 0, t->engine.params.size);
}

// The same on all ranks. Where the law of times learns, or samples may prove to be lost, the next
// step depends on what all ranks have found in this one.
bool step_is_ahead(const Trainer *t) {
    bool alone = comm_world(t->context.comm) == 1 && t->engine.lanes == 1;
    return (may_overlap(t) || alone) && t->engine.device->backend->mark != NULL &&
           t->board.sample_loss == NULL && strcmp(t->settings.data.lost, "skip") != 0;
}

// For all streams, and what other ranks have to do with them.
static Status wait_for_all(Trainer *t) {
    if (reducer_is_queued(t->reducer)) TRY(reducer_mark(t->reducer, t->engine.lane[0].stream));
    TRY(reducer_meet(t->reducer));
    return engine_wait(&t->engine);
}

// Where streams hand over to each other or to the host.
static Status step_meet(Trainer *t) {
    return step_is_ahead(t) ? STATUS_OK : wait_for_all(t);
}

// Queues the grains of all streams in turn, so that every stream has work from the start.
static Status run_grains(Trainer *t, const Batch *batch) {
    int most = 0;
    t->reduction.covers = 0;
    t->fetch = (Fetch){.on = t->fetch.due};
    t->engine.rounded = t->engine.rounded || t->fetch.on; // bucket by bucket, as they come
    TRY(engine_use(&t->engine, t->weights));
    if (t->fetch.on) TRY(stream_after(t->engine.device->side, t->engine.lane[0].stream));
    bool ahead = step_is_ahead(t);
    if (ahead) TRY(stream_mark(t->engine.lane[0].stream, MARK_BEGIN));
    for (int i = 0; i < t->engine.lanes; ++i) {
        GradLane *lane = &t->grad_lane[i];
        tree_sum_init(&lane->sum, t->settings.train.grains, lane->begin, lane->end);
        if (lane->end - lane->begin > most) most = lane->end - lane->begin;
    }
    for (int k = 0; k < most; ++k)
        for (int i = 0; i < t->engine.lanes; ++i)
            if (t->grad_lane[i].begin + k < t->grad_lane[i].end) {
                queue_next_grain(t, i, batch);
                t->fetch.on = false;
            }
    TRY(t->fetch.status);
    t->queued = clock_now();
    if (ahead) TRY(stream_mark(t->engine.lane[0].stream, MARK_ARRIVAL));
    TRY(reducer_meet(t->reducer)); // that is, weights are there, and the step before is over
    return step_meet(t);
}

// ---- reduction --------------------------------------------------------------------------------

// The covers of all streams joined into this rank's cover, by all streams, each for its elements.
static Status join_lanes(Trainer *t) {
    TreeNode node[TREE_COVER_MOST];
    TreeMerge merge[TREE_COVER_MOST];
    int number[TREE_COVER_MOST], count = 0, lanes = t->engine.lanes;
    int64_t size = t->engine.params.size;
    for (int i = 0; i < lanes; ++i) {
        const GradLane *lane = &t->grad_lane[i];
        for (int k = 0; k < lane->sum.depth; ++k) {
            REQUIRE(count < TREE_COVER_MOST);
            node[count] = lane->sum.node[k];
            number[count++] = lane->first_buffer + lane->sum.slot[k];
            int merges = tree_fold(t->settings.train.grains, node, number, &count, merge);
            for (int s = 0; s < lanes; ++s)
                merge_buffers(t, t->engine.lane[s].stream, 0, merge, merges, size * s / lanes,
                              size * (s + 1) / lanes);
        }
    }
    t->reduction = (Reduction){.covers = count, .unstarted = t->ownership.buckets};
    for (int k = 0; k < count; ++k) t->reduction.cover[k] = step_buffer(t, number[k]);
    return step_meet(t);
}

static Status reduce_gradients(Trainer *t) {
    if (t->reduction.covers == 0) TRY(join_lanes(t));
    start_buckets(t, 0);
    TRY(t->reduction.status);
    for (int bucket = t->ownership.buckets - 1; bucket >= 0; --bucket)
        TRY(reducer_wait(t->reducer, bucket, t->engine.lane[0].stream));
    return step_meet(t);
}

// Parts from `first` on that are this rank's, and go on with part `end`.
static bool is_own_run(const Trainer *t, int first, int end) {
    return end < t->engine.params.parts && t->own_slot[first] >= 0 && t->own_slot[end] >= 0;
}

// Sums of squares of own parts [first, last), by 64 Ki elements, onto the board.
static void queue_norms(Trainer *t, int lane, int first, int last) {
    const Params *params = &t->engine.params;
    const float *gradient = t->reduction.cover[0]; // sums of all ranks in this rank's parts
    int64_t chunks = params->part_size / PART_UNIT, begin, end, ignored;
    if (first == last) return;
    params_part(params, first, &begin, &ignored);
    params_part(params, last - 1, &ignored, &end);
    double *norm = t->norm + t->own_slot[first] * chunks;
    Stream *stream = t->engine.lane[lane].stream;
    sum_squares(
        stream,
        (SumSquares){.x = gradient + begin, .sum = norm, .n = end - begin, .chunk = PART_UNIT});
    add_up(stream, (AddUp){.x = norm,
                           .sum = t->board.mine + t->settings.train.grains + first,
                           .n = (end - begin + PART_UNIT - 1) / PART_UNIT,
                           .chunk = chunks,
                           .wide = true});
}

static Status put_norms(Trainer *t) {
    const Params *params = &t->engine.params;
    int lanes = t->engine.lanes, first = 0, end;
    for (; first < params->parts; first = end) {
        for (end = first + 1; is_own_run(t, first, end); ++end) continue;
        for (int i = 0; i < lanes && t->own_slot[first] >= 0; ++i)
            queue_norms(t, i, first + (end - first) * i / lanes,
                        first + (end - first) * (i + 1) / lanes);
    }
    return step_meet(t);
}

// Entries of this rank that the host makes: [from, from + count) of the board.
static void upload_entries(Trainer *t, const double *from, int64_t count) {
    stream_upload(t->engine.lane[0].stream, t->board.mine + (from - t->board.values), from,
                  (size_t)count * sizeof *from);
}

static void put_losses(Trainer *t, const Batch *batch) {
    if (t->board.sample_loss == NULL) return;
    double *loss = t->board.sample_loss + t->grain_begin * t->grain_samples;
    for (int64_t i = 0; i < batch->count; ++i)
        loss[i] = batch->left_out[i] ? NAN : (double)t->host_loss[i];
    upload_entries(t, loss, batch->count);
}

// Times until this rank arrived at the reduction. Where the host is ahead they are the device's, of
// the step before, whose computing hides so much of the waiting for data; or the host's, if that
// takes longer to queue a step.
static Status put_fields(Trainer *t, const Batch *batch, double started, double loaded) {
    double *mine = t->board.rank + comm_rank(t->context.comm) * BOARD_RANK_FIELDS;
    double now = clock_now(), hidden = step_is_ahead(t) ? t->device_seconds : 0;
    int actions = t->context.signals(&mine[BOARD_SECONDS_LEFT]);
    actions |= due_actions(t, mine[BOARD_SECONDS_LEFT], now - started);
    mine[BOARD_ACTIONS] = actions;
    mine[BOARD_TIME + SLOW_DATA] = fmax(0, loaded - started - hidden);
    mine[BOARD_TIME + SLOW_COMPUTE] = fmax(t->device_seconds, t->queued - loaded);
    mine[BOARD_TIME + SLOW_SAVE] = t->save_held;
    t->save_held = 0;
    mine[BOARD_SAVE_SECONDS] = t->save_seconds;
    mine[BOARD_WRITTEN] = t->save != NULL && checkpoint_save_written(t->save);
    TRY(lost_note(t, batch, mine));
    upload_entries(t, mine, BOARD_RANK_FIELDS);
    return STATUS_OK;
}

// The board of all ranks, and what the optimizer is to do by it.
static Status queue_board(Trainer *t, const Batch *batch) {
    Board *board = &t->board;
    Stream *stream = t->engine.lane[0].stream;
    const double *parts = board->all + (board->square_sum - board->values);
    const double *fields = board->all + (board->rank - board->values);
    TRY(reducer_board(t->reducer, board->mine, board->all, board->values, board->count, stream));
    grad_scale(stream, (GradScale){.loss = board->all,
                                   .square = parts,
                                   .lost = fields + BOARD_LOST,
                                   .result = board->all + board->count,
                                   .losses = t->settings.train.grains,
                                   .squares = t->engine.params.parts,
                                   .ranks = comm_world(t->context.comm),
                                   .stride = BOARD_RANK_FIELDS,
                                   .samples = (double)(t->settings.train.batch - batch->left_outs),
                                   .terms = (double)(process_loss_items(t->engine.process) *
                                                     process_passes(t->engine.process)),
                                   .clip = t->settings.optim.clip});
    stream_download(stream, board->values, board->all,
                    (size_t)(board->count + GRAD_RESULTS) * sizeof(double));
    return step_meet(t);
}

// ---- what follows from the board: the same on every rank --------------------------------------

static void read_board(Trainer *t) {
    double wait = 0;
    t->written = t->save != NULL;
    t->seconds_left = 0;
    for (int rank = 0; rank < comm_world(t->context.comm); ++rank) {
        const double *fields = t->board.rank + rank * BOARD_RANK_FIELDS;
        t->agreed |= (int)fields[BOARD_ACTIONS];
        double left = fields[BOARD_SECONDS_LEFT];
        if (left > 0 && (t->seconds_left == 0 || left < t->seconds_left)) t->seconds_left = left;
        const double *time = fields + BOARD_TIME;
        for (int i = 0; i < SLOW_CAUSES; ++i) t->totals.time[rank * SLOW_CAUSES + i] += time[i];
        if (time[SLOW_DATA] > wait) wait = time[SLOW_DATA];
        if (fields[BOARD_SAVE_SECONDS] > t->save_seconds)
            t->save_seconds = fields[BOARD_SAVE_SECONDS];
        t->written = t->written && fields[BOARD_WRITTEN] > 0;
    }
    t->totals.data_wait += wait;
}

// The completed step, whose board is there.
static Status read_step(Trainer *t) {
    const double *result = t->board.result;
    t->pending = false;
    t->bad = result[GRAD_SCALE] == 0;
    read_board(t);
    TRY(lost_join(t));
    if (t->bad) {
        TRY(blame_samples(t));
        ++t->skipped;
        ++t->skips_in_row;
    } else {
        t->skips_in_row = 0;
        sample_set_clear(&t->suspects);
        if (t->step >= t->back_from) t->back_from = 0;
        int64_t batch = t->settings.train.batch, step = t->step - 1;
        if (t->board.sample_loss != NULL)
            process_learn_times(t->engine.process, t->settings.train.seed, (uint64_t)step,
                                (uint64_t)(step * batch), t->board.sample_loss, batch);
        t->totals.loss_sum += result[GRAD_LOSS];
        t->totals.loss_items += result[GRAD_ITEMS];
    }
    t->totals.grad_norm += result[GRAD_NORM];
    ++t->totals.steps;
    return STATUS_OK;
}

Status step_settle(Trainer *t) {
    if (!t->pending) return STATUS_OK;
    journal_enter(PHASE_REDUCE, t->step);
    TRY(wait_for_all(t));
    if (step_is_ahead(t)) TRY(stream_reach(t->engine.lane[0].stream, &t->device_seconds));
    return read_step(t);
}

// The step before, in the midst of the next one. If it is bad, so is what was begun: that waits for
// the samples to be found, and begins anew.
static Status settle_before(Trainer *t) {
    TRY(stream_reach(t->engine.lane[0].stream, &t->device_seconds));
    if (t->board.result[GRAD_SCALE] == 0) {
        TRY(reduce_gradients(t));
        TRY(wait_for_all(t));
    }
    TRY(read_step(t));
    if (!t->bad) report_progress(t, false, false);
    return STATUS_OK;
}

// Whether range `next` can be updated together with range i, which all between can: one call is
// better for a device that works at all numbers at once, many for streams that share them.
static bool is_alike(const Trainer *t, int i, int next) {
    if (next == t->ranges || t->engine.lanes > 1) return false;
    const OwnRange *range = &t->range[next], *before = range - 1;
    return range->decay == t->range[i].decay && range->begin == before->end &&
           range->own - before->own == range->begin - before->begin;
}

static void queue_update(Trainer *t) {
    const OptimConfig *optim = &t->settings.optim;
    const float *gradient = t->reduction.cover[0];
    int64_t batch = t->settings.train.batch, samples = (t->step + 1) * batch;
    t->last_lr = schedule_lr(optim, samples, t->settings.train.steps * batch);
    double steps = (double)(t->step + 1), ema_rate[2];
    for (int k = 0; k < 2; ++k) ema_rate[k] = schedule_ema_rate(optim, k, samples, batch);
    // A rank alone has all weights in hand, and rounds them for the next step on the way.
    uint16_t *half = comm_world(t->context.comm) == 1 ? t->engine.half_weights : NULL;
    t->engine.rounded = half != NULL;
    for (int i = 0, next; i < t->ranges; i = next) {
        const OwnRange *range = &t->range[i];
        for (next = i + 1; is_alike(t, i, next); ++next) continue;
        adamw_ema(t->engine.lane[i % t->engine.lanes].stream,
                  (AdamwEma){
                      .grad = gradient + range->begin,
                      .w = t->weights + range->begin,
                      .m = t->own[STATE_ADAM_M] + range->own,
                      .v = t->own[STATE_ADAM_V] + range->own,
                      .ema_0 = t->own[STATE_EMA_0] + range->own,
                      .ema_1 = t->own[STATE_EMA_1] + range->own,
                      .half = half != NULL ? half + range->begin : NULL,
                      .grad_scale = t->board.all + t->board.count + GRAD_SCALE,
                      .n = t->range[next - 1].end - range->begin,
                      .lr = (float)t->last_lr,
                      .beta1 = (float)optim->beta1,
                      .beta2 = (float)optim->beta2,
                      .eps = (float)optim->eps,
                      .decay = range->decay ? (float)optim->decay : 0,
                      .correct1 = (float)(1 / (1 - pow(optim->beta1, steps))),
                      .correct2 = (float)(1 / (1 - pow(optim->beta2, steps))),
                      .ema_rate_0 = (float)ema_rate[0],
                      .ema_rate_1 = (float)ema_rate[1],
                  });
    }
}

Status step_run(Trainer *t) {
    Batch batch;
    double started = clock_now();
    bool ahead = step_is_ahead(t);
    journal_enter(PHASE_DATA, t->step + 1);
    TRY(loader_next(t->loader, &batch));
    REQUIRE(batch.step == t->step);
    lost_mark(t, &batch);
    double loaded = clock_now();
    journal_enter(PHASE_COMPUTE, t->step + 1);
    TRY(run_grains(t, &batch));
    if (t->pending) {
        TRY(settle_before(t));
        if (t->bad) return STATUS_OK;
    }
    if (!ahead) t->device_seconds = clock_now() - loaded;

    journal_enter(PHASE_REDUCE, t->step + 1);
    TRY(reduce_gradients(t));
    TRY(put_norms(t));
    put_losses(t, &batch);
    TRY(put_fields(t, &batch, started, loaded));
    TRY(queue_board(t, &batch));

    journal_enter(PHASE_UPDATE, t->step + 1);
    queue_update(t);
    TRY(step_meet(t));
    if (ahead) TRY(stream_mark(t->engine.lane[0].stream, MARK_END));
    t->fetch.due = true;
    if (!may_overlap(t)) TRY(state_fetch(t));
    ++t->step;
    t->pending = true;
    return STATUS_OK;
}
