// Which member runs, and what all members have in common.
#include "comm/comm.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/journal.h"
#include "comm/comm_impl.h"

// Only what a launcher sets for each process. A batch shell's other SLURM_* are inherited by
// anything.
static bool launcher_present(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
        if (getenv(names[i]) != NULL) return true;
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
    return tasks != NULL && atoi(tasks) > 1;
}

static Status local_open(Comm **out) {
    Comm *comm = calloc(1, sizeof *comm + HOST_BYTES);
    FAIL_IF(comm == NULL, NO_MEMORY, "no memory to start");
    comm->world = comm->local_world = 1;
    comm->hosts = (char(*)[HOST_BYTES])(comm + 1);
    if (gethostname(comm->hosts[0], HOST_BYTES - 1) != 0) strcpy(comm->hosts[0], "localhost");
    strcpy(comm->description, "1 process without MPI");
    *out = comm;
    return STATUS_OK;
}

Status comm_open(const char *kind, Comm **out) {
    bool mpi = strcmp(kind, "mpi") == 0;
    bool automatic = strcmp(kind, "auto") == 0;
    FAIL_IF(!mpi && !automatic && strcmp(kind, "local") != 0, COMM,
            "unknown way to talk to other ranks '%s': use auto, mpi or local", kind);
    TRY(mpi || (automatic && launcher_present()) ? comm_mpi_open(out) : local_open(out));
    comm_set_alarm_times(*out, 10, 30);
    return STATUS_OK;
}

Status comm_open_device(Comm *comm, const Device *device, const char *exchange, Comm **out) {
    bool automatic = strcmp(exchange, "auto") == 0, is_gpu = device->identity[0] != '\0';
    const void *library;
    *out = comm;
    if (comm->world == 1 || strcmp(exchange, "host") == 0 || (automatic && !is_gpu))
        return STATUS_OK;
    Status status = comm_share_status(comm, library_find("nccl", "dye_comm", &library));
    if (status == STATUS_OK) status = ((const CommLibrary *)library)->open(comm, device, out);
    if (!automatic || (status != STATUS_NOT_FOUND && status != STATUS_BAD_CONFIG)) return status;
    error_clear();
    return STATUS_OK;
}

void comm_close(Comm *comm) {
    if (comm != NULL && comm->ops != NULL)
        comm->ops->close(comm);
    else
        free(comm);
}

_Noreturn void comm_abort(Comm *comm, int exit_code) {
    (void)comm; // whether MPI runs is a fact of the process, also where comm_open failed half-way
    comm_mpi_abort(exit_code);
    _exit(exit_code);
}

int comm_rank(const Comm *comm) {
    return comm->rank;
}
int comm_world(const Comm *comm) {
    return comm->world;
}
int comm_local_rank(const Comm *comm) {
    return comm->local_rank;
}
int comm_local_world(const Comm *comm) {
    return comm->local_world;
}
const char *comm_host(const Comm *comm) {
    return comm->hosts[comm->rank];
}
double comm_init_seconds(const Comm *comm) {
    return comm->init_seconds;
}
const char *comm_description(const Comm *comm) {
    return comm->description;
}

const char *comm_host_of(const Comm *comm, int rank) {
    REQUIRE(rank >= 0 && rank < comm->world);
    return comm->hosts[rank];
}

int comm_group(const Comm *comm) {
    int group = 1, world = comm->world;
    while (group < world && strcmp(comm->hosts[group], comm->hosts[0]) == 0) ++group;
    for (int rank = 0; rank < world; ++rank) {
        bool begins = rank > 0 && strcmp(comm->hosts[rank], comm->hosts[rank - 1]) != 0;
        if (begins != (rank > 0 && rank % group == 0)) return world;
    }
    return group > 1 && world % group == 0 ? group : world;
}

static Status reduce(Comm *comm, void *values, int n, Reduction reduction) {
    return comm->ops == NULL ? STATUS_OK : comm->ops->reduce(comm, values, n, reduction);
}

Status comm_agree(Comm *comm, Status status, int *speaker) {
    uint64_t worst = (uint64_t)status << 32 | (uint32_t)(comm->world - 1 - comm->rank);
    *speaker = -1;
    TRY(reduce(comm, &worst, 1, MAX_U64));
    *speaker = comm->world - 1 - (int)(uint32_t)worst;
    return (Status)(worst >> 32);
}

Status comm_share_status(Comm *comm, Status mine) {
    char text[ERROR_TEXT_BYTES] = "";
    int speaker;
    Status worst = comm_agree(comm, mine, &speaker);
    // Ranks that cannot talk to each other cannot share a sentence either.
    if (worst == STATUS_OK || worst == STATUS_COMM) return worst;
    bool mute = comm->rank != speaker;
    if (!mute) snprintf(text, sizeof text, "%s", error_get()->text);
    TRY(comm_broadcast(comm, text, sizeof text, speaker));
    if (mute)
        return error_raise(worst, __FILE__, __LINE__, __func__, "rank %d (%s): %s", speaker,
                           comm->hosts[speaker], text);
    return worst;
}

Status comm_broadcast(Comm *comm, void *data, size_t bytes, int root) {
    REQUIRE(root >= 0 && root < comm->world);
    return comm->ops == NULL ? STATUS_OK : comm->ops->broadcast(comm, data, bytes, root);
}

Status comm_gather(Comm *comm, const void *mine, size_t bytes, void *all) {
    REQUIRE(bytes < (size_t)1 << 30);
    if (comm->ops != NULL) return comm->ops->gather(comm, mine, bytes, all);
    memmove(all, mine, bytes);
    return STATUS_OK;
}

Status comm_board(Comm *comm, double *values, int n) {
    return reduce(comm, values, n, SUM_F64);
}

Status comm_sum_u64(Comm *comm, uint64_t *values, int n) {
    return reduce(comm, values, n, SUM_U64);
}

Status comm_exchange_start(Comm *comm, const Message *send, int sends, const Message *receive,
                           int receives, int tag, Exchange **out) {
    REQUIRE(tag >= 0 && tag < EXCHANGE_TAGS);
    for (int i = 0; i < sends + receives; ++i) {
        int peer = i < sends ? send[i].peer : receive[i - sends].peer;
        REQUIRE(peer >= 0 && peer < comm->world && peer != comm->rank);
    }
    *out = NULL;
    if (comm->ops == NULL) return STATUS_OK;
    return comm->ops->exchange_start(comm, send, sends, receive, receives, tag, out);
}

Status comm_exchange_wait(Comm *comm, Exchange *exchange) {
    return comm->ops == NULL ? STATUS_OK : comm->ops->exchange_wait(comm, exchange);
}

Status comm_exchange_mark(Comm *comm, Stream *stream, Exchange **out) {
    return comm->ops->exchange_mark(comm, stream, out);
}

Status comm_sum_start(Comm *comm, const float *from, float *to, size_t count, Exchange **out) {
    return comm->ops->sum_start(comm, from, to, count, out);
}

Status comm_board_start(Comm *comm, const double *mine, double *all, int n) {
    return comm->ops->board_start(comm, mine, all, n);
}

void comm_set_alarm(Comm *comm, CommAlarm *alarm, void *context) {
    comm->alarm = alarm;
    comm->alarm_context = context;
}

void comm_set_alarm_times(Comm *comm, double first, double again) {
    comm->alarm_first = first;
    comm->alarm_again = again;
}

// ---- waiting ------------------------------------------------------------------------------------

// Short waits are answered at once; in long ones the core belongs to whoever has work. Naps stay
// short because a long message advances only while both sides poll.
static void rest(double waited) {
    struct timespec nap = {0, waited < 0.1 ? 20000 : 100000};
    if (waited < 2e-4)
        sched_yield();
    else
        nanosleep(&nap, NULL);
}

Status comm_wait(Comm *comm, const Exchange *pending, const char *what) {
    journal_wait(what);
    double start = clock_now(), alarm_at = comm->alarm_first;
    for (bool done = false;;) {
        TRY(comm->ops->poll(comm, pending, &done));
        if (done) break;
        double waited = clock_now() - start;
        if (comm->alarm != NULL && waited >= alarm_at) {
            alarm_at = waited + comm->alarm_again;
            int (*find)(Comm *, const Exchange *) = comm->ops->find_missing;
            int count = find != NULL ? find(comm, pending) : 0;
            comm->alarm(comm->alarm_context, what, waited, comm->missing, count);
        }
        rest(waited);
    }
    journal_proceed();
    return STATUS_OK;
}
