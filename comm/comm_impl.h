// What the members of comm/ share: the table that a Comm dispatches over. Nobody else includes
// this.
#pragma once

#include "comm/comm.h"
#include "model/backend.h"

enum { HOST_BYTES = 64 };

typedef enum { SUM_F64, SUM_U64, MAX_U64 } Reduction;

typedef struct {
    void (*close)(Comm *comm); // frees `comm` too
    Status (*broadcast)(Comm *comm, void *data, size_t bytes, int root);
    Status (*gather)(Comm *comm, const void *mine, size_t bytes, void *all);
    Status (*reduce)(Comm *comm, void *values, int n, Reduction reduction);
    Status (*exchange_start)(Comm *comm, const Message *send, int sends, const Message *receive,
                             int receives, int tag, Exchange **out);
    Status (*exchange_wait)(Comm *comm, Exchange *exchange);
    Status (*exchange_mark)(Comm *comm, Stream *stream, Exchange **out);
    Status (*sum_start)(Comm *comm, const float *from, float *to, size_t count, Exchange **out);
    Status (*board_start)(Comm *comm, const double *mine, double *all, int n);
    // For comm_wait: whether what is waited for is there; whose half of it is not (NULL: unknown).
    Status (*poll)(Comm *comm, const Exchange *pending, bool *done);
    int (*find_missing)(Comm *comm, const Exchange *pending);
} CommOps;

// What every member's own struct begins with.
struct Comm {
    const CommOps *ops; // NULL: `local`, a process alone has nobody to talk to
    int rank, world, local_rank, local_world;
    char (*hosts)[HOST_BYTES]; // [world]
    double init_seconds;
    char description[128];
    CommAlarm *alarm; // NULL: none
    void *alarm_context;
    double alarm_first, alarm_again; // seconds
    int *missing;                    // [world] written by find_missing
};

// Polls until `pending` is done, in the journal as `what`; rings the alarm.
Status comm_wait(Comm *comm, const Exchange *pending, const char *what);

// All that libdye_nccl.so exports: how comm_open_device opens `nccl`. Errors, the same on all
// ranks: BAD_CONFIG (a device is no GPU, or another rank's too), COMM.
typedef struct {
    Status (*open)(Comm *ranks, const Device *device, Comm **out);
} CommLibrary;
extern const CommLibrary dye_comm __attribute__((visibility("default")));

Status comm_mpi_open(Comm **out);
// Ends the job through MPI if MPI runs in this process; returns otherwise.
void comm_mpi_abort(int exit_code);
