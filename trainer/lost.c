// Samples that could not be read: they have weight 0, on all ranks alike, and stay so.
#include "trainer/trainer_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void lost_mark(const Trainer *t, Batch *batch) {
    for (int64_t i = 0; i < batch->count && t->lost.count > 0; ++i) {
        if (batch->left_out[i] || !sample_set_has(&t->lost, batch->index[i])) continue;
        batch->left_out[i] = 1;
        ++batch->lost;
    }
}

Status lost_note(Trainer *t, const Batch *batch, double *fields) {
    sample_set_clear(&t->lost_new);
    TRY(loader_take_lost(t->loader, &t->lost_new));
    fields[BOARD_LOST] = (double)batch->lost;
    fields[BOARD_LOST_RANGES] = (double)t->lost_new.ranges;
    return STATUS_OK;
}

static Status take_from(Trainer *t, int rank, int64_t ranges) {
    size_t bytes = (size_t)ranges * sizeof(SampleRange);
    SampleRange *range = malloc(bytes);
    FAIL_IF(range == NULL, NO_MEMORY, "no memory for %" PRId64 " ranges of samples", ranges);
    if (rank == comm_rank(t->context.comm)) memcpy(range, t->lost_new.range, bytes);
    Status status = comm_broadcast(t->context.comm, range, bytes, rank);
    for (int64_t i = 0; i < ranges && status == STATUS_OK; ++i)
        status = sample_set_add_range(&t->lost, range[i].begin, range[i].end);
    free(range);
    return status;
}

Status lost_join(Trainer *t) {
    int64_t before = t->lost.count, samples = loader_samples(t->data, t->settings.data.length);
    char which[200];
    for (int rank = 0; rank < comm_world(t->context.comm); ++rank) {
        double ranges = t->board.rank[rank * BOARD_RANK_FIELDS + BOARD_LOST_RANGES];
        if (ranges > 0) TRY(take_from(t, rank, (int64_t)ranges));
    }
    if (t->lost.count == before) return STATUS_OK;
    sample_set_text(&t->lost, which, sizeof which);
    char line[512];
    snprintf(line, sizeof line,
             "step %" PRId64 ": %" PRId64 " of %" PRId64
             " samples of the data could not be read, %" PRId64
             " of them new: %s left out from now on, also after a resume",
             t->step, t->lost.count, samples, t->lost.count - before, which);
    if (is_rank_0(t)) t->context.warn(line);
    FAIL_IF(t->lost.count > samples / 2, BAD_DATA,
            "%" PRId64 " of %" PRId64 " samples cannot be read: too much for data.lost = skip",
            t->lost.count, samples);
    return STATUS_OK;
}
