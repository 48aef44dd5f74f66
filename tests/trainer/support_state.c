// A made-up training state, and ranks as threads of one process.
#include "tests/trainer/support_state.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"
#include "base/rng.h"
#include "comm/comm_impl.h"

// ---- state --------------------------------------------------------------------------------------

static void add_tensor(Params *params, const char *name, int64_t rows, int64_t columns) {
    Param *param = &params->list[params->count++];
    *param = (Param){.dims = columns > 0 ? 2 : 1,
                     .dim = {rows, columns},
                     .offset = params->size,
                     .size = rows * (columns > 0 ? columns : 1)};
    snprintf(param->name, sizeof param->name, "%s", name);
    params->size += param->size;
}

void state_make(State *state, int64_t elements, int64_t part_size) {
    *state = (State){.fail_part = -1};
    Params *params = &state->params;
    params->list = calloc(3, sizeof *params->list);
    REQUIRE(params->list != NULL && elements >= 8);
    add_tensor(params, "in.weight", elements / 4, 2);
    add_tensor(params, "in.bias", 1, 0);
    add_tensor(params, "out.\"quoted\"", elements - params->size, 0);
    params->part_size = part_size;
    params->parts = (int)((params->size + part_size - 1) / part_size);
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind) {
        state->kind[kind] = calloc((size_t)params->size, sizeof(float));
        REQUIRE(state->kind[kind] != NULL);
    }
}

void state_free(State *state) {
    params_close(&state->params);
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind) free(state->kind[kind]);
}

static float number_of(uint64_t seed, StateKind kind, int64_t i) {
    static const uint32_t odd[] = {0x7FC12345, 0xFF800000, 0x80000000, 0x00000001, 0x7F812345};
    uint64_t z = mix64(seed * STATE_KINDS + kind + mix64((uint64_t)i + 1));
    uint32_t bits = (uint32_t)(z >> 32);
    float number = 0.02f * rng_normal(bits);
    if (z % 61 == 0) memcpy(&number, &odd[z / 61 % 5], sizeof number);
    return number;
}

void state_fill(State *state, uint64_t seed) {
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind)
        for (int64_t i = 0; i < state->params.size; ++i)
            state->kind[kind][i] = number_of(seed, kind, i);
}

bool state_is(const State *state, uint64_t seed) {
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind)
        for (int64_t i = 0; i < state->params.size; ++i) {
            float wanted = number_of(seed, kind, i);
            if (memcmp(&state->kind[kind][i], &wanted, sizeof wanted) == 0) continue;
            fprintf(stderr, "  %s[%lld] is %a, expected %a\n", state_kind_name(kind), (long long)i,
                    (double)state->kind[kind][i], (double)wanted);
            return false;
        }
    return true;
}

static Status get(void *context, StateKind kind, int part, const float **numbers) {
    State *state = context;
    int64_t begin, end;
    params_part(&state->params, part, &begin, &end);
    __atomic_add_fetch(&state->calls, 1, __ATOMIC_RELAXED);
    FAIL_IF(part == state->fail_part && kind == STATE_EMA_1, IO, "part %d cannot be fetched", part);
    *numbers = state->kind[kind] + begin;
    return STATUS_OK;
}

static Status set(void *context, StateKind kind, int part, const float *numbers) {
    State *state = context;
    int64_t begin, end;
    params_part(&state->params, part, &begin, &end);
    __atomic_add_fetch(&state->calls, 1, __ATOMIC_RELAXED);
    memcpy(state->kind[kind] + begin, numbers, (size_t)(end - begin) * sizeof *numbers);
    return STATUS_OK;
}

CheckpointRun state_lend(State *state, Comm *comm, const char *run_dir, Ownership *ownership) {
    ownership_init(ownership, &state->params, comm_world(comm), comm_world(comm), 1000);
    return (CheckpointRun){comm, run_dir, &state->params, ownership, {state, get, set}};
}

CheckpointMeta state_meta(const State *state, int64_t step) {
    uint64_t fingerprint = 0;
    for (int64_t i = 0; i < state->params.size; ++i) {
        uint32_t bits;
        memcpy(&bits, &state->kind[STATE_WEIGHT][i], sizeof bits);
        fingerprint += mix_element((uint64_t)i, bits);
    }
    return (CheckpointMeta){.step = step,
                            .samples = 64 * step,
                            .fingerprint = fingerprint,
                            .facts = json_pack("{s:s, s:{s:f, s:[i, n]}}", "config", "lr: 1e-3\n",
                                               "versions", "dye", 0.1, "list", 7)};
}

Status checkpoint_save(const CheckpointRun *run, const CheckpointMeta *meta, int keep) {
    CheckpointSave *save;
    TRY(checkpoint_save_start(run, meta, keep, &save));
    return checkpoint_save_finish(save);
}

Status state_save_step(Comm *comm, const char *run_dir, State *state, int64_t step, int keep) {
    Ownership ownership;
    CheckpointRun run = state_lend(state, comm, run_dir, &ownership);
    state_fill(state, (uint64_t)step);
    CheckpointMeta meta = state_meta(state, step);
    Status status = checkpoint_save(&run, &meta, keep);
    json_decref(meta.facts);
    return status;
}

// ---- ranks as threads ---------------------------------------------------------------------------

typedef struct {
    pthread_barrier_t barrier;
    int world;
    const void **given; // [world] what each rank brought to the collective in progress
} Hub;

typedef struct {
    Comm comm; // first
    Hub *hub;
    void (*work)(Comm *comm, void *context);
    void *context;
    pthread_t thread;
} Rank;

static void meet(Comm *comm, const void *mine) {
    Hub *hub = ((Rank *)comm)->hub;
    hub->given[comm->rank] = mine;
    pthread_barrier_wait(&hub->barrier);
}

static void part_ways(Comm *comm) {
    pthread_barrier_wait(&((Rank *)comm)->hub->barrier);
}

static Status thread_broadcast(Comm *comm, void *data, size_t bytes, int root) {
    meet(comm, data);
    if (comm->rank != root) memcpy(data, ((Rank *)comm)->hub->given[root], bytes);
    part_ways(comm);
    return STATUS_OK;
}

static Status thread_gather(Comm *comm, const void *mine, size_t bytes, void *all) {
    meet(comm, mine);
    for (int rank = 0; rank < comm->world; ++rank)
        memcpy((char *)all + (size_t)rank * bytes, ((Rank *)comm)->hub->given[rank], bytes);
    part_ways(comm);
    return STATUS_OK;
}

static Status thread_reduce(Comm *comm, void *values, int n, Reduction reduction) {
    uint64_t *result = calloc((size_t)n, sizeof *result);
    REQUIRE(result != NULL && reduction != SUM_F64);
    meet(comm, values);
    for (int rank = 0; rank < comm->world; ++rank)
        for (int i = 0; i < n; ++i) {
            uint64_t given = ((const uint64_t *)((Rank *)comm)->hub->given[rank])[i];
            if (reduction == SUM_U64)
                result[i] += given;
            else if (given > result[i])
                result[i] = given;
        }
    part_ways(comm);
    memcpy(values, result, (size_t)n * sizeof *result);
    free(result);
    return STATUS_OK;
}

static const CommOps thread_ops = {
    .broadcast = thread_broadcast,
    .gather = thread_gather,
    .reduce = thread_reduce,
};

static void *rank_main(void *context) {
    Rank *rank = context;
    rank->work(&rank->comm, rank->context);
    return NULL;
}

void ranks_run(int world, void (*work)(Comm *comm, void *context), void *context) {
    Hub hub = {.world = world, .given = calloc((size_t)world, sizeof *hub.given)};
    Rank *rank = calloc((size_t)world, sizeof *rank);
    char(*hosts)[HOST_BYTES] = calloc((size_t)world, sizeof *hosts);
    REQUIRE(hub.given != NULL && rank != NULL && hosts != NULL);
    REQUIRE(pthread_barrier_init(&hub.barrier, NULL, (unsigned)world) == 0);
    for (int i = 0; i < world; ++i) {
        snprintf(hosts[i], HOST_BYTES, "node%d", i);
        rank[i].comm = (Comm){.ops = &thread_ops,
                              .rank = i,
                              .world = world,
                              .local_rank = i,
                              .local_world = world,
                              .hosts = hosts};
        rank[i].hub = &hub;
        rank[i].work = work;
        rank[i].context = context;
        REQUIRE(pthread_create(&rank[i].thread, NULL, rank_main, &rank[i]) == 0);
    }
    for (int i = 0; i < world; ++i) pthread_join(rank[i].thread, NULL);
    pthread_barrier_destroy(&hub.barrier);
    free(hub.given);
    free(hosts);
    free(rank);
}

// ---- folders ------------------------------------------------------------------------------------

static bool files_equal(const char *folder_a, const char *folder_b, const char *name) {
    char path[PATH_BYTES], *a = NULL, *b = NULL;
    size_t a_bytes = 0, b_bytes = 0;
    bool read = path_format(path, "%s/%s", folder_a, name) == STATUS_OK &&
                file_read(path, 1 << 28, &a, &a_bytes) == STATUS_OK &&
                path_format(path, "%s/%s", folder_b, name) == STATUS_OK &&
                file_read(path, 1 << 28, &b, &b_bytes) == STATUS_OK;
    bool same = read && a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
    if (!same) fprintf(stderr, "  %s differs between %s and %s\n", name, folder_a, folder_b);
    free(a);
    free(b);
    return same;
}

bool folders_equal(const char *a, const char *b) {
    char **names_a, **names_b;
    int count_a, count_b;
    if (folder_names(a, &names_a, &count_a) != STATUS_OK) return false;
    if (folder_names(b, &names_b, &count_b) != STATUS_OK) {
        folder_names_free(names_a, count_a);
        return false;
    }
    bool same = count_a == count_b && count_a > 0;
    for (int i = 0; i < count_a && same; ++i)
        same = strcmp(names_a[i], names_b[i]) == 0 && files_equal(a, b, names_a[i]);
    folder_names_free(names_a, count_a);
    folder_names_free(names_b, count_b);
    return same;
}
