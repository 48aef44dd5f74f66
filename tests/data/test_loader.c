// The loader: the stream of samples does not depend on ranks, resume, cache or depth.
#include "tests/test.h"

#include "base/file.h"
#include "base/mix.h"
#include "data/dataset_index.h"
#include "data/loader.h"
#include "tests/data/support_data.h"
#include "tests/data/support_stream.h"

static char folder[512];
static StreamSets sets;
static const char *images, *points, *text;

static void test_any_number_of_ranks(void) {
    // 1000 samples in batches of 96: batch 10 spans two epochs, as do 20 and 31.
    Stream one, many;
    LoaderConfig config = {.seed = 3, .batch = 96, .depth = 3};
    stream_read(&one, images, 1 << 24, config, 1, 40);
    EXPECT_EQ(one.count, 3840);
    for (int ranks = 2; ranks <= 5; ++ranks) {
        stream_read(&many, images, 1 << 24, config, ranks, 40);
        EXPECT(streams_equal(&one, 0, &many) && many.count == one.count);
        free(many.x);
    }
    config.depth = 1;
    stream_read(&many, images, 0, config, 2, 12); // one group in the cache
    EXPECT(streams_equal(&one, 0, &many));
    free(many.x);
    free(one.x);
}

static void test_values(void) {
    Stream stream;
    LoaderConfig config = {.seed = 3, .batch = 50, .depth = 2};
    stream_read(&stream, images, 1 << 24, config, 1, 20);
    int64_t wrong = 0;
    for (int64_t i = 0; i < stream.count; ++i) {
        int64_t index = (int64_t)stream.index[i];
        wrong += stream.label[i] != support_label(0, index);
        for (int64_t k = 0; k < SUPPORT_PIXELS; ++k) {
            float expected = (float)support_pixel(0, index, k) / 127.5f - 1.0f, found;
            memcpy(&found, &stream.x[i * SUPPORT_PIXELS + k], 4);
            wrong += found != expected;
        }
    }
    EXPECT_EQ(wrong, 0);
    free(stream.x);
}

// Each sample once an epoch; positions run on; another seed and another epoch give another order.
static void test_epochs(void) {
    Stream stream, other;
    LoaderConfig config = {.seed = 5, .batch = 64, .depth = 2};
    stream_read(&stream, points, 1 << 24, config, 1, 50);
    EXPECT_EQ(stream.item, 2);
    for (int epoch = 0; epoch < 3; ++epoch) {
        int seen[1000] = {0}, wrong = 0;
        for (int i = 0; i < 1000; ++i) {
            int64_t at = epoch * 1000 + i;
            wrong += stream.sample[at] != (uint64_t)at;
            ++seen[stream.index[at]];
        }
        for (int i = 0; i < 1000; ++i) wrong += seen[i] != 1;
        EXPECT_EQ(wrong, 0);
    }
    EXPECT(memcmp(stream.index, stream.index + 1000, 8000) != 0);
    config.seed = 6;
    stream_read(&other, points, 1 << 24, config, 1, 15);
    EXPECT(memcmp(stream.index, other.index, 900 * 8) != 0);
    free(other.x);
    // A batch larger than the set spans several epochs.
    config.seed = 5;
    config.batch = 3200;
    stream_read(&other, points, 1 << 24, config, 1, 1);
    EXPECT(streams_equal(&stream, 0, &other));
    free(other.x);
    free(stream.x);
}

// Left-out samples are zeros wherever they stand, counted in every batch, and the others as before.
static void check_left_out(int64_t batch_size, int64_t step, const SampleSet *set) {
    LoaderConfig config = {.dataset = open_set(images, "train", 0),
                           .seed = 3,
                           .batch = batch_size,
                           .share_end = batch_size,
                           .step = step,
                           .depth = 1};
    Loader *plain = NULL, *loader = NULL;
    Batch whole, batch;
    EXPECT_OK(loader_open(&config, &plain));
    Dataset *first = config.dataset;
    config.dataset = open_set(images, "train", 0);
    config.left_out = set;
    EXPECT_OK(loader_open(&config, &loader));
    EXPECT_OK(loader_next(plain, &whole));
    EXPECT_OK(loader_next(loader, &batch));
    int64_t wrong = 0, count = 0;
    for (int64_t row = 0; row < batch.count; ++row) {
        const float *x = (const float *)batch.x + row * SUPPORT_PIXELS;
        bool is_out = sample_set_has(set, batch.index[row]);
        count += is_out;
        wrong += batch.index[row] != whole.index[row] || batch.left_out[row] != is_out;
        wrong += batch.label[row] != (is_out ? 0 : whole.label[row]) || whole.left_out[row];
        for (int64_t k = 0; k < SUPPORT_PIXELS; ++k)
            wrong += x[k] != (is_out ? 0 : ((const float *)whole.x)[row * SUPPORT_PIXELS + k]);
    }
    EXPECT_EQ(wrong, 0);
    EXPECT(count > 0);
    EXPECT_EQ(batch.left_outs, count);
    EXPECT_EQ(whole.left_outs, 0);
    loader_close(plain);
    loader_close(loader);
    dataset_close(first);
    dataset_close(config.dataset);
}

static void test_left_out(void) {
    SampleSet set = {0};
    for (uint64_t i = 0; i < 100; ++i) EXPECT_OK(sample_set_add(&set, mix64(i) % 1000));
    check_left_out(96, 0, &set);
    check_left_out(96, 10, &set); // spans two epochs
    check_left_out(2500, 1, &set);
    EXPECT_OK(sample_set_add(&set, 1000));
    LoaderConfig config = {.dataset = open_set(images, "train", 0),
                           .batch = 10,
                           .share_end = 10,
                           .depth = 1,
                           .left_out = &set};
    Loader *loader = NULL;
    EXPECT_FAIL(loader_open(&config, &loader), BAD_DATA, "sample 1000 is to be left out");
    dataset_close(config.dataset);
    sample_set_clear(&set);
}

static void test_resume_at_any_step(void) {
    Stream straight, resumed;
    LoaderConfig config = {.seed = 9, .batch = 70, .depth = 4};
    stream_read(&straight, points, 1 << 24, config, 1, 60);
    for (int64_t step = 0; step < 60; step += 7) {
        config.step = step;
        stream_read(&resumed, points, 0, config, 3, 60 - step);
        EXPECT(streams_equal(&straight, step * 70, &resumed));
        EXPECT_EQ(resumed.count, (60 - step) * 70);
        free(resumed.x);
    }
    config.step = (int64_t)1 << 40; // far along, without a walk through all epochs
    stream_read(&resumed, points, 0, config, 1, 2);
    EXPECT_EQ(resumed.sample[0], ((int64_t)1 << 40) * 70);
    free(resumed.x);
    free(straight.x);
}

static void test_text(void) {
    Stream stream;
    uint8_t symbol[900];
    LoaderConfig config = {.seed = 1, .batch = 8, .depth = 2, .length = 32};
    Dataset *dataset = open_set(text, "train", 0);
    EXPECT_EQ(dataset_info(dataset)->items, 900);
    EXPECT_EQ(loader_samples(dataset, 32), 28); // 4 symbols are left over
    EXPECT_OK(dataset_read(dataset, 0, 0, 900, symbol));
    dataset_close(dataset);
    stream_read(&stream, text, 0, config, 2, 7);
    int seen[28] = {0}, wrong = 0;
    for (int64_t i = 0; i < stream.count; ++i) {
        if (i < 28) ++seen[stream.index[i]];
        wrong += stream.label[i] != 0;
        for (int64_t k = 0; k < 32; ++k) {
            wrong += stream.x[i * 32 + k] != symbol[stream.index[i] * 32 + (uint64_t)k];
        }
    }
    for (int i = 0; i < 28; ++i) wrong += seen[i] != 1;
    EXPECT_EQ(wrong, 0);
    free(stream.x);
}

// One pass: batch k holds samples from k * batch on, ranks share it, the end is short, then 0.
static void test_in_order(void) {
    for (int ranks = 1; ranks <= 3; ++ranks) {
        bool seen[100] = {false};
        int wrong = 0;
        for (int rank = 0; rank < ranks; ++rank) {
            Dataset *dataset = open_set(points, "valid", 0); // 100 samples
            LoaderConfig config = {.dataset = dataset,
                                   .batch = 32,
                                   .depth = 2,
                                   .in_order = true,
                                   .share_begin = 32 * rank / ranks,
                                   .share_end = 32 * (rank + 1) / ranks};
            Loader *loader = NULL;
            Batch batch;
            EXPECT_OK(loader_open(&config, &loader));
            for (int64_t step = 0; step < 8; ++step) {
                EXPECT_OK(loader_next(loader, &batch));
                int64_t first = step * 32 + config.share_begin;
                int64_t last = step * 32 + config.share_end;
                int64_t count = (last < 100 ? last : 100) - first;
                EXPECT_EQ(batch.count, count < 0 ? 0 : count);
                for (int64_t row = 0; row < batch.count; ++row) {
                    EXPECT_EQ(batch.sample[row], first + row);
                    wrong += batch.index[row] != batch.sample[row] || seen[batch.index[row]];
                    seen[batch.index[row]] = true;
                }
            }
            loader_close(loader);
            dataset_close(dataset);
        }
        for (int i = 0; i < 100; ++i) wrong += !seen[i];
        EXPECT_EQ(wrong, 0);
    }
}

// The damaged group's failure comes out of loader_next with its trail, and again if asked again.
static void test_failure_crosses_the_thread(void) {
    const char *copy = support_path(folder, "damaged");
    support_pack(support_path(folder, "idx"), copy);
    support_flip_byte(support_path(copy, "train-image-00000.zst"), 5000);
    Dataset *dataset = open_set(copy, "train", 0);
    LoaderConfig config = {.dataset = dataset,
                           .batch = 100,
                           .depth = 2,
                           .in_order = true,
                           .share_end = 100,
                           .step = 4};
    Loader *loader = NULL;
    Batch batch;
    EXPECT_OK(loader_open(&config, &loader));
    EXPECT_OK(loader_next(loader, &batch)); // group 1 is sound
    EXPECT_EQ(batch.index[0], 400);
    loader_close(loader);
    config.step = 0;
    EXPECT_OK(loader_open(&config, &loader));
    EXPECT_FAIL(loader_next(loader, &batch), BAD_DATA, "train-image-00000.zst");
    EXPECT(error_get()->frames > 2);
    EXPECT_FAIL(loader_next(loader, &batch), BAD_DATA, "train-image-00000.zst");
    loader_close(loader);
    dataset_close(dataset);
}

static void test_waiting_and_closing(void) {
    Dataset *dataset = open_set(images, "train", 1 << 24);
    LoaderConfig config = {.dataset = dataset, .batch = 16, .depth = 4, .share_end = 16};
    for (int steps = 0; steps < 12; ++steps) { // closed while the thread reads or sleeps
        Loader *loader = NULL;
        Batch batch;
        EXPECT_OK(loader_open(&config, &loader));
        for (int s = 0; s < steps; ++s) EXPECT_OK(loader_next(loader, &batch));
        EXPECT(loader_wait_seconds(loader) >= 0);
        EXPECT(loader_bytes(loader) >= 5 * 16 * SUPPORT_PIXELS * 4);
        loader_close(loader);
    }
    // A full ring is lent out without waiting.
    Loader *loader = NULL;
    Batch batch;
    EXPECT_OK(loader_open(&config, &loader));
    usleep(200000);
    for (int s = 0; s < 4; ++s) EXPECT_OK(loader_next(loader, &batch));
    EXPECT_NEAR(loader_wait_seconds(loader), 0, 0);
    loader_close(loader);
    dataset_close(dataset);
}

// What is lent stays as it is until the next call, however far the thread reads on.
static void test_lent_batch_is_left_alone(void) {
    Dataset *dataset = open_set(points, "train", 1 << 24);
    LoaderConfig config = {.dataset = dataset, .batch = 8, .depth = 1, .share_end = 8};
    Loader *loader = NULL;
    Batch batch;
    float copy[16];
    EXPECT_OK(loader_open(&config, &loader));
    for (int s = 0; s < 5; ++s) {
        EXPECT_OK(loader_next(loader, &batch));
        memcpy(copy, batch.x, sizeof copy);
        usleep(3000);
        EXPECT_EQ(memcmp(copy, batch.x, sizeof copy), 0);
    }
    loader_close(loader);
    dataset_close(dataset);
}

static void test_bad_configs(void) {
    Loader *loader = NULL;
    LoaderConfig config = {.batch = 8, .depth = 2, .share_end = 8};
    config.dataset = open_set(text, "train", 0);
    EXPECT_FAIL(loader_open(&config, &loader), BAD_CONFIG, "text needs a length");
    config.length = 901;
    EXPECT_FAIL(loader_open(&config, &loader), BAD_CONFIG, "only 900 symbols");
    dataset_close(config.dataset);
    config.dataset = open_set(points, "train", 0);
    EXPECT_FAIL(loader_open(&config, &loader), BAD_CONFIG, "other kinds 0");
    config.length = 0;
    config.depth = 0;
    EXPECT_FAIL(loader_open(&config, &loader), BAD_CONFIG, "0 batches ahead");
    config.depth = 2;
    config.step = INT64_MAX;
    EXPECT_FAIL(loader_open(&config, &loader), BAD_CONFIG, "out of range");
    dataset_close(config.dataset);
}

// A grid of symbols with labels, as some other program might write it.
static void write_grids(const char *out, int64_t count) {
    DatasetIndex index = {.info = {.name = "grids",
                                   .kind = KIND_TOKENS,
                                   .columns = 2,
                                   .classes = 3,
                                   .symbols = 256,
                                   .column = {{.name = "tokens",
                                               .dtype = DTYPE_U8,
                                               .dims = 2,
                                               .dim = {2, 3},
                                               .group_items = 7},
                                              {.name = "label", .group_items = 5}}},
                          .split = {{.name = "train", .items = count}},
                          .splits = 1};
    EXPECT_OK(folder_make(out));
    for (int c = 0; c < 2; ++c) {
        int64_t bytes = c == 0 ? 6 * count : count;
        uint8_t *value = malloc((size_t)bytes);
        for (int64_t i = 0; i < bytes; ++i) value[i] = (uint8_t)(c == 0 ? 250 - i : i % 3);
        support_write_column(out, &index, 0, c, value);
        free(value);
    }
    EXPECT_OK(dataset_index_save(out, &index));
    dataset_index_close(&index);
}

static void test_tokens(void) {
    enum { COUNT = 40 };
    static Stream stream;
    const char *out = support_path(folder, "grids");
    write_grids(out, COUNT);
    EXPECT_OK(dataset_verify(out, 0, 1));
    LoaderConfig config = {.seed = 3, .batch = 8, .depth = 2};
    stream_read(&stream, out, 0, config, 2, 5);
    EXPECT_EQ(stream.count, COUNT);
    EXPECT_EQ(stream.item, 6);
    int wrong = 0;
    bool seen[COUNT] = {0};
    for (int64_t i = 0; i < COUNT; ++i) {
        int64_t item = (int64_t)stream.index[i];
        seen[item] = true;
        wrong += stream.label[i] != item % 3;
        for (int64_t k = 0; k < 6; ++k)
            wrong += stream.x[6 * i + k] != (uint8_t)(250 - (6 * item + k));
    }
    for (int i = 0; i < COUNT; ++i) wrong += !seen[i];
    EXPECT_EQ(wrong, 0);
    free(stream.x);
    Loader *loader = NULL;
    config.dataset = open_set(out, "train", 0);
    config.length = 6;
    EXPECT_FAIL(loader_open(&config, &loader), BAD_CONFIG, "is of kind tokens: text needs");
    dataset_close(config.dataset);
}

static void make_sets(void) {
    stream_make_sets(folder, &sets);
    images = sets.images;
    points = sets.points;
    text = sets.text;
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("loader"));
    RUN(make_sets);
    RUN(test_any_number_of_ranks);
    RUN(test_values);
    RUN(test_epochs);
    RUN(test_left_out);
    RUN(test_resume_at_any_step);
    RUN(test_text);
    RUN(test_tokens);
    RUN(test_in_order);
    RUN(test_failure_crosses_the_thread);
    RUN(test_waiting_and_closing);
    RUN(test_lent_batch_is_left_alone);
    RUN(test_bad_configs);
    (void)!folder_remove(folder);
    return test_report();
}
