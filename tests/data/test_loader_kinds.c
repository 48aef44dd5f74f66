// What the loader may be asked for beyond the plain order of one set: threads, windows, mixtures,
// changed pictures, groups that are lost, wider numbers.
#include "base/file.h"
#include "base/mix.h"
#include "data/dataset_index.h"
#include "data/loader.h"
#include "tests/data/support_data.h"
#include "tests/data/support_stream.h"
#include "tests/test.h"

static char folder[512];
static StreamSets sets;
static const char *images, *points, *text;

static void make_sets(void) {
    stream_make_sets(folder, &sets);
    images = sets.images;
    points = sets.points;
    text = sets.text;
}

static void test_any_number_of_threads(void) {
    Stream one, many;
    LoaderConfig config = {.seed = 3, .batch = 96, .depth = 3, .order = ORDER_WINDOW, .window = 2};
    stream_read(&one, images, 1 << 24, config, 1, 25);
    for (int threads = 2; threads <= 4; ++threads) {
        config.threads = threads;
        stream_read(&many, images, threads == 4 ? 0 : 1 << 24, config, 2, 25);
        EXPECT(streams_equal(&one, 0, &many) && many.count == one.count);
        free(many.x);
    }
    // It is another order, with every sample once an epoch.
    int64_t seen[1000] = {0}, wrong = 0;
    for (int64_t i = 0; i < 2000; ++i) ++seen[one.index[i]];
    for (int i = 0; i < 1000; ++i) wrong += seen[i] != 2;
    EXPECT_EQ(wrong, 0);
    free(one.x);
}

// The loader flips what augment_image flips, whoever reads it.
static void test_augmented(void) {
    Stream plain, changed, again;
    LoaderConfig config = {.seed = 3, .batch = 50, .depth = 2};
    stream_read(&plain, images, 1 << 24, config, 1, 4);
    config.augment = (Augment){.flip = true, .crop = 3};
    stream_read(&changed, images, 1 << 24, config, 1, 4);
    config.threads = 3;
    stream_read(&again, images, 1 << 24, config, 2, 4);
    EXPECT(streams_equal(&changed, 0, &again));
    EXPECT(memcmp(plain.index, changed.index, 200 * sizeof plain.index[0]) == 0);
    int wrong = 0;
    for (int64_t i = 0; i < 200; ++i) {
        uint8_t pixel[SUPPORT_PIXELS], out[SUPPORT_PIXELS];
        for (int k = 0; k < SUPPORT_PIXELS; ++k)
            pixel[k] = support_pixel(0, (int64_t)changed.index[i], k);
        augment_image(&config.augment, 3, (uint64_t)i, pixel, 1, 28, 28, out);
        for (int k = 0; k < SUPPORT_PIXELS; ++k) {
            float value, expected = (float)out[k] / 127.5f - 1.0f;
            memcpy(&value, &changed.x[i * SUPPORT_PIXELS + k], 4);
            wrong += value != expected;
        }
    }
    EXPECT_EQ(wrong, 0);
    free(plain.x);
    free(changed.x);
    free(again.x);
}

// Two texts mixed: each keeps its own order, whatever stands beside it.
static void test_two_sets(void) {
    static Stream alone, mixed;
    char both[1300];
    const char *other = support_path(folder, "other-text");
    const char *source = support_path(folder, "other.txt");
    char letters[600];
    for (int i = 0; i < 600; ++i) letters[i] = (char)('a' + 25 * i * i % 23); // the same letters
    support_write_file(source, letters, sizeof letters);
    support_pack(source, other);
    snprintf(both, sizeof both, "%s, %s", text, other);
    LoaderConfig config = {.seed = 3, .batch = 64, .depth = 2, .length = 30, .weights = "3, 1"};
    stream_read(&mixed, both, 1 << 20, config, 2, 32);
    config.weights = NULL;
    stream_read(&alone, text, 1 << 20, config, 1, 32);
    int64_t first = 0, from_other = 0, wrong = 0; // 30 samples of the first set
    for (int64_t i = 0; i < 1024; ++i) from_other += mixed.index[i] >= 30;
    EXPECT_EQ(from_other, 256);
    // Of the first set's samples in a block, those of its stream, in an order of the block's.
    bool seen[STREAM_MOST] = {false};
    for (int64_t i = 0; i < 1024; ++i)
        if (mixed.index[i] < 30) {
            int64_t k = 0;
            while (k < 768 && (seen[k] || alone.index[k] != mixed.index[i])) ++k;
            wrong += k == 768;
            if (k < 768) seen[k] = true;
            ++first;
        }
    EXPECT_EQ(first, 768);
    EXPECT_EQ(wrong, 0);
    Dataset *dataset = open_set(both, "train", 1 << 20);
    EXPECT_EQ(loader_samples(dataset, 30), 30 + 18);
    EXPECT_EQ(dataset_info(dataset)->items, 900 + 540);
    dataset_close(dataset);
    snprintf(both, sizeof both, "%s,%s", text, points);
    EXPECT_FAIL(dataset_open(&(DatasetConfig){.path = both, .split = "train"}, &dataset),
                BAD_CONFIG, "cannot be mixed: they have different kinds");
    snprintf(both, sizeof both, "%s,", text);
    EXPECT_FAIL(dataset_open(&(DatasetConfig){.path = both, .split = "train"}, &dataset),
                BAD_CONFIG, "number 2 of these data sets has no name");
    free(alone.x);
    free(mixed.x);
}

// A group that cannot be read: its samples are left out, counted and told of, by any rank.
static void test_lost_group(void) {
    char command[1400];
    const char *copy = support_path(folder, "lost-group");
    snprintf(command, sizeof command, "cp -r '%s' '%s'", images, copy);
    EXPECT_EQ(system(command), 0);
    support_flip_byte(support_path(copy, "train-image-00000.zst"), 40); // items 0 to 333
    Dataset *dataset = open_set(copy, "train", 1 << 24);
    LoaderConfig config = {
        .dataset = dataset, .seed = 3, .batch = 100, .share_end = 100, .depth = 2, .threads = 2};
    Loader *loader;
    Batch batch;
    EXPECT_OK(loader_open(&config, &loader));
    EXPECT_FAIL(loader_next(loader, &batch), BAD_DATA, "train-image-00000.zst");
    EXPECT_FAIL(loader_next(loader, &batch), BAD_DATA, "train-image-00000.zst"); // and again
    loader_close(loader);
    config.skip_lost = true;
    EXPECT_OK(loader_open(&config, &loader));
    SampleSet lost = {0};
    int64_t wrong = 0, count = 0;
    for (int s = 0; s < 10; ++s) {
        EXPECT_OK(loader_next(loader, &batch));
        int64_t here = 0;
        for (int64_t i = 0; i < batch.count; ++i) {
            bool is_lost = batch.index[i] < 334;
            wrong += batch.left_out[i] != is_lost;
            wrong += is_lost && (((const float *)batch.x)[i * SUPPORT_PIXELS + 300] != 0 ||
                                 batch.label[i] != 0);
            here += is_lost;
        }
        EXPECT_EQ(batch.lost, here);
        EXPECT_EQ(batch.left_outs, 0);
        count += here;
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(count, 334); // an epoch
    EXPECT_OK(loader_take_lost(loader, &lost));
    EXPECT(lost.ranges == 1 && lost.range[0].begin == 0 && lost.range[0].end == 334);
    sample_set_clear(&lost);
    EXPECT_OK(loader_take_lost(loader, &lost));
    EXPECT_EQ(lost.count, 0); // told once
    loader_close(loader);
    dataset_close(dataset);
}

// ---- what takes long is named -------------------------------------------------------------------

static Status slow_index(void *context, const char *path, char **out, size_t *bytes) {
    (void)context;
    (void)path;
    return file_read(support_path(images, "index.json"), 1 << 24, out, bytes);
}

static Status slow_fetch(void *context, const char *path, const char *file, uint64_t offset,
                         size_t bytes, void *out) {
    (void)context;
    (void)path;
    char place[PATH_BYTES];
    TRY(path_format(place, "%s/%s", images, file));
    usleep(150000);
    FILE *from = fopen(place, "rbe");
    FAIL_IF(from == NULL, NOT_FOUND, "no %s", file);
    bool read = fseek(from, (long)offset, SEEK_SET) == 0 && fread(out, 1, bytes, from) == bytes;
    fclose(from);
    FAIL_IF(!read, BAD_DATA, "%s ends early", file);
    return STATUS_OK;
}

static char told[2000];

static void note_line(const char *line) {
    snprintf(told, sizeof told, "%s", line);
}

static void test_slow_shard(void) {
    char cache[600];
    snprintf(cache, sizeof cache, "%s/slow-cache", folder);
    DatasetFetch fetch = {NULL, slow_index, slow_fetch, cache, 1 << 30};
    Dataset *dataset;
    EXPECT_OK(dataset_open(
        &(DatasetConfig){
            .path = "elsewhere", .split = "train", .cache_bytes = 1 << 24, .fetch = &fetch},
        &dataset));
    LoaderConfig config = {.dataset = dataset,
                           .seed = 3,
                           .batch = 4,
                           .share_end = 4,
                           .depth = 1,
                           .patience = 0.05,
                           .tell = note_line};
    Loader *loader;
    Batch batch;
    EXPECT_OK(loader_open(&config, &loader));
    EXPECT_OK(loader_next(loader, &batch));
    EXPECT(strstr(told, "step 1 has waited for its samples for ") != NULL);
    EXPECT(strstr(told, " s: reading elsewhere/train-") != NULL);
    EXPECT(strstr(told, ", group ") != NULL);
    EXPECT(loader_wait_seconds(loader) > 0.3);
    loader_close(loader);
    dataset_close(dataset);
}

// Wider numbers, as some other program might write them.
static void test_wide_numbers(void) {
    enum { COUNT = 12 };
    const char *out = support_path(folder, "latents");
    DatasetIndex index = {
        .info = {.name = "latents",
                 .kind = KIND_LATENT,
                 .columns = 2,
                 .classes = 1000,
                 .column = {{.name = "latent",
                             .dtype = DTYPE_F16,
                             .filter = FILTER_PLANES,
                             .dims = 3,
                             .dim = {2, 1, 2},
                             .group_items = 5},
                            {.name = "label", .dtype = DTYPE_U16, .group_items = 7}}},
        .split = {{.name = "train", .items = COUNT}},
        .splits = 1};
    uint16_t half[4 * COUNT], label[COUNT];
    for (int i = 0; i < 4 * COUNT; ++i) half[i] = (uint16_t)(0x3C00 + 0x20 * i); // 1 + i/32
    for (int i = 0; i < COUNT; ++i) label[i] = (uint16_t)(990 - 80 * i);
    EXPECT_OK(folder_make(out));
    support_write_column(out, &index, 0, 0, half);
    support_write_column(out, &index, 0, 1, label);
    EXPECT_OK(dataset_index_save(out, &index));
    dataset_index_close(&index);
    EXPECT_OK(dataset_verify(out, 0, 1));
    static Stream stream;
    LoaderConfig config = {.seed = 3, .batch = 4, .depth = 2};
    stream_read(&stream, out, 0, config, 1, 3);
    int wrong = 0;
    for (int i = 0; i < COUNT; ++i) {
        int sample = (int)stream.index[i];
        wrong += stream.label[i] != 990 - 80 * sample;
        for (int k = 0; k < 4; ++k) {
            float value;
            int n = 4 * sample + k; // below 32 in steps of 1/32, then the exponent steps
            float expected = n < 32 ? 1 + (float)n / 32 : 2 + (float)(n - 32) / 16;
            memcpy(&value, &stream.x[4 * i + k], 4);
            wrong += value != expected;
        }
    }
    EXPECT_EQ(wrong, 0);
    free(stream.x);
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("loader-kinds"));
    RUN(make_sets);
    RUN(test_any_number_of_threads);
    RUN(test_augmented);
    RUN(test_two_sets);
    RUN(test_lost_group);
    RUN(test_slow_shard);
    RUN(test_wide_numbers);
    (void)!folder_remove(folder);
    return test_report();
}
