// The Reducer: slices of cover sums travel to the owners of their parts, who finish the tree.
//
// Over MPI everything passes through host memory. A bucket on its way (a *flight*) has a block to
// send from and a block to receive into; flights are few, so memory does not grow with the model.
#include "comm/reduce.h"

#include <stdlib.h>

// What must be known about one rank's side of a reduction, in floats.
typedef struct {
    int64_t send, receive; // host memory of one flight
    int64_t scratch;       // device memory: the other ranks' slices of one share
    int nodes;             // of the covers of all ranks
} Layout;

typedef struct {
    bool busy;
    int bucket;
    uint64_t order; // of starting
    Exchange *exchange;
    float *const *cover; // borrowed from the caller
    float *send, *receive;
} Flight;

// One addition, y = x + y, among the sums of all ranks' nodes.
typedef struct {
    int x, y;
} Addition;

struct Reducer {
    Comm *comm;
    Device *device;
    const Ownership *ownership;
    int rank, world;
    Layout layout;
    int *first_node;    // [world + 1]: rank r's nodes are first_node[r] .. first_node[r+1]-1
    Addition *addition; // [additions] the tree above all covers
    int additions;
    bool *started;           // [buckets] and not waited for
    Message *send, *receive; // [world] arguments of an exchange
    Flight flight[REDUCER_FLIGHTS];
    uint64_t starts;
    float *host;    // backing of all flights
    float *scratch; // device
};

typedef struct {
    int64_t begin, end; // elements
} Range;

// Elements of a rank's parts in a bucket; empty: begin == end.
static Range share_range(const Ownership *ownership, int bucket, int rank) {
    Range range = {0, 0};
    int64_t ignored;
    int begin, end;
    ownership_share(ownership, bucket, rank, &begin, &end);
    if (begin == end) return range;
    params_part(ownership->params, begin, &range.begin, &ignored);
    params_part(ownership->params, end - 1, &ignored, &range.end);
    return range;
}

static int rank_cover(const Ownership *ownership, int grains, int rank,
                      TreeNode cover[TREE_COVER_MOST]) {
    int begin, end;
    grain_share(grains, ownership->world, rank, &begin, &end);
    return tree_cover(grains, begin, end, cover);
}

static int64_t largest(int64_t a, int64_t b) {
    return a > b ? a : b;
}

// The same two blocks also serve the gathering of weights: own share out, the others' in.
static Layout plan_layout(const Ownership *ownership, int grains, int rank) {
    TreeNode cover[TREE_COVER_MOST];
    Layout layout = {0};
    for (int r = 0; r < ownership->world; ++r)
        layout.nodes += rank_cover(ownership, grains, r, cover);
    int own = rank_cover(ownership, grains, rank, cover);
    for (int bucket = 0; bucket < ownership->buckets && ownership->world > 1; ++bucket) {
        Range mine = share_range(ownership, bucket, rank);
        int64_t share = mine.end - mine.begin, others = 0;
        for (int r = 0; r < ownership->world; ++r) {
            Range range = share_range(ownership, bucket, r);
            if (r != rank) others += range.end - range.begin;
        }
        layout.send = largest(layout.send, largest(own * others, share));
        layout.scratch = largest(layout.scratch, (layout.nodes - own) * share);
        layout.receive = largest(layout.receive, largest(layout.scratch, others));
    }
    return layout;
}

size_t reducer_host_bytes(const Ownership *ownership, int grains, int rank) {
    Layout layout = plan_layout(ownership, grains, rank);
    size_t floats = REDUCER_FLIGHTS * (size_t)(layout.send + layout.receive);
    size_t world = (size_t)ownership->world, nodes = (size_t)layout.nodes;
    return sizeof(Reducer) + floats * sizeof(float) + (world + 1) * sizeof(int) +
           nodes * sizeof(Addition) + (size_t)ownership->buckets * sizeof(bool) +
           2 * world * sizeof(Message);
}

size_t reducer_device_bytes(const Ownership *ownership, int grains, int rank) {
    return (size_t)plan_layout(ownership, grains, rank).scratch * sizeof(float);
}

// ---- open and close -----------------------------------------------------------------------------

// Turns merges into additions whose result ends in this rank's first cover sum: where that one is
// the right side, left is added to it instead. Either way it is left + right, with the same bits.
static void steer_additions(Reducer *reducer, const TreeMerge *merge) {
    int own = reducer->first_node[reducer->rank];
    int moved_from = -1; // the slot whose sum has moved to `own`
    for (int i = 0; i < reducer->additions; ++i) {
        int left = merge[i].to == moved_from ? own : merge[i].to;
        int right = merge[i].from == moved_from ? own : merge[i].from;
        if (right == own) {
            reducer->addition[i] = (Addition){.x = left, .y = own};
            moved_from = left;
        } else {
            reducer->addition[i] = (Addition){.x = right, .y = left};
        }
    }
}

static Status plan_additions(Reducer *reducer, int grains) {
    int nodes = reducer->layout.nodes, count = 0;
    TreeNode *node = calloc((size_t)nodes + TREE_COVER_MOST, sizeof *node);
    int *slot = calloc((size_t)nodes, sizeof *slot);
    TreeMerge *merge = calloc((size_t)nodes, sizeof *merge);
    Status status = STATUS_OK;
    if (node == NULL || slot == NULL || merge == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory to plan the sum of %d grains", grains);
    for (int r = 0; r < reducer->world; ++r) {
        reducer->first_node[r] = count;
        count += rank_cover(reducer->ownership, grains, r, node + count);
    }
    reducer->first_node[reducer->world] = count;
    for (int i = 0; i < count; ++i) slot[i] = i;
    reducer->additions = tree_fold(grains, node, slot, &count, merge);
    REQUIRE(count == 1 && reducer->additions == nodes - 1);
    steer_additions(reducer, merge);
done:
    free(node);
    free(slot);
    free(merge);
    return status;
}

static Status take_memory(Reducer *reducer) {
    size_t world = (size_t)reducer->world, nodes = (size_t)reducer->layout.nodes;
    int64_t flight = reducer->layout.send + reducer->layout.receive;
    size_t floats = REDUCER_FLIGHTS * (size_t)flight;
    reducer->first_node = calloc(world + 1, sizeof *reducer->first_node);
    reducer->addition = calloc(nodes, sizeof *reducer->addition);
    reducer->started = calloc((size_t)reducer->ownership->buckets, sizeof *reducer->started);
    reducer->send = calloc(world, sizeof *reducer->send);
    reducer->receive = calloc(world, sizeof *reducer->receive);
    reducer->host = calloc(floats > 0 ? floats : 1, sizeof *reducer->host);
    FAIL_IF(reducer->first_node == NULL || reducer->addition == NULL || reducer->started == NULL ||
                reducer->send == NULL || reducer->receive == NULL || reducer->host == NULL,
            NO_MEMORY, "no memory to exchange gradients: %zu MiB are needed for it on each rank",
            floats * sizeof(float) >> 20);
    for (int i = 0; i < REDUCER_FLIGHTS; ++i) {
        reducer->flight[i].send = reducer->host + i * flight;
        reducer->flight[i].receive = reducer->flight[i].send + reducer->layout.send;
    }
    void *scratch = NULL;
    if (reducer->layout.scratch > 0)
        TRY(device_alloc(reducer->device, (size_t)reducer->layout.scratch * sizeof(float),
                         &scratch));
    reducer->scratch = scratch;
    return STATUS_OK;
}

Status reducer_open(Comm *comm, Device *device, const Ownership *ownership, int grains,
                    Reducer **out) {
    int world = comm_world(comm);
    REQUIRE(ownership->world == world);
    FAIL_IF(world > grains, BAD_CONFIG,
            "%d ranks cannot share %d grains: start at most %d ranks, or cut the batch into more "
            "grains",
            world, grains, grains);
    Reducer *reducer = calloc(1, sizeof *reducer);
    FAIL_IF(reducer == NULL, NO_MEMORY, "no memory to exchange gradients");
    reducer->comm = comm;
    reducer->device = device;
    reducer->ownership = ownership;
    reducer->rank = comm_rank(comm);
    reducer->world = world;
    reducer->layout = plan_layout(ownership, grains, reducer->rank);
    Status status;
    TRY_OR(fail, status, take_memory(reducer));
    TRY_OR(fail, status, plan_additions(reducer, grains));
    *out = reducer;
    return STATUS_OK;
fail:
    reducer_close(reducer);
    return status;
}

void reducer_close(Reducer *reducer) {
    if (reducer == NULL) return;
    if (reducer->scratch != NULL) device_release(reducer->device, reducer->scratch);
    free(reducer->first_node);
    free(reducer->addition);
    free(reducer->started);
    free(reducer->send);
    free(reducer->receive);
    free(reducer->host);
    free(reducer);
}

// ---- gradients ----------------------------------------------------------------------------------

static int cover_count(const Reducer *reducer, int rank) {
    return reducer->first_node[rank + 1] - reducer->first_node[rank];
}

static size_t range_bytes(Range range) {
    return (size_t)(range.end - range.begin) * sizeof(float);
}

// Downloads what the others own, [peer][k][element], and lists the messages. Returns their number.
static int pack(Reducer *reducer, const Flight *flight, Stream *stream) {
    float *at = flight->send;
    int covers = cover_count(reducer, reducer->rank), count = 0;
    for (int r = 0; r < reducer->world; ++r) {
        Range range = share_range(reducer->ownership, flight->bucket, r);
        if (r == reducer->rank) continue;
        size_t bytes = range_bytes(range);
        reducer->send[count++] = (Message){r, at, bytes * (size_t)covers};
        for (int k = 0; k < covers && bytes > 0; ++k) {
            stream_download(stream, at, flight->cover[k] + range.begin, bytes);
            at += range.end - range.begin;
        }
    }
    return count;
}

// Receives into [node of the others][element], in tree order.
static int expect_slices(Reducer *reducer, const Flight *flight) {
    Range mine = share_range(reducer->ownership, flight->bucket, reducer->rank);
    float *at = flight->receive;
    int count = 0;
    for (int r = 0; r < reducer->world; ++r) {
        if (r == reducer->rank) continue;
        int covers = cover_count(reducer, r);
        reducer->receive[count++] = (Message){r, at, range_bytes(mine) * (size_t)covers};
        at += covers * (mine.end - mine.begin);
    }
    return count;
}

// Where the sum of a node lies for the elements of `mine`.
static float *node_sum(const Reducer *reducer, const Flight *flight, Range mine, int node) {
    int own = reducer->first_node[reducer->rank], covers = cover_count(reducer, reducer->rank);
    if (node >= own && node < own + covers) return flight->cover[node - own] + mine.begin;
    int place = node < own ? node : node - covers;
    return reducer->scratch + place * (mine.end - mine.begin);
}

static Status finish_flight(Reducer *reducer, Flight *flight, Stream *stream) {
    TRY(comm_exchange_wait(reducer->comm, flight->exchange));
    Range mine = share_range(reducer->ownership, flight->bucket, reducer->rank);
    if (mine.end > mine.begin) {
        size_t others = (size_t)(reducer->layout.nodes - cover_count(reducer, reducer->rank));
        stream_upload(stream, reducer->scratch, flight->receive, others * range_bytes(mine));
        for (int i = 0; i < reducer->additions; ++i) {
            Addition add = reducer->addition[i];
            axpby(stream, (Axpby){.x = node_sum(reducer, flight, mine, add.x),
                                  .y = node_sum(reducer, flight, mine, add.y),
                                  .n = mine.end - mine.begin,
                                  .a = 1,
                                  .b = 1});
        }
        TRY(stream_wait(stream));
    }
    flight->busy = false;
    return STATUS_OK;
}

// A free flight, if need be after completing the oldest, which is the same one on all ranks.
static Status free_flight(Reducer *reducer, Flight **out) {
    Flight *oldest = reducer->flight;
    for (int i = 0; i < REDUCER_FLIGHTS; ++i) {
        Flight *flight = &reducer->flight[i];
        *out = flight;
        if (!flight->busy) return STATUS_OK;
        if (flight->order < oldest->order) oldest = flight;
    }
    TRY(finish_flight(reducer, oldest, device_stream(reducer->device, 0)));
    *out = oldest;
    return STATUS_OK;
}

Status reducer_start(Reducer *reducer, int bucket, float *const *cover, int covers) {
    REQUIRE(bucket >= 0 && bucket < reducer->ownership->buckets);
    REQUIRE(!reducer->started[bucket]);
    REQUIRE(covers == cover_count(reducer, reducer->rank));
    reducer->started[bucket] = true;
    if (reducer->world == 1) return STATUS_OK; // the only cover sum is the root
    Flight *flight;
    TRY(free_flight(reducer, &flight));
    flight->bucket = bucket;
    flight->order = reducer->starts++;
    flight->cover = cover;
    Stream *stream = device_stream(reducer->device, 0);
    int sends = pack(reducer, flight, stream);
    int receives = expect_slices(reducer, flight);
    TRY(stream_wait(stream));
    TRY(comm_exchange_start(reducer->comm, reducer->send, sends, reducer->receive, receives,
                            bucket % EXCHANGE_TAGS, &flight->exchange));
    flight->busy = true;
    return STATUS_OK;
}

Status reducer_wait(Reducer *reducer, int bucket, Stream *stream) {
    REQUIRE(bucket >= 0 && bucket < reducer->ownership->buckets);
    REQUIRE(reducer->started[bucket]);
    for (int i = 0; i < REDUCER_FLIGHTS; ++i) {
        Flight *flight = &reducer->flight[i];
        if (flight->busy && flight->bucket == bucket) TRY(finish_flight(reducer, flight, stream));
    }
    reducer->started[bucket] = false;
    return STATUS_OK;
}

// ---- weights ------------------------------------------------------------------------------------

static Status start_gather(Reducer *reducer, Flight *flight, int bucket, const float *weights,
                           Stream *stream) {
    Range mine = share_range(reducer->ownership, bucket, reducer->rank);
    float *at = flight->receive;
    int count = 0;
    for (int r = 0; r < reducer->world; ++r) {
        if (r == reducer->rank) continue;
        Range range = share_range(reducer->ownership, bucket, r);
        reducer->send[count] = (Message){r, flight->send, range_bytes(mine)};
        reducer->receive[count++] = (Message){r, at, range_bytes(range)};
        at += range.end - range.begin;
    }
    if (mine.end > mine.begin) {
        stream_download(stream, flight->send, weights + mine.begin, range_bytes(mine));
        TRY(stream_wait(stream));
    }
    flight->bucket = bucket;
    return comm_exchange_start(reducer->comm, reducer->send, count, reducer->receive, count,
                               bucket % EXCHANGE_TAGS, &flight->exchange);
}

static Status finish_gather(Reducer *reducer, Flight *flight, float *weights, Stream *stream) {
    TRY(comm_exchange_wait(reducer->comm, flight->exchange));
    const float *at = flight->receive;
    for (int r = 0; r < reducer->world; ++r) {
        if (r == reducer->rank) continue;
        Range range = share_range(reducer->ownership, flight->bucket, r);
        if (range.end == range.begin) continue;
        stream_upload(stream, weights + range.begin, at, range_bytes(range));
        at += range.end - range.begin;
    }
    return stream_wait(stream);
}

Status reducer_gather_weights(Reducer *reducer, float *weights, Stream *stream) {
    if (reducer->world == 1) return STATUS_OK;
    for (int i = 0; i < REDUCER_FLIGHTS; ++i) REQUIRE(!reducer->flight[i].busy);
    int buckets = reducer->ownership->buckets;
    for (int bucket = 0; bucket < buckets + REDUCER_FLIGHTS; ++bucket) {
        Flight *flight = &reducer->flight[bucket % REDUCER_FLIGHTS];
        bool started = bucket >= REDUCER_FLIGHTS && bucket - REDUCER_FLIGHTS < buckets;
        if (started) TRY(finish_gather(reducer, flight, weights, stream));
        if (bucket < buckets) TRY(start_gather(reducer, flight, bucket, weights, stream));
    }
    return STATUS_OK;
}
