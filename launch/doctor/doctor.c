// The checks behind launch/doctor/doctor.h: each looks at the facts of all ranks and adds one
// finding.
#include "launch/doctor/doctor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/console.h"
#include "launch/doctor/odd_ranks.h"
#include "launch/wall_clock.h"

enum { RANKS_BYTES = 200 };

// What each check works with.
typedef struct {
    const Examination *seen;
    const RankFacts *rank;
    int world;
    Findings *findings;
    const char **host; // [world]
    uint64_t *key;     // [world], for each check anew, as `odd`
    bool *odd;
} Ward;

static int mark(Ward *ward, bool (*is_odd)(const Ward *ward, const RankFacts *rank)) {
    int count = 0;
    for (int i = 0; i < ward->world; ++i) count += ward->odd[i] = is_odd(ward, &ward->rank[i]);
    return count;
}

static const RankFacts *first_odd(const Ward *ward) {
    int first = 0;
    while (!ward->odd[first]) ++first;
    return &ward->rank[first];
}

static const char *ranks(const Ward *ward, char text[RANKS_BYTES]) {
    odd_ranks_text(ward->host, ward->odd, ward->world, text, RANKS_BYTES);
    return text;
}

// ---- the same on all ranks --------------------------------------------------------------------

typedef struct {
    const char *check, *one, *many, *other, *remedy;
} TraitRow;

static const TraitRow trait_rows[TRAITS] = {
    [TRAIT_PROGRAM] = {"program", "runs", "run", "another program",
                       "copy the same file to all hosts"},
    [TRAIT_WORDS] = {"configuration", "was given", "were given", "another command line",
                     "give all ranks the same"},
    [TRAIT_DATA] = {"data set", "reads", "read", "another data set",
                    "copy the same folder to all hosts"},
    [TRAIT_LIBRARIES] = {"libraries", "has", "have", "other libraries",
                         "install the same versions on all hosts"},
    [TRAIT_DEVICE] = {"instruction set", "computes", "compute", "otherwise",
                      "equal bits are impossible: use hosts of one kind, or DNNL_MAX_CPU_ISA on"
                      " all of them"},
};

static void judge_trait(Ward *ward, TraitKind kind) {
    const TraitRow *row = &trait_rows[kind];
    char text[RANKS_BYTES];
    int usual;
    for (int i = 0; i < ward->world; ++i) ward->key[i] = ward->rank[i].trait[kind].key;
    int count = odd_ranks_find(ward->key, ward->world, ward->odd, &usual);
    const char *here = ward->rank[usual].trait[kind].text;
    if (count == 0)
        finding_add(ward->findings, FINDING_OK, row->check, "%s", here);
    else
        finding_add(ward->findings, FINDING_FAIL, row->check, "%s %s %s (%s instead of %s): %s",
                    ranks(ward, text), count == 1 ? row->one : row->many, row->other,
                    first_odd(ward)->trait[kind].text, here, row->remedy);
}

static bool has_no_model(const Ward *ward, const RankFacts *rank) {
    (void)ward;
    return rank->model_status != STATUS_OK;
}

// Ranks without data set or model have no traits of them either.
static void judge_model(Ward *ward) {
    char text[RANKS_BYTES], shared[512] = "";
    int count = mark(ward, has_no_model);
    if (count > 0) {
        const RankFacts *rank = first_odd(ward);
        const char *where = count == ward->world ? "" : ranks(ward, text);
        finding_add(ward->findings, FINDING_FAIL, "model", "%s%s%s", where,
                    where[0] != '\0' ? ": " : "", rank->model_error)
            ->status = rank->model_status;
        return;
    }
    if (ward->seen->settings != NULL) judge_trait(ward, TRAIT_DATA);
    if (ward->seen->share != NULL) share_describe(ward->seen->share, shared, sizeof shared);
    if (shared[0] != '\0') finding_add(ward->findings, FINDING_OK, "data", "%s", shared);
    judge_trait(ward, TRAIT_DEVICE);
}

// ---- launcher and GPUs ------------------------------------------------------------------------

static bool is_misled(const Ward *ward, const RankFacts *rank) {
    return (rank->launcher_world >= 0 && rank->launcher_world != ward->world) ||
           (rank->launcher_local_rank >= 0 && rank->launcher_local_rank != rank->local_rank);
}

static void judge_launch(Ward *ward) {
    char text[RANKS_BYTES];
    int hosts = 0;
    for (int i = 0; i < ward->world; ++i) hosts += ward->rank[i].local_rank == 0;
    if (mark(ward, is_misled) == 0) {
        finding_add(ward->findings, FINDING_OK, "launch", "%d rank%s on %d host%s", ward->world,
                    ward->world == 1 ? "" : "s", hosts, hosts == 1 ? "" : "s");
        return;
    }
    const RankFacts *rank = first_odd(ward);
    finding_add(ward->findings, FINDING_WARN, "launch",
                "the environment of %s tells of %d ranks and of local rank %d, MPI of %d ranks and"
                " of local rank %d: was it started by the launcher of another MPI?",
                ranks(ward, text), rank->launcher_world, rank->launcher_local_rank, ward->world,
                rank->local_rank);
}

static bool share_gpu(const RankFacts *a, const RankFacts *b) {
    return a->gpu[0] != '\0' && strcmp(a->gpu, b->gpu) == 0 && strcmp(a->host, b->host) == 0;
}

// Ranks take the GPUs of their host in turn, so that more ranks than GPUs use all of them.
static int count_gpus(const Ward *ward, const char *host, int *ranks_there) {
    int count = 0;
    *ranks_there = 0;
    for (int a = 0; a < ward->world; ++a) {
        int before = 0;
        if (strcmp(ward->host[a], host) != 0) continue;
        while (before < a && !share_gpu(&ward->rank[a], &ward->rank[before])) ++before;
        count += before == a && ward->rank[a].gpu[0] != '\0';
        ++*ranks_there;
    }
    return count;
}

static void judge_gpus(Ward *ward) {
    const RunSettings *settings = ward->seen->settings;
    char text[RANKS_BYTES];
    int count = 0, there;
    for (int a = 0; a < ward->world; ++a) {
        count += ward->rank[a].gpu[0] != '\0';
        int clashes = 0;
        for (int b = 0; b < ward->world; ++b) {
            ward->odd[b] = share_gpu(&ward->rank[a], &ward->rank[b]);
            clashes += ward->odd[b];
        }
        if (clashes < 2) continue;
        int gpus = count_gpus(ward, ward->host[a], &there);
        if (settings != NULL && settings->device.share_gpu)
            finding_add(ward->findings, FINDING_OK, "GPU", "%d ranks of %s share %d", there,
                        ward->host[a], gpus);
        else
            finding_add(ward->findings, FINDING_FAIL, "GPU",
                        "%s share the GPU %s: give each rank its own (mpirun --map-by ppr:N:node"
                        " with N GPUs on a host; srun --gpus-per-task=1), start fewer ranks (%s has"
                        " %d for %d GPU%s), or let them share by device.share_gpu=true",
                        ranks(ward, text), ward->rank[a].gpu, ward->host[a], there, gpus,
                        gpus == 1 ? "" : "s");
        return;
    }
    if (count > 0)
        finding_add(ward->findings, FINDING_OK, "GPU", "each of %d ranks has its own", count);
}

// ---- the run folder ---------------------------------------------------------------------------

static bool is_blind(const Ward *ward, const RankFacts *rank) {
    (void)ward;
    return !rank->folder.seen;
}

static bool cannot_write(const Ward *ward, const RankFacts *rank) {
    (void)ward;
    return rank->folder.write_error != 0;
}

static void judge_folder(Ward *ward) {
    const FolderOffer *folder = &ward->seen->folder;
    char text[RANKS_BYTES];
    int count;
    if (folder->error != 0)
        finding_add(ward->findings, FINDING_FAIL, "run folder",
                    "rank 0 on %s cannot write in %s: %s; choose another run.dir", ward->host[0],
                    folder->path, strerror(folder->error));
    else if ((count = mark(ward, is_blind)) > 0)
        finding_add(ward->findings, FINDING_FAIL, "run folder",
                    "%s do%s not see the run folder of rank 0 on %s: %s is local there; put"
                    " run.dir on a file system that all hosts share",
                    ranks(ward, text), count == 1 ? "es" : "", ward->host[0], folder->path);
    else if (mark(ward, cannot_write) > 0)
        finding_add(ward->findings, FINDING_FAIL, "run folder", "%s cannot write in %s: %s",
                    ranks(ward, text), folder->path, strerror(first_odd(ward)->folder.write_error));
    else
        finding_add(ward->findings, FINDING_OK, "run folder", "all ranks read and write in %s",
                    folder->path);
}

// A new checkpoint is complete before an old one goes.
static void judge_space(Ward *ward) {
    enum { BYTES_OF_PARAMETER = 20 };
    const RankFacts *rank = &ward->rank[0];
    if (rank->parameters == 0 || !rank->folder.seen) return;
    int more = ward->seen->settings->checkpoint.keep + 1 - ward->seen->folder.checkpoints;
    if (more < 1) more = 1;
    double one = (double)rank->parameters * BYTES_OF_PARAMETER;
    double have = (double)rank->folder.free_bytes;
    bool enough = have >= more * one;
    finding_add(ward->findings, enough ? FINDING_OK : FINDING_WARN, "space",
                "%.3g GB are free in %s, %d more checkpoint%s take%s at most %.3g GB%s", have / 1e9,
                ward->seen->folder.path, more, more == 1 ? "" : "s", more == 1 ? "s" : "",
                more * one / 1e9, enough ? "" : ": make room, or lower checkpoint.keep");
}

// ---- what runs short --------------------------------------------------------------------------

// Sums over the ranks of one host.
typedef struct {
    int ranks, threads;
    double memory_needed, memory_free;
} HostSums;

static HostSums sum_host(const Ward *ward, int first) {
    HostSums sums = {.memory_free = INFINITY};
    for (int i = first; i < ward->world; ++i) {
        const RankFacts *rank = &ward->rank[i];
        if (strcmp(rank->host, ward->host[first]) != 0) continue;
        ++sums.ranks;
        sums.threads += rank->threads;
        sums.memory_needed += (double)rank->memory_needed;
        sums.memory_free = fmin(sums.memory_free, (double)rank->memory_free);
    }
    return sums;
}

static void judge_memory(Ward *ward) {
    double tightest = -1;
    int where = 0;
    HostSums sums = {0};
    if (ward->rank[0].memory_needed == 0 || ward->rank[0].memory_free == 0) return;
    for (int i = 0; i < ward->world; ++i) {
        if (ward->rank[i].local_rank != 0) continue;
        HostSums host = sum_host(ward, i);
        double share = host.memory_needed / fmax(host.memory_free, 1);
        if (share <= tightest) continue;
        tightest = share;
        where = i;
        sums = host;
    }
    bool enough = tightest < 0.9;
    finding_add(ward->findings, enough ? FINDING_OK : FINDING_WARN, "memory",
                "%d rank%s on %s need%s about %.3g GB of %.3g GB free%s", sums.ranks,
                sums.ranks == 1 ? "" : "s", ward->host[where], sums.ranks == 1 ? "s" : "",
                sums.memory_needed / 1e9, sums.memory_free / 1e9,
                enough ? "" : ": use more hosts, fewer threads, or a smaller model");
}

static void judge_cores(Ward *ward) {
    for (int i = 0; i < ward->world; ++i) {
        if (ward->rank[i].local_rank != 0) continue;
        HostSums sums = sum_host(ward, i);
        if (sums.threads <= ward->rank[i].cores) continue;
        finding_add(ward->findings, FINDING_WARN, "cores",
                    "%d rank%s on %s run %d threads on %d cores: start fewer ranks, or lower"
                    " device.threads",
                    sums.ranks, sums.ranks == 1 ? "" : "s", ward->host[i], sums.threads,
                    ward->rank[i].cores);
        return;
    }
    finding_add(ward->findings, FINDING_OK, "cores", "no host has more threads than cores");
}

static bool lacks_shared_memory(const Ward *ward, const RankFacts *rank) {
    enum { BYTES_OF_RANK = 5 << 20 };
    (void)ward;
    return rank->local_world > 1 && rank->shared_free < (uint64_t)rank->local_world * BYTES_OF_RANK;
}

static void judge_shared_memory(Ward *ward) {
    char text[RANKS_BYTES];
    bool enough = mark(ward, lacks_shared_memory) == 0;
    const RankFacts *rank = enough ? &ward->rank[0] : first_odd(ward);
    finding_add(ward->findings, enough ? FINDING_OK : FINDING_WARN, "/dev/shm",
                "%.3g MB free%s%s%s", (double)rank->shared_free / 1e6, enough ? "" : " for ",
                enough ? "" : ranks(ward, text),
                enough ? "" : ": MPI talks through it; mount it larger (docker run --shm-size)");
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_clock(const Ward *ward) {
    double *sorted = calloc((size_t)ward->world, sizeof *sorted), median = ward->rank[0].clock;
    for (int i = 0; sorted != NULL && i < ward->world; ++i) sorted[i] = ward->rank[i].clock;
    if (sorted != NULL) {
        qsort(sorted, (size_t)ward->world, sizeof *sorted, compare_doubles);
        median = sorted[(ward->world - 1) / 2];
    }
    free(sorted);
    return median;
}

static void judge_clocks(Ward *ward) {
    enum { SECONDS_APART = 1 };
    double usual = median_clock(ward), worst = 0;
    char text[RANKS_BYTES];
    int count = 0;
    for (int i = 0; i < ward->world; ++i) {
        double apart = ward->rank[i].clock - usual;
        ward->odd[i] = fabs(apart) > SECONDS_APART;
        count += ward->odd[i];
        if (fabs(apart) > fabs(worst)) worst = apart;
    }
    if (count == 0)
        finding_add(ward->findings, FINDING_OK, "clocks", "at most %.0f ms apart",
                    1e3 * fabs(worst));
    else
        finding_add(ward->findings, FINDING_WARN, "clocks",
                    "the clock of %s is off by up to %+.1f s: logs and locks of the run folder go"
                    " by it; run NTP",
                    ranks(ward, text), worst);
}

static bool has_few_files(const Ward *ward, const RankFacts *rank) {
    (void)ward;
    return rank->files < 1024;
}

static void judge_files(Ward *ward) {
    char text[RANKS_BYTES];
    if (mark(ward, has_few_files) == 0)
        finding_add(ward->findings, FINDING_OK, "open files", "1024 or more on all ranks");
    else
        finding_add(ward->findings, FINDING_WARN, "open files",
                    "%s may open %llu files only: ulimit -n 4096", ranks(ward, text),
                    (unsigned long long)first_odd(ward)->files);
}

// ---- advice -----------------------------------------------------------------------------------

static bool cannot_lock(const Ward *ward, const RankFacts *rank) {
    (void)ward;
    return rank->infiniband > 0 && rank->locked < (uint64_t)1 << 30;
}

static bool writes_cores(const Ward *ward, const RankFacts *rank) {
    (void)ward;
    return rank->core_is_file && rank->core_bytes == UINT64_MAX;
}

static void judge_limits(Ward *ward) {
    char text[RANKS_BYTES];
    int before = ward->findings->count;
    if (mark(ward, cannot_lock) > 0)
        finding_add(ward->findings, FINDING_WARN, "limits",
                    "%s may lock %.3g MB of memory only, InfiniBand wants to lock what it sends:"
                    " ulimit -l unlimited",
                    ranks(ward, text), (double)first_odd(ward)->locked / 1e6);
    if (mark(ward, writes_cores) > 0)
        finding_add(ward->findings, FINDING_WARN, "limits",
                    "each crash of %s writes all its memory into a core file: ulimit -c 0",
                    ranks(ward, text));
    if (ward->findings->count == before)
        finding_add(ward->findings, FINDING_OK, "limits", "locked memory and core files");
}

static void tell_kernel(Ward *ward) {
    char text[RANKS_BYTES];
    int usual;
    for (int i = 0; i < ward->world; ++i) {
        ward->key[i] = 0;
        for (const char *at = ward->rank[i].kernel; *at != '\0'; ++at)
            ward->key[i] = 131 * ward->key[i] + (unsigned char)*at;
    }
    int count = odd_ranks_find(ward->key, ward->world, ward->odd, &usual);
    finding_add(ward->findings, FINDING_OK, "kernel", "%s%s%s%s%s", ward->rank[usual].kernel,
                count > 0 ? "; " : "", count > 0 ? first_odd(ward)->kernel : "",
                count > 0 ? " under " : "", count > 0 ? ranks(ward, text) : "");
}

// ---- all of it --------------------------------------------------------------------------------

static void judge_all(Ward *ward, bool thorough) {
    judge_launch(ward);
    judge_trait(ward, TRAIT_PROGRAM);
    judge_trait(ward, TRAIT_WORDS);
    judge_trait(ward, TRAIT_LIBRARIES);
    judge_model(ward);
    judge_gpus(ward);
    if (ward->seen->settings != NULL) {
        judge_folder(ward);
        judge_space(ward);
    }
    judge_memory(ward);
    judge_shared_memory(ward);
    judge_clocks(ward);
    judge_files(ward);
    if (!thorough) return;
    judge_cores(ward); // the log's first line tells of it, too
    judge_limits(ward);
    tell_kernel(ward);
}

void doctor_judge(const Examination *examination, bool thorough, Findings *out) {
    size_t world = (size_t)examination->world;
    Ward ward = {.seen = examination,
                 .rank = examination->rank,
                 .world = examination->world,
                 .findings = out,
                 .host = calloc(world, sizeof *ward.host),
                 .key = calloc(world, sizeof *ward.key),
                 .odd = calloc(world, sizeof *ward.odd)};
    *out = (Findings){0};
    if (ward.host == NULL || ward.key == NULL || ward.odd == NULL) {
        finding_add(out, FINDING_FAIL, "memory", "no memory to compare %zu ranks", world);
    } else {
        for (size_t i = 0; i < world; ++i) ward.host[i] = ward.rank[i].host;
        judge_all(&ward, thorough);
    }
    free(ward.host), free(ward.key), free(ward.odd);
}

static Status gather(const Setup *setup, RankFacts *mine, Examination *out) {
    Comm *comm = setup->comm;
    int speaker;
    if (setup->settings != NULL) {
        TRY(folder_offer(comm, setup->settings->run.dir, &out->folder));
        folder_try(&out->folder, comm_rank(comm), &mine->folder);
    }
    Status status = comm_agree(comm, STATUS_OK, &speaker); // all leave it at one moment
    mine->clock = clock_wall();
    if (status == STATUS_OK) status = comm_gather(comm, mine, sizeof *mine, out->rank);
    if (setup->settings != NULL && comm_rank(comm) == 0) folder_withdraw(&out->folder);
    return status;
}

Status doctor_examine(const Setup *setup, Examination *out) {
    int world = comm_world(setup->comm);
    RankFacts mine;
    *out = (Examination){.world = world, .settings = setup->settings, .share = setup->share};
    out->rank = calloc((size_t)world, sizeof *out->rank);
    FAIL_IF(out->rank == NULL, NO_MEMORY, "no memory for the facts of %d ranks", world);
    rank_facts_collect(setup, &mine);
    return gather(setup, &mine, out);
}

void doctor_close(Examination *examination) {
    free(examination->rank);
}

Status doctor_admit(const Setup *setup) {
    Examination examination;
    Findings findings = {0};
    Status status = doctor_examine(setup, &examination);
    if (status == STATUS_OK) {
        doctor_judge(&examination, false, &findings);
        status = findings_status(&findings);
    }
    for (int i = 0; i < findings.count && comm_rank(setup->comm) == 0; ++i)
        if (findings.list[i].level == FINDING_WARN) console_warn(findings.list[i].text);
    doctor_close(&examination);
    return status;
}
