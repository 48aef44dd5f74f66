// Packing in units: ranks, resuming, bad samples, splits and orders, from a source that the test
// makes.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/order.h"
#include "data/pack/pack.h"
#include "data/pack/unpack.h"
#include "tests/data/support_data.h"
#include "tests/test.h"

static const char *folder;

enum { SIDE = 1024, SAMPLES = 150, UNIT = 64 }; // a sample is 1 MiB, a unit 64 of them

// What a made source does; `state` of the Source.
typedef struct {
    int64_t side, samples;
    bool sorted, sequential, splits, labels;
    int64_t fail_at;  // this sample ends the pack with IO; -1: none
    int64_t bad_from; // these
    int64_t bad_to;   // cannot be read
    int64_t reads;    // samples read so far
    int64_t last;
} Made;

static uint8_t pixel_of(int64_t sample, int64_t i) {
    return (uint8_t)(sample * 7 + i / 64);
}

static Status made_open(Source *source, const SourceOptions *options) {
    const Made *made = source->state;
    const int64_t shape[3] = {1, made->side, made->side};
    (void)options;
    source->info.kind = KIND_IMAGE;
    source_add_column(source, "image", DTYPE_U8, 3, shape);
    if (made->labels) source_add_column(source, "label", DTYPE_U16, 0, NULL);
    source->info.classes = made->labels ? 300 : 0;
    source->sorted = made->sorted;
    source->sequential = made->sequential;
    source_add_split(source, made->splits ? "train" : "", made->samples);
    if (made->splits) source_add_split(source, "test", made->samples / 5);
    return STATUS_OK;
}

static Status made_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                        uint8_t *const out[DATASET_COLUMNS_MOST]) {
    Made *made = source->state;
    int64_t pixels = made->side * made->side;
    (void)split;
    if (most > 3) most = 3;
    for (int64_t i = 0; i < most; ++i) {
        int64_t sample = first + i;
        uint16_t label = (uint16_t)(sample % 300);
        FAIL_IF(sample == made->fail_at, IO, "sample %lld: the disk is away", (long long)sample);
        bool bad = sample >= made->bad_from && sample < made->bad_to;
        FAIL_IF(bad && i == 0, BAD_DATA, "sample %lld: is no picture", (long long)sample);
        if (bad) return STATUS_OK;
        for (int64_t k = 0; k < pixels; k += 64) // pixel_of, 64 at a time
            memset(out[0] + i * pixels + k, pixel_of(sample, k),
                   (size_t)(pixels - k < 64 ? pixels - k : 64));
        if (made->labels) memcpy(out[1] + 2 * i, &label, 2);
        *got = i + 1;
        ++made->reads;
    }
    return STATUS_OK;
}

static void made_close(Source *source) {
    source->state = NULL;
}

static const SourceType source_made = {
    .name = "made", .what = "a test's", .open = made_open, .read = made_read, .close = made_close};

static Made large(void) {
    return (Made){.side = SIDE, .samples = SAMPLES, .labels = true, .fail_at = -1, .splits = true};
}

static Made small(void) {
    return (Made){.side = 4, .samples = 200, .labels = true, .fail_at = -1};
}

static int told;

static void note_bad(void *context, const char *why) {
    (void)context;
    told += strstr(why, "is no picture") != NULL;
}

static PackConfig config_of(Made *made, const char *name) {
    static const PackInput input = {"made", NULL};
    return (PackConfig){.input = &input,
                        .inputs = 1,
                        .made = &source_made,
                        .made_state = made,
                        .out = support_path(folder, name),
                        .name = "made",
                        .bad = note_bad};
}

// The labels of a split, which tell the samples.
static uint16_t *labels_of(const char *out, const char *split, int64_t *count) {
    size_t bytes = 0;
    uint16_t *label = (uint16_t *)(void *)support_read_column(out, split, "label", 0, &bytes);
    *count = (int64_t)bytes / 2;
    return label;
}

// ---- ranks as threads ---------------------------------------------------------------------------

enum { RANKS = 3 };

typedef struct {
    pthread_barrier_t barrier;
    Status status[RANKS];
} Board;

typedef struct {
    Board *board;
    int rank;
    Made made;
    PackConfig config;
    Status result;
} Rank;

static Status agree(void *context, Status mine) {
    Rank *rank = context;
    Status worst = STATUS_OK;
    rank->board->status[rank->rank] = mine;
    pthread_barrier_wait(&rank->board->barrier);
    for (int i = 0; i < RANKS; ++i)
        if (worst == STATUS_OK) worst = rank->board->status[i];
    pthread_barrier_wait(&rank->board->barrier);
    return worst;
}

static void *run_rank(void *context) {
    Rank *rank = context;
    rank->result = pack(&rank->config);
    return NULL;
}

static void pack_by_ranks(Made made, const char *name, Status expected) {
    static Board board;
    static Rank rank[RANKS];
    pthread_t thread[RANKS];
    pthread_barrier_init(&board.barrier, NULL, RANKS);
    for (int i = 0; i < RANKS; ++i) {
        rank[i] = (Rank){.board = &board, .rank = i, .made = made};
        rank[i].config = config_of(&rank[i].made, name);
        rank[i].config.team = (PackTeam){i, RANKS, agree, &rank[i]};
        EXPECT_EQ(pthread_create(&thread[i], NULL, run_rank, &rank[i]), 0);
    }
    for (int i = 0; i < RANKS; ++i) {
        pthread_join(thread[i], NULL);
        EXPECT_EQ(rank[i].result, expected);
    }
    pthread_barrier_destroy(&board.barrier);
}

static void test_ranks(void) {
    Made made = large();
    PackConfig config = config_of(&made, "alone");
    EXPECT_OK(pack(&config));
    EXPECT_OK(dataset_verify(config.out, 0, 1));
    pack_by_ranks(large(), "together", STATUS_OK);
    support_same_folders(config.out, support_path(folder, "together"), 5);
    EXPECT(file_exists(support_path(config.out, "train-image-00002.zst")));
    EXPECT(!file_exists(support_path(config.out, "records")));
    int64_t count;
    uint16_t *label = labels_of(config.out, "train", &count);
    EXPECT_EQ(count, SAMPLES);
    int wrong = 0;
    for (int64_t i = 0; i < count; ++i) wrong += label[i] != i;
    EXPECT_EQ(wrong, 0);
    free(label);
}

static void test_a_rank_fails(void) {
    Made made = large();
    made.fail_at = UNIT + 3; // of rank 1
    pack_by_ranks(made, "failing", STATUS_IO);
    EXPECT(!file_exists(support_path(folder, "failing")));
}

// ---- resuming -----------------------------------------------------------------------------------

static void test_resume(void) {
    Made made = large();
    made.fail_at = 2 * UNIT + 1;
    PackConfig config = config_of(&made, "resumed");
    EXPECT_FAIL(pack(&config), IO, "the disk is away");
    EXPECT(!file_exists(config.out));
    made.reads = 0;
    made.fail_at = -1;
    EXPECT_OK(pack(&config));
    EXPECT_EQ(made.reads, SAMPLES - 2 * UNIT + SAMPLES / 5);
    support_same_folders(config.out, support_path(folder, "alone"), 5);
}

// A shard that is gone, or other options, are packed anew.
static void test_resume_of_something_else(void) {
    char path[PATH_BYTES];
    Made made = large();
    made.fail_at = 2 * UNIT + 1;
    PackConfig config = config_of(&made, "changed");
    EXPECT_FAIL(pack(&config), IO, "the disk is away");
    EXPECT_OK(path_format(path, "%s.packing/train-image-00000.zst", config.out));
    EXPECT_EQ(unlink(path), 0);
    made.reads = 0;
    EXPECT_FAIL(pack(&config), IO, "the disk is away");
    EXPECT(made.reads >= UNIT && made.reads < 2 * UNIT);
    made.reads = 0;
    made.fail_at = -1;
    config.limit = UNIT + 1;
    EXPECT_OK(pack(&config));
    EXPECT_EQ(made.reads, UNIT + 1 + SAMPLES / 5);
    EXPECT_OK(dataset_verify(config.out, 0, 1));
}

// ---- bad samples --------------------------------------------------------------------------------

static void test_bad_samples(void) {
    Made made = large();
    made.bad_from = 10;
    made.bad_to = UNIT + 2;
    PackConfig config = config_of(&made, "bad");
    told = 0;
    EXPECT_FAIL(pack(&config), BAD_DATA, "76 samples cannot be packed"); // 56 of train, 20 of test
    EXPECT_EQ(told, 56 + 20);
    EXPECT(!file_exists(config.out));
    made.reads = 0;
    config.skip_bad = true;
    EXPECT_OK(pack(&config));
    EXPECT_EQ(made.reads, 10 + UNIT - 2 + 10); // of the units with bad ones; the others were there
    EXPECT_OK(dataset_verify(config.out, 0, 1));
    int64_t count;
    uint16_t *label = labels_of(config.out, "train", &count);
    EXPECT_EQ(count, SAMPLES - 56);
    int wrong = 0;
    for (int64_t i = 0; i < count; ++i) wrong += label[i] != (i < 10 ? i : i + 56);
    free(label);
    size_t bytes;
    uint8_t *pixel = support_read_column(config.out, "train", "image", 0, &bytes);
    for (int64_t i = 0; i < count; ++i)
        wrong += pixel[i * SIDE * SIDE + 70] != pixel_of(i < 10 ? i : i + 56, 70);
    EXPECT_EQ(wrong, 0);
    free(pixel);
}

// The plan does not tell what a sample holds, so it is the same.
static void test_mended_samples(void) {
    Made made = large();
    made.bad_from = 10;
    made.bad_to = 12;
    PackConfig config = config_of(&made, "mended");
    EXPECT_FAIL(pack(&config), BAD_DATA, "4 samples cannot be packed");
    made.bad_to = 11;
    EXPECT_FAIL(pack(&config), BAD_DATA, "2 samples cannot be packed");
    made.bad_to = made.reads = 0;
    EXPECT_OK(pack(&config));
    EXPECT_EQ(made.reads, UNIT + SAMPLES / 5);
    support_same_folders(config.out, support_path(folder, "alone"), 5);
}

static void test_nothing_but_bad_samples(void) {
    Made made = small();
    made.bad_to = 1000;
    PackConfig config = config_of(&made, "all-bad");
    config.skip_bad = true;
    EXPECT_FAIL(pack(&config), BAD_DATA, "no sample of split \"train\" can be packed");
}

// ---- splits and orders --------------------------------------------------------------------------

static void test_shuffled_shares(void) {
    Made made = small();
    made.sorted = true;
    PackConfig config = config_of(&made, "shuffled");
    config.shuffle_seed = 5;
    EXPECT_OK(pack(&config));
    Order order;
    order_init(&order, 200, 5, 0);
    static const char *const splits[3] = {"train", "valid", "test"};
    static const int64_t expected[3] = {180, 10, 10};
    uint64_t position = 0;
    for (int s = 0; s < 3; ++s) {
        int64_t count;
        uint16_t *label = labels_of(config.out, splits[s], &count);
        EXPECT_EQ(count, expected[s]);
        for (int64_t i = 0; i < count; ++i) EXPECT_EQ(label[i], order_at(&order, position++));
        free(label);
    }
}

static void test_limit_and_no_shuffle(void) {
    int64_t count;
    Made made = small();
    made.sorted = true;
    PackConfig config = config_of(&made, "in-order");
    config.shuffle = SHUFFLE_NEVER;
    config.limit = 7;
    config.share[0] = 0.5;
    config.share[2] = 0.5;
    EXPECT_OK(pack(&config));
    uint16_t *label = labels_of(config.out, "test", &count);
    EXPECT_EQ(count, 7);
    for (int64_t i = 0; i < count; ++i) EXPECT_EQ(label[i], 100 + i);
    free(label);
    Dataset *dataset;
    EXPECT_FAIL(
        dataset_open(&(DatasetConfig){.path = config.out, .split = "valid", .cache_bytes = 0},
                     &dataset),
        NOT_FOUND, "it has train, test");
}

static void test_one_split(void) {
    Made made = small();
    PackConfig config = config_of(&made, "one-split");
    PackInput input[2] = {{"made", "valid"}, {"made", "valid"}};
    config.input = input;
    config.inputs = 2;
    EXPECT_OK(pack(&config));
    int64_t count;
    uint16_t *label = labels_of(config.out, "valid", &count);
    EXPECT_EQ(count, 400);
    for (int64_t i = 0; i < count; ++i) EXPECT_EQ(label[i], i % 200);
    free(label);
    input[0].split = "va/lid";
    config.force = true;
    EXPECT_FAIL(pack(&config), BAD_USAGE, "no name for a split");
}

static void test_what_cannot_be(void) {
    Made made = small();
    PackConfig config = config_of(&made, "never");
    made.sequential = true;
    config.shuffle = SHUFFLE_ALWAYS;
    EXPECT_FAIL(pack(&config), BAD_USAGE, "in its own order only");
    made = small();
    made.samples = 19;
    config.shuffle = SHUFFLE_AUTO;
    EXPECT_FAIL(pack(&config), BAD_DATA, "19 samples are too few to split");
    made.samples = 0;
    EXPECT_FAIL(pack(&config), BAD_DATA, "holds no samples");
    EXPECT(!file_exists(support_path(folder, "never.packing")));
}

static void test_two_texts(void) {
    const char *a = support_path(folder, "a.txt"), *b = support_path(folder, "b.txt");
    support_write_file(a, "aabbxx\xC3\xA9", 8);
    support_write_file(b, "bbccaa", 6);
    PackInput input[2] = {{a, "train"}, {b, "test"}};
    PackConfig config = {.input = input, .inputs = 2, .out = support_path(folder, "texts")};
    EXPECT_OK(pack(&config));
    size_t bytes;
    uint8_t *symbol = support_read_column(config.out, "test", "text", 0, &bytes);
    Dataset *dataset;
    EXPECT_OK(dataset_open(&(DatasetConfig){.path = config.out, .split = "train", .cache_bytes = 0},
                           &dataset));
    EXPECT_TEXT(dataset_info(dataset)->alphabet, "abcx\xC2\xA9\xC3\x83");
    EXPECT_EQ(memcmp(symbol, "\1\1\2\2\0\0", 6), 0);
    dataset_close(dataset);
    free(symbol);

    config.source = (SourceOptions){.form = FORM_ALPHABET,
                                    .alphabet = "x\xC3\xA9"
                                                "cba"};
    config.force = true;
    EXPECT_OK(pack(&config));
    symbol = support_read_column(config.out, "train", "text", 0, &bytes);
    EXPECT_EQ(bytes, 7);
    EXPECT_EQ(memcmp(symbol, "\4\4\3\3\0\0\1", 7), 0);
    free(symbol);
    config.source.alphabet = "abc";
    EXPECT_FAIL(pack(&config), BAD_DATA, "a.txt: line 1 holds \"x\"");
    config.source.alphabet = "abca";
    EXPECT_FAIL(pack(&config), BAD_USAGE, "holds \"a\" twice");
    input[1].path = "swiss-roll";
    config.source = (SourceOptions){0};
    EXPECT_FAIL(pack(&config), BAD_USAGE, "is of kind vector");
}

// In the order of their names, and more than a process may open at a time.
static void test_folder_of_texts(void) {
    enum { BOOKS = 90, OPEN_MOST = 40 };
    char source[PATH_BYTES], name[16], line[16], all[BOOKS * 16] = "";
    EXPECT_OK(path_format(source, "%s/books", folder));
    EXPECT_OK(folder_make(source));
    for (int i = BOOKS - 1; i >= 0; --i) {
        snprintf(name, sizeof name, "%02d.txt", i);
        snprintf(line, sizeof line, "book %d\n", i);
        support_write_file(support_path(source, name), line, strlen(line));
    }
    for (int i = 0; i < BOOKS; ++i) snprintf(all + strlen(all), 16, "book %d\n", i);
    PackConfig config = {.input = &(PackInput){source, "train"},
                         .inputs = 1,
                         .out = support_path(folder, "books-set")};
    struct rlimit before;
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit less = {OPEN_MOST, before.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &less), 0);
    EXPECT_OK(pack(&config));
    EXPECT_OK(
        unpack(&(UnpackConfig){.set = config.out, .out = support_path(folder, "books-back")}));
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    char *text;
    size_t bytes;
    EXPECT_OK(file_read(support_path(folder, "books-back/train.txt"), 4096, &text, &bytes));
    EXPECT_TEXT(text, all);
    free(text);
}

int main(void) {
    folder = test_folder("pack-units");
    RUN(test_ranks);
    RUN(test_a_rank_fails);
    RUN(test_resume);
    RUN(test_resume_of_something_else);
    RUN(test_bad_samples);
    RUN(test_mended_samples);
    RUN(test_nothing_but_bad_samples);
    RUN(test_shuffled_shares);
    RUN(test_limit_and_no_shuffle);
    RUN(test_one_split);
    RUN(test_what_cannot_be);
    RUN(test_two_texts);
    RUN(test_folder_of_texts);
    (void)!folder_remove(folder);
    return test_report();
}
