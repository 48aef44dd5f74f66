// Data sets read by several threads, lost groups, and shards that come from elsewhere.
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mix.h"
#include "data/dataset.h"
#include "data/dataset_index.h"
#include "data/order.h"
#include "data/shard_cache.h"
#include "data/shard_store.h"
#include "tests/data/support_data.h"
#include "tests/test.h"

static const char *folder;
static char set[PATH_BYTES]; // the packed pictures

enum { TRAIN = 3000, GROUP = 334, GROUPS = 9, THREADS = 4, CACHE_SMALL = 3 * GROUP * 784 };

// ---- the far end --------------------------------------------------------------------------------

// Serves a folder, as another node would.
typedef struct {
    const char *folder;
    atomic_int fetches;
    atomic_long bytes;
    int fail;  // so many fetches fail first
    bool lies; // gives other bytes
} Far;

static Status far_index(void *context, const char *path, char **text, size_t *bytes) {
    const Far *far = context;
    (void)path;
    return file_read(support_path(far->folder, "index.json"), 1 << 24, text, bytes);
}

static Status far_fetch(void *context, const char *path, const char *file, uint64_t offset,
                        size_t bytes, void *out) {
    Far *far = context;
    (void)path;
    int number = atomic_fetch_add(&far->fetches, 1);
    atomic_fetch_add(&far->bytes, (long)bytes);
    FAIL_IF(number < far->fail, COMM, "the far end does not answer");
    char place[PATH_BYTES];
    TRY(path_format(place, "%s/%s", far->folder, file));
    FILE *from = fopen(place, "rbe");
    FAIL_IF(from == NULL, NOT_FOUND, "no %s", file);
    bool read = fseek(from, (long)offset, SEEK_SET) == 0 && fread(out, 1, bytes, from) == bytes;
    fclose(from);
    FAIL_IF(!read, BAD_DATA, "%s ends early", file);
    if (far->lies) ((uint8_t *)out)[bytes / 2] ^= 1;
    return STATUS_OK;
}

static DatasetFetch fetch_of(Far *far, const char *cache, uint64_t limit) {
    return (DatasetFetch){far, far_index, far_fetch, cache, limit};
}

static int warnings;
static char warned[2000];

static void note_warning(const char *line) {
    ++warnings;
    snprintf(warned, sizeof warned, "%s", line);
}

// Whether these items are those that were packed.
static int count_wrong(Dataset *dataset, int64_t first, int64_t count) {
    int wrong = 0;
    uint8_t *pixel = malloc((size_t)(count * SUPPORT_PIXELS)), *label = malloc((size_t)count);
    EXPECT_OK(dataset_read(dataset, 0, first, count, pixel));
    EXPECT_OK(dataset_read(dataset, 1, first, count, label));
    for (int64_t i = 0; i < count; ++i) {
        wrong += label[i] != support_label(0, first + i);
        for (int k = 0; k < SUPPORT_PIXELS; k += 97)
            wrong += pixel[i * SUPPORT_PIXELS + k] != support_pixel(0, first + i, k);
    }
    free(pixel);
    free(label);
    return wrong;
}

// ---- threads ------------------------------------------------------------------------------------

typedef struct {
    Dataset *dataset;
    uint64_t seed;
    int wrong;
    bool failed;
} Reader;

static void *read_at_random(void *context) {
    Reader *reader = context;
    uint8_t pixel[SUPPORT_PIXELS], label;
    for (uint64_t i = 0; i < 400; ++i) {
        int64_t item = (int64_t)(mix64(reader->seed * 100000 + i) % TRAIN);
        Status status = dataset_read(reader->dataset, 0, item, 1, pixel);
        if (status == STATUS_OK) status = dataset_read(reader->dataset, 1, item, 1, &label);
        reader->failed |= status != STATUS_OK;
        int at = (int)(i % SUPPORT_PIXELS);
        reader->wrong += pixel[at] != support_pixel(0, item, at) || label != support_label(0, item);
    }
    return NULL;
}

static void read_by_threads(Dataset *dataset) {
    pthread_t thread[THREADS];
    Reader reader[THREADS] = {0};
    for (int i = 0; i < THREADS; ++i) {
        reader[i] = (Reader){.dataset = dataset, .seed = (uint64_t)i};
        EXPECT_EQ(pthread_create(&thread[i], NULL, read_at_random, &reader[i]), 0);
    }
    for (int i = 0; i < THREADS; ++i) {
        pthread_join(thread[i], NULL);
        EXPECT(!reader[i].failed);
        EXPECT_EQ(reader[i].wrong, 0);
    }
}

// With room for all groups, for some, and for one that all threads want in turn.
static void test_threads(void) {
    static const size_t cache[3] = {1 << 26, CACHE_SMALL, 0};
    for (int i = 0; i < 3; ++i) {
        Dataset *dataset;
        DatasetConfig config = {.path = set, .split = "train", .cache_bytes = cache[i]};
        EXPECT_OK(dataset_open(&config, &dataset));
        read_by_threads(dataset);
        dataset_close(dataset);
    }
}

// ---- losses -------------------------------------------------------------------------------------

static const char *copy_of(const char *name) {
    char command[1500];
    const char *copy = support_path(folder, name);
    snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", copy, set, copy);
    EXPECT_EQ(system(command), 0);
    return copy;
}

static void test_lost_group(void) {
    const char *copy = copy_of("lost");
    Dataset *dataset;
    uint8_t pixel[SUPPORT_PIXELS];
    int64_t first, count;
    support_flip_byte(support_path(copy, "train-image-00000.zst"), 40); // in the first group
    DatasetConfig config = {.path = copy,
                            .split = "train",
                            .cache_bytes = CACHE_SMALL,
                            .tries = 3,
                            .wait = 0.001,
                            .warn = note_warning};
    EXPECT_OK(dataset_open(&config, &dataset));
    warnings = 0;
    EXPECT_FAIL(dataset_read(dataset, 0, 5, 1, pixel), BAD_DATA, "block 0");
    EXPECT_EQ(warnings, 2);
    EXPECT(strstr(warned, "train-image-00000.zst, group 0 (items 0 to 333) cannot be read") !=
           NULL);
    EXPECT_FAIL(dataset_read(dataset, 0, 300, 1, pixel), BAD_DATA, "wrong hash");
    EXPECT_EQ(warnings, 2); // known now
    EXPECT(dataset_lost_range(dataset, 0, 300, &first, &count));
    EXPECT(first == 0 && count == GROUP);
    EXPECT(!dataset_lost_range(dataset, 0, GROUP, &first, &count));
    EXPECT(first == GROUP && count == GROUP);
    EXPECT_OK(dataset_read(dataset, 0, GROUP, 1, pixel));
    EXPECT(!dataset_busy(dataset, warned, sizeof warned));
    dataset_close(dataset);
}

// A disk that comes back is no loss.
static void *mend(void *context) {
    usleep(30000);
    support_flip_byte(context, 40);
    return NULL;
}

static void test_tried_again(void) {
    const char *copy = copy_of("tried");
    char path[PATH_BYTES];
    pthread_t thread;
    Dataset *dataset;
    uint8_t pixel[SUPPORT_PIXELS];
    snprintf(path, sizeof path, "%s/train-image-00000.zst", copy);
    support_flip_byte(path, 40);
    DatasetConfig config = {
        .path = copy, .split = "train", .tries = 3, .wait = 0.1, .warn = note_warning};
    EXPECT_OK(dataset_open(&config, &dataset));
    warnings = 0;
    EXPECT_EQ(pthread_create(&thread, NULL, mend, path), 0);
    EXPECT_OK(dataset_read(dataset, 0, 5, 1, pixel));
    pthread_join(thread, NULL);
    EXPECT_EQ(warnings, 1);
    dataset_close(dataset);
}

// One thread finds a shard broken and opens it anew while another still reads from the old reader.
static void test_broken_while_in_use(void) {
    DatasetIndex index;
    ShardStore *store;
    const BlockReader *old, *same, *fresh;
    BlockDecoder *decoder;
    EXPECT_OK(shard_store_open(set, NULL, NULL, &index, &store));
    EXPECT_OK(shard_store_take(store, index.shard, index.shards));
    EXPECT_OK(shard_store_lend(store, 0, &old));
    EXPECT_OK(shard_store_lend(store, 0, &same));
    EXPECT(same == old);
    shard_store_return(store, same, true);
    EXPECT_OK(shard_store_lend(store, 0, &fresh));
    EXPECT(fresh != old);
    shard_store_return(store, fresh, false);
    uint8_t *raw = malloc(block_reader_raw_bytes(old, 0));
    EXPECT_OK(block_decoder_open(&decoder));
    EXPECT_OK(block_reader_read_with(old, decoder, 0, raw));
    shard_store_return(store, old, false);
    block_decoder_close(decoder);
    free(raw);
    shard_store_close(store);
    dataset_index_close(&index);
}

static void test_missing_shard(void) {
    const char *copy = copy_of("missing");
    Dataset *dataset;
    uint8_t pixel[SUPPORT_PIXELS], label;
    EXPECT_EQ(unlink(support_path(copy, "train-image-00000.zst")), 0);
    DatasetConfig config = {.path = copy, .split = "train"};
    EXPECT_FAIL(dataset_open(&config, &dataset), BAD_DATA, "train-image-00000.zst: is missing");
    config.lost_later = true;
    EXPECT_OK(dataset_open(&config, &dataset));
    int64_t first, count;
    EXPECT_FAIL(dataset_read(dataset, 0, 0, 1, pixel), BAD_DATA, "is missing; copy it again");
    EXPECT(dataset_lost_range(dataset, 0, 0, &first, &count));
    EXPECT(first == 0 && count == TRAIN);
    EXPECT_OK(dataset_read(dataset, 1, 0, 1, &label));
    dataset_close(dataset);
}

// ---- from elsewhere -----------------------------------------------------------------------------

static const char *fresh_cache(const char *name) {
    const char *cache = support_path(folder, name);
    EXPECT_OK(folder_remove(cache));
    return cache;
}

// A node without the data: the blocks that are read come, once.
static void test_fetched(void) {
    Far far = {.folder = set};
    DatasetFetch fetch = fetch_of(&far, fresh_cache("cache"), 1 << 30);
    DatasetConfig config = {
        .path = "not-here", .split = "train", .cache_bytes = CACHE_SMALL, .fetch = &fetch};
    Dataset *dataset;
    EXPECT_OK(dataset_open(&config, &dataset));
    EXPECT_EQ(dataset_info(dataset)->items, TRAIN);
    EXPECT_EQ(far.fetches, 0);
    EXPECT_EQ(count_wrong(dataset, 10, 20), 0);
    EXPECT_EQ(far.fetches, 6); // of each column: the end, the index, a block
    EXPECT_EQ(count_wrong(dataset, 0, TRAIN), 0);
    EXPECT_EQ(far.fetches, 6 + GROUPS - 1);
    dataset_close(dataset);

    // With what is kept nothing is fetched, whoever opens it.
    EXPECT_OK(dataset_open(&config, &dataset));
    far.fetches = 0;
    read_by_threads(dataset);
    EXPECT_EQ(far.fetches, 0);
    dataset_close(dataset);
}

static const char *kept_file(const char *cache, const char *file) {
    char name[64];
    DatasetIndex index;
    EXPECT_OK(dataset_index_load(set, &index));
    snprintf(name, sizeof name, "set-%016" PRIx64, index.check);
    dataset_index_close(&index);
    return support_path(support_path(cache, name), file);
}

static void test_damaged_copy(void) {
    Far far = {.folder = set};
    const char *cache = fresh_cache("cache-damaged");
    DatasetFetch fetch = fetch_of(&far, cache, 1 << 30);
    DatasetConfig config = {
        .path = "not-here", .split = "train", .cache_bytes = 0, .fetch = &fetch};
    Dataset *dataset;
    EXPECT_OK(dataset_open(&config, &dataset));
    EXPECT_EQ(count_wrong(dataset, 0, TRAIN), 0);
    dataset_close(dataset);
    support_flip_byte(kept_file(cache, "train-image-00000.zst"), 40);
    support_flip_byte(kept_file(cache, "train-image-00000.zst"), -20); // in its index
    EXPECT_OK(dataset_open(&config, &dataset));
    far.fetches = 0;
    EXPECT_EQ(count_wrong(dataset, 0, TRAIN), 0);
    EXPECT_EQ(far.fetches, 3);
    // Emptied by another process in the middle.
    EXPECT_EQ(truncate(kept_file(cache, "train-image-00000.zst"), 0), 0);
    EXPECT_EQ(count_wrong(dataset, 0, 1), 0);
    EXPECT_EQ(far.fetches, 4);
    dataset_close(dataset);
}

static void test_far_end_fails(void) {
    Far far = {.folder = set, .fail = 2};
    DatasetFetch fetch = fetch_of(&far, fresh_cache("cache-fails"), 1 << 30);
    DatasetConfig config = {.path = "not-here", .split = "train", .fetch = &fetch, .tries = 3};
    Dataset *dataset;
    uint8_t pixel[SUPPORT_PIXELS];
    EXPECT_OK(dataset_open(&config, &dataset));
    EXPECT_OK(dataset_read(dataset, 0, 0, 1, pixel));
    dataset_close(dataset);
    far = (Far){.folder = set, .lies = true};
    (void)fresh_cache("cache-fails");
    EXPECT_OK(dataset_open(&config, &dataset));
    EXPECT_FAIL(dataset_read(dataset, 0, 0, 1, pixel), BAD_DATA, "train-image-00000.zst");
    dataset_close(dataset);
}

// What lies here and is damaged is read from there; a shard that is missing here comes from there.
static void test_healed(void) {
    Far far = {.folder = set};
    const char *copy = copy_of("healed");
    DatasetFetch fetch = fetch_of(&far, fresh_cache("cache-healed"), 1 << 30);
    DatasetConfig config = {.path = copy, .split = "train", .fetch = &fetch};
    Dataset *dataset;
    support_flip_byte(support_path(copy, "train-image-00000.zst"), 40);
    EXPECT_EQ(unlink(support_path(copy, "train-label-00000.zst")), 0);
    EXPECT_OK(dataset_open(&config, &dataset));
    EXPECT_EQ(count_wrong(dataset, 0, TRAIN), 0);
    EXPECT_EQ(far.fetches, 4);
    dataset_close(dataset);
}

// ---- the cache's limit --------------------------------------------------------------------------

static uint64_t taken_by(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 ? (uint64_t)about.st_blocks * 512 : 0;
}

static void test_limit(void) {
    enum { COPIES = 8, BYTES = 1 << 20 };
    const char *cache = fresh_cache("cache-limit");
    ShardCache *store;
    uint8_t *data = malloc(BYTES);
    uint64_t total = 0;
    char name[32];
    for (int i = 0; i < BYTES; ++i) data[i] = (uint8_t)mix64((uint64_t)i);
    EXPECT_OK(shard_cache_open(cache, 5 * BYTES, "set-a", NULL, &store));
    for (int i = 0; i < COPIES; ++i) {
        int fd;
        snprintf(name, sizeof name, "%d.zst", i);
        EXPECT_OK(shard_cache_file(store, name, BYTES, &fd));
        shard_cache_put(store, fd, 0, data, BYTES);
        close(fd);
        usleep(2000); // times of use that differ
    }
    for (int i = 0; i < COPIES; ++i) {
        snprintf(name, sizeof name, "%d.zst", i);
        total += taken_by(support_path(support_path(cache, "set-a"), name));
    }
    EXPECT(total <= 5 * BYTES && total >= 3 * BYTES);
    EXPECT_EQ(taken_by(support_path(support_path(cache, "set-a"), "0.zst")), 0); // the oldest
    EXPECT(taken_by(support_path(support_path(cache, "set-a"), "7.zst")) >= BYTES);
    shard_cache_close(store);
    free(data);
}

// ---- a billion samples --------------------------------------------------------------------------

// The index of a set that nobody has: only opening it and finding places is looked at.
static void write_large_index(const char *out, int64_t items) {
    enum { UNIT = 85504, LABEL_GROUP = 262144 };
    DatasetIndex index = {.info = {.name = "large",
                                   .kind = KIND_IMAGE,
                                   .columns = 2,
                                   .classes = 10,
                                   .column = {{.name = "image",
                                               .filter = FILTER_ROW_DELTA,
                                               .dims = 3,
                                               .dim = {1, 28, 28},
                                               .group_items = GROUP},
                                              {.name = "label", .group_items = LABEL_GROUP}}},
                          .split = {{.name = "train", .items = items}},
                          .splits = 1};
    for (int c = 0; c < 2; ++c)
        for (int64_t first = 0; first < items; first += UNIT) {
            IndexShard shard = {.column = c, .first = first};
            shard.items = items - first < UNIT ? items - first : UNIT;
            int64_t group = index.info.column[c].group_items;
            shard.file_info.blocks = (uint32_t)((shard.items - 1) / group + 1);
            shard.file_info.raw = (uint64_t)(shard.items * (c == 0 ? 784 : 1));
            shard.file_info.bytes = shard.file_info.raw / 2 + 1;
            snprintf(shard.file, sizeof shard.file, "train-%s-%05d.zst", index.info.column[c].name,
                     (int)(first / UNIT));
            EXPECT_OK(dataset_index_add_shard(&index, &shard));
        }
    EXPECT_OK(folder_make(out));
    EXPECT_OK(dataset_index_save(out, &index));
    dataset_index_close(&index);
}

static void test_a_billion_samples(void) {
    static const int64_t items = 1000000000;
    const char *out = support_path(folder, "large");
    Dataset *dataset;
    Order order;
    uint8_t pixel[SUPPORT_PIXELS];
    write_large_index(out, items);
    DatasetConfig config = {
        .path = out, .split = "train", .cache_bytes = 1 << 22, .lost_later = true};
    double started = clock_now();
    EXPECT_OK(dataset_open(&config, &dataset));
    double opened = clock_now();
    order_init(&order, (uint64_t)items, 1, 7);
    int64_t item = (int64_t)order_at(&order, 123456789), first, count;
    char file[32];
    snprintf(file, sizeof file, "image-%05d.zst", (int)(item / 85504));
    EXPECT_FAIL(dataset_read(dataset, 0, item, 1, pixel), BAD_DATA, file);
    EXPECT(dataset_lost_range(dataset, 0, item, &first, &count));
    EXPECT(first <= item && item < first + count && count <= 85504);
    double sought = clock_now();
    dataset_close(dataset);
    printf("note: 10^9 samples opened in %.3f s, a place sought in %.6f s\n", opened - started,
           sought - opened);
}

int main(void) {
    folder = test_folder("shard-store");
    const char *source = support_path(folder, "images");
    snprintf(set, sizeof set, "%s/set", folder);
    support_write_images(source, TRAIN, 50);
    support_pack(source, set);
    RUN(test_threads);
    RUN(test_lost_group);
    RUN(test_tried_again);
    RUN(test_broken_while_in_use);
    RUN(test_missing_shard);
    RUN(test_fetched);
    RUN(test_damaged_copy);
    RUN(test_far_end_fails);
    RUN(test_healed);
    RUN(test_limit);
    RUN(test_a_billion_samples);
    (void)!folder_remove(folder);
    return test_report();
}
