// The finalizer against known answers; sums over elements do not depend on how they are split.
#include "base/mix.h"

#include "tests/test.h"

static void test_known_answers(void) {
    EXPECT_EQ(mix64(0), 0);
    EXPECT_EQ(mix64(1), 0x5692161d100b05e5);
    EXPECT_EQ(mix64(MIX_GOLDEN), 0xe220a8397b1dcdaf); // SplitMix64 seeded with 0, first number
}

// Multiplication by an odd number and z ^= z >> n can be undone: so it is a bijection.
static uint64_t unshift(uint64_t z, int by) {
    for (int shift = by; shift < 64; shift *= 2) z ^= z >> shift;
    return z;
}

static uint64_t inverse_of(uint64_t odd) {
    uint64_t inverse = odd;
    for (int i = 0; i < 6; ++i) inverse *= 2 - odd * inverse;
    return inverse;
}

static uint64_t unmix64(uint64_t z) {
    z = unshift(z, 31) * inverse_of(0x94D049BB133111EB);
    z = unshift(z, 27) * inverse_of(0xBF58476D1CE4E5B9);
    return unshift(z, 30);
}

static void test_bijection(void) {
    int wrong = 0;
    for (uint64_t i = 0; i < 100000; ++i) wrong += unmix64(mix64(i * MIX_GOLDEN)) != i * MIX_GOLDEN;
    EXPECT_EQ(wrong, 0);
}

// Each input bit flips each output bit about half of the time.
static void test_every_bit_spreads(void) {
    int least = 1000, most = 0;
    for (int in = 0; in < 64; ++in)
        for (int out = 0; out < 64; ++out) {
            int flips = 0;
            for (uint64_t i = 1; i <= 1000; ++i) {
                uint64_t z = i * MIX_GOLDEN;
                flips += (int)((mix64(z) ^ mix64(z ^ (uint64_t)1 << in)) >> out & 1);
            }
            if (flips < least) least = flips;
            if (flips > most) most = flips;
        }
    EXPECT(least > 400 && most < 600);
}

static void test_elements(void) {
    uint64_t sum = 0, ahead = 0, behind = 0, swapped = 0;
    for (uint64_t i = 0; i < 1000; ++i) {
        uint32_t bits = (uint32_t)mix64(i);
        sum += mix_element(i, bits);
        *(i < 300 ? &ahead : &behind) += mix_element(i, bits);
        swapped += mix_element(i ^ 1, bits);
    }
    EXPECT_EQ(sum, ahead + behind);
    EXPECT(sum != swapped);                                // order counts
    EXPECT(mix_element(5, 0) != mix_element(5, 1u << 31)); // so does the sign of zero
    EXPECT(mix_element(0, 0) != 0);
}

int main(void) {
    RUN(test_known_answers);
    RUN(test_bijection);
    RUN(test_every_bit_spreads);
    RUN(test_elements);
    return test_report();
}
