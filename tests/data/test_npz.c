// NPZ archives and safetensors files as sources, written here member by member.
#include <archive.h>
#include <archive_entry.h>

#include "data/pack/array_source.h"
#include "tests/test.h"

static char folder[] = "/tmp/dye-npz-XXXXXX", path[64];

typedef struct {
    const char *name, *descr, *shape;
    const void *data;
    size_t bytes;
} Member;

static void write_zip(const Member *member, int count, const char *compression) {
    struct archive *archive = archive_write_new();
    archive_write_set_format_zip(archive);
    EXPECT_EQ(archive_write_set_format_option(archive, "zip", "compression", compression), 0);
    EXPECT_EQ(archive_write_open_filename(archive, path), ARCHIVE_OK);
    for (int i = 0; i < count; ++i) {
        char file[1024] = "\x93NUMPY\x01", dict[119];
        int length =
            snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                     member[i].descr, member[i].shape);
        memset(file + 10, ' ', 117);
        file[8] = 118;
        memcpy(file + 10, dict, (size_t)length);
        file[127] = '\n';
        memcpy(file + 128, member[i].data, member[i].bytes);
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, member[i].name);
        archive_entry_set_size(entry, (la_int64_t)(128 + member[i].bytes));
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        EXPECT_EQ(archive_write_header(archive, entry), ARCHIVE_OK);
        EXPECT_EQ(archive_write_data(archive, file, 128 + member[i].bytes), 128 + member[i].bytes);
        archive_entry_free(entry);
    }
    EXPECT_EQ(archive_write_free(archive), ARCHIVE_OK);
}

static const uint8_t pixels[4] = {1, 2, 3, 4}, labels[16] = {7, 0, 0, 0, 0, 0, 0, 0, 44, 1};

static void read_splits(const SourceOptions *options) {
    Source source;
    int64_t got;
    uint8_t image[2];
    uint16_t label = 0;
    uint8_t *const out[DATASET_COLUMNS_MOST] = {image, (uint8_t *)&label};
    EXPECT_OK(source_open(path, options, &source));
    EXPECT_EQ(source.splits, 2);
    EXPECT_TEXT(source.split[1].name, "test");
    EXPECT_EQ(source.info.classes, 301);
    EXPECT_OK(source_read(&source, 1, 1, 1, &got, out));
    EXPECT(image[0] == 3 && image[1] == 4 && label == 300);
    source_close(&source);
}

static void test_splits(void) {
    SourceOptions options = {.stage = folder, .lead = true};
    const Member member[] = {{"x_train.npy", "|u1", "2, 1, 2", pixels, 4},
                             {"y_train.npy", "<i8", "2,", labels, 16},
                             {"x_test.npy", "|u1", "2, 1, 2", pixels, 4},
                             {"y_test.npy", "<i8", "2,", labels, 16}};
    const char *const compressions[] = {"store", "deflate"};
    for (int c = 0; c < 2; ++c) {
        write_zip(member, 4, compressions[c]);
        options.lead = true;
        read_splits(&options);
        options.lead = false;
        read_splits(&options);
    }
}

static void test_refusals(void) {
    Source source;
    SourceOptions options = {.stage = folder, .lead = true};
    const Member twice[] = {{"x.npy", "|u1", "2, 1, 2", pixels, 4},
                            {"x.npy", "|u1", "2, 1, 2", pixels, 4}};
    write_zip(twice, 2, "store");
    EXPECT_FAIL(source_open(path, &options, &source), BAD_DATA, "two arrays named");
    const Member up = {"../x.npy", "|u1", "2, 1, 2", pixels, 4};
    write_zip(&up, 1, "store");
    EXPECT_FAIL(source_open(path, &options, &source), BAD_DATA, "named like a path");
    const Member stream = {"x.npy", "|u1", "4,", pixels, 4};
    write_zip(&stream, 1, "store");
    EXPECT_FAIL(source_open(path, &options, &source), BAD_DATA, "reshape it to rows");
}

// Two latents as f16: 1 and infinity.
static void test_safetensors(void) {
    char file[128] = {96}, name[64];
    const char *header =
        "{\"latents\":{\"dtype\":\"F16\",\"shape\":[2,1,1,1],\"data_offsets\":[0,4]}}";
    memset(file + 8, ' ', 96);
    memcpy(file + 8, header, strlen(header));
    memcpy(file + 104, "\x00\x3c\x00\x7c", 4);
    snprintf(name, sizeof name, "%s/a.safetensors", folder);
    EXPECT_OK(file_write_atomic(name, file, 108));
    Source source;
    SourceOptions options = {.stage = folder, .lead = true};
    EXPECT_OK(source_open(name, &options, &source));
    EXPECT(source.info.kind == KIND_LATENT && source.info.column[0].dtype == DTYPE_F16);
    uint16_t number[2] = {0};
    int64_t got;
    uint8_t *const out[DATASET_COLUMNS_MOST] = {(uint8_t *)number};
    EXPECT_OK(source_read(&source, 0, 0, 2, &got, out));
    EXPECT(got == 1 && number[0] == 0x3C00);
    EXPECT_FAIL(source_read(&source, 0, 1, 1, &got, out), BAD_DATA, "not finite");
    source_close(&source);
}

int main(void) {
    EXPECT(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/a.npz", folder);
    RUN(test_splits);
    RUN(test_refusals);
    RUN(test_safetensors);
    EXPECT_OK(folder_remove(folder));
    return test_report();
}
