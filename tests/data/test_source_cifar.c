// CIFAR's records in files, folders and archives.
#include "base/file.h"
#include "base/mix.h"
#include "data/dataset.h"
#include "data/dataset_index.h"
#include "data/pack/pack.h"
#include "data/pack/unpack.h"
#include "tests/data/support_data.h"
#include "tests/test.h"

static char folder[512];
static const char photo[] = "../shared/data/photo32/photo32_train.bin.zst";

enum { PIXELS = 3072 };

// So many records; sample i has label i % classes. CIFAR-100's have a coarse label before it.
static void write_batch(const char *path, int64_t first, int64_t count, int labels, int classes) {
    size_t record = (size_t)(PIXELS + labels);
    uint8_t *data = malloc(record * (size_t)count);
    for (int64_t i = 0; i < count; ++i) {
        uint8_t *at = data + (size_t)i * record;
        at[0] = 7;
        at[labels - 1] = (uint8_t)((first + i) % classes);
        for (int k = 0; k < PIXELS; ++k)
            at[labels + k] = (uint8_t)mix64((uint64_t)((first + i) * PIXELS + k));
    }
    support_write_file(path, data, record * (size_t)count);
    free(data);
}

static void pack_to(const char *source, const char *out, const char *split) {
    PackConfig config = {
        .input = &(PackInput){source, split}, .inputs = 1, .out = out, .name = "set"};
    EXPECT_OK(pack(&config));
    EXPECT_OK(dataset_verify(out, 0, 1));
}

static void expect_samples(const char *out, const char *split, int64_t first, int64_t count,
                           int classes) {
    size_t bytes;
    uint8_t *pixel = support_read_column(out, split, "image", 0, &bytes);
    EXPECT_EQ(bytes, count * PIXELS);
    uint8_t *label = support_read_column(out, split, "label", 0, &bytes);
    int wrong = 0;
    for (int64_t i = 0; i < count; ++i) {
        wrong += label[i] != (first + i) % classes;
        for (int k = 0; k < PIXELS; k += 61)
            wrong += pixel[i * PIXELS + k] != (uint8_t)mix64((uint64_t)((first + i) * PIXELS + k));
    }
    EXPECT_EQ(wrong, 0);
    free(pixel);
    free(label);
}

static void write_ten(const char *source) {
    static const char names[] =
        "air plane\ncar\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    char name[32];
    EXPECT_OK(folder_make(source));
    for (int b = 0; b < 5; ++b) {
        snprintf(name, sizeof name, "data_batch_%d.bin", b + 1);
        write_batch(support_path(source, name), 20 * b, 20, 1, 10);
    }
    write_batch(support_path(source, "test_batch.bin"), 500, 30, 1, 10);
    support_write_file(support_path(source, "batches.meta.txt"), names, sizeof names - 1);
    support_write_file(support_path(source, "readme.html"), "hello", 5);
}

static void test_folder_and_archive(void) {
    char command[2000], source[600], out[600];
    snprintf(source, sizeof source, "%s/cifar-10-batches-bin", folder);
    write_ten(source);
    snprintf(out, sizeof out, "%s/ten", folder);
    pack_to(source, out, NULL);
    expect_samples(out, "train", 0, 100, 10);
    expect_samples(out, "test", 500, 30, 10);
    DatasetIndex index;
    EXPECT_OK(dataset_index_load(out, &index));
    EXPECT_TEXT(json_string_value(json_array_get(index.class_names, 0)), "air plane");
    EXPECT_TEXT(json_string_value(json_array_get(index.class_names, 9)), "truck");
    EXPECT_EQ(index.info.column[0].filter, FILTER_GREEN_LEFT);
    uint64_t identity = index.info.identity;
    dataset_index_close(&index);

    snprintf(command, sizeof command, "cd '%s' && tar czf ten.tar.gz cifar-10-batches-bin", folder);
    EXPECT_EQ(system(command), 0);
    const char *again = support_path(folder, "ten-again");
    pack_to(support_path(folder, "ten.tar.gz"), again, NULL);
    EXPECT_OK(dataset_index_load(again, &index));
    EXPECT_EQ(index.info.identity, identity);
    dataset_index_close(&index);
    const char *archive = support_path(folder, "ten.tar.gz");
    support_flip_byte(archive, -5); // in gzip's checksum
    PackConfig config = {
        .input = &(PackInput){archive, NULL}, .inputs = 1, .out = support_path(folder, "ten-bad")};
    EXPECT_FAIL(pack(&config), BAD_DATA, "ten.tar.gz: does not decompress");
}

// Back to the same bytes.
static void test_round_trip(void) {
    char command[2000];
    const char *source = support_path(folder, "some.dat"), *out = support_path(folder, "some");
    write_batch(source, 0, 50, 1, 10);
    pack_to(source, out, "train");
    UnpackConfig back = {
        .set = out, .out = support_path(folder, "some-back"), .form = UNPACK_CIFAR};
    EXPECT_OK(unpack(&back));
    snprintf(command, sizeof command, "cmp '%s' '%s/train.bin'", source, back.out);
    EXPECT_EQ(system(command), 0);
}

static void test_hundred(void) {
    char source[600];
    snprintf(source, sizeof source, "%s/cifar-100-binary", folder);
    EXPECT_OK(folder_make(source));
    write_batch(support_path(source, "train.bin"), 0, 150, 2, 100);
    write_batch(support_path(source, "test.bin"), 300, 40, 2, 100);
    const char *out = support_path(folder, "hundred");
    pack_to(source, out, NULL);
    expect_samples(out, "train", 0, 150, 100);
    expect_samples(out, "test", 300, 40, 100);
}

static void test_bad_files(void) {
    const char *source = support_path(folder, "short.bin");
    PackConfig config = {
        .input = &(PackInput){source, NULL}, .inputs = 1, .out = support_path(folder, "short")};
    write_batch(source, 0, 50, 1, 10);
    EXPECT_EQ(truncate(source, 50 * 3073 - 1), 0);
    EXPECT_FAIL(pack(&config), BAD_DATA, "are not whole records of 3073 (CIFAR-10) or 3074");
    char mixed[600];
    snprintf(mixed, sizeof mixed, "%s/mixed", folder);
    EXPECT_OK(folder_make(mixed));
    write_batch(support_path(mixed, "train.bin"), 0, 15, 2, 100);
    write_batch(support_path(mixed, "test.bin"), 0, 15, 1, 10);
    config.input = &(PackInput){mixed, NULL};
    EXPECT_FAIL(pack(&config), BAD_DATA, "records of another length");
}

static void test_photographs(void) {
    if (!file_exists(photo)) SKIP("../shared/data/photo32 is not there");
    const char *out = support_path(folder, "photo");
    pack_to(photo, out, "train");
    DatasetIndex index;
    EXPECT_OK(dataset_index_load(out, &index));
    EXPECT_EQ(index.split[0].items, 12000);
    EXPECT_EQ(index.info.classes, 30);
    double raw = (double)index.shard[0].file_info.raw,
           bytes = (double)index.shard[0].file_info.bytes;
    EXPECT(raw / bytes > 1.85); // 1.897 expected of this filter at level 1
    dataset_index_close(&index);
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("source-cifar"));
    RUN(test_folder_and_archive);
    RUN(test_round_trip);
    RUN(test_hundred);
    RUN(test_bad_files);
    RUN(test_photographs);
    (void)!folder_remove(folder);
    return test_report();
}
