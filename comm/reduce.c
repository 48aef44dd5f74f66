// The Reducer: slices of cover sums travel to the owners of their parts, who finish the tree.
//
// A bucket on its way (a *flight*) has a block to send from and a block to receive into; flights
// are few, so memory does not grow with the model. *Direct* exchanges reach the device's memory:
// messages leave from where the numbers are, weights arrive where they belong, and sums of others
// are added from the block that they came into. Others are *staged*: blocks are host memory.
//
// The host waits for the stream before an exchange starts, and for the exchange before anything is
// added, so that streams need no events between them. To compute while buckets travel would.
#include "comm/reduce.h"

#include <stdlib.h>

#include "model/bump.h"

// What must be known about one rank's side of a reduction, in floats.
typedef struct {
    int64_t send, receive; // of one flight
    int64_t scratch;       // device memory of staged ones: the others' slices of one share
    int nodes;             // of the covers of all ranks
    bool direct;
} Layout;

typedef struct {
    bool busy;
    int bucket;
    uint64_t order; // of starting
    Exchange *exchange;
    float *const *cover; // borrowed from the caller
    float *send, *receive;
} Flight;

struct Reducer {
    Comm *comm, *exchange; // of this device's memory, maybe the same
    Device *device;
    const Ownership *ownership;
    int rank, world;
    Layout layout;
    int *first_node;     // [world + 1]: rank r's nodes are first_node[r] .. first_node[r+1]-1
    TreeMerge *addition; // [additions] the tree above all covers: to = from + to
    int additions;
    bool *started;           // [buckets] and not waited for
    Message *send, *receive; // [world] arguments of an exchange
    Flight flight[REDUCER_FLIGHTS];
    uint64_t starts;
    float *scratch;      // device
    void *host, *blocks; // backing of all arrays and staged flights; device: of all else
};

typedef struct {
    int64_t begin, end; // elements
} Range;

static int64_t length(Range range) {
    return range.end - range.begin;
}

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
static Layout plan_layout(const Ownership *ownership, int grains, int rank, bool direct) {
    TreeNode cover[TREE_COVER_MOST];
    Layout layout = {.direct = direct};
    for (int r = 0; r < ownership->world; ++r)
        layout.nodes += rank_cover(ownership, grains, r, cover);
    int own = rank_cover(ownership, grains, rank, cover);
    for (int bucket = 0; bucket < ownership->buckets && ownership->world > 1; ++bucket) {
        int64_t share = length(share_range(ownership, bucket, rank)), others = -share;
        for (int r = 0; r < ownership->world; ++r)
            others += length(share_range(ownership, bucket, r));
        int64_t slices = (layout.nodes - own) * share;
        if (!direct) layout.scratch = largest(layout.scratch, slices);
        if (!direct || own > 1) layout.send = largest(layout.send, largest(own * others, share));
        layout.receive = largest(layout.receive, direct ? slices : largest(slices, others));
    }
    return layout;
}

static void place(Reducer *reducer, Bump *host, Bump *device) {
    int world = reducer->ownership->world;
    Bump *blocks = reducer->layout.direct ? device : host;
    reducer->first_node = bump_take(host, world + 1, sizeof *reducer->first_node);
    reducer->addition = bump_take(host, reducer->layout.nodes, sizeof *reducer->addition);
    reducer->started = bump_take(host, reducer->ownership->buckets, sizeof *reducer->started);
    reducer->send = bump_take(host, world, sizeof *reducer->send);
    reducer->receive = bump_take(host, world, sizeof *reducer->receive);
    reducer->scratch = bump_floats(device, reducer->layout.scratch);
    for (int i = 0; i < REDUCER_FLIGHTS; ++i) {
        reducer->flight[i].send = bump_floats(blocks, reducer->layout.send);
        reducer->flight[i].receive = bump_floats(blocks, reducer->layout.receive);
    }
}

static void measure(const Ownership *ownership, int grains, int rank, bool direct, Bump *host,
                    Bump *device) {
    Reducer reducer = {.ownership = ownership,
                       .layout = plan_layout(ownership, grains, rank, direct)};
    *host = *device = (Bump){0};
    place(&reducer, host, device);
}

size_t reducer_host_bytes(const Ownership *ownership, int grains, int rank, bool direct) {
    Bump host, device;
    measure(ownership, grains, rank, direct, &host, &device);
    return sizeof(Reducer) + host.used;
}

size_t reducer_device_bytes(const Ownership *ownership, int grains, int rank, bool direct) {
    Bump host, device;
    measure(ownership, grains, rank, direct, &host, &device);
    return device.used;
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
            reducer->addition[i] = (TreeMerge){.from = left, .to = own};
            moved_from = left;
        } else {
            reducer->addition[i] = (TreeMerge){.from = right, .to = left};
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

static Status open_alone(Reducer *reducer, int grains) {
    bool direct = reducer->device->on_host || reducer->exchange != reducer->comm;
    Bump host = {0}, device = {0};
    reducer->layout = plan_layout(reducer->ownership, grains, reducer->rank, direct);
    place(reducer, &host, &device);
    reducer->host = calloc(1, host.used);
    FAIL_IF(reducer->host == NULL, NO_MEMORY,
            "no memory to exchange gradients: %zu MiB are needed for it on each rank",
            host.used >> 20);
    if (device.used > 0) TRY(device_alloc(reducer->device, device.used, &reducer->blocks));
    place(reducer, &(Bump){reducer->host, 0}, &(Bump){reducer->blocks, 0});
    return plan_additions(reducer, grains);
}

Status reducer_open(Comm *comm, Device *device, const char *exchange, const Ownership *ownership,
                    int grains, Reducer **out) {
    int world = comm_world(comm);
    REQUIRE(ownership->world == world);
    FAIL_IF(world > grains, BAD_CONFIG,
            "%d ranks cannot share %d grains: start at most %d ranks, or cut the batch into more "
            "grains",
            world, grains, grains);
    Reducer *reducer = calloc(1, sizeof *reducer);
    FAIL_IF(reducer == NULL, NO_MEMORY, "no memory to exchange gradients");
    *reducer = (Reducer){.comm = comm,
                         .exchange = comm,
                         .device = device,
                         .ownership = ownership,
                         .rank = comm_rank(comm),
                         .world = world};
    Status status;
    TRY_OR(fail, status, comm_open_device(comm, device, exchange, &reducer->exchange));
    TRY_OR(fail, status, comm_share_status(comm, open_alone(reducer, grains)));
    *out = reducer;
    return STATUS_OK;
fail:
    reducer_close(reducer);
    return status;
}

const char *reducer_describe(const Reducer *reducer) {
    return comm_description(reducer->exchange);
}

void reducer_close(Reducer *reducer) {
    if (reducer == NULL) return;
    if (reducer->exchange != reducer->comm) comm_close(reducer->exchange);
    if (reducer->blocks != NULL) device_release(reducer->device, reducer->blocks);
    free(reducer->host);
    free(reducer);
}

// ---- gradients ----------------------------------------------------------------------------------

static int cover_count(const Reducer *reducer, int rank) {
    return reducer->first_node[rank + 1] - reducer->first_node[rank];
}

// Whether slices are sent from where they are: those of several nodes must lie side by side.
static bool sends_in_place(const Reducer *reducer) {
    return reducer->layout.direct && cover_count(reducer, reducer->rank) == 1;
}

// Lists what goes to and comes from each other rank, one behind the other in the flight's blocks:
// slices of cover sums [peer][k][element] out, [node of the others][element] in, in tree order; or,
// with `weights`, the own share of them to everybody, theirs in. Returns the number of messages a
// way.
static int list_messages(Reducer *reducer, const Flight *flight, float *weights) {
    const Ownership *ownership = reducer->ownership;
    Range mine = share_range(ownership, flight->bucket, reducer->rank);
    int covers = cover_count(reducer, reducer->rank), count = 0;
    bool there = weights != NULL && reducer->layout.direct;
    bool in_place = weights == NULL && sends_in_place(reducer);
    float *out = flight->send, *in = flight->receive;
    for (int r = 0; r < reducer->world; ++r) {
        if (r == reducer->rank) continue;
        Range theirs = share_range(ownership, flight->bucket, r);
        int64_t sent = weights != NULL ? length(mine) : length(theirs) * covers;
        int64_t received =
            weights != NULL ? length(theirs) : length(mine) * cover_count(reducer, r);
        float *from = there      ? weights + mine.begin
                      : in_place ? flight->cover[0] + theirs.begin
                                 : out;
        float *to = there ? weights + theirs.begin : in;
        reducer->send[count] = (Message){r, from, (size_t)sent * sizeof *from};
        reducer->receive[count++] = (Message){r, to, (size_t)received * sizeof *to};
        if (weights == NULL && !in_place) out += sent;
        if (!there) in += received;
    }
    return count;
}

static void copy_slices(Reducer *reducer, const Flight *flight, Stream *stream) {
    float *at = flight->send;
    if (sends_in_place(reducer)) return;
    for (int r = 0; r < reducer->world; ++r) {
        Range range = share_range(reducer->ownership, flight->bucket, r);
        if (r == reducer->rank || length(range) == 0) continue;
        for (int k = 0; k < cover_count(reducer, reducer->rank); ++k, at += length(range)) {
            float *from = flight->cover[k] + range.begin;
            if (reducer->layout.direct)
                axpby(stream, (Elementwise){.x = from, .y = at, .n = length(range), .a = 1});
            else
                stream_download(stream, at, from, (size_t)length(range) * sizeof *at);
        }
    }
}

// Where the sum of a node lies for the elements of `mine`.
static float *node_sum(const Reducer *reducer, const Flight *flight, Range mine, int node) {
    int own = reducer->first_node[reducer->rank], covers = cover_count(reducer, reducer->rank);
    if (node >= own && node < own + covers) return flight->cover[node - own] + mine.begin;
    int place = node < own ? node : node - covers;
    return (reducer->layout.direct ? flight->receive : reducer->scratch) + place * length(mine);
}

static Status finish_flight(Reducer *reducer, Flight *flight, Stream *stream) {
    TRY(comm_exchange_wait(reducer->exchange, flight->exchange));
    Range mine = share_range(reducer->ownership, flight->bucket, reducer->rank);
    if (length(mine) > 0) {
        int others = reducer->layout.nodes - cover_count(reducer, reducer->rank);
        if (!reducer->layout.direct)
            stream_upload(stream, reducer->scratch, flight->receive,
                          (size_t)(others * length(mine)) * sizeof(float));
        for (int i = 0; i < reducer->additions; ++i) {
            TreeMerge add = reducer->addition[i];
            axpby(stream, (Elementwise){.x = node_sum(reducer, flight, mine, add.from),
                                        .y = node_sum(reducer, flight, mine, add.to),
                                        .n = length(mine),
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

// Of cover sums, or of weights if these are given.
static Status start_flight(Reducer *reducer, Flight *flight, int bucket, float *weights,
                           Stream *stream) {
    flight->bucket = bucket;
    Range mine = share_range(reducer->ownership, bucket, reducer->rank);
    if (weights == NULL)
        copy_slices(reducer, flight, stream);
    else if (!reducer->layout.direct)
        stream_download(stream, flight->send, weights + mine.begin,
                        (size_t)length(mine) * sizeof *weights);
    int count = list_messages(reducer, flight, weights);
    TRY(stream_wait(stream));
    return comm_exchange_start(reducer->exchange, reducer->send, count, reducer->receive, count,
                               bucket % EXCHANGE_TAGS, &flight->exchange);
}

Status reducer_start(Reducer *reducer, int bucket, float *const *cover, int covers) {
    REQUIRE(bucket >= 0 && bucket < reducer->ownership->buckets);
    REQUIRE(!reducer->started[bucket]);
    REQUIRE(covers == cover_count(reducer, reducer->rank));
    reducer->started[bucket] = true;
    if (reducer->world == 1) return STATUS_OK; // the only cover sum is the root
    Flight *flight;
    TRY(free_flight(reducer, &flight));
    flight->order = reducer->starts++;
    flight->cover = cover;
    TRY(start_flight(reducer, flight, bucket, NULL, device_stream(reducer->device, 0)));
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

static Status finish_gather(Reducer *reducer, Flight *flight, float *weights, Stream *stream) {
    TRY(comm_exchange_wait(reducer->exchange, flight->exchange));
    if (reducer->layout.direct) return STATUS_OK;
    const float *at = flight->receive;
    for (int r = 0; r < reducer->world; ++r) {
        Range range = share_range(reducer->ownership, flight->bucket, r);
        if (r == reducer->rank || length(range) == 0) continue;
        stream_upload(stream, weights + range.begin, at, (size_t)length(range) * sizeof *at);
        at += length(range);
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
        if (bucket < buckets) TRY(start_flight(reducer, flight, bucket, weights, stream));
    }
    return STATUS_OK;
}
