// The comm between GPUs: their memory travels by NCCL, over NVLink, PCIe or the network, without a
// copy through the host. Built as libdye_nccl.so, which comm/comm.c opens when it is asked for.
//
// NCCL moves bytes and adds nothing, but boards, whose sums are exact, and where it is told to
// (comm_sum_start): the order of sums is comm/reduce.h's. Exchanges take their place on the
// device's side stream, where what comes before and after them is queued too; the host only starts
// them, and waits for a mark behind them. NCCL is told to block nowhere; every wait polls its state
// and the GPU's, like those of comm_mpi.c. While an exchange is under way nobody talks over MPI
// (comm/reduce.c), so neither can keep the other from advancing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime_api.h>
#include <nccl.h>

#include "base/clock.h"
#include "comm/comm_impl.h"

// All exchanges are one: what is waited for is the last, and with it all before.
struct Exchange {
    bool busy;
    bool queued; // on the stream, before `done`; else it is NCCL's own work that is waited for
    cudaEvent_t done;
    double until;  // clock_now() at which waiting for NCCL's own work ends; 0: never
    char what[24]; // for the alarm
};

typedef struct {
    Comm comm; // first
    ncclComm_t nccl;
    cudaStream_t stream;       // the device's
    Exchange exchange, marked; // marked: of another stream
} CommNccl;

static void give_up(CommNccl *nccl) {
    if (nccl->nccl != NULL) (void)ncclCommAbort(nccl->nccl);
    nccl->nccl = NULL;
}

static Status nccl_failure(CommNccl *nccl, ncclResult_t result, const char *what) {
    char last[400];
    snprintf(last, sizeof last, "%s", ncclGetLastError(nccl->nccl));
    give_up(nccl);
    FAIL(
        COMM,
        "%s: NCCL fails on rank %d (%s): %s%s%s; another rank may have died, or a network: NCCL_DEBUG"
        "=INFO tells more, device.exchange=host goes without NCCL",
        what, nccl->comm.rank, comm_host(&nccl->comm), ncclGetErrorString(result),
        last[0] != '\0' ? ": " : "", last);
}

#define NCCL_TRY(nccl, call, what)                                                                 \
    do {                                                                                           \
        ncclResult_t result_ = (call);                                                             \
        if (result_ != ncclSuccess && result_ != ncclInProgress)                                   \
            return nccl_failure(nccl, result_, what);                                              \
    } while (0)
#define CUDA_TRY(call, what)                                                                       \
    do {                                                                                           \
        cudaError_t error_ = (call);                                                               \
        FAIL_IF(error_ != cudaSuccess, FAILED, "%s: %s", what, cudaGetErrorString(error_));        \
    } while (0)

// ---- exchanges ----------------------------------------------------------------------------------

static Status nccl_poll(Comm *comm, const Exchange *pending, bool *done) {
    CommNccl *nccl = (CommNccl *)comm;
    FAIL_IF(nccl->nccl == NULL, COMM, "%s: NCCL has failed before", pending->what);
    ncclResult_t state = ncclSuccess;
    NCCL_TRY(nccl, ncclCommGetAsyncError(nccl->nccl, &state), pending->what);
    NCCL_TRY(nccl, state, pending->what);
    cudaError_t error = pending->queued ? cudaEventQuery(pending->done) : cudaSuccess;
    if (error != cudaErrorNotReady) CUDA_TRY(error, pending->what);
    *done = state == ncclSuccess && error == cudaSuccess;
    if (*done || pending->until == 0 || clock_now() < pending->until) return STATUS_OK;
    give_up(nccl);
    FAIL(
        COMM,
        "%s: NCCL on rank %d (%s) waits in vain for other ranks: can the hosts reach each other? Of"
        " several networks NCCL_SOCKET_IFNAME names the one to use (`ip -br address` lists them),"
        " NCCL_IB_DISABLE=1 leaves InfiniBand alone; NCCL_DEBUG=INFO tells more,"
        " device.exchange=host goes without NCCL",
        pending->what, comm->rank, comm_host(comm));
}

static Status queue_messages(CommNccl *nccl, const Message *send, int sends, const Message *receive,
                             int receives, const char *what) {
    NCCL_TRY(nccl, ncclGroupStart(), what);
    ncclResult_t result = ncclSuccess;
    for (int i = 0; i < receives + sends && (result == ncclSuccess || result == ncclInProgress);
         ++i) {
        const Message *message = i < receives ? &receive[i] : &send[i - receives];
        size_t bytes = message->bytes;
        int peer = message->peer;
        if (bytes > 0 && i < receives)
            result = ncclRecv(message->data, bytes, ncclUint8, peer, nccl->nccl, nccl->stream);
        else if (bytes > 0)
            result = ncclSend(message->data, bytes, ncclUint8, peer, nccl->nccl, nccl->stream);
    }
    ncclResult_t end = ncclGroupEnd();
    NCCL_TRY(nccl, result, what);
    NCCL_TRY(nccl, end, what);
    return STATUS_OK;
}

static Status begin(CommNccl *nccl, const char *what, int tag) {
    Exchange *exchange = &nccl->exchange;
    snprintf(exchange->what, sizeof exchange->what, "%s %d", what, tag);
    FAIL_IF(nccl->nccl == NULL, COMM, "%s: NCCL has failed before", exchange->what);
    exchange->busy = true;
    exchange->queued = false;
    return STATUS_OK;
}

// NCCL has been asked: waits until it has queued its work, and marks its end. The first exchange
// between two ranks connects them, for which NCCL waits for both: it has no deadline, since a rank
// may have work to do before.
static Status mark(CommNccl *nccl, Exchange **out) {
    Exchange *exchange = &nccl->exchange;
    TRY(comm_wait(&nccl->comm, exchange, exchange->what));
    CUDA_TRY(cudaEventRecord(exchange->done, nccl->stream), exchange->what);
    exchange->queued = true;
    *out = exchange;
    return STATUS_OK;
}

static Status nccl_exchange_start(Comm *comm, const Message *send, int sends,
                                  const Message *receive, int receives, int tag, Exchange **out) {
    CommNccl *nccl = (CommNccl *)comm;
    TRY(begin(nccl, "exchange", tag));
    TRY(queue_messages(nccl, send, sends, receive, receives, nccl->exchange.what));
    return mark(nccl, out);
}

static Status nccl_sum_start(Comm *comm, const float *from, float *to, size_t count,
                             Exchange **out) {
    CommNccl *nccl = (CommNccl *)comm;
    TRY(begin(nccl, "sum of", (int)count));
    NCCL_TRY(nccl,
             ncclReduceScatter(from, to, count, ncclFloat32, ncclSum, nccl->nccl, nccl->stream),
             nccl->exchange.what);
    return mark(nccl, out);
}

static Status nccl_board_start(Comm *comm, const double *mine, double *all, int n) {
    CommNccl *nccl = (CommNccl *)comm;
    Exchange *exchange;
    TRY(begin(nccl, "board of", n));
    NCCL_TRY(nccl,
             ncclAllReduce(mine, all, (size_t)n, ncclFloat64, ncclSum, nccl->nccl, nccl->stream),
             nccl->exchange.what);
    return mark(nccl, &exchange);
}

static Status nccl_exchange_mark(Comm *comm, Stream *stream, Exchange **out) {
    Exchange *marked = *out = &((CommNccl *)comm)->marked;
    snprintf(marked->what, sizeof marked->what, "step of the GPU");
    CUDA_TRY(cudaEventRecord(marked->done, stream->native), marked->what);
    marked->busy = marked->queued = true;
    return STATUS_OK;
}

static Status nccl_exchange_wait(Comm *comm, Exchange *exchange) {
    if (!exchange->busy) return STATUS_OK; // it was waited for with a later one
    TRY(comm_wait(comm, exchange, exchange->what));
    exchange->busy = false;
    return STATUS_OK;
}

// ---- start and end ------------------------------------------------------------------------------

// NCCL's own work at start and end, of which no rank has other work to do before.
static Status settle(CommNccl *nccl, const char *what) {
    Exchange work = {.until = clock_now() + 12 * nccl->comm.alarm_first};
    snprintf(work.what, sizeof work.what, "%s", what);
    return comm_wait(&nccl->comm, &work, what);
}

static void nccl_free(CommNccl *nccl) {
    give_up(nccl);
    if (nccl->exchange.done != NULL) (void)cudaEventDestroy(nccl->exchange.done);
    if (nccl->marked.done != NULL) (void)cudaEventDestroy(nccl->marked.done);
    free(nccl);
}

// Politely, since others may still be receiving what this rank has sent.
static Status say_goodbye(CommNccl *nccl) {
    NCCL_TRY(nccl, ncclCommFinalize(nccl->nccl), "end of NCCL");
    TRY(settle(nccl, "end of NCCL"));
    NCCL_TRY(nccl, ncclCommDestroy(nccl->nccl), "end of NCCL");
    nccl->nccl = NULL;
    return STATUS_OK;
}

static void nccl_close(Comm *comm) {
    CommNccl *nccl = (CommNccl *)comm;
    ErrorRecord before = error_take(); // why it is closed: worth more than what fails now
    // In the midst of an exchange it is closed for a failure, and others may never take part.
    const Exchange *last = &nccl->exchange;
    bool over = !last->busy || (last->queued && cudaEventQuery(last->done) == cudaSuccess);
    if (nccl->nccl != NULL && over) (void)!say_goodbye(nccl);
    (void)!error_restore(&before);
    nccl_free(nccl);
}

static const CommOps nccl_ops = {
    .close = nccl_close,
    .exchange_start = nccl_exchange_start,
    .exchange_wait = nccl_exchange_wait,
    .exchange_mark = nccl_exchange_mark,
    .sum_start = nccl_sum_start,
    .board_start = nccl_board_start,
    .poll = nccl_poll,
};

// What NCCL must find on all ranks, or on one alone.
typedef struct {
    char host[HOST_BYTES], gpu[sizeof((Device *)0)->identity];
    int version;
} Member;

static Status compare(const Member *a, const Member *b, int rank_a, int rank_b) {
    FAIL_IF(a->gpu[0] == '\0', BAD_CONFIG,
            "NCCL exchanges memory of GPUs, and rank %d on %s computes on none: use device.backend="
            "cuda or device.exchange=host",
            rank_a, a->host);
    FAIL_IF(a->version != b->version, BAD_CONFIG,
            "rank %d on %s has NCCL %d and rank %d on %s NCCL %d: install the same on all hosts",
            rank_a, a->host, a->version, rank_b, b->host, b->version);
    FAIL_IF(
        rank_a != rank_b && strcmp(a->host, b->host) == 0 && strcmp(a->gpu, b->gpu) == 0,
        BAD_CONFIG,
        "ranks %d and %d on %s share the GPU %s, which NCCL cannot: give each rank a GPU of its own,"
        " or use device.exchange=host",
        rank_a, rank_b, a->host, a->gpu);
    return STATUS_OK;
}

static Status compare_all(Comm *ranks, const Device *device) {
    Member mine = {0}, *all = calloc((size_t)ranks->world, sizeof *all);
    FAIL_IF(all == NULL, NO_MEMORY, "no memory for the GPUs of %d ranks", ranks->world);
    const char *host = getenv("NCCL_HOSTID"); // then that is NCCL's idea of a host, too
    snprintf(mine.host, sizeof mine.host, "%s", host != NULL ? host : comm_host(ranks));
    memcpy(mine.gpu, device->identity, sizeof mine.gpu);
    (void)ncclGetVersion(&mine.version);
    Status status = comm_gather(ranks, &mine, sizeof mine, all);
    for (int a = 0; a < ranks->world; ++a)
        for (int b = a; b < ranks->world && status == STATUS_OK; ++b)
            status = compare(&all[a], &all[b], a, b);
    free(all);
    return status;
}

static Status prepare(CommNccl *nccl, const Device *device, ncclUniqueId *id) {
    CUDA_TRY(cudaSetDevice(device->gpu), "the choice of a GPU for NCCL");
    nccl->stream = device->side->native;
    CUDA_TRY(cudaEventCreateWithFlags(&nccl->exchange.done, cudaEventDisableTiming),
             "an event for NCCL");
    CUDA_TRY(cudaEventCreateWithFlags(&nccl->marked.done, cudaEventDisableTiming),
             "an event for NCCL");
    if (nccl->comm.rank == 0) NCCL_TRY(nccl, ncclGetUniqueId(id), "start of NCCL");
    return STATUS_OK;
}

static Status connect_ranks(CommNccl *nccl, const ncclUniqueId *id) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    NCCL_TRY(nccl,
             ncclCommInitRankConfig(&nccl->nccl, nccl->comm.world, *id, nccl->comm.rank, &config),
             "start of NCCL");
    return settle(nccl, "start of NCCL");
}

static Status nccl_open(Comm *ranks, const Device *device, Comm **out) {
    ncclUniqueId id = {{0}};
    int version = 0;
    TRY(compare_all(ranks, device));
    CommNccl *nccl = calloc(1, sizeof *nccl);
    FAIL_IF(nccl == NULL, NO_MEMORY, "no memory for NCCL");
    nccl->comm = *ranks;
    nccl->comm.ops = &nccl_ops;
    (void)ncclGetVersion(&version);
    const char *world = strchr(ranks->description, ',');
    snprintf(nccl->comm.description, sizeof nccl->comm.description, "NCCL %d.%d.%d%s",
             version / 10000, version / 100 % 100, version % 100, world != NULL ? world : "");
    Status status;
    TRY_OR(failed, status, comm_share_status(ranks, prepare(nccl, device, &id)));
    TRY_OR(failed, status, comm_broadcast(ranks, &id, sizeof id, 0));
    TRY_OR(failed, status, comm_share_status(ranks, connect_ranks(nccl, &id)));
    *out = &nccl->comm;
    return STATUS_OK;
failed:
    nccl_free(nccl);
    return status;
}

const CommLibrary dye_comm = {nccl_open};
