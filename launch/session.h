// A command under mpirun or alone: opens the ranks, sees that all run the same program, runs the
// body, ends politely only when all ranks agree, and aborts the job when one rank fails alone.
#pragma once

#include "comm/comm.h"

// `start` may fail on any rank for its own reasons: the ranks then agree on the worst status, the
// lowest rank that had it prints its error, and all leave. `run` is past agreement: a failure that
// is not the same on all ranks by construction ends the job through comm_abort; STATUS_OK and
// UNFINISHED are the same on all ranks.
typedef struct {
    void *context;
    Status (*start)(void *context, Comm *comm);
    Status (*run)(void *context, Comm *comm);
    void (*finish)(void *context); // called on all ranks before a polite end
} Session;

Status session_run(const char *comm_kind, const Session *session);
