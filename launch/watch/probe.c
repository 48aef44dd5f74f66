// Ping-pong and ring behind launch/watch/probe.h.
#include "launch/watch/probe.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum {
    LARGE_BYTES = 8 << 20,
    MIDDLE_BYTES = 1 << 20,
    SMALL_BYTES = 8,
    SMALL_TURNS = 30,
    ALL_PAIRS_MOST = 16, // ranks
    TURNS_MOST = 64,
};

typedef struct {
    Comm *comm;
    char *out, *in; // LARGE_BYTES
    double seconds; // of a pair; of the ring
} Rig;

// ---- a pair -----------------------------------------------------------------------------------

static Status send_to(Rig *rig, int peer, size_t bytes) {
    Exchange *exchange;
    TRY(comm_exchange_start(rig->comm, &(Message){peer, rig->out, bytes}, 1, NULL, 0, 0,
                            &exchange));
    return comm_exchange_wait(rig->comm, exchange);
}

static Status receive_from(Rig *rig, int peer, size_t bytes) {
    Exchange *exchange;
    TRY(comm_exchange_start(rig->comm, NULL, 0, &(Message){peer, rig->in, bytes}, 1, 0, &exchange));
    return comm_exchange_wait(rig->comm, exchange);
}

// The shortest of some round trips; both ranks call it, *best is set on the first.
static Status ping(Rig *rig, bool first, int peer, size_t bytes, int turns, double *best) {
    *best = 1e9;
    for (int turn = 0; turn < turns; ++turn) {
        double began = clock_now();
        if (first) TRY(send_to(rig, peer, bytes));
        TRY(receive_from(rig, peer, bytes));
        if (!first) TRY(send_to(rig, peer, bytes));
        double seconds = clock_now() - began;
        if (seconds < *best) *best = seconds;
    }
    return STATUS_OK;
}

static int turns_in(double seconds, double of_one) {
    double turns = seconds / of_one;
    return turns < 1 ? 0 : turns > TURNS_MOST ? TURNS_MOST : (int)turns;
}

// The first rank says how many large messages there is time for.
static Status agree_turns(Rig *rig, bool first, int peer, int *turns) {
    memcpy(rig->out, turns, sizeof *turns);
    if (first) return send_to(rig, peer, sizeof *turns);
    TRY(receive_from(rig, peer, sizeof *turns));
    memcpy(turns, rig->in, sizeof *turns);
    return STATUS_OK;
}

static Status measure_pair(Rig *rig, bool first, int peer, double result[2]) {
    double small, middle, large;
    TRY(ping(rig, first, peer, SMALL_BYTES, SMALL_TURNS, &small));
    TRY(ping(rig, first, peer, MIDDLE_BYTES, 2, &middle));
    int turns = turns_in(rig->seconds, middle * LARGE_BYTES / MIDDLE_BYTES);
    TRY(agree_turns(rig, first, peer, &turns));
    TRY(ping(rig, first, peer, LARGE_BYTES, turns, &large));
    double rate = 2.0 * MIDDLE_BYTES / middle, larger = 2.0 * LARGE_BYTES / large;
    result[0] = small / 2;
    result[1] = larger > rate ? larger : rate;
    return STATUS_OK;
}

// ---- all pairs --------------------------------------------------------------------------------

typedef struct {
    int a, b, round; // pairs of a round run at once
} Pair;

static int list_pairs(int world, Pair *pair) {
    int count = 0;
    if (world <= ALL_PAIRS_MOST) {
        for (int a = 0; a < world; ++a)
            for (int b = a + 1; b < world; ++b, ++count) pair[count] = (Pair){a, b, count};
        return count;
    }
    for (int a = 0; a < world; ++a, ++count)
        pair[count] = (Pair){a, (a + 1) % world, a == world - 1 ? 2 : a % 2};
    return count;
}

static bool are_neighbours(const Comm *comm, const Pair *pair) {
    return strcmp(comm_host_of(comm, pair->a), comm_host_of(comm, pair->b)) == 0;
}

static void add_pair(ProbeLink *link, const Pair *pair, const double result[2]) {
    if (link->pairs++ == 0 || result[1] < link->rate) {
        link->rate = result[1];
        link->a = pair->a;
        link->b = pair->b;
    }
    if (result[0] > link->seconds) link->seconds = result[0];
}

static Status measure_pairs(Rig *rig, const Pair *pair, int count, double *results) {
    int rank = comm_rank(rig->comm), speaker, rounds = pair[count - 1].round + 1;
    rig->seconds /= rounds;
    for (int round = 0; round < rounds; ++round) {
        TRY(comm_agree(rig->comm, STATUS_OK, &speaker));
        for (int i = 0; i < count; ++i) {
            bool first = pair[i].a == rank;
            double ignored[2];
            if (pair[i].round != round || (!first && pair[i].b != rank)) continue;
            TRY(measure_pair(rig, first, first ? pair[i].b : pair[i].a,
                             first ? results + 2 * (ptrdiff_t)i : ignored));
        }
    }
    return comm_board(rig->comm, results, 2 * count);
}

static Status probe_pairs(Rig *rig, Probe *out) {
    int world = comm_world(rig->comm), most = world <= ALL_PAIRS_MOST ? world * world : world;
    Pair *pair = calloc((size_t)most, sizeof *pair);
    double *results = calloc(2 * (size_t)most, sizeof *results);
    Status status = STATUS_OK;
    bool good = pair != NULL && results != NULL;
    if (good) {
        int count = list_pairs(world, pair);
        status = measure_pairs(rig, pair, count, results);
        for (int i = 0; i < count && status == STATUS_OK; ++i)
            add_pair(are_neighbours(rig->comm, &pair[i]) ? &out->within : &out->between, &pair[i],
                     results + 2 * (ptrdiff_t)i);
    }
    free(pair);
    free(results);
    FAIL_IF(!good, NO_MEMORY, "no memory to measure %d ranks", world);
    return status;
}

// ---- the ring ---------------------------------------------------------------------------------

static Status turn_ring(Rig *rig, size_t bytes, double *seconds) {
    Comm *comm = rig->comm;
    int rank = comm_rank(comm), world = comm_world(comm), speaker;
    Message send = {(rank + 1) % world, rig->out, bytes};
    Message receive = {(rank + world - 1) % world, rig->in, bytes};
    Exchange *exchange;
    TRY(comm_agree(comm, STATUS_OK, &speaker));
    double began = clock_now();
    TRY(comm_exchange_start(comm, &send, 1, &receive, 1, 0, &exchange));
    TRY(comm_exchange_wait(comm, exchange));
    *seconds = clock_now() - began;
    return STATUS_OK;
}

// The longest that a rank takes counts, and the shortest such turn.
static Status probe_ring(Rig *rig, double seconds, Probe *out) {
    int world = comm_world(rig->comm), turns;
    double mine, *all = calloc((size_t)world, sizeof *all), best = 1e9;
    FAIL_IF(all == NULL, NO_MEMORY, "no memory to measure %d ranks", world);
    Status status;
    TRY_OR(done, status, turn_ring(rig, MIDDLE_BYTES, &mine));
    turns = 1 + turns_in(seconds, mine * LARGE_BYTES / MIDDLE_BYTES);
    TRY_OR(done, status, comm_broadcast(rig->comm, &turns, sizeof turns, 0));
    for (int turn = 0; turn < turns; ++turn) {
        double slowest = 0;
        TRY_OR(done, status, turn_ring(rig, LARGE_BYTES, &mine));
        TRY_OR(done, status, comm_gather(rig->comm, &mine, sizeof mine, all));
        for (int rank = 0; rank < world; ++rank)
            if (all[rank] > slowest) slowest = all[rank];
        if (slowest < best) best = slowest;
    }
    out->ring = LARGE_BYTES / best;
done:
    free(all);
    return status;
}

Status probe_run(Comm *comm, double seconds, Probe *out) {
    *out = (Probe){0};
    if (comm_world(comm) == 1) return STATUS_OK;
    Rig rig = {comm, calloc(1, LARGE_BYTES), calloc(1, LARGE_BYTES), 0.7 * seconds};
    bool good = rig.out != NULL && rig.in != NULL;
    Status status = STATUS_OK;
    if (good) status = probe_pairs(&rig, out);
    if (good && status == STATUS_OK) status = probe_ring(&rig, 0.3 * seconds, out);
    free(rig.out);
    free(rig.in);
    FAIL_IF(!good, NO_MEMORY, "no memory for messages of %d bytes", LARGE_BYTES);
    return status;
}

const char *probe_name_rate(double rate) {
    double gigabits = 8 * rate / 1e9;
    if (gigabits > 1.05) return NULL;
    return gigabits > 0.105 ? "1 Gbit/s Ethernet" : "less than 1 Gbit/s Ethernet";
}
