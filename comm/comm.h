// Many ranks as one object. MPI is called from the main thread only.
//
// Two members: `mpi` (Open MPI) and `local` (one process, for sanitizers and plain tools). What the
// trainer says to other ranks goes through these few calls and through comm/reduce.h. A third one,
// `nccl`, does nothing but exchange memory of GPUs.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct Comm Comm;
typedef struct Device Device; // model/backend.h, both
typedef struct Stream Stream;

// Opens `mpi` when a launcher started this process (mpirun, srun) or `kind` says so, else `local`.
// kind: "auto", "mpi", "local". Errors: COMM.
Status comm_open(const char *kind, Comm **out);
// All ranks together: waits for the others, finalizes. A rank that fails alone calls comm_abort.
void comm_close(Comm *comm);
// Ends the whole job at once with this exit code. Usable from a bug hook; comm may be NULL.
_Noreturn void comm_abort(Comm *comm, int exit_code);

int comm_rank(const Comm *comm);
int comm_world(const Comm *comm);
int comm_local_rank(const Comm *comm); // among the ranks on this host
int comm_local_world(const Comm *comm);
const char *comm_host(const Comm *comm);
const char *comm_host_of(const Comm *comm, int rank);
// Ranks of a host, where each has as many, more than one, which are neighbours; else the world.
int comm_group(const Comm *comm);
double comm_init_seconds(const Comm *comm);     // time spent in MPI_Init
const char *comm_description(const Comm *comm); // "Open MPI 4.1.4, 4 ranks on 1 host"
const char *comm_library(void);                 // "Open MPI 4.1.4", also before comm_open

// Agreement at a quiet point (start-up, end): all ranks return the worst status; *speaker is the
// lowest rank that had it, which is the one that should print. Afterwards all may close politely.
// Of two failures the later in STATUS_LIST is the worse.
// *speaker is -1 where the agreement itself failed (COMM).
Status comm_agree(Comm *comm, Status status, int *speaker);

// The same in the midst of work: every rank also gets the sentence of the one that had it first.
Status comm_share_status(Comm *comm, Status mine);

Status comm_broadcast(Comm *comm, void *data, size_t bytes, int root);
// all[rank*bytes...] = each rank's `mine`, on all ranks. bytes < 1 GiB.
Status comm_gather(Comm *comm, const void *mine, size_t bytes, void *all);
// The board: values[n] of which each entry is written by exactly one rank and zero elsewhere; the
// sum is exact, so all ranks then hold every entry (-0 arrives as 0). One message per step carries
// losses, norms, arrival times and proposed actions.
Status comm_board(Comm *comm, double *values, int n);
Status comm_sum_u64(Comm *comm, uint64_t *values, int n); // modulo 2^64

// Point-to-point exchange of host memory, started and completed separately.
typedef struct {
    int peer;   // another rank, never this one
    void *data; // lent until comm_exchange_wait
    size_t bytes;
} Message;
typedef struct Exchange Exchange;
// Messages between two ranks match in the order given; messages of 0 bytes do not travel. `tag`
// tells concurrent exchanges apart (0..1023). The Exchange belongs to comm and is valid until
// waited for. Memory is taken at open: at most EXCHANGES_MOST exchanges at a time, of at most 64 +
// 4 world messages each, where every full GiB of a message counts as one more. Errors: COMM.
enum { EXCHANGES_MOST = 16, EXCHANGE_TAGS = 1024 };
Status comm_exchange_start(Comm *comm, const Message *send, int sends, const Message *receive,
                           int receives, int tag, Exchange **out);
// Completes it: data that was sent may be changed, data to receive is there.
Status comm_exchange_wait(Comm *comm, Exchange *exchange);

// A comm for exchanges alone, among the same ranks, of memory of this device.
//   exchange "host"  *out is `comm` itself: messages are host memory, of an on_host device its own
//            "nccl"  another one, whose messages go from GPU to GPU, through libdye_nccl.so
//                    (comm/cuda/); to be closed before `comm`. Its exchanges are queued on the
//                    device's side stream: any number of them, in one order on all ranks, and
//                    waiting for one waits for all that were started
//            "nccl-sum"  the same, with comm_sum_start
//            "auto"  nccl where each rank has a GPU of its own, and the library; else host
// A rank alone gets `comm`. All call it together and get the same status: BAD_CONFIG (GPUs that are
// none or shared, no library), NOT_FOUND (something that the library needs), COMM.
Status comm_open_device(Comm *comm, const Device *device, const char *exchange, Comm **out);

// Of a comm that was opened as "nccl-sum": to[count] = the sum over ranks of from[rank * count...],
// in whatever order NCCL likes; queued and waited for as an exchange. `to` may be there in `from`.
Status comm_sum_start(Comm *comm, const float *from, float *to, size_t count, Exchange **out);

// Of a comm of GPUs: the board of device memory. all[n] = the sum over ranks of mine[n]; queued as
// an exchange, and waited for by a mark.
Status comm_board_start(Comm *comm, const double *mine, double *all, int n);

// The same: *out is done once all is that `stream` has queued so far, which waits for exchanges.
// One at a time.
Status comm_exchange_mark(Comm *comm, Stream *stream, Exchange **out);

// Called on each rank while a wait lasts longer than 10 s (again every 30 s). `what` is waited for
// ("barrier", "exchange 12"); `missing` names the ranks whose messages, or whose readiness to take
// ours, it waits for. In a collective they are not known: count 0.
typedef void CommAlarm(void *context, const char *what, double seconds, const int *missing,
                       int count);
void comm_set_alarm(Comm *comm, CommAlarm *alarm, void *context);
void comm_set_alarm_times(Comm *comm, double first, double again); // seconds; for tests
