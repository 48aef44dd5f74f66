// The choice of cores behind launch/cores.h.
#include "launch/cores.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    cpu_set_t allowed;
    char host[64];
    int local_rank;
} RankCores;

// The first hardware thread of a core in "0,64" or "0-1": the one that represents the core.
static bool is_first_thread(int cpu) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "r");
    if (file == NULL) return true;
    int first = cpu;
    if (fscanf(file, "%d", &first) != 1) first = cpu;
    fclose(file);
    return first == cpu;
}

static int list_cores(const cpu_set_t *allowed, int core[CORES_MOST]) {
    int count = 0;
    for (int pass = 0; pass < 2 && count == 0; ++pass) // second pass: only second threads allowed
        for (int cpu = 0; cpu < CPU_SETSIZE && count < CORES_MOST; ++cpu)
            if (CPU_ISSET(cpu, allowed) && (pass == 1 || is_first_thread(cpu))) core[count++] = cpu;
    return count;
}

// How many ranks of this host share exactly these cores, and this rank's place among them.
static Status find_sharers(Comm *comm, const RankCores *mine, int *sharers, int *place) {
    int world = comm_world(comm);
    RankCores *all = calloc((size_t)world, sizeof *all);
    FAIL_IF(all == NULL, NO_MEMORY, "no memory for the core table");
    Status status = comm_gather(comm, mine, sizeof *mine, all);
    *sharers = *place = 0;
    for (int rank = 0; rank < world && status == STATUS_OK; ++rank) {
        if (strcmp(all[rank].host, mine->host) != 0) continue;
        if (!CPU_EQUAL(&all[rank].allowed, &mine->allowed)) continue;
        if (rank < comm_rank(comm)) ++*place;
        ++*sharers;
    }
    free(all);
    return status;
}

static bool are_consecutive(const Cores *cores) {
    for (int i = 1; i < cores->threads; ++i)
        if (cores->core[i] != cores->core[i - 1] + 1) return false;
    return true;
}

// " on core 3", " on cores 0-7", " on 8 cores from 0 to 14".
static void describe_places(const Cores *cores, char *out, size_t bytes) {
    int first = cores->core[0], last = cores->core[cores->threads - 1];
    if (!cores->pinned)
        out[0] = '\0';
    else if (cores->threads == 1)
        snprintf(out, bytes, " on core %d", first);
    else if (are_consecutive(cores))
        snprintf(out, bytes, " on cores %d-%d", first, last);
    else
        snprintf(out, bytes, " on %d cores from %d to %d", cores->threads, first, last);
}

// `bound`: cores that this host's ranks are bound to, when each has its own.
static void describe(Cores *cores, int allowed, int sharers, int bound) {
    char places[64];
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    describe_places(cores, places, sizeof places);
    snprintf(cores->description, sizeof cores->description,
             "%d thread%s%s (%d core%s allowed, shared by %d rank%s; the host has %ld%s)",
             cores->threads, cores->threads == 1 ? "" : "s", places, allowed,
             allowed == 1 ? "" : "s", sharers, sharers == 1 ? "" : "s", online,
             sharers == 1 && bound < online ? "; mpirun --bind-to none gives all" : "");
}

Status cores_choose(Comm *comm, const ComputeConfig *device, Cores *out) {
    int threads = device->threads;
    RankCores mine = {.local_rank = comm_local_rank(comm)};
    snprintf(mine.host, sizeof mine.host, "%s", comm_host(comm));
    FAIL_IF(sched_getaffinity(0, sizeof mine.allowed, &mine.allowed) != 0, FAILED,
            "cannot ask for the allowed cores: %s", strerror(errno));
    int core[CORES_MOST], sharers, place;
    int allowed = list_cores(&mine.allowed, core);
    TRY(find_sharers(comm, &mine, &sharers, &place));
    int begin = allowed * place / sharers, end = allowed * (place + 1) / sharers;
    int share = end > begin ? end - begin : 1;
    *out = (Cores){.threads = threads > 0 ? threads : share};
    if (out->threads > CORES_MOST) out->threads = CORES_MOST;
    out->pinned = sharers <= allowed && out->threads <= share;
    for (int i = 0; i < out->threads && out->pinned; ++i) out->core[i] = core[begin + i];
    describe(out, allowed, sharers, allowed * comm_local_world(comm));
    if (strcmp(device->backend, "cpu") == 0) return STATUS_OK;
    *out = (Cores){.threads = threads > 0 ? threads : 1, .gpu = mine.local_rank};
    snprintf(out->description, sizeof out->description, "%d stream%s of a GPU", out->threads,
             out->threads == 1 ? "" : "s");
    return STATUS_OK;
}

DeviceConfig cores_device(const Cores *cores, const ComputeConfig *device) {
    return (DeviceConfig){.backend = device->backend,
                          .streams = cores->threads,
                          .core = cores->pinned ? cores->core : NULL,
                          .gpu = cores->gpu,
                          .attention = device->attention};
}
