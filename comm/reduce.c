// The Reducer: slices of cover sums travel to the owners of their parts, who finish the tree.
//
// A bucket on its way (a *flight*) goes through one stage or two (Groups in reduce.h). Before a
// stage this rank holds sums of some nodes for a range of elements; it sends each other member that
// member's slices of them, receives theirs for its own smaller range, and adds what the tree joins.
// Of the stage over all ranks that is the root. Weights come back by the same stages, the last one
// first.
//
// A flight has a block to send from and one to receive into; flights are few, so memory does not
// grow with the model. *Direct* exchanges reach the device's memory: messages leave from where the
// numbers are, weights arrive where they belong, and sums of others are added from the block that
// they came into. Others are *staged*: blocks are host memory.
//
// *Queued* exchanges, those between GPUs, take their place on the device's side stream, as do the
// additions: the host starts them and waits at the end, while other streams compute. Without them
// the host waits for the stream before an exchange starts, and for the exchange before anything is
// added.
#include "comm/reduce.h"

#include <stdlib.h>
#include <string.h>

#include "model/bump.h"

enum { STAGES_MOST = 2 };

// One exchange among some ranks: rank first + m step is member m.
typedef struct {
    int members, self, first, step;
    int *node;      // [members + 1]: member m holds sums node[m] .. node[m + 1] - 1
    int nodes;      // of all members
    TreeMerge *add; // [adds] to = from + to
    int adds, home; // home: which of this rank's sums lies in cover[0]
    int kept, keep[TREE_COVER_MOST]; // which ones are held afterwards, in tree order
    int64_t room;                    // floats of a flight for the others' slices of one bucket
} Stage;

typedef struct {
    bool busy;
    int bucket, stage;
    uint64_t order; // of starting
    Exchange *exchange;
    float *send, *receive, *sums; // sums: device memory of the others' slices, maybe `receive`
    float *sum[TREE_COVER_MOST];  // what is held: where each one's range begins
    int held;
} Flight;

struct Reducer {
    Comm *comm, *exchange; // of this device's memory, maybe the same
    Device *device;
    const Ownership *ownership;
    ReduceWay way;
    bool loose; // whole buckets are summed by NCCL
    int rank, world, stages, flights;
    Stage stage[STAGES_MOST + 1]; // one behind the last, of no members
    int64_t send, receive, sums;  // floats of each flight
    bool *started;                // [buckets] and not waited for
    Message *out, *in;            // [world] arguments of an exchange
    Flight flight[REDUCER_FLIGHTS];
    uint64_t starts;
    Exchange *marked;    // NULL: there is none
    void *host, *blocks; // backing of all arrays and staged flights; device: of all else
};

typedef struct {
    int64_t begin, end; // elements
} Range;

static int64_t length(Range range) {
    return range.end - range.begin;
}

// To NULL, of a block of no size, nothing may be added, not even nothing.
static float *behind(float *at, int64_t n) {
    return n > 0 ? at + n : at;
}

static int64_t largest(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int stages_of(const Ownership *ownership) {
    return ownership->group < ownership->world ? 2 : 1;
}

// Elements of a bucket of which a rank holds sums before a stage; behind the last one its share.
static Range held_range(const Ownership *ownership, int bucket, int stage, int rank) {
    int groups = ownership->world / ownership->group, own = ownership_number(ownership, rank);
    int from = 0, to = ownership->world, begin, end;
    if (stage == stages_of(ownership))
        from = own, to = own + 1;
    else if (stage == 1)
        from = own / groups * groups, to = from + groups;
    Range range = {0, 0};
    int64_t ignored;
    ownership_shares(ownership, bucket, from, to, &begin, &end);
    if (begin == end) return range;
    params_part(ownership->params, begin, &range.begin, &ignored);
    params_part(ownership->params, end - 1, &ignored, &range.end);
    return range;
}

// The nodes of which a rank holds sums before a stage: of its own grains, then of its group's.
static int held_cover(const Ownership *ownership, int grains, int stage, int rank,
                      TreeNode cover[TREE_COVER_MOST]) {
    int group = ownership->group, world = ownership->world, begin, end, ignored;
    int first = stage == 0 ? rank : rank / group * group;
    grain_share(grains, world, first, &begin, &ignored);
    grain_share(grains, world, stage == 0 ? rank : first + group - 1, &ignored, &end);
    return tree_cover(grains, begin, end, cover);
}

static int member_rank(const Stage *stage, int member) {
    return stage->first + member * stage->step;
}

// Who takes part, how many sums there are, how much room that needs.
static void plan_stage(Reducer *reducer, int number, int grains) {
    const Ownership *ownership = reducer->ownership;
    int group = ownership->group, rank = reducer->rank, own = 0;
    Stage *stage = &reducer->stage[number];
    TreeNode cover[TREE_COVER_MOST];
    bool inner = number == 0;
    *stage = (Stage){.members = inner ? group : reducer->world / group,
                     .self = inner ? rank % group : rank / group,
                     .first = inner ? rank / group * group : rank % group,
                     .step = inner ? 1 : group};
    for (int m = 0; m < stage->members; ++m) {
        int held = held_cover(ownership, grains, number, member_rank(stage, m), cover);
        stage->nodes += held;
        if (m == stage->self) own = held;
    }
    int64_t room = 0, send = 0, receive = 0; // the same blocks also serve the gathering of weights
    for (int bucket = 0; bucket < ownership->buckets && reducer->world > 1; ++bucket) {
        int64_t before = length(held_range(ownership, bucket, number, rank));
        int64_t mine = length(held_range(ownership, bucket, number + 1, rank));
        room = largest(room, (stage->nodes - own) * mine);
        send = largest(send, largest(own * (before - mine), mine));
        receive = largest(receive, before - mine);
    }
    stage->room = (room + 15) / 16 * 16;
    reducer->sums += stage->room;
    if (reducer->way == REDUCE_STAGED || own > 1) reducer->send = largest(reducer->send, send);
    if (reducer->way == REDUCE_STAGED) reducer->receive = largest(reducer->receive, receive);
}

static void place(Reducer *reducer, Bump *host, Bump *device) {
    bool staged = reducer->way == REDUCE_STAGED;
    reducer->started = bump_take(host, reducer->ownership->buckets, sizeof *reducer->started);
    reducer->out = bump_take(host, reducer->world, sizeof *reducer->out);
    reducer->in = bump_take(host, reducer->world, sizeof *reducer->in);
    for (int s = 0; s < reducer->stages; ++s) {
        Stage *stage = &reducer->stage[s];
        stage->node = bump_take(host, stage->members + 1, sizeof *stage->node);
        stage->add = bump_take(host, stage->nodes, sizeof *stage->add);
    }
    for (int i = 0; i < reducer->flights; ++i) {
        Flight *flight = &reducer->flight[i];
        flight->send = bump_floats(staged ? host : device, reducer->send);
        flight->sums = bump_floats(device, reducer->sums);
        flight->receive = staged ? bump_floats(host, reducer->receive) : flight->sums;
    }
}

static void plan(Reducer *reducer, int grains, Bump *host, Bump *device) {
    reducer->world = reducer->ownership->world;
    reducer->stages = stages_of(reducer->ownership);
    reducer->flights = reducer->way == REDUCE_QUEUED ? 1 : REDUCER_FLIGHTS; // in order anyway
    for (int s = 0; s < reducer->stages; ++s) plan_stage(reducer, s, grains);
    reducer->receive = largest(reducer->receive, reducer->sums);
    *host = *device = (Bump){0};
    place(reducer, host, device);
}

size_t reducer_host_bytes(const Ownership *ownership, int grains, int rank, ReduceWay way) {
    Bump host, device;
    plan(&(Reducer){.ownership = ownership, .rank = rank, .way = way}, grains, &host, &device);
    return sizeof(Reducer) + host.used;
}

size_t reducer_device_bytes(const Ownership *ownership, int grains, int rank, ReduceWay way) {
    Bump host, device;
    plan(&(Reducer){.ownership = ownership, .rank = rank, .way = way}, grains, &host, &device);
    return device.used;
}

// ---- open and close -----------------------------------------------------------------------------

// Turns merges into additions whose result ends in this rank's home sum: where that one is the
// right side, left is added to it instead. Either way it is left + right, with the same bits.
static void steer_additions(Stage *stage, const TreeMerge *merge, const int *slot) {
    int own = stage->node[stage->self] + stage->home;
    int moved_from = -1; // the slot whose sum has moved to `own`
    for (int i = 0; i < stage->adds; ++i) {
        int left = merge[i].to == moved_from ? own : merge[i].to;
        int right = merge[i].from == moved_from ? own : merge[i].from;
        stage->add[i] = right == own ? (TreeMerge){.from = left, .to = own}
                                     : (TreeMerge){.from = right, .to = left};
        if (right == own) moved_from = left;
    }
    for (int k = 0; k < stage->kept; ++k) {
        stage->keep[k] = slot[k] == moved_from ? own : slot[k];
        if (stage->keep[k] == own) stage[1].home = k;
    }
}

static Status plan_additions(Reducer *reducer, int number, int grains) {
    Stage *stage = &reducer->stage[number];
    int nodes = stage->nodes, count = 0;
    TreeNode *node = calloc((size_t)nodes + TREE_COVER_MOST, sizeof *node);
    int *slot = calloc((size_t)nodes, sizeof *slot);
    TreeMerge *merge = calloc((size_t)nodes, sizeof *merge);
    Status status = STATUS_OK;
    if (node == NULL || slot == NULL || merge == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory to plan the sum of %d grains", grains);
    for (int m = 0; m < stage->members; ++m) {
        stage->node[m] = count;
        count +=
            held_cover(reducer->ownership, grains, number, member_rank(stage, m), node + count);
    }
    stage->node[stage->members] = count;
    for (int i = 0; i < count; ++i) slot[i] = i;
    stage->adds = tree_fold(grains, node, slot, &count, merge);
    REQUIRE(count <= TREE_COVER_MOST && (count == 1 || number + 1 < reducer->stages));
    stage->kept = count;
    steer_additions(stage, merge, slot);
done:
    free(node);
    free(slot);
    free(merge);
    return status;
}

static Status open_alone(Reducer *reducer, const char *exchange, int grains) {
    Bump host, device;
    bool own_memory = reducer->device->on_host;
    reducer->loose = reducer->exchange != reducer->comm && strcmp(exchange, "nccl-sum") == 0;
    reducer->way = reducer->exchange != reducer->comm ? REDUCE_QUEUED
                   : own_memory                       ? REDUCE_DIRECT
                                                      : REDUCE_STAGED;
    plan(reducer, grains, &host, &device);
    reducer->host = calloc(1, host.used);
    FAIL_IF(reducer->host == NULL, NO_MEMORY,
            "no memory to exchange gradients: %zu MiB are needed for it on each rank",
            host.used >> 20);
    if (device.used > 0) TRY(device_alloc(reducer->device, device.used, &reducer->blocks));
    place(reducer, &(Bump){reducer->host, 0}, &(Bump){reducer->blocks, 0});
    for (int s = 0; s < reducer->stages; ++s) TRY(plan_additions(reducer, s, grains));
    return STATUS_OK;
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
                         .rank = comm_rank(comm)};
    Status status;
    TRY_OR(fail, status, comm_open_device(comm, device, exchange, &reducer->exchange));
    TRY_OR(fail, status, comm_share_status(comm, open_alone(reducer, exchange, grains)));
    *out = reducer;
    return STATUS_OK;
fail:
    reducer_close(reducer);
    return status;
}

const char *reducer_describe(const Reducer *reducer) {
    return comm_description(reducer->exchange);
}

bool reducer_is_queued(const Reducer *reducer) {
    return reducer->way == REDUCE_QUEUED;
}

void reducer_close(Reducer *reducer) {
    if (reducer == NULL) return;
    if (reducer->exchange != reducer->comm) comm_close(reducer->exchange);
    if (reducer->blocks != NULL) device_release(reducer->device, reducer->blocks);
    free(reducer->host);
    free(reducer);
}

// ---- one stage of one bucket --------------------------------------------------------------------

// What this rank holds before a flight's stage, what after it.
static Range range_before(const Reducer *reducer, const Flight *flight) {
    return held_range(reducer->ownership, flight->bucket, flight->stage, reducer->rank);
}
static Range range_after(const Reducer *reducer, const Flight *flight, int member) {
    const Stage *stage = &reducer->stage[flight->stage];
    return held_range(reducer->ownership, flight->bucket, flight->stage + 1,
                      member_rank(stage, member));
}

// Whether slices are sent from where they are: those of several nodes must lie side by side.
static bool sends_in_place(const Reducer *reducer, const Flight *flight) {
    return reducer->way != REDUCE_STAGED && flight->held == 1;
}

static float *others_sums(const Reducer *reducer, const Flight *flight) {
    return behind(flight->sums, flight->stage > 0 ? reducer->stage[0].room : 0);
}

// Lists what goes to and comes from each other member, one behind the other in the flight's blocks:
// slices of sums [member][k][element] out, [sum of the others][element] in, in tree order; or, with
// `weights`, what this rank has of them to everybody, theirs in. Returns the number of messages a
// way.
static int list_messages(Reducer *reducer, const Flight *flight, float *weights) {
    const Stage *stage = &reducer->stage[flight->stage];
    Range mine = range_after(reducer, flight, stage->self), before = range_before(reducer, flight);
    bool staged = reducer->way == REDUCE_STAGED, there = weights != NULL && !staged;
    bool in_place = weights == NULL && sends_in_place(reducer, flight);
    float *out = flight->send, *in = staged ? flight->receive : others_sums(reducer, flight);
    int count = 0;
    for (int m = 0; m < stage->members; ++m) {
        if (m == stage->self) continue;
        Range theirs = range_after(reducer, flight, m);
        int64_t sent = weights != NULL ? length(mine) : length(theirs) * flight->held;
        int64_t received =
            weights != NULL ? length(theirs) : length(mine) * (stage->node[m + 1] - stage->node[m]);
        float *from = there      ? weights + mine.begin
                      : in_place ? flight->sum[0] + theirs.begin - before.begin
                                 : out;
        float *to = there ? weights + theirs.begin : in;
        int rank = member_rank(stage, m);
        reducer->out[count] = (Message){rank, from, (size_t)sent * sizeof *from};
        reducer->in[count++] = (Message){rank, to, (size_t)received * sizeof *to};
        if (weights == NULL && !in_place) out = behind(out, sent);
        if (!there) in = behind(in, received);
    }
    return count;
}

static void copy_slices(Reducer *reducer, const Flight *flight, Stream *stream) {
    const Stage *stage = &reducer->stage[flight->stage];
    int64_t begin = range_before(reducer, flight).begin;
    float *at = flight->send;
    if (sends_in_place(reducer, flight)) return;
    for (int m = 0; m < stage->members; ++m) {
        Range range = range_after(reducer, flight, m);
        if (m == stage->self || length(range) == 0) continue;
        for (int k = 0; k < flight->held; ++k, at += length(range)) {
            float *from = flight->sum[k] + range.begin - begin;
            if (reducer->way != REDUCE_STAGED)
                axpby(stream, (Elementwise){.x = from, .y = at, .n = length(range), .a = 1});
            else
                stream_download(stream, at, from, (size_t)length(range) * sizeof *at);
        }
    }
}

// Where a sum lies for the elements of `mine`.
static float *sum_at(const Reducer *reducer, const Flight *flight, Range mine, int number) {
    const Stage *stage = &reducer->stage[flight->stage];
    int own = stage->node[stage->self];
    if (number >= own && number < own + flight->held)
        return flight->sum[number - own] + mine.begin - range_before(reducer, flight).begin;
    int place = number < own ? number : number - flight->held;
    return behind(others_sums(reducer, flight), place * length(mine));
}

// Of sums, or of weights if these are given.
static Status stage_start(Reducer *reducer, Flight *flight, float *weights, Stream *stream) {
    const Stage *stage = &reducer->stage[flight->stage];
    Range mine = range_after(reducer, flight, stage->self);
    if (weights == NULL)
        copy_slices(reducer, flight, stream);
    else if (reducer->way == REDUCE_STAGED)
        stream_download(stream, flight->send, weights + mine.begin,
                        (size_t)length(mine) * sizeof *weights);
    int count = list_messages(reducer, flight, weights);
    if (reducer->way != REDUCE_QUEUED) TRY(stream_wait(stream));
    int tag = (flight->bucket * STAGES_MOST + flight->stage) % EXCHANGE_TAGS;
    return comm_exchange_start(reducer->exchange, reducer->out, count, reducer->in, count, tag,
                               &flight->exchange);
}

// Adds what has come; afterwards the flight holds the sums of the next stage.
static Status stage_finish(Reducer *reducer, Flight *flight, Stream *stream) {
    const Stage *stage = &reducer->stage[flight->stage];
    Range mine = range_after(reducer, flight, stage->self);
    int64_t n = length(mine), others = (stage->nodes - flight->held) * n;
    float *kept[TREE_COVER_MOST];
    if (reducer->way != REDUCE_QUEUED) TRY(comm_exchange_wait(reducer->exchange, flight->exchange));
    if (reducer->way == REDUCE_STAGED && others > 0)
        stream_upload(stream, others_sums(reducer, flight), flight->receive,
                      (size_t)others * sizeof(float));
    for (int i = 0; i < stage->adds && n > 0; ++i)
        axpby(stream, (Elementwise){.x = sum_at(reducer, flight, mine, stage->add[i].from),
                                    .y = sum_at(reducer, flight, mine, stage->add[i].to),
                                    .n = n,
                                    .a = 1,
                                    .b = 1});
    for (int k = 0; k < stage->kept; ++k) kept[k] = sum_at(reducer, flight, mine, stage->keep[k]);
    for (int k = 0; k < stage->kept; ++k) flight->sum[k] = kept[k];
    flight->held = stage->kept;
    ++flight->stage;
    return reducer->way != REDUCE_QUEUED ? stream_wait(stream) : STATUS_OK;
}

// ---- gradients ----------------------------------------------------------------------------------

// The one that was started first of those on their way that are before a stage; NULL: none.
static Flight *oldest_flight(Reducer *reducer, int stage) {
    Flight *oldest = NULL;
    for (int i = 0; i < reducer->flights; ++i) {
        Flight *flight = &reducer->flight[i];
        bool found = flight->busy && flight->stage < stage;
        if (found && (oldest == NULL || flight->order < oldest->order)) oldest = flight;
    }
    return oldest;
}

// All that are on their way enter the last stage before one of them is waited for, so that their
// exchanges overlap; in the order of starting, which is the same on all ranks.
static Status finish_flight(Reducer *reducer, Flight *flight, Stream *stream) {
    for (Flight *next; (next = oldest_flight(reducer, reducer->stages - 1)) != NULL;) {
        TRY(stage_finish(reducer, next, stream));
        TRY(stage_start(reducer, next, NULL, stream));
    }
    TRY(stage_finish(reducer, flight, stream));
    flight->busy = false;
    return STATUS_OK;
}

// A free flight, if need be after completing the oldest.
static Status free_flight(Reducer *reducer, Flight **out) {
    for (int i = 0; i < reducer->flights; ++i) {
        *out = &reducer->flight[i];
        if (!(*out)->busy) return STATUS_OK;
    }
    *out = oldest_flight(reducer, reducer->stages);
    return finish_flight(reducer, *out, device_stream(reducer->device, 0));
}

// Of a bucket whose shares are all of one length, in order of ranks.
static Status queue_sum(Reducer *reducer, Flight *flight, Stream *stream) {
    Range all = range_before(reducer, flight);
    int64_t share = length(all) / reducer->world;
    for (int k = 1; k < flight->held; ++k)
        axpby(stream,
              (Elementwise){
                  .x = flight->sum[k], .y = flight->sum[0], .n = length(all), .a = 1, .b = 1});
    return comm_sum_start(reducer->exchange, flight->sum[0], flight->sum[0] + share * reducer->rank,
                          (size_t)share, &flight->exchange);
}

// Queues a whole flight behind what stream 0 has queued.
static Status queue_flight(Reducer *reducer, Flight *flight) {
    Stream *side = reducer->device->side;
    TRY(stream_after(side, device_stream(reducer->device, 0)));
    bool last = flight->bucket + 1 == reducer->ownership->buckets; // maybe uneven
    if (reducer->loose && !last) {
        TRY(queue_sum(reducer, flight, side));
        flight->stage = reducer->stages;
    }
    while (flight->stage < reducer->stages) {
        TRY(stage_start(reducer, flight, NULL, side));
        TRY(stage_finish(reducer, flight, side));
    }
    return STATUS_OK;
}

Status reducer_start(Reducer *reducer, int bucket, float *const *cover, int covers) {
    REQUIRE(bucket >= 0 && bucket < reducer->ownership->buckets);
    REQUIRE(!reducer->started[bucket]);
    const Stage *stage = &reducer->stage[0];
    REQUIRE(covers == stage->node[stage->self + 1] - stage->node[stage->self]);
    reducer->started[bucket] = true;
    if (reducer->world == 1) return STATUS_OK; // the only cover sum is the root
    Flight *flight;
    TRY(free_flight(reducer, &flight));
    flight->order = reducer->starts++;
    flight->bucket = bucket;
    flight->stage = 0;
    flight->held = covers;
    int64_t begin = range_before(reducer, flight).begin;
    for (int k = 0; k < covers; ++k) flight->sum[k] = cover[k] + begin;
    if (reducer->way == REDUCE_QUEUED) return queue_flight(reducer, flight);
    TRY(stage_start(reducer, flight, NULL, device_stream(reducer->device, 0)));
    flight->busy = true;
    return STATUS_OK;
}

Status reducer_wait(Reducer *reducer, int bucket, Stream *stream) {
    REQUIRE(bucket >= 0 && bucket < reducer->ownership->buckets);
    REQUIRE(reducer->started[bucket]);
    reducer->started[bucket] = false;
    if (reducer->way == REDUCE_QUEUED) return stream_after(stream, reducer->device->side);
    for (int i = 0; i < reducer->flights; ++i) {
        Flight *flight = &reducer->flight[i];
        if (flight->busy && flight->bucket == bucket) TRY(finish_flight(reducer, flight, stream));
    }
    return STATUS_OK;
}

// ---- weights ------------------------------------------------------------------------------------

static Status finish_gather(Reducer *reducer, Flight *flight, float *weights, Stream *stream) {
    const Stage *stage = &reducer->stage[flight->stage];
    if (reducer->way == REDUCE_QUEUED) return STATUS_OK;
    TRY(comm_exchange_wait(reducer->exchange, flight->exchange));
    if (reducer->way == REDUCE_DIRECT) return STATUS_OK;
    const float *at = flight->receive;
    for (int m = 0; m < stage->members; ++m) {
        Range range = range_after(reducer, flight, m);
        if (m == stage->self || length(range) == 0) continue;
        stream_upload(stream, weights + range.begin, at, (size_t)length(range) * sizeof *at);
        at += length(range);
    }
    return stream_wait(stream);
}

static Status gather_stage(Reducer *reducer, int stage, float *weights, Stream *stream) {
    int buckets = reducer->ownership->buckets, flights = reducer->flights;
    for (int bucket = 0; bucket < buckets + flights; ++bucket) {
        Flight *flight = &reducer->flight[bucket % flights];
        bool started = bucket >= flights && bucket - flights < buckets;
        if (started) TRY(finish_gather(reducer, flight, weights, stream));
        if (bucket >= buckets) continue;
        flight->bucket = bucket;
        flight->stage = stage;
        TRY(stage_start(reducer, flight, weights, stream));
    }
    return STATUS_OK;
}

Status reducer_queue_weights(Reducer *reducer, float *weights, int bucket) {
    Flight *flight = &reducer->flight[0];
    flight->bucket = bucket;
    for (flight->stage = reducer->stages - 1; flight->stage >= 0; --flight->stage)
        TRY(stage_start(reducer, flight, weights, reducer->device->side));
    return STATUS_OK;
}

Status reducer_gather_weights(Reducer *reducer, float *weights, Stream *stream) {
    if (reducer->world == 1) return STATUS_OK;
    REQUIRE(oldest_flight(reducer, reducer->stages) == NULL);
    Stream *side = reducer->device->side;
    bool queued = reducer->way == REDUCE_QUEUED;
    if (queued) TRY(stream_after(side, stream));
    for (int s = reducer->stages - 1; s >= 0; --s)
        TRY(gather_stage(reducer, s, weights, queued ? side : stream));
    if (!queued) return STATUS_OK;
    TRY(stream_after(stream, side));
    TRY(reducer_mark(reducer, stream));
    return reducer_meet(reducer);
}

// ---- the board, marks ---------------------------------------------------------------------------

Status reducer_board(Reducer *reducer, const double *mine, double *all, double *host, int n,
                     Stream *stream) {
    Stream *side = reducer->device->side;
    size_t bytes = (size_t)n * sizeof *host;
    if (reducer->world == 1) return STATUS_OK;
    if (reducer->way == REDUCE_QUEUED) {
        TRY(stream_after(side, stream));
        TRY(comm_board_start(reducer->exchange, mine, all, n));
        return stream_after(stream, side);
    }
    stream_download(stream, host, mine, bytes);
    TRY(stream_wait(stream));
    TRY(comm_board(reducer->comm, host, n));
    stream_upload(stream, all, host, bytes);
    return STATUS_OK;
}

Status reducer_mark(Reducer *reducer, Stream *stream) {
    return comm_exchange_mark(reducer->exchange, stream, &reducer->marked);
}

Status reducer_meet(Reducer *reducer) {
    Exchange *marked = reducer->marked;
    reducer->marked = NULL;
    return marked != NULL ? comm_exchange_wait(reducer->exchange, marked) : STATUS_OK;
}
