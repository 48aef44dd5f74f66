// Whose fault a step is that is not finite: the samples, found, told, agreed upon by all ranks.
#include "trainer/trainer_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

typedef struct {
    Trainer *t;
    const Batch *batch;
    uint64_t *bad; // [train.batch] 1 + number of a sample that is to blame, or 0
    int *tensor;   // [grains of this rank] what is not finite in a grain's gradient, or -1
} Blame;

static bool is_loss_finite(const Trainer *t) {
    bool finite = true;
    for (int grain = 0; grain < t->settings.train.grains; ++grain)
        finite = finite && isfinite(t->board.loss_sum[grain]);
    return finite;
}

static void blame_row(Blame *blame, int64_t row) {
    int64_t first = blame->t->grain_begin * blame->t->grain_samples;
    if (!blame->batch->left_out[row]) blame->bad[first + row] = blame->batch->index[row] + 1;
}

static bool is_row_blamed(const Blame *blame, int64_t row) {
    return blame->bad[blame->t->grain_begin * blame->t->grain_samples + row] != 0;
}

// ---- finite losses: each grain's gradient is made again, alone --------------------------------

// Whether the k-th grain of a stream is run: every one, or for single samples only a bad one.
static bool takes_part(const Blame *blame, int lane, int k, int64_t only) {
    int grain = blame->t->grad_lane[lane].begin + k;
    return grain < blame->t->grad_lane[lane].end &&
           (only < 0 || blame->tensor[grain - blame->t->grain_begin] >= 0);
}

static void queue_alone(Trainer *t, const Batch *batch, int lane, int k, int64_t only) {
    const Params *params = &t->engine.params;
    Stream *stream = t->engine.lane[lane].stream;
    float *grads = step_buffer(t, t->grad_lane[lane].first_buffer);
    int64_t at = lane * (int64_t)params->count;
    step_queue_grain(t, lane, t->grad_lane[lane].begin + k, batch, grads, false, only);
    for (int i = 0; i < params->count; ++i)
        sum_squares(stream, (SumSquares){.x = grads + params->list[i].offset,
                                         .sum = t->norm + at + i,
                                         .n = params->list[i].size,
                                         .chunk = params->list[i].size});
    stream_download(stream, t->host_norm + at, t->norm + at,
                    (size_t)params->count * sizeof *t->norm);
}

// The first one on the way back, that is the last in order; -1: none.
static int bad_tensor(const Trainer *t, int lane) {
    int count = t->engine.params.count, found = -1;
    for (int i = 0; i < count; ++i)
        if (!isfinite(t->host_norm[lane * (int64_t)count + i])) found = i;
    return found;
}

static Status try_grains(Blame *blame, int k, int64_t only) {
    Trainer *t = blame->t;
    for (int i = 0; i < t->engine.lanes; ++i)
        if (takes_part(blame, i, k, only)) queue_alone(t, blame->batch, i, k, only);
    TRY(engine_wait(&t->engine));
    for (int i = 0; i < t->engine.lanes; ++i) {
        if (!takes_part(blame, i, k, only)) continue;
        int local = t->grad_lane[i].begin + k - t->grain_begin, tensor = bad_tensor(t, i);
        if (only < 0)
            blame->tensor[local] = tensor;
        else if (tensor >= 0)
            blame_row(blame, local * t->grain_samples + only);
    }
    return STATUS_OK;
}

// All samples of a bad grain where none of them is bad alone.
static void blame_whole_grains(Blame *blame) {
    int64_t samples = blame->t->grain_samples;
    for (int i = 0; i < blame->t->grain_end - blame->t->grain_begin; ++i) {
        bool found = blame->tensor[i] < 0;
        for (int64_t s = 0; s < samples; ++s)
            found = found || is_row_blamed(blame, i * samples + s);
        for (int64_t s = 0; s < samples && !found; ++s) blame_row(blame, i * samples + s);
    }
}

static Status blame_gradients(Blame *blame) {
    Trainer *t = blame->t;
    int local = t->grain_end - t->grain_begin, grains = t->settings.train.grains;
    uint64_t bad_grains = 0;
    for (int k = 0; k < local; ++k) TRY(try_grains(blame, k, -1));
    for (int i = 0; i < local; ++i) bad_grains += blame->tensor[i] >= 0;
    TRY(comm_sum_u64(t->context.comm, &bad_grains, 1));
    // Of grains that are all bad it is not the samples that are.
    bool alone = grains == 1 || bad_grains < (uint64_t)grains;
    for (int k = 0; k < local && alone; ++k)
        for (int64_t only = 0; only < t->grain_samples; ++only) TRY(try_grains(blame, k, only));
    blame_whole_grains(blame);
    return STATUS_OK;
}

// ---- telling ----------------------------------------------------------------------------------

// The tensor at the end of the last part whose sum is not finite: the first on the way back.
static const char *bad_near(const Trainer *t) {
    const Params *params = &t->engine.params;
    int64_t begin, end = 0;
    for (int part = 0; part < params->parts; ++part)
        if (!isfinite(t->board.square_sum[part])) params_part(params, part, &begin, &end);
    const char *name = "the loss";
    for (int i = 0; i < params->count && params->list[i].offset < end; ++i)
        name = params->list[i].name;
    return name;
}

// This rank's first bad grain, and all its samples that are to blame.
static void tell_samples(const Blame *blame) {
    const Trainer *t = blame->t;
    const Batch *batch = blame->batch;
    Comm *comm = t->context.comm;
    int64_t row = 0;
    char line[1024];
    while (row < batch->count && !is_row_blamed(blame, row)) ++row;
    if (row == batch->count) return;
    int grain = (int)(row / t->grain_samples), tensor = blame->tensor[grain];
    int used = snprintf(line, sizeof line,
                        "step %" PRId64 ": the %s of grain %d (rank %d on %s) is not finite%s%s;"
                        " samples of the data set (at times):",
                        t->step, tensor < 0 ? "loss" : "gradient", t->grain_begin + grain,
                        comm_rank(comm), comm_host(comm), tensor < 0 ? "" : ", first in ",
                        tensor < 0 ? "" : t->engine.params.list[tensor].name);
    for (; row < batch->count && used < (int)sizeof line - 48; ++row) {
        if (!is_row_blamed(blame, row)) continue;
        double time = process_draw_time(t->engine.process, t->settings.train.seed,
                                        (uint64_t)batch->step, batch->sample[row]);
        used += snprintf(line + used, sizeof line - (size_t)used, " %" PRIu64 " (%g)",
                         batch->index[row], time);
    }
    t->context.warn(line);
}

static void tell_no_sample(const Trainer *t, const char *whose) {
    char line[256];
    snprintf(line, sizeof line, "step %" PRId64 ": the gradient is not finite in or near %s%s",
             t->step, t->bad_near, whose);
    if (is_rank_0(t)) t->context.warn(line);
}

// ---- all together -----------------------------------------------------------------------------

static Status blame_all(Blame *blame) {
    Trainer *t = blame->t;
    int64_t batch = t->settings.train.batch, count = 0;
    for (int i = 0; i < t->grain_end - t->grain_begin; ++i) blame->tensor[i] = -1;
    t->bad_near = bad_near(t);
    if (is_loss_finite(t)) {
        TRY(blame_gradients(blame));
    } else {
        for (int64_t i = 0; i < blame->batch->count; ++i)
            if (!isfinite(t->host_loss[i])) blame_row(blame, i);
    }
    TRY(comm_sum_u64(t->context.comm, blame->bad, (int)batch));
    for (int64_t i = 0; i < batch; ++i) count += blame->bad[i] != 0;
    if (count == 0) {
        tell_no_sample(t, ", but each grain's is when it is made again: a host computed wrongly, or"
                          " the sum is too large");
    } else if (count == batch - blame->batch->left_outs) {
        tell_no_sample(t, " for any sample: it is the weights");
    } else {
        tell_samples(blame);
        for (int64_t i = 0; i < batch; ++i)
            if (blame->bad[i] != 0) TRY(sample_set_add(&t->suspects, blame->bad[i] - 1));
    }
    return STATUS_OK;
}

Status blame_samples(Trainer *t) {
    Batch batch;
    TRY(trainer_open_loader(t, t->step - 1));
    TRY(loader_next(t->loader, &batch));
    lost_mark(t, &batch);
    int64_t samples = t->settings.train.batch, grains = t->grain_end - t->grain_begin;
    Blame blame = {.t = t,
                   .batch = &batch,
                   .bad = calloc((size_t)samples, sizeof *blame.bad),
                   .tensor = calloc((size_t)grains, sizeof *blame.tensor)};
    Status status = STATUS_OK;
    if (blame.bad == NULL || blame.tensor == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory to look at a step of %" PRId64 " samples",
                samples);
    status = blame_all(&blame);
done:
    free(blame.bad);
    free(blame.tensor);
    return status;
}
