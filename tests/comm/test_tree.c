// The summation tree: covers, the binary counter, the same sum for any number of ranks and streams.
#include "base/mix.h"
#include "comm/reduce.h"
#include "tests/test.h"

enum { GRAINS = 64 };

static int node_begin(TreeNode node) {
    return node.index << node.level;
}

static int node_end(int grains, TreeNode node) {
    int end = (node.index + 1) << node.level;
    return end < grains ? end : grains;
}

static int root_level(int grains) {
    int level = 0;
    while (1 << level < grains) ++level;
    return level;
}

static void test_share(void) {
    for (int grains = 1; grains <= GRAINS; ++grains) {
        for (int world = 1; world <= grains; ++world) {
            int begin, end, next = 0;
            for (int rank = 0; rank < world; ++rank, next = end) {
                grain_share(grains, world, rank, &begin, &end);
                EXPECT_EQ(begin, next);
                EXPECT(end - begin >= grains / world && end - begin <= grains / world + 1);
            }
            EXPECT_EQ(end, grains);
        }
    }
}

// Fewest nodes that tile [begin, end), by dynamic programming over all nodes there are.
static int fewest_nodes(int grains, int begin, int end) {
    int fewest[GRAINS + 1];
    fewest[begin] = 0;
    for (int at = begin + 1; at <= end; ++at) {
        fewest[at] = GRAINS;
        for (int level = 0; level <= root_level(grains); ++level) {
            for (int index = 0; index << level < at; ++index) {
                TreeNode node = {level, index};
                if (node_end(grains, node) != at || node_begin(node) < begin) continue;
                int count = fewest[node_begin(node)] + 1;
                if (count < fewest[at]) fewest[at] = count;
            }
        }
    }
    return fewest[end];
}

static void test_cover_is_shortest(void) {
    for (int grains = 1; grains <= 24; ++grains) {
        for (int begin = 0; begin < grains; ++begin) {
            for (int end = begin + 1; end <= grains; ++end) {
                TreeNode cover[TREE_COVER_MOST];
                int count = tree_cover(grains, begin, end, cover), at = begin;
                EXPECT_EQ(count, fewest_nodes(grains, begin, end));
                for (int i = 0; i < count; ++i) {
                    EXPECT_EQ(node_begin(cover[i]), at);
                    EXPECT(cover[i].level <= root_level(grains));
                    at = node_end(grains, cover[i]);
                }
                EXPECT_EQ(at, end);
            }
        }
    }
    TreeNode cover[TREE_COVER_MOST];
    EXPECT_EQ(tree_cover(24, 5, 5, cover), 0);
}

static void test_cover_examples(void) {
    TreeNode cover[TREE_COVER_MOST];
    EXPECT_EQ(tree_cover(8, 0, 8, cover), 1);
    EXPECT(cover[0].level == 3 && cover[0].index == 0);
    EXPECT_EQ(tree_cover(1, 0, 1, cover), 1);
    EXPECT(cover[0].level == 0 && cover[0].index == 0);
    // Grain 4 of 5 has no sibling: it stands for the right half of the tree.
    EXPECT_EQ(tree_cover(5, 4, 5, cover), 1);
    EXPECT(cover[0].level == 2 && cover[0].index == 1);
    EXPECT_EQ(tree_cover(8, 1, 7, cover), 4);
    EXPECT(cover[1].level == 1 && cover[1].index == 1 && cover[3].level == 0);
    EXPECT_EQ(tree_cover(1 << 30, 1, (1 << 30) - 1, cover), 58);
}

static void test_slots_are_exact(void) {
    for (int grains = 1; grains <= GRAINS; ++grains) {
        for (int begin = 0; begin < grains; ++begin) {
            for (int end = begin + 1; end <= grains; ++end) {
                TreeSum sum;
                TreeMerge merge[TREE_COVER_MOST];
                int most = 0;
                bool add;
                tree_sum_init(&sum, grains, begin, end);
                for (int leaf = begin; leaf < end; ++leaf) {
                    int slot = tree_sum_leaf(&sum, &add);
                    EXPECT_EQ(add, leaf > begin && leaf % 2 == 1);
                    if (slot > most) most = slot;
                    tree_sum_merge(&sum, merge);
                }
                int slots = tree_sum_slots(grains, begin, end), n = end - begin;
                EXPECT_EQ(slots, most + 1);
                bool aligned = (n & (n - 1)) == 0 && begin % n == 0;
                if (aligned) EXPECT_EQ(slots, n == 1 ? 1 : root_level(n));
                EXPECT(slots <= 2 * root_level(n) + 1);
                TreeNode cover[TREE_COVER_MOST];
                EXPECT_EQ(sum.depth, tree_cover(grains, begin, end, cover));
                for (int i = 0; i < sum.depth; ++i)
                    EXPECT(cover[i].level == sum.node[i].level &&
                           cover[i].index == sum.node[i].index);
            }
        }
    }
    EXPECT_EQ(tree_sum_slots(64, 0, 64), 6);
    EXPECT_EQ(tree_sum_slots(64, 32, 64), 5);
}

// ---- the same sum for any ranks and streams
// ---------------------------------------------------------

// A value that remembers how it was added (expression: not commutative) beside a real sum.
typedef struct {
    uint64_t expression;
    float sum;
} Value;

static Value leaf_value(int leaf) {
    uint64_t bits = mix64((uint64_t)leaf + 1);
    float mantissa = (float)(bits >> 40) * 0x1p-23f - 1.0f;
    return (Value){mix64(bits), ldexpf(mantissa, (int)(bits & 31) - 16)};
}

static Value add(Value left, Value right) {
    return (Value){mix64(left.expression * 3 + mix64(right.expression * 5 + 1)),
                   left.sum + right.sum};
}

// The definition, word for word.
static Value node_value(int grains, TreeNode node) {
    if (node.level == 0) return leaf_value(node.index);
    TreeNode left = {node.level - 1, 2 * node.index}, right = {node.level - 1, 2 * node.index + 1};
    if (node_begin(right) >= grains) return node_value(grains, left);
    return add(node_value(grains, left), node_value(grains, right));
}

static Value root_value(int grains) {
    return node_value(grains, (TreeNode){root_level(grains), 0});
}

static bool same_value(Value a, Value b) {
    return a.expression == b.expression && memcmp(&a.sum, &b.sum, sizeof a.sum) == 0;
}

typedef struct {
    TreeNode node[2 * GRAINS];
    Value value[2 * GRAINS];
    int count;
} Sums;

// Adds leaves [begin, end), `ahead` at a time, and appends their cover's sums.
static void sum_run(Sums *sums, int grains, int begin, int end, int ahead) {
    Value slot[64];
    TreeSum sum;
    TreeMerge merge[TREE_COVER_MOST];
    int slots = tree_sum_slots(grains, begin, end) + ahead - 1;
    tree_sum_init(&sum, grains, begin, end);
    for (int leaf = begin; leaf < end;) {
        for (int i = 0; i < ahead && leaf < end; ++i, ++leaf) {
            bool with_left;
            int at = tree_sum_leaf(&sum, &with_left);
            EXPECT(at < slots);
            slot[at] = with_left ? add(slot[at], leaf_value(leaf)) : leaf_value(leaf);
        }
        int merges = tree_sum_merge(&sum, merge);
        for (int i = 0; i < merges; ++i)
            slot[merge[i].to] = add(slot[merge[i].to], slot[merge[i].from]);
    }
    for (int i = 0; i < sum.depth; ++i) {
        sums->node[sums->count] = sum.node[i];
        sums->value[sums->count++] = slot[sum.slot[i]];
    }
}

static void fold_sums(Sums *sums, int grains) {
    int slot[2 * GRAINS], count = sums->count;
    TreeMerge merge[2 * GRAINS];
    for (int i = 0; i < count; ++i) slot[i] = i;
    int merges = tree_fold(grains, sums->node, slot, &count, merge);
    EXPECT_EQ(merges, sums->count - count);
    for (int i = 0; i < merges; ++i)
        sums->value[merge[i].to] = add(sums->value[merge[i].to], sums->value[merge[i].from]);
    for (int i = 0; i < count; ++i) sums->value[i] = sums->value[slot[i]];
    sums->count = count;
}

static Value sum_on(int grains, int world, int streams, int ahead) {
    Sums all = {.count = 0};
    for (int rank = 0; rank < world; ++rank) {
        Sums mine = {.count = 0};
        int begin, end;
        grain_share(grains, world, rank, &begin, &end);
        for (int s = 0; s < streams; ++s) {
            int from, to;
            grain_share(end - begin, streams, s, &from, &to);
            sum_run(&mine, grains, begin + from, begin + to, ahead);
        }
        fold_sums(&mine, grains);
        TreeNode cover[TREE_COVER_MOST];
        EXPECT_EQ(mine.count, tree_cover(grains, begin, end, cover));
        for (int i = 0; i < mine.count; ++i) {
            EXPECT(same_value(mine.value[i], node_value(grains, cover[i])));
            all.node[all.count] = cover[i];
            all.value[all.count++] = mine.value[i];
        }
    }
    fold_sums(&all, grains);
    EXPECT_EQ(all.count, 1);
    return all.value[0];
}

static void test_same_sum_for_any_split(void) {
    for (int grains = 1; grains <= GRAINS; ++grains) {
        Value root = root_value(grains);
        for (int world = 1; world <= grains; ++world) {
            for (int streams = 1; streams <= 3; ++streams)
                EXPECT(same_value(sum_on(grains, world, streams, 1), root));
            EXPECT(same_value(sum_on(grains, world, 1, 4), root));
            EXPECT(same_value(sum_on(grains, world, 2, 3), root));
        }
    }
}

// The leaves are such that the order matters: else the test above says nothing about floats.
static void test_order_matters(void) {
    int different = 0;
    for (int grains = 4; grains <= GRAINS; ++grains) {
        float sum = leaf_value(0).sum, tree = root_value(grains).sum;
        for (int leaf = 1; leaf < grains; ++leaf) sum += leaf_value(leaf).sum;
        if (memcmp(&sum, &tree, sizeof sum) != 0) ++different;
    }
    EXPECT(different > 20);
}

// ---- ownership
// --------------------------------------------------------------------------------------

static void check_ownership(int parts, int world, int group, int wanted) {
    Params params = {.size = (int64_t)parts * 100 - 7, .part_size = 100, .parts = parts};
    Ownership ownership;
    ownership_init(&ownership, &params, world, group, (size_t)wanted * 100 * sizeof(float));
    EXPECT_EQ(ownership.bucket_parts % world, 0);
    EXPECT(abs(ownership.bucket_parts - wanted) <= world || wanted > parts);
    int next = 0, least_owned = parts, most_owned = 0;
    int owned[GRAINS] = {0};
    for (int bucket = 0; bucket < ownership.buckets; ++bucket) {
        int least = parts, most = 0;
        for (int share = 0; share < world; ++share) {
            // Share j G + i is that of rank i g + j.
            int rank = share % (world / group) * group + share / (world / group), begin, end;
            EXPECT_EQ(ownership_number(&ownership, rank), share);
            ownership_shares(&ownership, bucket, share, share + 1, &begin, &end);
            EXPECT_EQ(begin, next);
            for (int part = begin; part < end; ++part)
                EXPECT_EQ(ownership_owner(&ownership, part), rank);
            least = end - begin < least ? end - begin : least;
            most = end - begin > most ? end - begin : most;
            owned[rank] += end - begin;
            next = end;
        }
        EXPECT(most > 0 && most - least <= 1);
    }
    EXPECT_EQ(next, parts);
    for (int rank = 0; rank < world; ++rank) {
        least_owned = owned[rank] < least_owned ? owned[rank] : least_owned;
        most_owned = owned[rank] > most_owned ? owned[rank] : most_owned;
    }
    EXPECT(most_owned - least_owned <= 1);
}

static void test_ownership(void) {
    for (int parts = 1; parts <= 70; ++parts)
        for (int world = 1; world <= 17; ++world)
            for (int group = 1; group <= world; ++group)
                for (int wanted = 0; wanted <= 40 && world % group == 0; wanted = 2 * wanted + 1)
                    check_ownership(parts, world, group, wanted);
    check_ownership(256, 8, 8, 1 << 20);
}

int main(void) {
    RUN(test_share);
    RUN(test_cover_is_shortest);
    RUN(test_cover_examples);
    RUN(test_slots_are_exact);
    RUN(test_same_sum_for_any_split);
    RUN(test_order_matters);
    RUN(test_ownership);
    return test_report();
}
