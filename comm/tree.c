// The summation tree, the shares of grains, the ownership of parts: pure functions of numbers.
#include "comm/reduce.h"

void grain_share(int grains, int world, int rank, int *begin, int *end) {
    *begin = (int)((int64_t)grains * rank / world);
    *end = (int)((int64_t)grains * (rank + 1) / world);
}

// ---- the tree -----------------------------------------------------------------------------------

static int root_level(int grains) {
    int level = 0;
    while (((int64_t)1 << level) < grains) ++level;
    return level;
}

// First grain behind the node.
static int64_t node_end(int grains, TreeNode node) {
    int64_t end = ((int64_t)node.index + 1) << node.level;
    return end < grains ? end : grains;
}

int tree_cover(int grains, int begin, int end, TreeNode cover[TREE_COVER_MOST]) {
    REQUIRE(begin >= 0 && end <= grains);
    int top = root_level(grains), count = 0;
    for (int64_t at = begin; at < end;) {
        TreeNode node = {0, (int)at};
        while (node.level < top && node.index % 2 == 0) {
            TreeNode parent = {node.level + 1, node.index / 2};
            if (node_end(grains, parent) > end) break;
            node = parent;
        }
        REQUIRE(count < TREE_COVER_MOST);
        cover[count++] = node;
        at = node_end(grains, node);
    }
    return count;
}

// A left child without a right sibling in range is its parent.
static TreeNode promote(int grains, int top, TreeNode node) {
    while (node.level < top && node.index % 2 == 0 && node_end(grains, node) == grains)
        node = (TreeNode){node.level + 1, node.index / 2};
    return node;
}

static bool are_siblings(TreeNode left, TreeNode right) {
    return left.level == right.level && left.index % 2 == 0 && right.index == left.index + 1;
}

int tree_fold(int grains, TreeNode *node, int *slot, int *count, TreeMerge *merge) {
    int top = root_level(grains), depth = 0, merges = 0;
    for (int i = 0; i < *count; ++i) {
        REQUIRE(depth == 0 || node_end(grains, node[depth - 1]) == (int64_t)node[i].index
                                                                       << node[i].level);
        node[depth] = promote(grains, top, node[i]);
        slot[depth++] = slot[i];
        while (depth >= 2 && are_siblings(node[depth - 2], node[depth - 1])) {
            --depth;
            merge[merges++] = (TreeMerge){slot[depth - 1], slot[depth]};
            TreeNode parent = {node[depth].level + 1, node[depth].index / 2};
            node[depth - 1] = promote(grains, top, parent);
        }
    }
    *count = depth;
    return merges;
}

void tree_sum_init(TreeSum *sum, int grains, int begin, int end) {
    REQUIRE(begin >= 0 && begin <= end && end <= grains);
    *sum = (TreeSum){.grains = grains, .begin = begin, .end = end, .next = begin};
}

int tree_sum_leaf(TreeSum *sum, bool *add) {
    REQUIRE(sum->next < sum->end && sum->depth < TREE_COVER_MOST && ~sum->used != 0);
    TreeNode leaf = {0, sum->next++};
    *add = sum->depth > 0 && are_siblings(sum->node[sum->depth - 1], leaf);
    if (*add) {
        sum->node[sum->depth - 1] = (TreeNode){1, leaf.index / 2};
        return sum->slot[sum->depth - 1];
    }
    int slot = __builtin_ctzll(~sum->used);
    sum->used |= (uint64_t)1 << slot;
    sum->node[sum->depth] = leaf;
    sum->slot[sum->depth++] = slot;
    return slot;
}

int tree_sum_merge(TreeSum *sum, TreeMerge merge[TREE_COVER_MOST]) {
    int merges = tree_fold(sum->grains, sum->node, sum->slot, &sum->depth, merge);
    for (int i = 0; i < merges; ++i) sum->used &= ~((uint64_t)1 << merge[i].from);
    return merges;
}

int tree_sum_slots(int grains, int begin, int end) {
    TreeSum sum;
    TreeMerge merge[TREE_COVER_MOST];
    int slots = 0;
    bool add;
    tree_sum_init(&sum, grains, begin, end);
    while (sum.next < sum.end) {
        int slot = tree_sum_leaf(&sum, &add);
        if (slot >= slots) slots = slot + 1;
        tree_sum_merge(&sum, merge);
    }
    return slots;
}

// ---- ownership ----------------------------------------------------------------------------------

void ownership_init(Ownership *ownership, const Params *params, int world, int group,
                    size_t bucket_bytes) {
    REQUIRE(group > 0 && world % group == 0);
    size_t part_bytes = (size_t)params->part_size * sizeof(float);
    size_t most = (size_t)params->parts; // larger buckets are all the same
    size_t wanted = bucket_bytes / part_bytes < most ? bucket_bytes / part_bytes : most;
    // With a multiple of W parts all but the last bucket are shared evenly.
    int times = (int)((wanted + (size_t)world / 2) / (size_t)world);
    int bucket_parts = world * (times > 0 ? times : 1);
    *ownership = (Ownership){.params = params,
                             .world = world,
                             .group = group,
                             .buckets = (params->parts + bucket_parts - 1) / bucket_parts,
                             .bucket_parts = bucket_parts};
}

static int parts_in_bucket(const Ownership *ownership, int bucket) {
    int left = ownership->params->parts - bucket * ownership->bucket_parts;
    return left < ownership->bucket_parts ? left : ownership->bucket_parts;
}

int ownership_number(const Ownership *ownership, int rank) {
    int groups = ownership->world / ownership->group;
    return rank % ownership->group * groups + rank / ownership->group;
}

int ownership_owner(const Ownership *ownership, int part) {
    REQUIRE(part >= 0 && part < ownership->params->parts);
    int bucket = part / ownership->bucket_parts, groups = ownership->world / ownership->group;
    int place = part - bucket * ownership->bucket_parts;
    // The largest share s with floor(n s / W) <= place, that is with s < W (place + 1) / n.
    int64_t scaled = (int64_t)ownership->world * (place + 1);
    int share = (int)((scaled - 1) / parts_in_bucket(ownership, bucket));
    return share % groups * ownership->group + share / groups;
}

void ownership_shares(const Ownership *ownership, int bucket, int from, int to, int *begin,
                      int *end) {
    REQUIRE(bucket >= 0 && bucket < ownership->buckets);
    int first = bucket * ownership->bucket_parts, n = parts_in_bucket(ownership, bucket), ignored;
    grain_share(n, ownership->world, from, begin, &ignored);
    grain_share(n, ownership->world, to - 1, &ignored, end);
    *begin += first;
    *end += first;
}
