// The ordered reduction: gradients of V grains summed along one fixed binary tree, whatever the
// number of ranks and streams; ZeRO-1 ownership of parts; weights gathered back.
//
// Whoever prefers NCCL's own sums (exchange "nccl-sum") gets them for all but the last bucket, in
// one stage, and with other bits for another number of ranks.
//
// Tree. Node (level, i) covers grains [i 2^level, (i+1) 2^level) below V; a node with one child in
// range equals that child, else left + right in fp32. The root is the lowest node (level, 0) that
// covers all. A run of grains [begin, end) is covered by a shortest list of nodes, its *cover*
// (unique with each node at its highest level); each rank holds its cover's sums, sends each owner
// the owner's parts of them, and the owner finishes the tree. The result is the same bits for any
// W.
//
// Ownership. Parts are dealt in *buckets* of consecutive parts (about bucket_bytes, but a multiple
// of W parts); a bucket of n parts is W contiguous shares [n s / W, n (s+1) / W), one of each rank,
// so that every bucket keeps all ranks busy.
//
// Groups. Where ranks stand in G groups of g neighbours (hosts, comm_group), slices travel in two
// stages: within a group, whose rank j sums the j-th g-th of the bucket; then among the ranks j of
// all groups, which share that. Each byte passes the network between groups once for the group, not
// once for each of its ranks, and a rank has g + G - 2 peers instead of W - 1. For this rank
// r = i g + j owns share j G + i. The sums are the tree's own all the same.
#pragma once

#include "comm/comm.h"
#include "model/backend.h"
#include "model/params.h"

// ---- the tree, pure functions -------------------------------------------------------------------

typedef struct {
    int level, index;
} TreeNode;
enum { TREE_COVER_MOST = 64 };
// One addition: slot `from` is added into slot `to` (to = left + right), then `from` is free.
typedef struct {
    int to, from;
} TreeMerge;

// Grains of rank r: [V r / W, V (r+1) / W). W <= V.
void grain_share(int grains, int world, int rank, int *begin, int *end);
// The cover of [begin, end) among V grains, from left to right; returns its length.
int tree_cover(int grains, int begin, int end, TreeNode cover[TREE_COVER_MOST]);

// Folds `*count` nodes that lie side by side, from left to right, into the cover of their grains:
// node[] and slot[] (where each one's sum lies) shrink to the cover, merge[*count - 1 at most] is
// what to add, in this order. Returns the number of merges. For joining the covers of streams or
// ranks.
int tree_fold(int grains, TreeNode *node, int *slot, int *count, TreeMerge *merge);

// Sums the leaves begin..end-1 that arrive in order into their cover with as few buffers as this
// order allows (a binary counter). Buffers are numbers 0..slots-1; the caller adds. For n = 2^k > 1
// leaves k buffers where `begin` is a multiple of n, up to 2 log2(n) + 1 elsewhere.
typedef struct {
    int grains, begin, end, next; // next leaf that is expected
    int depth;                    // entries on the stack; after the last leaf: the cover
    TreeNode node[TREE_COVER_MOST];
    int slot[TREE_COVER_MOST];
    uint64_t used; // bit set of slots
} TreeSum;
void tree_sum_init(TreeSum *sum, int grains, int begin, int end);
int tree_sum_slots(int grains, int begin, int end); // buffers needed
// Slot for the next leaf's gradient: to be written there or, if *add, added in one rounding to what
// is there, its left sibling's. A caller may take several leaves before it merges; every leaf
// beyond the first may need one buffer more than tree_sum_slots says.
int tree_sum_leaf(TreeSum *sum, bool *add);
// After the leaves that were taken are there: the merges to perform, in order. Returns their
// number.
int tree_sum_merge(TreeSum *sum, TreeMerge merge[TREE_COVER_MOST]);

// ---- ownership ----------------------------------------------------------------------------------

typedef struct {
    const Params *params; // borrowed
    int world, group;     // ranks, ranks of a group
    int buckets;
    int bucket_parts; // parts in each bucket; the last may have fewer
} Ownership;
// `group` divides `world`; equal to it there is one stage.
void ownership_init(Ownership *ownership, const Params *params, int world, int group,
                    size_t bucket_bytes);
int ownership_owner(const Ownership *ownership, int part);
int ownership_number(const Ownership *ownership, int rank); // of its share
// Parts of the shares [from, to) of a bucket: [*begin, *end), maybe empty.
void ownership_shares(const Ownership *ownership, int bucket, int from, int to, int *begin,
                      int *end);

// ---- the reduction ------------------------------------------------------------------------------

typedef struct Reducer Reducer;

// How slices travel.
typedef enum {
    REDUCE_STAGED, // through copies in the host's memory
    REDUCE_DIRECT, // from and to the memory of a device that is on_host
    REDUCE_QUEUED, // from and to a GPU's memory, on its side stream
} ReduceWay;

// All memory that it ever needs is taken here (reducer_host_bytes and reducer_device_bytes tell how
// much). `exchange`: see comm_open_device. `ownership` is borrowed, `grains` = V. All ranks call it
// together and get the same status: BAD_CONFIG (W > V, or of the exchange), NO_MEMORY, NOT_FOUND,
// COMM. All close it together, too.
Status reducer_open(Comm *comm, Device *device, const char *exchange, const Ownership *ownership,
                    int grains, Reducer **out);
void reducer_close(Reducer *reducer); // NULL is fine
size_t reducer_host_bytes(const Ownership *ownership, int grains, int rank, ReduceWay way);
size_t reducer_device_bytes(const Ownership *ownership, int grains, int rank, ReduceWay way);
const char *reducer_describe(const Reducer *reducer); // what gradients travel by
// Whether a bucket may be started as soon as stream 0 has queued all that writes it: then it
// travels while that stream computes on.
bool reducer_is_queued(const Reducer *reducer);

// Starts the reduction of one bucket. cover[k] (device, params.size floats) holds the sum of the
// k-th node of this rank's cover; there they are complete (streams waited for, or see
// reducer_is_queued) and stay as they are until reducer_wait. Buckets may be started in any order,
// the same on all ranks, each waited for before it is started again. REDUCER_FLIGHTS of them travel
// at a time: starting one more first completes the oldest. Uses stream 0 of the device. While
// anything is queued nothing else is said to other ranks: MPI and NCCL are never under way
// together.
enum { REDUCER_FLIGHTS = 4 };
Status reducer_start(Reducer *reducer, int bucket, float *const *cover, int covers);
// Completes it: afterwards this rank's parts of cover[0] hold the full sum, its parts of the other
// covers anything. Uses `stream` and waits for it; where reducer_is_queued `stream` comes after it,
// and the host does not wait. The order of waits is free.
Status reducer_wait(Reducer *reducer, int bucket, Stream *stream);

// Sends this rank's parts of `weights` (device, params.size) to all, receives theirs. Completed on
// return. No bucket may be on its way.
Status reducer_gather_weights(Reducer *reducer, float *weights, Stream *stream);
// The same of one bucket, queued on the side stream behind what this has queued already, and not
// waited for. Only where reducer_is_queued.
Status reducer_queue_weights(Reducer *reducer, float *weights, int bucket);

// The board in device memory: all[n] = the sum over ranks of mine[n], each entry of which one rank
// writes, the others leave 0. `host` [n] may be used on the way. Queued on `stream`, which is
// waited for if the board goes by the host's memory. A rank alone has all == mine.
Status reducer_board(Reducer *reducer, const double *mine, double *all, double *host, int n,
                     Stream *stream);

// A wait that is watched like that for an exchange: until `stream`, which comes after what is
// queued, has come so far. Only where reducer_is_queued.
Status reducer_mark(Reducer *reducer, Stream *stream); // where it is to come to
Status reducer_meet(Reducer *reducer);                 // waits, if there is a mark
