// Grids are read back through libpng's simplified reader and compared pixel by pixel.
#include <png.h>

#include "base/file.h"
#include "base/mix.h"
#include "data/png.h"
#include "tests/test.h"

static const char *folder;

static uint8_t *read_back(const char *path, int channels, int *width, int *height) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    EXPECT(png_image_begin_read_from_file(&image, path) != 0);
    EXPECT_EQ(image.format, channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB);
    image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
    uint8_t *pixels = malloc(PNG_IMAGE_SIZE(image));
    EXPECT(png_image_finish_read(&image, NULL, pixels, 0, NULL) != 0);
    *width = (int)image.width;
    *height = (int)image.height;
    return pixels;
}

// What pixel (x, y) should be, from the definition of the grid.
static uint8_t wanted(const PngGrid *g, int columns, int x, int y, int c) {
    int cell_w = g->width * g->scale + g->gap, cell_h = g->height * g->scale + g->gap;
    int column = x / cell_w, row = y / cell_h, image = row * columns + column;
    int in_x = x % cell_w - g->gap, in_y = y % cell_h - g->gap;
    if (in_x < 0 || in_y < 0 || column >= columns || image >= g->n) return g->ground;
    return g->images[((image * g->channels + c) * g->height + in_y / g->scale) * g->width +
                     in_x / g->scale];
}

static void expect_grid(PngGrid g, int columns, int rows) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/grid.png", folder);
    size_t bytes = (size_t)(g.n * g.channels * g.height * g.width);
    uint8_t *images = malloc(bytes);
    for (size_t i = 0; i < bytes; ++i) images[i] = (uint8_t)(mix64(i) >> 20);
    g.images = images;
    EXPECT_OK(png_write_grid(path, &g));
    int width, height, wrong = 0;
    uint8_t *pixels = read_back(path, g.channels, &width, &height);
    EXPECT_EQ(width, columns * (g.width * g.scale + g.gap) + g.gap);
    EXPECT_EQ(height, rows * (g.height * g.scale + g.gap) + g.gap);
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            for (int c = 0; c < g.channels; ++c)
                wrong += pixels[(y * width + x) * g.channels + c] != wanted(&g, columns, x, y, c);
    EXPECT_EQ(wrong, 0);
    free(pixels);
    free(images);
}

static void test_grids(void) {
    PngGrid grid = {.gap = PNG_GAP,
                    .n = 10,
                    .channels = 1,
                    .height = 28,
                    .width = 28,
                    .scale = 1,
                    .ground = 128};
    expect_grid(grid, 4, 3);
    grid.columns = 5;
    expect_grid(grid, 5, 2);
    grid.columns = 99;
    expect_grid(grid, 10, 1);
    grid = (PngGrid){
        .gap = PNG_GAP, .n = 3, .channels = 3, .height = 5, .width = 7, .scale = 3, .ground = 255};
    grid.columns = 2;
    expect_grid(grid, 2, 2);
    grid = (PngGrid){.gap = 1, .n = 1, .channels = 3, .height = 1, .width = 1, .scale = 1};
    expect_grid(grid, 1, 1);
    grid = (PngGrid){.n = 1, .channels = 1, .height = 9, .width = 4, .scale = 1};
    expect_grid(grid, 1, 1); // a picture alone
}

static void test_equal_grids_give_equal_files(void) {
    char a[PATH_BYTES], b[PATH_BYTES], *text_a, *text_b;
    size_t bytes_a, bytes_b;
    uint8_t image[16] = {1, 2, 3};
    PngGrid grid = {image, 1, 1, 4, 4, 0, 2, PNG_GAP, 128};
    snprintf(a, sizeof a, "%s/a.png", folder);
    snprintf(b, sizeof b, "%s/b.png", folder);
    EXPECT_OK(png_write_grid(a, &grid));
    EXPECT_OK(png_write_grid(b, &grid));
    EXPECT_OK(file_read(a, 10000, &text_a, &bytes_a));
    EXPECT_OK(file_read(b, 10000, &text_b, &bytes_b));
    EXPECT(bytes_a == bytes_b && memcmp(text_a, text_b, bytes_a) == 0);
    EXPECT(memmem(text_a, bytes_a, "tIME", 4) == NULL);
    free(text_a);
    free(text_b);
}

static void test_bad_sizes(void) {
    uint8_t image[16] = {0};
    const PngGrid good = {image, 1, 1, 4, 4, 0, 1, 0, 128};
    PngGrid bad = good;
    bad.channels = 2;
    EXPECT_FAIL(png_write_grid("x.png", &bad), BAD_USAGE, "1 or 3 channels, not 2");
    bad = good, bad.n = 0;
    EXPECT_FAIL(png_write_grid("x.png", &bad), BAD_USAGE, "a grid of 0 images");
    bad = good, bad.scale = 0;
    EXPECT_FAIL(png_write_grid("x.png", &bad), BAD_USAGE, "scale 0");
    bad = good, bad.scale = INT32_MAX, bad.width = INT32_MAX;
    EXPECT_FAIL(png_write_grid("x.png", &bad), BAD_USAGE, "is too large");
    bad = good, bad.n = INT64_MAX;
    EXPECT_FAIL(png_write_grid("x.png", &bad), BAD_USAGE, "is too large");
    bad = good, bad.n = 100000, bad.columns = 1;
    EXPECT_FAIL(png_write_grid("x.png", &bad), BAD_USAGE, "is too large");
    EXPECT_FAIL(png_write_grid("/no/such/folder/x.png", &good), NOT_FOUND, "/no/such/folder/x.png");
}

int main(void) {
    folder = test_folder("png");
    RUN(test_grids);
    RUN(test_equal_grids_give_equal_files);
    RUN(test_bad_sizes);
    return test_report();
}
