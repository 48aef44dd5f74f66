// The reduction in one process: nothing travels, the memory is none, the sum is the tree's.
#include "comm/reduce.h"
#include "tests/comm/support_fake_backend.h"
#include "tests/comm/support_gradients.h"
#include "tests/test.h"

static void test_alone(void) {
    Comm *comm;
    EXPECT_OK(comm_open("local", &comm));
    for (int grains = 1; grains <= 9; ++grains) {
        GradientCase config = {.parts = 5,
                               .part_size = 40,
                               .bucket_parts = 2,
                               .grains = grains,
                               .rounds = 2,
                               .at_once = grains % 2 == 0,
                               .on_host = grains % 3 == 0};
        int64_t wrong = -1;
        uint64_t hash;
        EXPECT_OK(gradients_check(comm, &config, &wrong, &hash));
        EXPECT_EQ(wrong, 0);
    }
    comm_close(comm);
}

static size_t aligned(size_t floats) {
    return (floats * sizeof(float) + 63) / 64 * 64;
}

static size_t device_bytes(const Ownership *ownership, int grains, int rank, ReduceWay way) {
    return reducer_device_bytes(ownership, grains, rank, way);
}

// Memory of one rank of many, as the planner prints it before anything starts.
static void test_memory(void) {
    Params params = {.size = 15930, .part_size = 1000, .parts = 16};
    Ownership ownership;
    ownership_init(&ownership, &params, 1, 1, 4000 * sizeof(float));
    EXPECT_EQ(device_bytes(&ownership, 8, 0, REDUCE_STAGED), 0);
    EXPECT(reducer_host_bytes(&ownership, 8, 0, REDUCE_STAGED) < 8192);
    // 4 ranks, 8 grains: one cover sum each; buckets of 4 parts, of which this rank owns one.
    ownership_init(&ownership, &params, 4, 4, 4000 * sizeof(float));
    EXPECT_EQ(device_bytes(&ownership, 8, 0, REDUCE_STAGED), 4 * aligned(3000));
    size_t flight = 6000 * sizeof(float);
    size_t host = reducer_host_bytes(&ownership, 8, 0, REDUCE_STAGED);
    EXPECT(host >= REDUCER_FLIGHTS * flight && host < REDUCER_FLIGHTS * flight + 8192);
    // Direct ones need room on the device alone, and only for the others' slices; queued ones that
    // of a single bucket.
    EXPECT(reducer_host_bytes(&ownership, 8, 0, REDUCE_DIRECT) < 8192);
    EXPECT_EQ(device_bytes(&ownership, 8, 0, REDUCE_DIRECT), 4 * aligned(3000));
    EXPECT_EQ(device_bytes(&ownership, 8, 0, REDUCE_QUEUED), aligned(3000));
    // 6 grains: shares 1, 2, 1, 2 with covers of 1, 2, 1, 1 sums ([1,3) is no node; [4,6) is one).
    EXPECT_EQ(device_bytes(&ownership, 6, 1, REDUCE_STAGED), 4 * aligned(3000));
    EXPECT_EQ(device_bytes(&ownership, 6, 0, REDUCE_STAGED), 4 * aligned(4000));
    // Two groups of two, 8 grains: a sum of the neighbour for half a bucket, of the other group for
    // a quarter.
    ownership_init(&ownership, &params, 4, 2, 4000 * sizeof(float));
    EXPECT_EQ(device_bytes(&ownership, 8, 0, REDUCE_QUEUED), aligned(2000) + aligned(1000));
}

static void test_too_many_ranks(void) {
    Comm *comm;
    Device *device;
    Reducer *reducer;
    EXPECT_OK(comm_open("local", &comm));
    EXPECT_OK(fake_device_open(1, &device));
    Params params = {.size = 10, .part_size = 10, .parts = 1};
    Ownership ownership;
    ownership_init(&ownership, &params, 1, 1, 40);
    EXPECT_FAIL(reducer_open(comm, device, "auto", &ownership, 0, &reducer), BAD_CONFIG,
                "1 ranks cannot share 0 grains");
    reducer_close(NULL);
    fake_device_close(device);
    comm_close(comm);
}

int main(void) {
    RUN(test_alone);
    RUN(test_memory);
    RUN(test_too_many_ranks);
    return test_report();
}
