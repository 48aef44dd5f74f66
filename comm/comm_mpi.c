// The comm of many ranks over MPI; the only file that knows mpi.h.
//
// Every wait polls a nonblocking operation. A blocking MPI call would spin without giving the core
// away, and could not tell anybody that it waits: the poll yields, then naps, and rings the alarm.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "comm/comm_impl.h"

enum { PIECE_BYTES = 1 << 30 }; // MPI counts are int

struct Exchange {
    bool busy;
    int count;            // requests in use
    MPI_Request *request; // [requests_most]; those of all exchanges are one block, which the first
    int *peer;            // holds, as these; NULL: a collective
    char what[24];        // for the alarm
};

typedef struct {
    Comm comm; // first
    int requests_most;
    Exchange exchange[EXCHANGES_MOST];
} CommMpi;

static Status mpi_failure(int code, const char *what) {
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) strcpy(text, "unknown error");
    FAIL(COMM, "%s: %s", what, text);
}

#define MPI_TRY(call, what)                                                                        \
    do {                                                                                           \
        int mpi_code_ = (call);                                                                    \
        if (mpi_code_ != MPI_SUCCESS) return mpi_failure(mpi_code_, what);                         \
    } while (0)

// ---- waiting ------------------------------------------------------------------------------------

// Who has not done its half yet, in rank order.
static int mpi_find_missing(Comm *comm, const Exchange *pending) {
    if (pending->peer == NULL) return 0;
    int count = 0;
    for (int rank = 0; rank < comm->world; ++rank) {
        int done = 1;
        for (int i = 0; i < pending->count && done; ++i)
            if (pending->peer[i] == rank)
                MPI_Request_get_status(pending->request[i], &done, MPI_STATUS_IGNORE);
        if (!done) comm->missing[count++] = rank;
    }
    return count;
}

static Status mpi_poll(Comm *comm, const Exchange *pending, bool *done) {
    int all = 0;
    (void)comm;
    MPI_TRY(MPI_Testall(pending->count, pending->request, &all, MPI_STATUSES_IGNORE),
            pending->what);
    *done = all;
    return STATUS_OK;
}

// Waits for a collective that was started with this result.
static Status finish(Comm *comm, int started, MPI_Request *request, const char *what) {
    MPI_TRY(started, what);
    Exchange pending = {.count = 1, .request = request};
    snprintf(pending.what, sizeof pending.what, "%s", what);
    return comm_wait(comm, &pending, what);
}

// ---- collectives --------------------------------------------------------------------------------

static Status mpi_broadcast(Comm *comm, void *data, size_t bytes, int root) {
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        size_t piece = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        MPI_Request request;
        int started =
            MPI_Ibcast((char *)data + at, (int)piece, MPI_BYTE, root, MPI_COMM_WORLD, &request);
        TRY(finish(comm, started, &request, "broadcast"));
    }
    return STATUS_OK;
}

static Status mpi_gather(Comm *comm, const void *mine, size_t bytes, void *all) {
    MPI_Request request;
    int started = MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE,
                                 MPI_COMM_WORLD, &request);
    return finish(comm, started, &request, "gather");
}

static Status mpi_reduce(Comm *comm, void *values, int n, Reduction reduction) {
    MPI_Datatype type = reduction == SUM_F64 ? MPI_DOUBLE : MPI_UINT64_T;
    MPI_Op op = reduction == MAX_U64 ? MPI_MAX : MPI_SUM;
    const char *what = reduction == SUM_F64 ? "board" : reduction == SUM_U64 ? "sum" : "agreement";
    MPI_Request request;
    int started = MPI_Iallreduce(MPI_IN_PLACE, values, n, type, op, MPI_COMM_WORLD, &request);
    return finish(comm, started, &request, what);
}

// ---- exchanges ----------------------------------------------------------------------------------

static Status post(CommMpi *mpi, Exchange *exchange, const Message *message, bool send, int tag) {
    for (size_t at = 0; at < message->bytes; at += PIECE_BYTES) {
        size_t piece = message->bytes - at < PIECE_BYTES ? message->bytes - at : PIECE_BYTES;
        FAIL_IF(exchange->count == mpi->requests_most, COMM,
                "exchange %d has more than %d messages", tag, mpi->requests_most);
        char *data = (char *)message->data + at;
        MPI_Request *request = &exchange->request[exchange->count];
        int peer = message->peer, n = (int)piece;
        MPI_TRY(send ? MPI_Isend(data, n, MPI_BYTE, peer, tag, MPI_COMM_WORLD, request)
                     : MPI_Irecv(data, n, MPI_BYTE, peer, tag, MPI_COMM_WORLD, request),
                exchange->what);
        exchange->peer[exchange->count++] = peer;
    }
    return STATUS_OK;
}

static Status mpi_exchange_start(Comm *comm, const Message *send, int sends, const Message *receive,
                                 int receives, int tag, Exchange **out) {
    CommMpi *mpi = (CommMpi *)comm;
    Exchange *exchange = mpi->exchange;
    while (exchange < mpi->exchange + EXCHANGES_MOST && exchange->busy) ++exchange;
    FAIL_IF(exchange == mpi->exchange + EXCHANGES_MOST, COMM,
            "more than %d exchanges at a time (exchange %d)", EXCHANGES_MOST, tag);
    exchange->busy = true;
    exchange->count = 0;
    snprintf(exchange->what, sizeof exchange->what, "exchange %d", tag);
    // Receives first: what arrives then finds its place and is not copied twice.
    for (int i = 0; i < receives; ++i) TRY(post(mpi, exchange, &receive[i], false, tag));
    for (int i = 0; i < sends; ++i) TRY(post(mpi, exchange, &send[i], true, tag));
    *out = exchange;
    return STATUS_OK;
}

static Status mpi_exchange_wait(Comm *comm, Exchange *exchange) {
    REQUIRE(exchange->busy);
    TRY(comm_wait(comm, exchange, exchange->what));
    exchange->busy = false;
    return STATUS_OK;
}

// ---- start and end ------------------------------------------------------------------------------

static void mpi_free(CommMpi *mpi) {
    free(mpi->exchange[0].request);
    free(mpi->exchange[0].peer);
    free(mpi->comm.missing);
    free(mpi->comm.hosts);
    free(mpi);
}

static void mpi_close(Comm *comm) {
    MPI_Finalize();
    mpi_free((CommMpi *)comm);
}

void comm_mpi_abort(int exit_code) {
    int started = 0, finished = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&finished);
    if (started && !finished) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

static const CommOps mpi_ops = {
    .close = mpi_close,
    .broadcast = mpi_broadcast,
    .gather = mpi_gather,
    .reduce = mpi_reduce,
    .exchange_start = mpi_exchange_start,
    .exchange_wait = mpi_exchange_wait,
    .poll = mpi_poll,
    .find_missing = mpi_find_missing,
};

// Started by a launcher that this MPI does not understand, N processes each believe to be alone.
static Status check_launch(int world) {
    const char *ranks = getenv("OMPI_COMM_WORLD_SIZE"), *tasks = getenv("SLURM_STEP_NUM_TASKS");
    const char *why = ranks != NULL                ? "mpirun belongs to another MPI"
                      : getenv("PMI_RANK") != NULL ? "the launcher speaks PMI-2, this MPI PMIx"
                                                   : "srun gave it no PMI";
    if (ranks == NULL) ranks = tasks != NULL ? tasks : getenv("PMI_SIZE");
    FAIL_IF(world == 1 && ranks != NULL && atoi(ranks) > 1, COMM,
            "%s ranks were started, but MPI knows of this one alone: %s. Start with 'srun"
            " --mpi=pmix' ('srun --mpi=list' shows what there is), or with the mpirun of the MPI"
            " that dye was built with",
            ranks, why);
    return STATUS_OK;
}

static Status find_neighbours(Comm *comm) {
    MPI_Comm neighbours;
    MPI_TRY(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL,
                                &neighbours),
            "ranks of this host");
    MPI_TRY(MPI_Comm_rank(neighbours, &comm->local_rank), "ranks of this host");
    MPI_TRY(MPI_Comm_size(neighbours, &comm->local_world), "ranks of this host");
    MPI_TRY(MPI_Comm_free(&neighbours), "ranks of this host");
    return STATUS_OK;
}

static Status gather_hosts(Comm *comm) {
    char name[MPI_MAX_PROCESSOR_NAME] = "", mine[HOST_BYTES] = "";
    int length;
    MPI_TRY(MPI_Get_processor_name(name, &length), "host name");
    memcpy(mine, name, length < HOST_BYTES ? (size_t)length : HOST_BYTES - 1);
    return mpi_gather(comm, mine, HOST_BYTES, comm->hosts);
}

// "Open MPI v4.1.4, package: ..." becomes "Open MPI 4.1.4".
const char *comm_library(void) {
    static char library[MPI_MAX_LIBRARY_VERSION_STRING];
    if (MPI_Get_library_version(library, &(int){0}) != MPI_SUCCESS) library[0] = 0;
    library[strcspn(library, ",\n")] = 0;
    char *v = strstr(library, " v");
    if (v != NULL) memmove(v + 1, v + 2, strlen(v + 2) + 1);
    return library;
}

static Status describe(Comm *comm) {
    uint64_t hosts = comm->local_rank == 0;
    TRY(mpi_reduce(comm, &hosts, 1, SUM_U64));
    snprintf(comm->description, sizeof comm->description, "%.64s, %d rank%s on %d host%s",
             comm_library(), comm->world, comm->world == 1 ? "" : "s", (int)hosts,
             hosts == 1 ? "" : "s");
    return STATUS_OK;
}

static Status take_memory(CommMpi *mpi) {
    size_t world = (size_t)mpi->comm.world;
    mpi->requests_most = 64 + 4 * mpi->comm.world;
    size_t requests = EXCHANGES_MOST * (size_t)mpi->requests_most;
    MPI_Request *request = mpi->exchange[0].request = calloc(requests, sizeof *request);
    int *peer = mpi->exchange[0].peer = calloc(requests, sizeof *peer);
    mpi->comm.missing = calloc(world, sizeof *mpi->comm.missing);
    mpi->comm.hosts = calloc(world, HOST_BYTES);
    bool good = request != NULL && peer != NULL && mpi->comm.missing != NULL;
    FAIL_IF(!good || mpi->comm.hosts == NULL, NO_MEMORY, "no memory to talk to %d ranks",
            mpi->comm.world);
    for (int i = 0; i < EXCHANGES_MOST; ++i) {
        mpi->exchange[i].request = request + (size_t)i * (size_t)mpi->requests_most;
        mpi->exchange[i].peer = peer + (size_t)i * (size_t)mpi->requests_most;
    }
    return STATUS_OK;
}

static Status mpi_start(CommMpi *mpi) {
    Comm *comm = &mpi->comm;
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "start of MPI");
    MPI_TRY(MPI_Comm_rank(MPI_COMM_WORLD, &comm->rank), "start of MPI");
    MPI_TRY(MPI_Comm_size(MPI_COMM_WORLD, &comm->world), "start of MPI");
    TRY(check_launch(comm->world));
    TRY(take_memory(mpi));
    TRY(find_neighbours(comm));
    TRY(gather_hosts(comm));
    return describe(comm);
}

Status comm_mpi_open(Comm **out) {
    int started = 0, provided = MPI_THREAD_SINGLE;
    MPI_Initialized(&started);
    FAIL_IF(started, COMM, "MPI can be started only once in a process");
    bool mute = getenv("PMIX_RANK") == NULL && getenv("PMI_RANK") == NULL;
    // Inside a SLURM step MPI would end the process, with a page about its own build.
    if (mute && getenv("OMPI_COMM_WORLD_SIZE") == NULL) TRY(check_launch(1));
    double start = clock_now();
    MPI_TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "start of MPI");
    double seconds = clock_now() - start;
    FAIL_IF(provided < MPI_THREAD_FUNNELED, COMM, "this MPI cannot run in a process with threads");
    CommMpi *mpi = calloc(1, sizeof *mpi);
    FAIL_IF(mpi == NULL, NO_MEMORY, "no memory to talk to other ranks");
    mpi->comm.ops = &mpi_ops;
    mpi->comm.init_seconds = seconds;
    Status status = mpi_start(mpi);
    if (status != STATUS_OK)
        mpi_free(mpi); // MPI stays up: whoever fails here alone must end the job by comm_abort
    else
        *out = &mpi->comm;
    return status;
}
