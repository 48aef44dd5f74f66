// Random numbers: published vectors, float64 references, frozen bits.
#include "base/rng.h"

#include "tests/test.h"

static void test_published_vectors(void) {
    // Random123's kat_vectors for philox4x32-10.
    static const uint32_t counter[3][4] = {
        {0, 0, 0, 0}, {~0u, ~0u, ~0u, ~0u}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}};
    static const uint32_t key[3][2] = {{0, 0}, {~0u, ~0u}, {0xa4093822, 0x299f31d0}};
    static const uint32_t expected[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                            {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                            {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; ++i) {
        uint32_t out[4];
        philox4x32(counter[i], key[i], out);
        for (int j = 0; j < 4; ++j) EXPECT_EQ(out[j], expected[i][j]);
    }
}

static void test_layout_of_the_counter(void) {
    RngKey key = {{0x11111111, 0x22222222}, 0xA1A2A3A4A5A6};
    const uint32_t counter[4] = {0xB1B2B3B4, 0xC3C4C5C6, 0xA5A6C1C2, 0xA1A2A3A4};
    uint32_t out[4], expected[4];
    rng_block(key, 0xC1C2C3C4C5C6, 0xB1B2B3B4, out);
    philox4x32(counter, key.key, expected);
    EXPECT(memcmp(out, expected, sizeof out) == 0);
    uint64_t k = mix64(mix64(42 + MIX_GOLDEN) + 3);
    key = rng_key(42, RNG_NOISE, 9);
    EXPECT_EQ(key.key[0], (uint32_t)k);
    EXPECT_EQ(key.key[1], (uint32_t)(k >> 32));
    EXPECT_EQ(key.step, 9);
}

static int compare_blocks(const void *a, const void *b) {
    return memcmp(a, b, 16);
}

// Philox is a bijection of counters, so equal numbers would mean equal counters. Every pair of the
// 128 bits of (step, sample, block) is tried.
static void test_counters_do_not_collide(void) {
    enum { BITS = 128, COUNT = 1 + BITS + BITS * (BITS - 1) / 2 };
    static uint32_t out[COUNT][4];
    int n = 0;
    for (int a = -1; a < BITS; ++a)
        for (int b = a == -1 ? -1 : a + 1; b < BITS; ++b) {
            uint64_t part[3] = {0}; // step: bits 0-47, sample: 48-95, block: 96-127
            if (a >= 0) part[a / 48] |= (uint64_t)1 << a % 48;
            if (b >= 0) part[b / 48] |= (uint64_t)1 << b % 48;
            rng_block(rng_key(1, RNG_NOISE, part[0]), part[1], (uint32_t)part[2], out[n++]);
        }
    EXPECT_EQ(n, COUNT);
    qsort(out, COUNT, sizeof *out, compare_blocks);
    int equal = 0;
    for (int i = 1; i < COUNT; ++i) equal += compare_blocks(out[i - 1], out[i]) == 0;
    EXPECT_EQ(equal, 0);
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_keys_differ(void) {
    enum { SEEDS = 5000, PURPOSES = 12 };
    static uint64_t keys[SEEDS * PURPOSES];
    int n = 0, equal = 0;
    for (uint64_t seed = 0; seed < SEEDS; ++seed)
        for (int purpose = 0; purpose < PURPOSES; ++purpose) {
            RngKey key = rng_key(seed, (RngPurpose)purpose, 0);
            keys[n++] = (uint64_t)key.key[1] << 32 | key.key[0];
        }
    qsort(keys, (size_t)n, sizeof *keys, compare_u64);
    for (int i = 1; i < n; ++i) equal += keys[i - 1] == keys[i];
    EXPECT_EQ(equal, 0);
}

static void test_uniform(void) {
    EXPECT(rng_uniform(0) == 0x1p-24f);
    EXPECT(rng_uniform(~0u) == 1 - 0x1p-24f);
    EXPECT(rng_uniform(1u << 31) == 0.5f + 0x1p-24f);
    EXPECT(rng_uniform_f64(0, 0) == 0x1p-53);
    EXPECT(rng_uniform_f64(~0u, ~0u) == 1 - 0x1p-53);
    EXPECT(rng_uniform_f64(1u << 31, 0) == 0.5 + 0x1p-53);
    EXPECT(rng_uniform_f64(0, 1u << 12) == 0x1.8p-52);
    int bins[100] = {0};
    double square = 0;
    const int n = 1000000;
    for (int i = 0; i < n; i += 4) {
        uint32_t r[4];
        rng_block(rng_key(3, RNG_TIME, 0), (uint64_t)i, 0, r);
        for (int j = 0; j < 4; ++j) ++bins[(int)(rng_uniform(r[j]) * 100)];
    }
    for (int i = 0; i < 100; ++i) square += (bins[i] - n / 100.) * (bins[i] - n / 100.) * 100 / n;
    EXPECT_NEAR(square, 99, 60); // chi-square with 99 degrees of freedom, sigma 14
}

static void test_below(void) {
    EXPECT_EQ(rng_below(0, 10), 0);
    EXPECT_EQ(rng_below(~0u, 10), 9);
    EXPECT_EQ(rng_below(~0u, 1), 0);
    EXPECT_EQ(rng_below(~0u, ~0u), 0xFFFFFFFE);
    EXPECT_EQ(rng_below(1u << 31, 27), 13);
}

static void test_log(void) {
    double worst = 0;
    for (uint32_t bits = 0x00800000; bits < 0x7F800000; bits += 1009) {
        float x;
        memcpy(&x, &bits, sizeof x);
        double expected = log((double)x), error = fabs((double)rng_log(x) - expected);
        if (error > worst * fabs(expected)) worst = error / fabs(expected);
    }
    // Densely around 1, where the logarithm itself vanishes.
    for (uint32_t bits = 0x3F000000; bits < 0x40000000; bits += 7) {
        float x;
        memcpy(&x, &bits, sizeof x);
        double expected = log((double)x), error = fabs((double)rng_log(x) - expected);
        if (error > worst * fabs(expected)) worst = error / fabs(expected);
    }
    EXPECT(rng_log(1.0f) == 0.0f);
    EXPECT(worst < 3e-7);
}

// Relative error of a deviate, by one Newton step on the float64 distribution function: its tail
// where the tail probability p is small, its middle where p is near 1/2.
static double normal_error(uint32_t bits) {
    double x = fabs((double)rng_normal(bits));
    uint32_t k = bits >> 31 ? ~bits : bits;
    double p = ((double)k + 0.5) * 0x1p-32;
    double density = exp(-0.5 * x * x) / sqrt(2 * M_PI);
    double error = p < 0.25 ? (0.5 * erfc(x * M_SQRT1_2) - p) / density
                            : (1 - 2 * p - erf(x * M_SQRT1_2)) / (2 * density);
    return fabs(error) / x;
}

static void test_normal_against_erfc(void) {
    double worst = 0;
    for (uint64_t i = 0; i < (uint64_t)1 << 32; i += 4099)
        worst = fmax(worst, normal_error((uint32_t)i));
    for (uint32_t i = 0; i < 20000; ++i) {
        worst = fmax(worst, normal_error(i));
        worst = fmax(worst, normal_error(~i));
        worst = fmax(worst, normal_error(0x80000000u + i));
        worst = fmax(worst, normal_error(0x7FFFFFFFu - i));
    }
    EXPECT(worst < 1e-6);
    EXPECT(rng_normal(0) < -6.3f && rng_normal(0) > -6.34f);
    EXPECT(rng_normal(~0u) > 6.3f && rng_normal(~0u) < 6.34f);
    EXPECT(rng_normal(0x7FFFFFFF) < 0 && rng_normal(0x80000000) > 0);
}

static void test_normal_is_odd_and_rises(void) {
    int wrong = 0;
    float before = -7;
    for (uint64_t i = 0; i < (uint64_t)1 << 32; i += 65537) {
        float x = rng_normal((uint32_t)i);
        wrong += x != -rng_normal(~(uint32_t)i) || x < before;
        before = x;
    }
    EXPECT_EQ(wrong, 0);
}

static void test_normal_moments(void) {
    const int n = 1000000;
    double sum[5] = {0};
    for (int i = 0; i < n; i += 4) {
        uint32_t r[4];
        rng_block(rng_key(5, RNG_NOISE, 1), (uint64_t)i, 0, r);
        for (int j = 0; j < 4; ++j) {
            double x = (double)rng_normal(r[j]);
            for (int k = 1; k <= 4; ++k) sum[k] += pow(x, k);
        }
    }
    // Five standard deviations of the mean of x^k over n.
    EXPECT_NEAR(sum[1] / n, 0, 5 * sqrt(1. / n));
    EXPECT_NEAR(sum[2] / n, 1, 5 * sqrt(2. / n));
    EXPECT_NEAR(sum[3] / n, 0, 5 * sqrt(15. / n));
    EXPECT_NEAR(sum[4] / n, 3, 5 * sqrt(96. / n));
}

static uint64_t print_of(const float *numbers, int n) {
    uint64_t sum = 0;
    for (int i = 0; i < n; ++i) {
        uint32_t bits;
        memcpy(&bits, &numbers[i], sizeof bits);
        sum += mix_element((uint64_t)i, bits);
    }
    return sum;
}

// A million numbers, bit by bit, by loops that compilers turn into vectors. The sums were equal
// under gcc -O0, gcc -O3 for x86-64, -v3 and -v4, and clang -O2: a difference means that stored
// runs cannot be continued.
static void test_frozen_bits(void) {
    enum { N = 1000000 };
    static uint32_t bits[N];
    static float out[N];
    for (uint64_t i = 0; i < N; i += 4)
        rng_block(rng_key(2024, RNG_NOISE, i % 7), i, (uint32_t)(i % 3), bits + i);
    for (int i = 0; i < N; ++i) out[i] = rng_normal(bits[i]);
    EXPECT_EQ(print_of(out, N), 0x1dab4da6b25a2fc0);
    for (int i = 0; i < N; ++i) out[i] = rng_uniform(bits[i]);
    EXPECT_EQ(print_of(out, N), 0xde68ff000b0217d5);
    for (int i = 0; i < N; ++i) out[i] = rng_log(out[i]);
    EXPECT_EQ(print_of(out, N), 0xf9046d4909139caa);
}

int main(void) {
    RUN(test_published_vectors);
    RUN(test_layout_of_the_counter);
    RUN(test_counters_do_not_collide);
    RUN(test_keys_differ);
    RUN(test_uniform);
    RUN(test_below);
    RUN(test_log);
    RUN(test_normal_against_erfc);
    RUN(test_normal_is_odd_and_rises);
    RUN(test_normal_moments);
    RUN(test_frozen_bits);
    return test_report();
}
