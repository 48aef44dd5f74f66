// Do all ranks hold the same weights? A flipped bit in one rank's memory would spoil the gradients
// of all in silence.
#include "trainer/trainer_impl.h"

#include <stdlib.h>

// What most ranks hold; of equally many the owners know. Returns one of these ranks.
static int right_rank(const Trainer *t) {
    int world = comm_world(t->context.comm), best = 0, best_votes = 0;
    for (int rank = 0; rank < world; ++rank) {
        int votes = t->replica_print[rank] == t->fingerprint;
        for (int other = 0; other < world; ++other)
            votes += 2 * (t->replica_print[other] == t->replica_print[rank]);
        if (votes > best_votes) best = rank, best_votes = votes;
    }
    return best;
}

// The tensors in which the two differ; `print` [world][tensors].
static void tell_astray(Trainer *t, int rank, int right, const uint64_t *print) {
    const Params *params = &t->engine.params;
    Comm *comm = t->context.comm;
    int agreeing = 0, differing = 0, first = 0;
    char more[40] = "";
    for (int i = 0; i < comm_world(comm); ++i)
        agreeing += t->replica_print[i] == t->replica_print[right];
    for (int i = params->count - 1; i >= 0; --i) {
        if (print[rank * params->count + i] == print[right * params->count + i]) continue;
        ++differing;
        first = i;
    }
    if (differing > 1) snprintf(more, sizeof more, " and %d more tensors", differing - 1);
    snprintf(t->astray_text, sizeof t->astray_text,
             "rank %d on %s holds other weights than %d other rank%s in %s%s: suspect the memory"
             " of %s",
             rank, comm_host_of(comm, rank), agreeing, agreeing == 1 ? "" : "s",
             params->list[first].name, more, comm_host_of(comm, rank));
}

static Status name_astray(Trainer *t, int rank, int right) {
    size_t bytes = (size_t)t->engine.params.count * sizeof(uint64_t);
    uint64_t *print = calloc((size_t)comm_world(t->context.comm), bytes);
    FAIL_IF(print == NULL, NO_MEMORY, "no memory to compare the weights of the ranks");
    Status status = comm_gather(t->context.comm, t->host_print, bytes, print);
    if (status == STATUS_OK) tell_astray(t, rank, right, print);
    free(print);
    return status;
}

Status replica_check(Trainer *t) {
    const Params *params = &t->engine.params;
    int world = comm_world(t->context.comm);
    uint64_t mine = 0;
    t->astray = 0;
    if (world == 1) return STATUS_OK;
    for (int i = 0; i < params->count; ++i) {
        Stream *stream = t->engine.lane[i % t->engine.lanes].stream;
        fingerprint(stream, (Fingerprint){.x = t->weights + params->list[i].offset,
                                          .sum = t->print + i,
                                          .n = params->list[i].size,
                                          .first = (uint64_t)params->list[i].offset});
        stream_download(stream, t->host_print + i, t->print + i, sizeof *t->print);
    }
    TRY(engine_wait(&t->engine));
    for (int i = 0; i < params->count; ++i) mine += t->host_print[i];
    TRY(comm_gather(t->context.comm, &mine, sizeof mine, t->replica_print));
    int right = right_rank(t);
    for (int rank = 0; rank < world && t->astray == 0; ++rank)
        if (t->replica_print[rank] != t->replica_print[right]) t->astray = rank + 1;
    return t->astray == 0 ? STATUS_OK : name_astray(t, t->astray - 1, right);
}
