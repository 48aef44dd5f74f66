// The linear decoder of latents: pictures against the sum written out, and what is refused.
#include "launch/patch_decoder.h"

#include <archive.h>
#include <archive_entry.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/pack/image_file.h"
#include "tests/test.h"

enum { CHANNELS = 2, HEIGHT = 2, WIDTH = 3, SIDE = 2, COLOURS = 3, N = COLOURS * SIDE * SIDE };

static char folder[] = "/tmp/dye-patches-XXXXXX", npz[64], picture[64];
static const NetworkShape latents = {.channels = CHANNELS, .height = HEIGHT, .width = WIDTH};

static bool turned; // arrays are written in Fortran order

static void add_array(struct archive *archive, const char *name, const char *descr, int rows,
                      int columns, const float *numbers) {
    unsigned char text[4096] = "\x93NUMPY\x01";
    char shape[32], head[118];
    if (rows > 0)
        snprintf(shape, sizeof shape, "(%d, %d)", rows, columns);
    else
        snprintf(shape, sizeof shape, "(%d,)", columns);
    int n = snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }",
                     descr, turned ? "True" : "False", shape);
    memset(head + n, ' ', sizeof head - (size_t)n);
    text[8] = sizeof head, head[sizeof head - 1] = '\n';
    memcpy(text + 10, head, sizeof head);
    size_t bytes = (size_t)(columns * (rows > 0 ? rows : 1)) * sizeof *numbers;
    memcpy(text + 10 + sizeof head, numbers, bytes);
    for (int i = 0; turned && rows > 0 && i < rows * columns; ++i)
        memcpy(text + 10 + sizeof head + 4 * (i % columns * rows + i / columns), numbers + i, 4);
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (int64_t)(10 + sizeof head + bytes));
    EXPECT_EQ(archive_write_header(archive, entry), 0);
    archive_write_data(archive, text, 10 + sizeof head + bytes);
    archive_entry_free(entry);
}

static float decoder[CHANNELS + 1][N], mean[N];

static void write_npz(const char *descr, int channels, int of_mean, bool has_mean) {
    struct archive *archive = archive_write_new();
    archive_write_set_format_zip(archive);
    EXPECT_EQ(archive_write_open_filename(archive, npz), 0);
    add_array(archive, "decoder.npy", descr, channels, N, decoder[0]);
    if (has_mean) add_array(archive, "mean.npy", "<f4", 0, of_mean, mean);
    archive_write_free(archive);
}

static void fill(void) {
    for (int i = 0; i < N; ++i) {
        mean[i] = (float)i / N - 0.5f;
        for (int c = 0; c < CHANNELS; ++c) decoder[c][i] = (float)sin(3 * i + 7 * c) * 0.4f;
    }
}

static void check_pictures(bool in_fortran_order) {
    enum { COUNT = 1, HIGH = HEIGHT * SIDE, WIDE = WIDTH * SIDE };
    float z[COUNT][CHANNELS][HEIGHT][WIDTH];
    for (int i = 0; i < CHANNELS * HEIGHT * WIDTH; ++i) (&z[0][0][0][0])[i] = (float)cos(i) * 1.5f;
    turned = in_fortran_order;
    write_npz("<f4", CHANNELS, N, true);
    turned = false;
    PatchDecoder patches;
    EXPECT(patch_decoder_is(npz) && !patch_decoder_is("runs/npz") && !patch_decoder_is(".npz"));
    EXPECT_OK(patch_decoder_open(npz, &latents, &patches));
    EXPECT_EQ(patches.colours, COLOURS);
    EXPECT_EQ(patches.side, SIDE);
    EXPECT_OK(patch_decoder_draw(&patches, &latents, &z[0][0][0][0], COUNT, picture));
    char *text;
    size_t bytes;
    Image image;
    EXPECT_OK(file_read(picture, 1 << 20, &text, &bytes));
    EXPECT_OK(image_decode(picture, text, bytes, COLOURS, 0, &image));
    EXPECT(image.width > 2 * WIDE && image.height > 2 * HIGH); // pixels doubled, and a border
    int wrong = 0, border = (int)(image.width - 2 * WIDE) / 2;
    for (int colour = 0; colour < COLOURS; ++colour)
        for (int y = 0; y < HIGH; ++y)
            for (int x = 0; x < WIDE; ++x) {
                int i = colour * SIDE * SIDE + y % SIDE * SIDE + x % SIDE;
                double sum = (double)mean[i];
                for (int c = 0; c < CHANNELS; ++c)
                    sum += (double)z[0][c][y / SIDE][x / SIDE] * (double)decoder[c][i];
                double level = fmin(fmax((sum + 1) * 127.5, 0), 255);
                int64_t at = ((int64_t)colour * image.height + border + 2 * y) * image.width +
                             border + 2 * x;
                wrong += fabs(image.pixels[at] - level) > 0.5001;
            }
    EXPECT_EQ(wrong, 0);
    image_free(&image);
    free(text);
    patch_decoder_close(&patches);
}

static void test_pictures(void) {
    check_pictures(false);
    check_pictures(true);
}

static void test_refusals(void) {
    PatchDecoder patches;
    NetworkShape points = {.channels = 2, .height = 1, .width = 1}, words = {.tokens = true};
    write_npz("<f8", CHANNELS, N, true);
    EXPECT_FAIL(patch_decoder_open(npz, &latents, &patches), BAD_DATA, "'decoder' must be");
    write_npz("<f4", CHANNELS + 1, N, true);
    EXPECT_FAIL(patch_decoder_open(npz, &latents, &patches), BAD_DATA, "[channels = 2, n]");
    write_npz("<f4", CHANNELS, N - 1, true);
    EXPECT_FAIL(patch_decoder_open(npz, &latents, &patches), BAD_DATA, "'mean' has 11");
    write_npz("<f4", CHANNELS, N, false);
    EXPECT_FAIL(patch_decoder_open(npz, &latents, &patches), BAD_DATA, "no array 'mean'");
    EXPECT_FAIL(patch_decoder_open(npz, &points, &patches), BAD_USAGE, "draws none");
    EXPECT_FAIL(patch_decoder_open(npz, &words, &patches), BAD_USAGE, "draws none");
    EXPECT_FAIL(patch_decoder_open("none.npz", &latents, &patches), NOT_FOUND, "no such file");
    patch_decoder_close(&patches);
}

int main(void) {
    EXPECT(mkdtemp(folder) != NULL);
    snprintf(npz, sizeof npz, "%s/a.npz", folder);
    snprintf(picture, sizeof picture, "%s/a.png", folder);
    fill();
    RUN(test_pictures);
    RUN(test_refusals);
    EXPECT_OK(folder_remove(folder));
    return test_report();
}
