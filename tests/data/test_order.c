// The order of samples: published known answers, and that it is a permutation with its inverse.
#include "tests/test.h"

#include "base/mix.h"
#include "data/order.h"

typedef struct {
    uint64_t n, seed, epoch, first[8], last, sum;
} KnownAnswer;

// Computed by an independent program; sum = sum of (j+1) * pi(j) over at most 100,000 positions
// for the last two, over all positions otherwise.
static const KnownAnswer known[] = {
    {1, 0, 0, {0}, 0, 0},
    {2, 1, 0, {0, 1}, 1, 2},
    {10, 42, 0, {1, 7, 5, 4, 8, 0, 6, 3}, 9, 0x104},
    {10, 42, 1, {9, 0, 2, 6, 3, 8, 1, 7}, 5, 0xfb},
    {100, 0, 0, {20, 93, 98, 57, 28, 47, 46, 14}, 1, 0x393a4},
    {60000, 0, 0, {1919, 56244, 45311, 11699, 45395, 29648, 50227, 20394}, 16843, 0x3147bab7f438},
    {60000, 0, 1, {46964, 1063, 56447, 25898, 1098, 36300, 3344, 11025}, 56571, 0x310d13a4705e},
    {60000, 1, 0, {22062, 47229, 54442, 19439, 11129, 43564, 19887, 8528}, 24205, 0x31295dd827b1},
    {60000,
     0xDEADBEEFCAFEF00D,
     7,
     {42328, 18821, 9817, 43718, 40501, 26497, 3321, 38879},
     40096,
     0x3120a0af6d46},
    {65536, 0, 0, {1919, 56244, 45311, 11699, 45395, 29648, 50227, 20394}, 50070, 0x40383c9d0daa},
    {65537, 0, 0, {28984, 1142, 45426, 40244, 46906, 52118, 34830, 61926}, 1153, 0x400faf480fc9},
    {1281167,
     0,
     0,
     {475796, 1067310, 1049083, 132794, 1041811, 789334, 665238, 1096289},
     537962,
     0x074c66c801bfea2b},
    {4294967296,
     5,
     3,
     {2113817631, 1368040335, 63302138, 3532404006, 234115000, 1464441844, 3564562112, 2753358423},
     1656843409,
     0x94f755a31a474d29},
    {1000000000000,
     5,
     3,
     {68145798207, 427702170195, 486935255990, 437552184940, 103668387318, 88842539500,
      125265766230, 134003350687},
     142909839253,
     0x273795ff0b79ed66},
};

static void test_known_answers(void) {
    for (size_t k = 0; k < sizeof known / sizeof known[0]; ++k) {
        const KnownAnswer *want = &known[k];
        Order order;
        order_init(&order, want->n, want->seed, want->epoch);
        for (uint64_t i = 0; i < 8 && i < want->n; ++i) {
            EXPECT_EQ(order_at(&order, i), want->first[i]);
        }
        EXPECT_EQ(order_at(&order, want->n - 1), want->last);
        uint64_t terms = want->n > 2000000 ? 100000 : want->n, sum = 0;
        for (uint64_t i = 0; i < terms; ++i) sum += (i + 1) * order_at(&order, i);
        EXPECT_EQ(sum, want->sum);
    }
}

static void test_round_keys(void) {
    static const uint64_t want[8] = {0x568a9b0b1a2c05ec, 0x44e5b8b147ef718b, 0x458563ab55521133,
                                     0x7aec644539b6c0f9, 0x98da2142fd100586, 0x6f163edb947c9e05,
                                     0x17b5b595bf33339a, 0x3500c0e53fa8015b};
    Order order;
    order_init(&order, 1000, 0, 0);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(order.key[i], want[i]);
    EXPECT_EQ(mix64(1), 0x5692161d100b05e5);
    EXPECT_EQ(mix64(MIX_GOLDEN), 0xe220a8397b1dcdaf);
}

static void test_bijection_of_small_sets(void) {
    bool seen[300];
    for (uint64_t n = 1; n <= 300; ++n) {
        Order order;
        order_init(&order, n, n * 7, n % 5);
        memset(seen, 0, sizeof seen);
        int twice = 0, wrong = 0;
        for (uint64_t i = 0; i < n; ++i) {
            uint64_t sample = order_at(&order, i);
            if (sample >= n || seen[sample]) {
                ++twice;
                continue;
            }
            seen[sample] = true;
            wrong += order_where(&order, sample) != i;
        }
        EXPECT_EQ(twice, 0);
        EXPECT_EQ(wrong, 0);
    }
}

static void test_inverse_of_large_sets(void) {
    static const uint64_t sizes[] = {60000, 65537, 1281167, 1000000000000, (uint64_t)1 << 62};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; ++k) {
        Order order;
        order_init(&order, sizes[k], 3, 11);
        int wrong = 0;
        for (uint64_t i = 0; i < 2000; ++i) {
            uint64_t position = mix64(i) % sizes[k];
            wrong += order_where(&order, order_at(&order, position)) != position;
            wrong += order_at(&order, order_where(&order, position)) != position;
        }
        EXPECT_EQ(wrong, 0);
    }
}

int main(void) {
    RUN(test_known_answers);
    RUN(test_round_keys);
    RUN(test_bijection_of_small_sets);
    RUN(test_inverse_of_large_sets);
    return test_report();
}
