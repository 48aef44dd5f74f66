// Packing: real sets against published figures, small sets against their sources, bad sources.
#include "tests/test.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/pack/pack.h"
#include "tests/data/support_data.h"

static const char fashion[] = "/usr/share/datasets/fashion-mnist";
static const char bible[] = "/usr/lib/bible.data";
static char folder[512]; // of this program

static void md5_of(const void *data, size_t bytes, char out[33]) {
    char command[1200];
    const char *path = support_path(folder, "md5.tmp");
    support_write_file(path, data, bytes);
    snprintf(command, sizeof command, "md5sum < '%s'", path);
    FILE *pipe = popen(command, "r");
    out[0] = '\0';
    if (pipe == NULL || fread(out, 1, 32, pipe) != 32) TEST_FAIL("md5sum does not run");
    out[32] = '\0';
    if (pipe != NULL) pclose(pipe);
}

static void expect_idx_md5(const char *path, const char *split, const char *column,
                           const char *header, size_t lead, const char *md5) {
    size_t bytes;
    char found[33];
    uint8_t *data = support_read_column(path, split, column, lead, &bytes);
    memcpy(data, header, lead);
    md5_of(data, bytes, found);
    EXPECT_TEXT(found, md5);
    free(data);
}

static void test_fashion_mnist(void) {
    if (!file_exists(fashion)) SKIP("dataset-fashion-mnist is not installed");
    const char *out = support_path(folder, "fashion");
    support_pack(fashion, out);
    expect_idx_md5(out, "train", "image", "\0\0\10\3\0\0\xEA\x60\0\0\0\x1C\0\0\0\x1C", 16,
                   "f4a8712d7a061bf5bd6d2ca38dc4d50a");
    expect_idx_md5(out, "train", "label", "\0\0\10\1\0\0\xEA\x60", 8,
                   "9018921c3c673c538a1fc5bad174d6f9");
    expect_idx_md5(out, "test", "image", "\0\0\10\3\0\0\x27\x10\0\0\0\x1C\0\0\0\x1C", 16,
                   "8181f5470baa50b63fa0f6fddb340f0a");
    expect_idx_md5(out, "test", "label", "\0\0\10\1\0\0\x27\x10", 8,
                   "15d484375f8d13e6eb1aabb0c3f46965");
    Dataset *dataset = NULL;
    EXPECT_OK(
        dataset_open(&(DatasetConfig){.path = out, .split = "train", .cache_bytes = 0}, &dataset));
    EXPECT_EQ(dataset_info(dataset)->items, 60000);
    EXPECT_EQ(dataset_info(dataset)->classes, 10);
    dataset_close(dataset);
    EXPECT_OK(dataset_verify(out, 0, 1));
}

// The three splits put together, as characters.
static char *read_text(const char *path, size_t *total) {
    static const char *const splits[3] = {"train", "valid", "test"};
    char *text = NULL;
    *total = 0;
    for (int s = 0; s < 3; ++s) {
        size_t bytes = 0;
        uint8_t *symbol = support_read_column(path, splits[s], "text", 0, &bytes);
        text = realloc(text, *total + bytes + 1);
        Dataset *dataset;
        EXPECT_OK(dataset_open(&(DatasetConfig){.path = path, .split = splits[s], .cache_bytes = 0},
                               &dataset));
        for (size_t i = 0; i < bytes; ++i) {
            text[(*total)++] = dataset_info(dataset)->alphabet[symbol[i]];
        }
        dataset_close(dataset);
        free(symbol);
    }
    text[*total] = '\0';
    return text;
}

static void test_bible(void) {
    if (!file_exists(bible)) SKIP("bible-kjv-text is not installed");
    static const struct {
        TextForm form;
        int64_t characters, train, symbols;
        const char *md5;
    } forms[2] = {
        {FORM_DEFAULT, 4013872, 3612484, 27, "481878e2b07ace5dcd3c8de8177ecfd8"},
        {FORM_BYTES, 4137850, 3724065, 63, "0442864d38d37131885626cd0cfa2a12"},
    };
    for (int f = 0; f < 2; ++f) {
        const char *out = support_path(folder, f == 0 ? "kjv27" : "kjv");
        PackConfig config = {.input = &(PackInput){bible, NULL},
                             .inputs = 1,
                             .out = out,
                             .source.form = forms[f].form};
        EXPECT_OK(pack(&config));
        size_t characters = 0;
        char *text = read_text(out, &characters), md5[33];
        EXPECT_EQ(characters, forms[f].characters);
        md5_of(text, characters, md5);
        EXPECT_TEXT(md5, forms[f].md5);
        free(text);
        Dataset *dataset;
        EXPECT_OK(dataset_open(&(DatasetConfig){.path = out, .split = "train", .cache_bytes = 0},
                               &dataset));
        EXPECT_EQ(dataset_info(dataset)->items, forms[f].train);
        EXPECT_EQ(dataset_info(dataset)->symbols, forms[f].symbols);
        dataset_close(dataset);
        EXPECT_OK(dataset_verify(out, 0, 1));
    }
}

static void test_images_gzipped_or_not(void) {
    char command[1200];
    const char *source = support_path(folder, "plain");
    support_write_images(source, 700, 50);
    PackConfig config = {.input = &(PackInput){source, NULL},
                         .inputs = 1,
                         .out = support_path(folder, "set-a"),
                         .name = "set"};
    EXPECT_OK(pack(&config));
    config.out = support_path(folder, "set-b");
    EXPECT_OK(pack(&config));
    support_same_folders(support_path(folder, "set-a"), config.out, 2);

    snprintf(command, sizeof command, "gzip '%s'/*", source);
    EXPECT_EQ(system(command), 0);
    config.out = support_path(folder, "set-c");
    EXPECT_OK(pack(&config));
    size_t bytes;
    uint8_t *pixels = support_read_column(config.out, "train", "image", 0, &bytes);
    uint8_t *labels = support_read_column(config.out, "test", "label", 0, &bytes);
    int wrong = 0;
    for (int64_t k = 0; k < 700 * SUPPORT_PIXELS; ++k) {
        wrong += pixels[k] != support_pixel(0, k / SUPPORT_PIXELS, k % SUPPORT_PIXELS);
    }
    for (int64_t i = 0; i < 50; ++i) wrong += labels[i] != support_label(1, i);
    EXPECT_EQ(wrong, 0);
    free(pixels);
    free(labels);
}

// What stands in a text file, and what becomes of it.
static void expect_letters(const char *text, const char *expected) {
    const char *source = support_path(folder, "letters.txt"),
               *out = support_path(folder, "letters");
    size_t characters;
    support_write_file(source, text, strlen(text));
    PackConfig config = {.input = &(PackInput){source, NULL},
                         .inputs = 1,
                         .out = out,
                         .source.form = FORM_LETTERS27,
                         .force = file_exists(out)};
    EXPECT_OK(pack(&config));
    char *found = read_text(out, &characters);
    EXPECT_TEXT(found, expected);
    free(found);
}

static void test_letters27(void) {
    expect_letters("  Hello,\n\nWORLD 9 of x-Ray LETTERS!  \n", "hello world of x ray letters");
    expect_letters("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz");
    expect_letters("caf\xC3\xA9 noir and a cup of tea", "caf noir and a cup of tea");
}

static void test_bytes_and_alphabet(void) {
    const char *source = support_path(folder, "bytes.txt"), *out = support_path(folder, "bytes");
    support_write_file(source,
                       "bb\xE9"
                       "aa\n0123456789bbaa0",
                       20);
    support_pack(source, out);
    Dataset *dataset = NULL;
    uint8_t symbol[18];
    EXPECT_OK(
        dataset_open(&(DatasetConfig){.path = out, .split = "train", .cache_bytes = 0}, &dataset));
    EXPECT_TEXT(dataset_info(dataset)->alphabet, "\n0123456789ab\xC3\xA9");
    EXPECT_EQ(dataset_info(dataset)->symbols, 14);
    EXPECT_EQ(dataset_info(dataset)->items, 18);
    EXPECT_OK(dataset_read(dataset, 0, 0, 18, symbol));
    EXPECT_EQ(memcmp(symbol, "\14\14\15\13\13\0\1\2\3\4\5\6\7\10\11\12\14\14", 18), 0);
    dataset_close(dataset);
}

static void test_bad_text(void) {
    const char *source = support_path(folder, "bad.txt");
    PackConfig config = {
        .input = &(PackInput){source, NULL}, .inputs = 1, .out = support_path(folder, "bad-text")};
    support_write_file(source, "line one\nline \0 two and more\n", 29);
    EXPECT_FAIL(pack(&config), BAD_DATA, "is nothing that pack reads");
    char late[9000];
    memset(late, 'x', sizeof late);
    late[100] = '\n';
    late[8000] = '\0';
    support_write_file(source, late, sizeof late);
    EXPECT_FAIL(pack(&config), BAD_DATA, "line 2 holds a NUL byte");
    support_write_file(source, "short", 5);
    EXPECT_FAIL(pack(&config), BAD_DATA, "too few to split");
    char junk[500] = "EC02";
    support_write_file(source, junk, sizeof junk);
    EXPECT_FAIL(pack(&config), BAD_DATA, "bad.txt: line 1 holds a NUL byte");
    config.input = &(PackInput){"no-such-thing", NULL};
    EXPECT_FAIL(pack(&config), NOT_FOUND, "swiss-roll");
    EXPECT(!file_exists(config.out));
    EXPECT(!file_exists(support_path(folder, "bad-text.packing")));
}

static void test_bad_images(void) {
    static const struct {
        const char *file, *content;
        size_t bytes;
        const char *message;
    } bad[] = {
        {"train-images-idx3-ubyte", "\0\0\10\3\0\0\0\2", 8, "ends within the header"},
        {"train-images-idx3-ubyte", "\0\1\10\3\0\0\0\2\0\0\0\1\0\0\0\1ab", 18,
         "not an IDX file of bytes (type 0x08) with three sizes"},
        {"train-images-idx3-ubyte", "\0\0\15\3\0\0\0\2\0\0\0\1\0\0\0\1ab", 18, "(type 0x08)"},
        {"train-images-idx3-ubyte", "\0\0\10\1\0\0\0\2\0\0\0\1\0\0\0\1ab", 18, "three sizes"},
        {"train-images-idx3-ubyte", "\0\0\10\3\0\0\0\0\0\0\0\1\0\0\0\1ab", 18, "size 0 is 0"},
        {"train-images-idx3-ubyte", "\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\1abc", 19, "header says 18"},
        {"train-images-idx3-ubyte", "\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\1a", 17, "header says 18"},
        {"train-images-idx3-ubyte", "\0\0\10\3\xFF\xFF\xFF\xFF\0\0\xFF\xFF\0\0\1\0ab", 18,
         "header says 72056494509"},
        {"train-images-idx3-ubyte",
         "\0\0\10\3\0\0\0\1\0\xFF\xFF\xFF\0\xFF\xFF\xFF"
         "ab",
         18, "items of more than"},
        {"t10k-images-idx3-ubyte", "\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\1ab", 18, "but 28 x 28 in"},
        {"t10k-labels-idx1-ubyte", "\0\0\10\1\0\0\0\3abc", 11, "holds 2 images"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; ++k) {
        char name[32];
        snprintf(name, sizeof name, "bad-%zu", k);
        const char *source = support_path(folder, name);
        support_write_images(source, 3, 2);
        support_write_file(support_path(source, bad[k].file), bad[k].content, bad[k].bytes);
        if (k == 9) {
            support_write_file(support_path(source, "t10k-labels-idx1-ubyte"),
                               "\0\0\10\1\0\0\0\2ab", 10);
        }
        PackConfig config = {.input = &(PackInput){source, NULL},
                             .inputs = 1,
                             .out = support_path(folder, "bad-images")};
        EXPECT_FAIL(pack(&config), BAD_DATA, bad[k].message);
        EXPECT(!file_exists(config.out));
    }
    PackConfig config = {.input = &(PackInput){folder, NULL},
                         .inputs = 1,
                         .out = support_path(folder, "bad-images")};
    EXPECT_FAIL(pack(&config), BAD_DATA, "is nothing that pack reads");
}

static void test_bad_gzip(void) {
    char command[1200];
    const char *source = support_path(folder, "bad-gzip");
    support_write_images(source, 400, 20);
    snprintf(command, sizeof command, "gzip '%s'/train-images-idx3-ubyte", source);
    EXPECT_EQ(system(command), 0);
    char path[600];
    snprintf(path, sizeof path, "%s/train-images-idx3-ubyte.gz", source);
    PackConfig config = {.input = &(PackInput){source, NULL},
                         .inputs = 1,
                         .out = support_path(folder, "bad-gzip-out")};
    support_flip_byte(path, -6); // in the checksum
    EXPECT_FAIL(pack(&config), BAD_DATA, "train-images-idx3-ubyte.gz: does not decompress");
    support_flip_byte(path, -6);
    size_t bytes;
    char *data = support_read_file(path, &bytes);
    support_write_file(path, data, bytes / 2);
    EXPECT_FAIL(pack(&config), BAD_DATA, "train-images-idx3-ubyte.gz: does not decompress");
    free(data);
    // 20 empty bytes in 40 compressed ones cannot be what a header of 2 GB promises.
    snprintf(command, sizeof command,
             "printf '\\0\\0\\10\\3\\0\\1\\0\\0\\0\\0\\200\\0\\0\\0\\1\\0abcd' | gzip > '%s'",
             path);
    EXPECT_EQ(system(command), 0);
    EXPECT_FAIL(pack(&config), BAD_DATA, "is 20 bytes long, but its header says");
    snprintf(command, sizeof command,
             "printf '\\0\\0\\10\\3\\0\\0\\1\\220\\0\\0\\0\\1\\0\\0\\0\\1' | "
             "cat - '%s' | gzip > '%s'",
             support_path(source, "train-labels-idx1-ubyte"), path);
    EXPECT_EQ(system(command), 0); // 400 pictures of a pixel, and 8 bytes more
    support_write_file(support_path(source, "t10k-images-idx3-ubyte"),
                       "\0\0\10\3\0\0\0\1\0\0\0\1\0\0\0\1a", 17);
    support_write_file(support_path(source, "t10k-labels-idx1-ubyte"), "\0\0\10\1\0\0\0\1a", 9);
    EXPECT_FAIL(pack(&config), BAD_DATA, "is 424 bytes long, but its header says 416");
    EXPECT(!file_exists(config.out));
}

static void test_target_folder(void) {
    const char *out = support_path(folder, "target");
    char busy[600];
    const char *left;
    snprintf(busy, sizeof busy, "%s.packing", out);
    PackConfig config = {
        .input = &(PackInput){"two-moons", NULL}, .inputs = 1, .out = out, .source.toy_items = 100};

    // What an interrupted pack left is no dataset, and is cleared away.
    EXPECT_OK(folder_make(busy));
    left = support_path(busy, "train-vector-00000.zst");
    support_write_file(left, "half", 4);
    EXPECT_FAIL(dataset_verify(busy, 0, 1), NOT_FOUND, "no dataset here");
    int lock = open(busy, O_RDONLY | O_DIRECTORY);
    EXPECT_EQ(flock(lock, LOCK_EX), 0);
    EXPECT_FAIL(pack(&config), BUSY, "another pack");
    close(lock);
    EXPECT_OK(pack(&config));
    EXPECT(!file_exists(busy));
    EXPECT_OK(dataset_verify(out, 0, 1));

    EXPECT_FAIL(pack(&config), BAD_USAGE, "exists already");
    config.force = true;
    config.source.toy_items = 200;
    EXPECT_OK(pack(&config));
    EXPECT_OK(dataset_verify(out, 0, 1));
    EXPECT(!file_exists(support_path(folder, "target.replaced")));
    size_t bytes;
    free(support_read_column(out, "train", "vector", 0, &bytes));
    EXPECT_EQ(bytes, 200 * 8);

    // A failing replacement leaves the old set in place.
    config.input = &(PackInput){"no-such-source", NULL};
    EXPECT_FAIL(pack(&config), NOT_FOUND, "no-such-source");
    EXPECT_OK(dataset_verify(out, 0, 1));

    config.input = &(PackInput){"two-moons", NULL};
    config.out = support_path(folder, "mine");
    EXPECT_OK(folder_make(config.out));
    support_write_file(support_path(config.out, "letter.txt"), "dear", 4);
    EXPECT_FAIL(pack(&config), BAD_USAGE, "is not a dataset");
    EXPECT(file_exists(support_path(config.out, "letter.txt")));
}

static void test_made_up_points(void) {
    static const char *const names[3] = {"swiss-roll", "two-moons", "checkerboard"};
    for (int k = 0; k < 3; ++k) {
        size_t bytes;
        PackConfig config = {.input = &(PackInput){names[k], NULL},
                             .inputs = 1,
                             .out = support_path(folder, names[k]),
                             .source.toy_seed = 7};
        EXPECT_OK(pack(&config));
        float *point =
            (float *)(void *)support_read_column(config.out, "train", "vector", 0, &bytes);
        double sum[2] = {0}, squares[2] = {0}, n = 50000;
        int outside = 0;
        for (int i = 0; i < 50000; ++i) {
            for (int d = 0; d < 2; ++d) {
                sum[d] += (double)point[2 * i + d];
                squares[d] += (double)point[2 * i + d] * (double)point[2 * i + d];
            }
            int column = (int)floorf(point[2 * i] + 2), row = (int)floorf(point[2 * i + 1] + 2);
            outside += (column + row) % 2 != 0;
        }
        EXPECT_EQ(bytes, 50000 * 8);
        for (int d = 0; d < 2; ++d) {
            EXPECT_NEAR(sum[d] / n, 0, 0.3);
            EXPECT_NEAR(sqrt(squares[d] / n), 1, 0.35);
        }
        if (k == 2) EXPECT_EQ(outside, 0);
        free(point);
    }
}

// Each of the five phases comes as often as the others, and nothing else comes.
static void test_heartbeat(void) {
    const char *out = support_path(folder, "heartbeat");
    PackConfig config = {
        .input = &(PackInput){"heartbeat", NULL}, .inputs = 1, .out = out, .source.toy_seed = 7};
    EXPECT_OK(pack(&config));
    size_t bytes = 0, held_out;
    uint8_t *bit = support_read_column(out, "train", "tokens", 0, &bytes);
    uint8_t *other = support_read_column(out, "test", "tokens", 0, &held_out);
    int count[5] = {0}, wrong = 0;
    EXPECT_EQ(bytes, 50000 * 20);
    EXPECT_EQ(held_out, 5000 * 20);
    for (size_t i = 0; i < bytes; i += 20) {
        int phase = 0;
        while (phase < 4 && bit[i + (size_t)phase] == 0) ++phase;
        ++count[phase];
        for (int k = 0; k < 20; ++k) wrong += bit[i + (size_t)k] != (k % 5 == phase);
    }
    EXPECT_EQ(wrong, 0);
    for (int phase = 0; phase < 5; ++phase) EXPECT_NEAR(count[phase], 10000, 400);
    EXPECT(memcmp(bit, other, held_out) != 0);
    free(bit);
    free(other);
    Dataset *dataset = NULL;
    EXPECT_OK(
        dataset_open(&(DatasetConfig){.path = out, .split = "valid", .cache_bytes = 0}, &dataset));
    const DatasetInfo *info = dataset_info(dataset);
    EXPECT_EQ(info->items, 5000);
    EXPECT_EQ(info->kind, KIND_TOKENS);
    EXPECT_EQ(info->symbols, 2);
    EXPECT(info->column[0].dims == 1 && info->column[0].dim[0] == 20 && info->classes == 0);
    EXPECT(!dataset_is_drawn(info));
    dataset_close(dataset);
    EXPECT_OK(dataset_verify(out, 0, 1));
}

typedef struct {
    int calls;
    double last;
    bool fell;
} Progress;

static void note_progress(void *context, double fraction, const char *what) {
    Progress *progress = context;
    progress->fell |= fraction < progress->last || what[0] == '\0';
    progress->last = fraction;
    ++progress->calls;
}

static void test_progress(void) {
    Progress progress = {0};
    PackConfig config = {.input = &(PackInput){"checkerboard", NULL},
                         .inputs = 1,
                         .out = support_path(folder, "progress"),
                         .progress = note_progress,
                         .context = &progress};
    EXPECT_OK(pack(&config));
    EXPECT(progress.calls > 0 && !progress.fell);
    EXPECT_NEAR(progress.last, 1, 0);
}

// More than 64 MiB: two shards, and a group of one large item.
static void test_two_shards(void) {
    const char *source = support_path(folder, "large"), *out = support_path(folder, "large-set");
    enum { SIDE = 2048, COUNT = 18 };
    support_write_images(source, COUNT, 1);
    const char *files[2] = {"train-images-idx3-ubyte", "t10k-images-idx3-ubyte"};
    for (int s = 0; s < 2; ++s) {
        int count = s == 0 ? COUNT : 1;
        uint8_t header[17] = {0, 0, 8, 3, 0, 0, 0, (uint8_t)count, 0, 0, 8, 0, 0, 0, 8, 0, 99};
        const char *path = support_path(source, files[s]);
        support_write_file(path, header, 17);
        EXPECT_EQ(truncate(path, 16 + (off_t)count * SIDE * SIDE), 0);
    }
    support_write_file(support_path(source, "t10k-labels-idx1-ubyte"), "\0\0\10\1\0\0\0\1\0", 9);
    support_pack(source, out);
    EXPECT(file_exists(support_path(out, "train-image-00001.zst")));
    EXPECT(!file_exists(support_path(out, "train-image-00002.zst")));
    EXPECT_OK(dataset_verify(out, 0, 1));
    Dataset *dataset = NULL;
    uint8_t *image = malloc((size_t)SIDE * SIDE);
    EXPECT_OK(
        dataset_open(&(DatasetConfig){.path = out, .split = "train", .cache_bytes = 0}, &dataset));
    EXPECT_OK(dataset_read(dataset, 0, 17, 1, image));
    EXPECT_EQ(image[0], 0);
    EXPECT_OK(dataset_read(dataset, 0, 0, 1, image));
    EXPECT_EQ(image[0], 99);
    EXPECT_EQ(image[SIDE], 0);
    dataset_close(dataset);
    free(image);
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("pack"));
    RUN(test_fashion_mnist);
    RUN(test_bible);
    RUN(test_images_gzipped_or_not);
    RUN(test_letters27);
    RUN(test_bytes_and_alphabet);
    RUN(test_bad_text);
    RUN(test_bad_images);
    RUN(test_bad_gzip);
    RUN(test_target_folder);
    RUN(test_made_up_points);
    RUN(test_heartbeat);
    RUN(test_progress);
    RUN(test_two_shards);
    (void)!folder_remove(folder);
    return test_report();
}
