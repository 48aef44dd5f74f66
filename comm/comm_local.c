// The comm of one process alone: nothing to say to nobody. Starts in no time, needs no MPI.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/comm_impl.h"

typedef struct {
    Comm comm; // first
    char host[1][HOST_BYTES];
} CommLocal;

static void local_close(Comm *comm) {
    free(comm);
}

static Status local_barrier(Comm *comm) {
    (void)comm;
    return STATUS_OK;
}

static Status local_broadcast(Comm *comm, void *data, size_t bytes, int root) {
    (void)comm, (void)data, (void)bytes, (void)root;
    return STATUS_OK;
}

static Status local_gather(Comm *comm, const void *mine, size_t bytes, void *all) {
    (void)comm;
    memmove(all, mine, bytes);
    return STATUS_OK;
}

static Status local_sum_f64(Comm *comm, double *values, int n) {
    (void)comm, (void)values, (void)n;
    return STATUS_OK;
}

static Status local_sum_u64(Comm *comm, uint64_t *values, int n) {
    (void)comm, (void)values, (void)n;
    return STATUS_OK;
}

static Status local_max_u64(Comm *comm, uint64_t *value) {
    (void)comm, (void)value;
    return STATUS_OK;
}

// There are no peers, so an exchange is always the empty one.
static Status local_exchange_start(Comm *comm, const Message *send, int sends,
                                   const Message *receive, int receives, int tag, Exchange **out) {
    (void)comm, (void)send, (void)receive, (void)tag;
    REQUIRE(sends == 0 && receives == 0);
    *out = NULL;
    return STATUS_OK;
}

static Status local_exchange_wait(Comm *comm, Exchange *exchange) {
    (void)comm, (void)exchange;
    return STATUS_OK;
}

static const CommOps local_ops = {
    .close = local_close,
    .barrier = local_barrier,
    .broadcast = local_broadcast,
    .gather = local_gather,
    .sum_f64 = local_sum_f64,
    .sum_u64 = local_sum_u64,
    .max_u64 = local_max_u64,
    .exchange_start = local_exchange_start,
    .exchange_wait = local_exchange_wait,
};

Status comm_local_open(Comm **out) {
    CommLocal *local = calloc(1, sizeof *local);
    FAIL_IF(local == NULL, NO_MEMORY, "no memory to start");
    if (gethostname(local->host[0], HOST_BYTES - 1) != 0) strcpy(local->host[0], "localhost");
    local->comm.ops = &local_ops;
    local->comm.world = 1;
    local->comm.local_world = 1;
    local->comm.hosts = local->host;
    snprintf(local->comm.description, sizeof local->comm.description, "1 process without MPI");
    *out = &local->comm;
    return STATUS_OK;
}
