// How fast ranks talk: pairs one at a time, and all at once in a ring.
//
// Up to 16 ranks every pair is measured, more than that only neighbours (rank i with i + 1, and the
// last with rank 0). A pair's latency is half the shortest round trip of 8 bytes, its rate that of
// the fastest round trip of 8 MiB (1 MiB where there is no time for more). In the ring each rank
// sends 8 MiB to the next one and receives as much.
#pragma once

#include "comm/comm.h"

typedef struct {
    int a, b;       // ranks of the slowest pair
    int pairs;      // measured; 0: there is none of this kind
    double seconds; // one way, of the pair with the longest
    double rate;    // bytes/s one way, of the slowest pair
} ProbeLink;

typedef struct {
    ProbeLink within, between; // pairs on one host, pairs on two
    double ring;               // bytes/s that the slowest rank sends, and receives beside it
} Probe;

// All ranks together, for about so many seconds; a world of 1 measures nothing. Errors: COMM,
// NO_MEMORY.
Status probe_run(Comm *comm, double seconds, Probe *out);

// What a rate says about the network: "1 Gbit/s Ethernet", or NULL where nothing need be said.
const char *probe_name_rate(double rate);
