// Letters between the control threads of a job, beside MPI: ZeroMQ over TCP, encrypted with CURVE
// keys that each rank makes for the job and that travel over MPI alone, so that only the job's own
// ranks can connect. Each rank listens at one port; every rank writes to two centres, rank 0 and
// its deputy, which answer. Nothing here blocks, and letters may be lost.
//
// wire_open and wire_connect are called by the main thread, all else by one other thread.
#pragma once

#include "launch/watch/letter.h"
#include "launch/doctor/reach.h"

typedef struct Wire Wire;

enum { WIRE_CENTRES = 2 };

// What a rank tells all others over MPI.
typedef struct {
    char key[44]; // public, as text
    int32_t port, pid;
    Address address[ADDRESSES_MOST];
} WirePeer;

// Listens: on the loopback interface alone if all ranks are on one host. port 0: any free one.
// Fills `me`. Errors: BUSY (the port is taken), COMM (no such library, no encryption in it).
Status wire_open(bool one_host, int port, WirePeer *me, Wire **out);
// peers[world] of all ranks, lent; centre[] may hold this rank itself, or -1.
Status wire_connect(Wire *wire, const WirePeer *peers, int rank, const int centre[WIRE_CENTRES]);
void wire_close(Wire *wire); // what was sent last gets a moment to leave; NULL is fine

const char *wire_version(void); // of ZeroMQ

void wire_wait(Wire *wire, int milliseconds);                  // until a letter may have come
bool wire_receive(Wire *wire, Letter *out);                    // the next one; false: none is there
void wire_to_rank(Wire *wire, int rank, const Letter *letter); // by a centre
void wire_to_centre(Wire *wire, int which, const Letter *letter);
// The centre was not heard: tries its next address. Returns the one in use as text.
const char *wire_turn(Wire *wire, int which);
