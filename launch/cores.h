// This rank's share of the cores that its host and launcher allow.
#pragma once

#include "comm/comm.h"
#include "trainer/trainer.h"

enum { CORES_MOST = 1024 };

typedef struct {
    int threads; // streams to run
    bool pinned; // core[] holds a core for each
    int core[CORES_MOST];
    int gpu;               // this rank's number on its host
    char description[256]; // "2 threads on cores 0-1 (of 2 that this host has)"
} Cores;

// device.threads: wanted number, 0 = the share; of a GPU: streams, 0 = one. Ranks of a host that
// are bound to the same cores split them; ranks with cores of their own keep them; of two hardware
// threads of a core one is used. With more ranks than cores each gets one thread, unpinned. All
// ranks call it together.
Status cores_choose(Comm *comm, const ComputeConfig *device, Cores *out);
// What a rank's own device is opened with: of a GPU the one with its number on the host, modulo
// those that it sees, so that a process that was given a single one uses that.
DeviceConfig cores_device(const Cores *cores, const ComputeConfig *device);
