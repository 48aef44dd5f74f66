// What samples of symbols look like: ink on white, digits, letters.
#include <png.h>

#include "base/file.h"
#include "launch/picture.h"
#include "tests/test.h"

static char folder[512];

// A set of tokens of `symbols` symbols, [length] or, with a height, [height, length / height].
static DatasetInfo tokens_of(int32_t symbols, int64_t height, int64_t length) {
    DatasetInfo info = {.kind = KIND_TOKENS, .columns = 1, .symbols = symbols};
    info.column[0].dims = height > 0 ? 2 : 1;
    info.column[0].dim[0] = height > 0 ? height : length;
    if (height > 0) info.column[0].dim[1] = length / height;
    return info;
}

static const char *draw(const DatasetInfo *info, const int32_t *ids, int32_t length, int count) {
    static char path[PATH_BYTES];
    NetworkShape shape = {.tokens = true,
                          .channels = 1,
                          .height = 1,
                          .width = 1,
                          .length = length,
                          .vocabulary = info->symbols};
    snprintf(path, sizeof path, "%s/drawn", folder);
    EXPECT_OK(picture_write(info, &shape, ids, count, path));
    return path;
}

static void expect_lines(const DatasetInfo *info, const int32_t *ids, int32_t length, int count,
                         const char *expected) {
    char *text;
    size_t bytes;
    EXPECT_OK(file_read(draw(info, ids, length, count), 1000, &text, &bytes));
    EXPECT_TEXT(text, expected);
    free(text);
}

static void test_rows(void) {
    static const int32_t ids[6] = {0, 1, 9, 9, 8, 0}, high[4] = {10, 0, 3, 7};
    DatasetInfo info = tokens_of(10, 0, 3);
    expect_lines(&info, ids, 3, 2, "019\n980\n");
    info = tokens_of(11, 0, 2);
    expect_lines(&info, high, 2, 2, "10 0\n3 7\n");
}

static void test_text(void) {
    static const int32_t ids[4] = {2, 0, 1, 2};
    DatasetInfo info = {.kind = KIND_TEXT, .symbols = 3, .alphabet = " a\xC3\xA9"};
    expect_lines(&info, ids, 4, 1, "\xC3\xA9 a\xC3\xA9\n");
}

// The picture is read back: each number twice as wide and high, behind gaps of two pixels.
static void expect_greys(int32_t symbols, const int32_t ids[6], const uint8_t greys[6]) {
    DatasetInfo info = tokens_of(symbols, 2, 6);
    png_image image = {.version = PNG_IMAGE_VERSION};
    EXPECT(png_image_begin_read_from_file(&image, draw(&info, ids, 6, 1)) != 0);
    image.format = PNG_FORMAT_GRAY;
    uint8_t pixel[8 * 10] = {0};
    EXPECT(image.width == 10 && image.height == 8);
    if (PNG_IMAGE_SIZE(image) == sizeof pixel)
        EXPECT(png_image_finish_read(&image, NULL, pixel, 0, NULL) != 0);
    png_image_free(&image);
    for (int i = 0; i < 6; ++i)
        EXPECT_EQ(pixel[(2 + 2 * (i / 3)) * 10 + 2 + 2 * (i % 3)], greys[i]);
}

static void test_grids(void) {
    expect_greys(2, (int32_t[]){0, 1, 0, 1, 1, 0}, (uint8_t[]){255, 0, 255, 0, 0, 255});
    expect_greys(4, (int32_t[]){0, 1, 2, 3, 0, 0}, (uint8_t[]){255, 170, 85, 0, 255, 255});
    expect_greys(256, (int32_t[]){0, 1, 2, 253, 254, 255}, (uint8_t[]){255, 254, 253, 2, 1, 0});
    expect_greys(1, (int32_t[]){0, 0, 0, 0, 0, 0}, (uint8_t[]){255, 255, 255, 255, 255, 255});
}

// A point lands in its place, one outside is not drawn, two make it darker than one.
static void test_clouds(void) {
    static const float points[8] = {0, 0, 0, 0, -2.99f, 2.99f, 4, 0};
    char path[PATH_BYTES];
    uint8_t grey[100 * 100];
    snprintf(path, sizeof path, "%s/cloud", folder);
    EXPECT_OK(picture_write_clouds(points, 1, 4, 1, path));
    png_image image = {.version = PNG_IMAGE_VERSION};
    EXPECT(png_image_begin_read_from_file(&image, path) != 0);
    image.format = PNG_FORMAT_GRAY;
    EXPECT(image.width == 100 && image.height == 100);
    EXPECT(png_image_finish_read(&image, NULL, grey, 0, NULL) != 0);
    EXPECT_EQ(grey[50 * 100 + 50], 255 - 2 * 90);
    EXPECT_EQ(grey[2 * 100 + 2], 255 - 90);
    int dark = 0;
    for (int i = 0; i < 100 * 100; ++i) dark += grey[i] != 255 && grey[i] != 200;
    EXPECT_EQ(dark, 2);
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("picture"));
    RUN(test_rows);
    RUN(test_text);
    RUN(test_grids);
    RUN(test_clouds);
    (void)!folder_remove(folder);
    return test_report();
}
