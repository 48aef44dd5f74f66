// Folders of pictures: classes, splits, order, samples that are bad, what the other ranks see.
#include <png.h>

#include "base/file.h"
#include "data/content_hash.h"
#include "data/pack/source.h"
#include "tests/data/support_image.h"
#include "tests/test.h"

static const char *stage;

enum { SIDE = 6 };

// A grey picture of this value.
static void put_picture(const char *root, const char *name, int32_t side, uint8_t value) {
    char path[PATH_BYTES];
    uint8_t *rows = malloc((size_t)(side * side));
    memset(rows, value, (size_t)(side * side));
    EXPECT_OK(path_format(path, "%s/%s", root, name));
    char *slash = strrchr(path, '/');
    *slash = '\0';
    EXPECT_OK(folder_make(path));
    *slash = '/';
    PngRecipe recipe = {.width = side,
                        .height = side,
                        .depth = 8,
                        .rows = rows,
                        .row_bytes = (size_t)side,
                        .clear = -1};
    support_write_png(path, &recipe);
    free(rows);
}

static void put_text(const char *root, const char *name, const char *text) {
    char path[PATH_BYTES];
    EXPECT_OK(path_format(path, "%s/%s", root, name));
    EXPECT_OK(file_write_atomic(path, text, strlen(text)));
}

static Status open_folder(const char *root, SourceOptions options, Source *out) {
    options.stage = stage;
    options.lead = true;
    Status status = source_open(root, &options, out);
    if (status == STATUS_OK) EXPECT_TEXT(out->type->name, "folder");
    return status;
}

static const char *new_root(void) {
    static char root[PATH_BYTES];
    snprintf(root, sizeof root, "%s", test_folder("pictures"));
    return root;
}

// Sorted byte-wise: "10" before "2", "a-b" apart from "a"; the extension tells nothing.
static void test_classes(void) {
    const char *root = new_root();
    static const char *const names[] = {"10/x.png", "2/deep/down/y", "a-b/z.png", "a/z.dat"};
    for (int i = 0; i < 4; ++i) put_picture(root, names[i], SIDE, (uint8_t)(10 + i));
    put_text(root, "labels.csv", "1,2\n");
    put_text(root, ".hidden", "x");
    Source source;
    EXPECT_OK(open_folder(root, (SourceOptions){0}, &source));
    EXPECT(source.info.kind == KIND_IMAGE && source.sorted && source.splits == 1);
    EXPECT_TEXT(source.split[0].name, "");
    EXPECT_EQ(source.split[0].samples, 4);
    EXPECT(source.info.columns == 2 && source.info.column[0].dim[0] == 1);
    EXPECT(source.info.column[0].dim[1] == SIDE && source.info.column[0].dim[2] == SIDE);
    EXPECT_EQ(source.info.classes, 4);
    static const char *const classes[] = {"10", "2", "a", "a-b"};
    for (int i = 0; i < 4; ++i) EXPECT_TEXT(source.class_name[i], classes[i]);
    uint8_t pixels[4 * SIDE * SIDE], label[4];
    uint8_t *const out[DATASET_COLUMNS_MOST] = {pixels, label};
    int64_t got;
    EXPECT_OK(source_read(&source, 0, 0, 4, &got, out));
    EXPECT_EQ(got, 4);
    static const uint8_t expected[] = {0, 1, 3, 2};
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(pixels[i * SIDE * SIDE + 7], 10 + i);
        EXPECT_EQ(label[i], expected[i]);
    }
    EXPECT_EQ(source.content.files, 4);
    // The hash of the list, and what another rank makes of it.
    ContentHash hash;
    char line[PATH_BYTES + 32];
    int64_t all = 0;
    content_hash_init(&hash);
    for (int i = 0; i < 4; ++i) {
        uint64_t bytes = 0;
        snprintf(line, sizeof line, "%s/%s", root, names[i]);
        EXPECT_OK(file_size(line, &bytes));
        snprintf(line, sizeof line, "%s %d\n", names[i], (int)bytes);
        content_hash_add(&hash, line, strlen(line));
        all += (int64_t)bytes;
    }
    EXPECT_EQ(source.content.bytes, all);
    EXPECT(source.content.hash == content_hash_finish(&hash));
    source_close(&source);
    SourceOptions other = {.stage = stage, .size = 3, .channels = 3};
    EXPECT_OK(source_open(root, &other, &source));
    EXPECT(source.content.files == 0 && source.split[0].samples == 4 && source.info.classes == 4);
    EXPECT_OK(source_read(&source, 0, 2, 2, &got, out));
    EXPECT(got == 2 && pixels[0] == 12 && pixels[27] == 13 && label[0] == 3 && label[1] == 2);
    source_close(&source);
}

static void test_splits(void) {
    const char *root = new_root();
    put_picture(root, "val/cat/1.png", SIDE, 1);
    put_picture(root, "train/cat/1.png", SIDE, 2);
    put_picture(root, "train/dog/1.png", SIDE, 3);
    put_picture(root, "test/dog/1.png", SIDE, 5);
    Source source;
    EXPECT_FAIL(open_folder(root, (SourceOptions){0}, &source), BAD_DATA,
                "class \"cat\" has pictures in some splits only");
    put_picture(root, "test/cat/1.png", SIDE, 4);
    put_picture(root, "val/dog/1.png", SIDE, 6);
    EXPECT_OK(open_folder(root, (SourceOptions){0}, &source));
    EXPECT(source.splits == 3 && source.info.classes == 2);
    static const char *const names[] = {"train", "valid", "test"};
    static const uint8_t expected[3][2] = {{2, 3}, {1, 6}, {4, 5}};
    for (int s = 0; s < source.splits; ++s) {
        uint8_t pixels[2 * SIDE * SIDE], label[2];
        uint8_t *const out[DATASET_COLUMNS_MOST] = {pixels, label};
        int64_t got;
        EXPECT_TEXT(source.split[s].name, names[s]);
        EXPECT_EQ(source.split[s].samples, 2);
        EXPECT_OK(source_read(&source, s, 0, 2, &got, out));
        EXPECT(label[0] == 0 && label[1] == 1);
        EXPECT(pixels[0] == expected[s][0] && pixels[SIDE * SIDE] == expected[s][1]);
    }
    source_close(&source);
    put_picture(root, "valid/dog/1.png", SIDE, 6);
    EXPECT_FAIL(open_folder(root, (SourceOptions){0}, &source), BAD_DATA,
                "two folders for one split, of val/cat/1.png and of valid/dog/1.png");
}

static void test_flat(void) {
    const char *root = new_root();
    char path[PATH_BYTES], target[PATH_BYTES];
    put_picture(root, "b.png", SIDE, 2);
    put_picture(root, "a.png", SIDE, 1);
    snprintf(target, sizeof target, "%s/b.png", root);
    snprintf(path, sizeof path, "%s/c", root);
    EXPECT_EQ(symlink(target, path), 0);
    Source source;
    EXPECT_OK(open_folder(root, (SourceOptions){0}, &source));
    EXPECT(source.info.columns == 1 && source.info.classes == 0 && source.split[0].samples == 3);
    source_close(&source);
    put_picture(root, "kind/d.png", SIDE, 3);
    EXPECT_FAIL(open_folder(root, (SourceOptions){0}, &source), BAD_DATA,
                "in folders, which are classes, and beside them: a.png, kind/d.png");
    snprintf(path, sizeof path, "%s/kind/again", root);
    EXPECT_EQ(symlink(root, path), 0);
    EXPECT_FAIL(open_folder(root, (SourceOptions){0}, &source), BAD_DATA,
                "does a link lead to a folder above it?");
}

// An empty file, a missing one and one of another size are bad; those between them are read.
static void test_bad_samples(void) {
    const char *root = new_root();
    char path[PATH_BYTES];
    put_picture(root, "a", SIDE, 1);
    put_text(root, "b.JPG", "");
    put_picture(root, "c", SIDE + 2, 3);
    put_picture(root, "d", SIDE, 4);
    put_picture(root, "e", SIDE, 5);
    Source source;
    EXPECT_OK(open_folder(root, (SourceOptions){0}, &source));
    EXPECT_EQ(source.split[0].samples, 5);
    snprintf(path, sizeof path, "%s/d", root);
    EXPECT_EQ(unlink(path), 0);
    uint8_t pixels[5 * SIDE * SIDE];
    uint8_t *const out[DATASET_COLUMNS_MOST] = {pixels};
    int64_t got;
    EXPECT_OK(source_read(&source, 0, 0, 5, &got, out));
    EXPECT_EQ(got, 1);
    EXPECT_FAIL(source_read(&source, 0, 1, 4, &got, out), BAD_DATA, "b.JPG: is neither");
    EXPECT_FAIL(source_read(&source, 0, 2, 3, &got, out), BAD_DATA,
                "/c: is 8 x 8, the first is 6 x 6: give --size");
    EXPECT_FAIL(source_read(&source, 0, 3, 2, &got, out), NOT_FOUND, "/d");
    EXPECT_OK(source_read(&source, 0, 4, 1, &got, out));
    EXPECT_EQ(pixels[0], 5);
    source_close(&source);
}

static void test_other_files(void) {
    const char *root = new_root();
    Source source;
    put_picture(root, "a", SIDE, 1);
    put_text(root, "1.txt", "a");
    EXPECT_OK(open_folder(root, (SourceOptions){0}, &source));
    source_close(&source);
    put_text(root, "2.txt", "b");
    EXPECT_FAIL(open_folder(root, (SourceOptions){0}, &source), BAD_DATA,
                "holds 1 pictures (JPEG, PNG), but 2 files of other kinds");
}

// Above 256 classes labels take two bytes.
static void test_many_classes(void) {
    const char *root = new_root();
    char name[32];
    for (int i = 0; i < 300; ++i) {
        snprintf(name, sizeof name, "%03d/p", i);
        put_picture(root, name, 2, (uint8_t)i);
    }
    Source source;
    EXPECT_OK(open_folder(root, (SourceOptions){0}, &source));
    EXPECT(source.info.classes == 300 && source.info.column[1].dtype == DTYPE_U16);
    uint8_t pixels[300 * 4], label[600];
    uint8_t *const out[DATASET_COLUMNS_MOST] = {pixels, label};
    int64_t got;
    EXPECT_OK(source_read(&source, 0, 0, 300, &got, out));
    EXPECT_EQ(got, 300);
    for (int i = 0; i < 300; ++i) EXPECT_EQ(label[2 * i] + 256 * label[2 * i + 1], i);
    source_close(&source);
}

int main(void) {
    static char at[PATH_BYTES];
    snprintf(at, sizeof at, "%s", test_folder("stage"));
    stage = at;
    RUN(test_classes);
    RUN(test_splits);
    RUN(test_flat);
    RUN(test_bad_samples);
    RUN(test_other_files);
    RUN(test_many_classes);
    return test_report();
}
