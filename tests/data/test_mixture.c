// Windows of groups, mixtures of sets, and pictures that are flipped and shifted.
#include "base/mix.h"
#include "base/rng.h"
#include "data/augment.h"
#include "data/mixture.h"
#include "tests/test.h"

// ---- windows ------------------------------------------------------------------------------------

static void test_window_known_answers(void) {
    static const struct {
        uint64_t n, group, window, seed, epoch, first[8], last, sum;
    } known[] = {
        {10, 3, 2, 42, 0, {4, 9, 5, 3, 0, 7, 1, 6}, 8, 0xf4},
        {1000, 83, 4, 1, 2, {742, 886, 826, 482, 875, 852, 897, 479}, 115, 0xc238ad6},
        {60000,
         334,
         64,
         0,
         0,
         {20224, 17377, 39552, 27524, 2129, 23974, 41453, 13802},
         58999,
         0x333d5ccd55eb},
        {60000,
         334,
         64,
         0,
         1,
         {9172, 32884, 24626, 32041, 6185, 7753, 32929, 24951},
         56459,
         0x311f06aa4117},
        {60000,
         83,
         16,
         7,
         0,
         {8510, 12173, 48973, 53642, 35385, 51018, 35411, 53629},
         5174,
         0x2ff3508c47b7},
        {1281167,
         256,
         64,
         0,
         0,
         {895004, 289727, 602698, 927575, 1122756, 272170, 1122024, 954160},
         665371,
         0x74f5b591d0f6185},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; ++k) {
        WindowOrder order;
        uint64_t sum = 0;
        window_order_init(&order, known[k].n, known[k].group, known[k].window, known[k].seed,
                          known[k].epoch);
        for (uint64_t p = 0; p < known[k].n; ++p) sum += (p + 1) * window_order_at(&order, p);
        EXPECT_EQ(sum, known[k].sum);
        for (uint64_t p = 0; p < 8; ++p) EXPECT_EQ(window_order_at(&order, p), known[k].first[p]);
        EXPECT_EQ(window_order_at(&order, known[k].n - 1), known[k].last);
    }
}

// Every sample once, and found again where it was, for all small sizes.
static void test_window_is_a_permutation(void) {
    int wrong = 0;
    for (uint64_t n = 1; n <= 40; ++n)
        for (uint64_t group = 1; group <= 9; ++group)
            for (uint64_t window = 1; window <= 6; window += 2) {
                bool seen[40] = {false};
                WindowOrder order;
                window_order_init(&order, n, group, window, n * 7 + group, window);
                for (uint64_t p = 0; p < n; ++p) {
                    uint64_t sample = window_order_at(&order, p);
                    wrong += sample >= n || seen[sample];
                    if (sample < n) seen[sample] = true;
                    wrong += window_order_where(&order, sample) != p;
                }
            }
    EXPECT_EQ(wrong, 0);
}

// A window's samples are those of its groups: what a reader must hold.
static void test_window_holds_few_groups(void) {
    enum { N = 60000, GROUP = 334, WINDOW = 64 };
    WindowOrder order;
    window_order_init(&order, N, GROUP, WINDOW, 3, 5);
    for (uint64_t begin = 0; begin + 2 * WINDOW * GROUP < N; begin += WINDOW * GROUP) {
        bool used[N / GROUP + 1] = {false};
        int groups = 0;
        for (uint64_t p = begin; p < begin + (WINDOW - 1) * GROUP; ++p)
            used[window_order_at(&order, p) / GROUP] = true;
        for (int i = 0; i <= N / GROUP; ++i) groups += used[i];
        EXPECT(groups <= WINDOW + 1); // one more where the short group has shifted them
    }
}

// Variance of a class's count in batches, over that of a random draw, where the samples lie class
// by class: 1 is a perfect shuffle.
static double inflation(bool windows, uint64_t group, uint64_t window) {
    enum { N = 60000, CLASSES = 10, BATCH = 256, BATCHES = N / BATCH, SEEDS = 4 };
    double sum = 0, mean = (double)BATCH / CLASSES;
    for (uint64_t seed = 0; seed < SEEDS; ++seed) {
        Order full;
        WindowOrder windowed;
        order_init(&full, N, seed, 0);
        window_order_init(&windowed, N, group, window, seed, 0);
        for (uint64_t b = 0; b < BATCHES; ++b) {
            int count[CLASSES] = {0};
            for (uint64_t p = b * BATCH; p < (b + 1) * BATCH; ++p)
                ++count[(windows ? window_order_at(&windowed, p) : order_at(&full, p)) / 6000];
            for (int c = 0; c < CLASSES; ++c)
                sum += ((double)count[c] - mean) * ((double)count[c] - mean);
        }
    }
    double variance = sum / (SEEDS * BATCHES * CLASSES);
    return variance / (mean * (1 - 1.0 / CLASSES) * (1 - (double)BATCH / N));
}

// What a window costs in randomness is told by the number of its groups alone: 1 + B/W (1 - W/M).
static void test_window_quality(void) {
    double full = inflation(false, 334, 64), windows = inflation(true, 334, 64),
           narrow = inflation(true, 334, 4);
    double groups = 60000.0 / 334;
    printf("note: inflation of class counts: full %.2f, 64 groups %.2f, 4 groups %.1f\n", full,
           windows, narrow);
    EXPECT_NEAR(full, 1, 0.1);
    EXPECT_NEAR(windows, 1 + 256.0 / 64 * (1 - 64 / groups), 0.6);
    EXPECT_NEAR(narrow, 1 + 256.0 / 4 * (1 - 4 / groups), 9);
}

// ---- mixtures -----------------------------------------------------------------------------------

static Mixture three_sets(void) {
    return (Mixture){.set = {{.samples = 1000, .group = 10, .seed = 11},
                             {.samples = 300, .group = 10, .seed = 12},
                             {.samples = 50, .group = 10, .seed = 13}},
                     .sets = 3,
                     .window = 4,
                     .seed = 99};
}

// Each set has its share of every block, and its own stream goes through it epoch by epoch.
static void check_streams(const Mixture *mixture) {
    static int seen[1350];
    int64_t got[3] = {0}, at[3] = {0};
    int wrong = 0;
    MixtureCursor cursor;
    mixture_cursor_init(&cursor, mixture);
    memset(seen, 0, sizeof seen);
    for (uint64_t p = 0; p < 20 * MIXTURE_BLOCK; ++p) {
        int set;
        int64_t sample = mixture_at(&cursor, p, &set);
        const MixtureSet *of = &mixture->set[set];
        wrong += sample < of->first || sample >= of->first + of->samples;
        ++got[set];
        ++at[set];
        ++seen[sample];
        if (p % MIXTURE_BLOCK == MIXTURE_BLOCK - 1)
            for (int i = 0; i < 3; ++i) {
                wrong += got[i] != mixture->set[i].share;
                got[i] = 0;
            }
    }
    EXPECT_EQ(wrong, 0);
    // Of whole epochs every sample came as often; the block's order can mix only the last one.
    for (int i = 0; i < 3; ++i) {
        const MixtureSet *of = &mixture->set[i];
        int epochs = (int)(at[i] / of->samples);
        for (int64_t k = 0; k < of->samples; ++k) {
            int times = seen[of->first + k];
            wrong += times != epochs && times != epochs + 1;
        }
    }
    EXPECT_EQ(wrong, 0);
}

static void test_shares(void) {
    static const double weight[3] = {0.5, 0.3, 0.2};
    Mixture mixture = three_sets();
    EXPECT_OK(mixture_init(&mixture, weight));
    EXPECT_EQ(mixture.set[0].share, 512);
    EXPECT_EQ(mixture.set[1].share, 307);
    EXPECT_EQ(mixture.set[2].share, 205); // 204.8
    check_streams(&mixture);
    mixture.kind = ORDER_WINDOW;
    check_streams(&mixture);
    EXPECT_OK(mixture_init(&mixture, NULL));
    EXPECT_EQ(mixture.set[0].share, 758); // 758.5, 227.6, 37.9: by the largest remainders
    EXPECT_EQ(mixture.set[1].share, 228);
    EXPECT_EQ(mixture.set[2].share, 38);
    check_streams(&mixture);
}

// A position can be asked for in any order, as ranks and resumed runs do.
static void test_pure_function(void) {
    Mixture mixture = three_sets();
    MixtureCursor one, other;
    EXPECT_OK(mixture_init(&mixture, NULL));
    mixture_cursor_init(&one, &mixture);
    int wrong = 0, set_a, set_b;
    for (uint64_t i = 0; i < 2000; ++i) {
        uint64_t position = mix64(i) % 100000;
        mixture_cursor_init(&other, &mixture);
        wrong += mixture_at(&one, position, &set_a) != mixture_at(&other, position, &set_b);
        wrong += set_a != set_b;
    }
    EXPECT_EQ(wrong, 0);
}

static void test_one_set_is_the_plain_order(void) {
    Mixture mixture = {.set = {{.samples = 777, .group = 10, .seed = 5}}, .sets = 1};
    MixtureCursor cursor;
    Order order;
    int wrong = 0, set;
    EXPECT_OK(mixture_init(&mixture, NULL));
    mixture_cursor_init(&cursor, &mixture);
    for (uint64_t p = 0; p < 3 * 777; ++p) {
        if (p % 777 == 0) order_init(&order, 777, 5, p / 777);
        wrong += mixture_at(&cursor, p, &set) != (int64_t)order_at(&order, p % 777);
    }
    EXPECT_EQ(wrong, 0);
}

static void test_weights(void) {
    double weight[3];
    EXPECT_OK(mixture_parse_weights("0.7, 0.2,0.1", 3, weight));
    EXPECT(weight[0] == 0.7 && weight[1] == 0.2 && weight[2] == 0.1);
    EXPECT_FAIL(mixture_parse_weights("0.7, 0.2", 3, weight), BAD_CONFIG, "must be 3 numbers");
    EXPECT_FAIL(mixture_parse_weights("1, 2, 3, 4", 3, weight), BAD_CONFIG, "must be 3 numbers");
    EXPECT_FAIL(mixture_parse_weights("1, -2, 3", 3, weight), BAD_CONFIG, "above 0");
    EXPECT_FAIL(mixture_parse_weights("1, nan, 3", 3, weight), BAD_CONFIG, "above 0");
    Mixture mixture = three_sets();
    static const double small[3] = {1, 1, 0.0004};
    EXPECT_FAIL(mixture_init(&mixture, small), BAD_CONFIG, "data set number 3");
}

// ---- pictures -----------------------------------------------------------------------------------

static void test_augment(void) {
    enum { C = 2, H = 5, W = 7, COUNT = 4000 };
    uint8_t in[C * H * W], out[C * H * W];
    int flips = 0, wrong = 0, shifts[5][5] = {{0}};
    Augment augment = {.flip = true, .crop = 2};
    for (int i = 0; i < C * H * W; ++i) in[i] = (uint8_t)(i + 1);
    for (uint64_t position = 0; position < COUNT; ++position) {
        augment_image(&augment, 3, position, in, C, H, W, out);
        // The middle pixel of the result tells what was done; everything else has to follow.
        int middle = out[2 * W + 3] - 1, from_y = middle / W, from_x = middle % W;
        bool flip = out[2 * W + 4] < out[2 * W + 2];
        int down = from_y - 2, right = (flip ? W - 1 - from_x : from_x) - 3;
        wrong += down < -2 || down > 2 || right < -2 || right > 2;
        if (wrong > 0) break;
        flips += flip;
        ++shifts[down + 2][right + 2];
        for (int c = 0; c < C; ++c)
            for (int y = 0; y < H; ++y)
                for (int x = 0; x < W; ++x) {
                    int sy = y + down, sx = x + right;
                    bool inside = sy >= 0 && sy < H && sx >= 0 && sx < W;
                    int expected = inside ? in[(c * H + sy) * W + (flip ? W - 1 - sx : sx)] : 0;
                    wrong += out[(c * H + y) * W + x] != expected;
                }
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_NEAR(flips, COUNT / 2, 5 * sqrt(COUNT / 4.0));
    for (int i = 0; i < 25; ++i)
        EXPECT_NEAR(shifts[i / 5][i % 5], COUNT / 25, 5 * sqrt(COUNT / 25.0));
    augment = (Augment){.flip = true};
    augment_image(&augment, 3, 1, in, C, H, W, out);
    EXPECT(out[0] == in[0] || out[0] == in[W - 1]);
}

int main(void) {
    RUN(test_window_known_answers);
    RUN(test_window_is_a_permutation);
    RUN(test_window_holds_few_groups);
    RUN(test_window_quality);
    RUN(test_shares);
    RUN(test_pure_function);
    RUN(test_one_set_is_the_plain_order);
    RUN(test_weights);
    RUN(test_augment);
    return test_report();
}
