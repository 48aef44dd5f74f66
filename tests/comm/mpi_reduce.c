// The reduction on all ranks: every bit as the definition says, whatever W.
#include "tests/comm/support_gradients.h"
#include "tests/test.h"

static Comm *comm;

// On a device of its own memory, on one that shares the host's, and on emulated GPUs where they are
// built: the same hash.
static uint64_t check_case(GradientCase config) {
    static const char *const exchanges[] = {NULL, NULL, "host", "nccl"};
    // Emulated GPUs are slow.
    bool small = comm_world(comm) <= 4 && config.part_size < 10000 && config.grains <= 13;
    bool gpus = getenv("DYE_BACKENDS") != NULL && small;
    int ways = gpus ? 4 : 2;
    uint64_t hash[4] = {0}, all[64];
    for (int way = 0; way < ways; ++way) {
        int64_t wrong = -1;
        config.on_host = way == 1;
        config.exchange = exchanges[way];
        EXPECT_OK(gradients_check(comm, &config, &wrong, &hash[way]));
        EXPECT_EQ(wrong, 0);
        EXPECT(hash[way] == hash[0]);
    }
    EXPECT_OK(comm_gather(comm, hash, sizeof *hash, all));
    for (int r = 0; r < comm_world(comm); ++r) EXPECT(all[r] == hash[0]);
    return hash[0];
}

static void test_grains_and_buckets(void) {
    static const int grains[] = {8, 9, 12, 13, 31, 32};
    for (size_t i = 0; i < sizeof grains / sizeof *grains; ++i) {
        for (int at_once = 0; at_once <= 1; ++at_once) {
            GradientCase config = {.parts = 37,
                                   .part_size = 30,
                                   .bucket_parts = 3,
                                   .grains = grains[i],
                                   .rounds = 3,
                                   .at_once = at_once};
            check_case(config);
        }
    }
}

// NCCL's own sums: of the same numbers, with bits of another order.
static void test_loose_sums(void) {
    if (getenv("DYE_BACKENDS") == NULL || comm_world(comm) > 4) return;
    GradientCase config = {.parts = 37,
                           .part_size = 32,
                           .bucket_parts = 12,
                           .grains = 13,
                           .rounds = 2,
                           .exchange = "nccl-sum",
                           .loose = true};
    uint64_t loose, again, exact;
    int64_t wrong;
    for (int at_once = 0; at_once <= 1; ++at_once) {
        config.at_once = at_once;
        EXPECT_OK(gradients_check(comm, &config, &wrong, at_once ? &again : &loose));
        EXPECT_EQ(wrong, 0);
    }
    EXPECT(loose == again);
    config.exchange = "nccl", config.loose = false;
    EXPECT_OK(gradients_check(comm, &config, &wrong, &exact));
    EXPECT_EQ(wrong, 0);
    EXPECT(comm_world(comm) == 1 ? loose == exact : loose != exact);
}

// Ranks in groups, as on several hosts; of shares of grains that no node covers, too.
static void test_groups(void) {
    static const int grains[] = {8, 13, 16, 21, 32};
    int world = comm_world(comm);
    for (int group = 2; group < world; ++group) {
        if (world % group != 0) continue;
        for (size_t i = 0; i < sizeof grains / sizeof *grains; ++i) {
            GradientCase config = {.parts = 53,
                                   .part_size = 30,
                                   .bucket_parts = 8,
                                   .grains = grains[i],
                                   .rounds = 2,
                                   .group = group,
                                   .at_once = i % 2 == 0};
            check_case(config);
            config.parts = 3; // some own nothing
            check_case(config);
        }
    }
}

// Fewer parts than ranks: some own nothing.
static void test_few_parts(void) {
    for (int parts = 1; parts <= 3; ++parts) {
        GradientCase config = {
            .parts = parts, .part_size = 100, .bucket_parts = 1, .grains = 11, .rounds = 2};
        check_case(config);
    }
}

// Long messages travel by another protocol than short ones.
static void test_long_messages(void) {
    GradientCase config = {
        .parts = 17, .part_size = 20000, .bucket_parts = 8, .grains = 10, .rounds = 2};
    check_case(config);
}

// The number of ranks is not in the result: one value, taken from W = 1, for every W.
static void test_known_result(void) {
    GradientCase config = {
        .parts = 13, .part_size = 64, .bucket_parts = 4, .grains = 21, .rounds = 2};
    uint64_t hash = check_case(config);
    EXPECT_EQ(hash, 0x53789f5ad13cd384);
}

int main(void) {
    EXPECT_OK(comm_open("auto", &comm));
    RUN(test_grains_and_buckets);
    RUN(test_loose_sums);
    RUN(test_groups);
    RUN(test_few_parts);
    RUN(test_long_messages);
    RUN(test_known_result);
    comm_close(comm);
    return test_report();
}
