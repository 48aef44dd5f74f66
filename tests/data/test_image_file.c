// Decoding against files that libpng and libjpeg made from known samples, resizing against sums by
// hand, both against PIL where it is installed.
#include <png.h>

#include "base/file.h"
#include "data/pack/image_file.h"
#include "tests/data/support_image.h"
#include "tests/test.h"

static const char *folder;
static char file[600];

enum { WIDTH = 13, HEIGHT = 9, SAMPLES = 4 };

static uint32_t noise(uint32_t i) {
    i = (i ^ 61) ^ (i >> 16);
    i *= 9;
    i ^= i >> 4;
    i *= 0x27d4eb2d;
    return i ^ (i >> 15);
}

static Status decode_file(const char *path, int32_t channels, int32_t size, Image *out) {
    char *data;
    size_t bytes;
    TRY(file_read(path, 1 << 28, &data, &bytes));
    Status status = image_decode(path, data, bytes, channels, size, out);
    free(data);
    return status;
}

static double over_white(double value, double alpha) {
    return floor((value * alpha + 255 * (255 - alpha)) / 255 + 0.5);
}

// Writes noise of this kind and compares each pixel with what its samples say.
static void check_png(int colour, int depth, int interlace, int clear, int32_t channels) {
    static uint32_t sample[HEIGHT][WIDTH][SAMPLES];
    static uint8_t rows[HEIGHT][WIDTH * SAMPLES * 2], palette[256 * 4];
    int stored = colour == PNG_COLOR_TYPE_RGBA         ? 4
                 : colour == PNG_COLOR_TYPE_RGB        ? 3
                 : colour == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                                       : 1;
    memset(rows, 0, sizeof rows);
    for (uint32_t i = 0; i < sizeof palette; ++i) palette[i] = (uint8_t)noise(i + 77);
    for (uint32_t i = 0; i < HEIGHT * WIDTH * SAMPLES; ++i) {
        uint32_t y = i / (WIDTH * SAMPLES), x = i / SAMPLES % WIDTH, c = i % SAMPLES;
        if ((int)c >= stored) continue;
        uint32_t value = sample[y][x][c] = noise(i) & ((1u << depth) - 1);
        if (clear >= 0 && x % 3 == 0) value = sample[y][x][c] = (uint32_t)clear;
        uint32_t number = x * (uint32_t)stored + c, bit = number * (uint32_t)depth;
        if (depth == 16) {
            rows[y][2 * number] = (uint8_t)(value >> 8);
            rows[y][2 * number + 1] = (uint8_t)value;
        } else {
            rows[y][bit / 8] |= (uint8_t)(value << (8 - (uint32_t)depth - bit % 8));
        }
    }
    PngRecipe recipe = {.width = WIDTH,
                        .height = HEIGHT,
                        .depth = depth,
                        .colour = colour,
                        .interlace = interlace,
                        .rows = rows[0],
                        .row_bytes = sizeof rows[0],
                        .palette = colour == PNG_COLOR_TYPE_PALETTE ? palette : NULL,
                        .clear = clear};
    support_write_png(file, &recipe);
    Image image = {0};
    EXPECT_OK(decode_file(file, channels, 0, &image));
    if (image.pixels == NULL) return;
    EXPECT(image.width == WIDTH && image.height == HEIGHT && image.channels == channels);
    int wrong = 0;
    for (int y = 0; y < HEIGHT; ++y)
        for (int x = 0; x < WIDTH; ++x) {
            double rgb[4], most = (1 << depth) - 1, alpha = 255;
            for (int c = 0; c < 4; ++c)
                rgb[c] = floor(sample[y][x][stored >= 3 && c < stored ? c : 0] * 255 / most + 0.5);
            if (stored % 2 == 0) alpha = floor(sample[y][x][stored - 1] * 255 / most + 0.5);
            if (clear >= 0 && sample[y][x][0] == (uint32_t)clear &&
                sample[y][x][stored - 1] == (uint32_t)clear &&
                sample[y][x][stored / 2] == (uint32_t)clear)
                alpha = 0;
            if (colour == PNG_COLOR_TYPE_PALETTE) {
                for (int c = 0; c < 3; ++c) rgb[c] = palette[4 * sample[y][x][0] + (uint32_t)c];
                alpha = palette[4 * sample[y][x][0] + 3];
            }
            for (int c = 0; c < 3; ++c) rgb[c] = over_white(rgb[c], alpha);
            double luma = floor((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) / 65536);
            for (int c = 0; c < channels; ++c)
                wrong +=
                    image.pixels[(c * HEIGHT + y) * WIDTH + x] != (channels == 1 ? luma : rgb[c]);
        }
    if (wrong > 0)
        TEST_FAIL("colour %d depth %d interlace %d: %d wrong", colour, depth, interlace, wrong);
    image_free(&image);
}

static void test_png_kinds(void) {
    static const struct {
        int colour, least, most;
    } kinds[] = {{PNG_COLOR_TYPE_GRAY, 1, 16},
                 {PNG_COLOR_TYPE_PALETTE, 1, 8},
                 {PNG_COLOR_TYPE_RGB, 8, 16},
                 {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 16},
                 {PNG_COLOR_TYPE_RGBA, 8, 16}};
    for (int k = 0; k < 5; ++k)
        for (int depth = kinds[k].least; depth <= kinds[k].most; depth *= 2)
            for (int channels = 1; channels <= 3; channels += 2) {
                check_png(kinds[k].colour, depth, PNG_INTERLACE_NONE, -1, channels);
                check_png(kinds[k].colour, depth, PNG_INTERLACE_ADAM7, -1, channels);
                if (kinds[k].colour == PNG_COLOR_TYPE_GRAY || kinds[k].colour == PNG_COLOR_TYPE_RGB)
                    check_png(kinds[k].colour, depth, PNG_INTERLACE_NONE, 1, channels);
            }
}

// Smooth pictures survive quality 95 nearly unchanged; CMYK comes inverted.
static void check_jpeg(int stored, bool progressive, int32_t channels) {
    enum { SIDE = 40 };
    static uint8_t pixels[SIDE * SIDE * 4];
    for (int i = 0; i < SIDE * SIDE * stored; ++i) {
        int y = i / stored / SIDE, x = i / stored % SIDE, c = i % stored;
        pixels[i] = (uint8_t)(c == 3 ? 128 + 2 * x : 30 + 3 * x * (c != 1) + 2 * y * (c != 0));
    }
    support_write_jpeg(file, pixels, SIDE, SIDE, stored, progressive);
    Image image = {0};
    EXPECT_OK(decode_file(file, channels, 0, &image));
    if (image.pixels == NULL) return;
    double worst = 0;
    for (int i = 0; i < SIDE * SIDE; ++i) {
        const uint8_t *pixel = pixels + (size_t)i * (size_t)stored;
        double rgb[3];
        for (int c = 0; c < 3; ++c)
            rgb[c] = stored == 4 ? pixel[c] * pixel[3] / 255.0 : pixel[stored == 3 ? c : 0];
        double luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
        for (int c = 0; c < channels; ++c)
            worst = fmax(worst,
                         fabs(image.pixels[c * SIDE * SIDE + i] - (channels == 1 ? luma : rgb[c])));
    }
    EXPECT_NEAR(worst, 0, 6);
    image_free(&image);
}

static void test_jpeg_kinds(void) {
    for (int32_t channels = 1; channels <= 3; channels += 2) {
        check_jpeg(1, false, channels);
        check_jpeg(3, false, channels);
        check_jpeg(3, true, channels);
        check_jpeg(4, false, channels);
    }
}

static void check_resize(const uint8_t *in, int32_t h, int32_t w, int32_t to_h, int32_t to_w,
                         ResizeFilter filter, const uint8_t *expected) {
    Image image = {1, h, w, malloc((size_t)(h * w))};
    memcpy(image.pixels, in, (size_t)(h * w));
    EXPECT_OK(image_resize(&image, to_h, to_w, filter));
    for (int i = 0; i < to_h * to_w; ++i) EXPECT_EQ(image.pixels[i], expected[i]);
    image_free(&image);
}

static void test_resize_by_hand(void) {
    const uint8_t box[2][4] = {{10, 20, 30, 40}, {50, 60, 71, 80}};
    check_resize(box[0], 2, 4, 1, 2, RESIZE_BOX, (const uint8_t[]){35, 56});
    check_resize(box[0], 1, 4, 1, 4, RESIZE_BICUBIC, box[0]);
    // To twice the width, middles at 0.25 and 0.75 of a pixel: weights of a step from 0 to 100 by
    // Keys' cubic at distances 0.25, 0.75, 1.25, 1.75: 0.8671875, 0.2265625, -0.0703125,
    // -0.0234375.
    const uint8_t step[6] = {0, 0, 0, 100, 100, 100};
    check_resize(step, 1, 6, 1, 12, RESIZE_BICUBIC,
                 (const uint8_t[]){0, 0, 0, 0, 0, 20, 80, 107, 102, 100, 100, 100});
}

// A square of 2 N is halved, a wide one cut in its middle, the odd column left on the right.
static void test_crop(void) {
    Image image = {1, 2, 5, malloc(10)};
    memcpy(image.pixels, (const uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 10);
    EXPECT_OK(image_crop(&image, 2));
    EXPECT(image.height == 2 && image.width == 2);
    EXPECT(memcmp(image.pixels, (const uint8_t[]){2, 3, 7, 8}, 4) == 0);
    EXPECT_OK(image_crop(&image, 1));
    EXPECT_EQ(image.pixels[0], 6); // 2.5 and 7.5 are rounded, then 5.5
    image_free(&image);
    image = (Image){1, 1, 60000, calloc(60000, 1)};
    EXPECT_FAIL(image_crop(&image, 200), BAD_DATA, "60000 x 1, too narrow");
    image_free(&image);
}

// Every prefix of a file is an error, and so is a flipped bit in a PNG.
static void test_damage(void) {
    static uint8_t pixels[24 * 24 * 3];
    for (uint32_t i = 0; i < sizeof pixels; ++i) pixels[i] = (uint8_t)noise(i);
    for (int kind = 0; kind < 3; ++kind) {
        char *data;
        size_t bytes;
        Image image;
        PngRecipe recipe = {.width = 24,
                            .height = 24,
                            .depth = 8,
                            .colour = PNG_COLOR_TYPE_RGB,
                            .rows = pixels,
                            .row_bytes = 72,
                            .clear = -1};
        if (kind == 0)
            support_write_png(file, &recipe);
        else
            support_write_jpeg(file, pixels, 24, 24, 3, kind == 2);
        EXPECT_OK(file_read(file, 1 << 20, &data, &bytes));
        for (size_t part = 3; part < bytes; ++part)
            EXPECT_FAIL(image_decode("part", data, part, 3, 0, &image), BAD_DATA, "part: is n");
        for (size_t i = 8; kind == 0 && i < bytes; i += 13) {
            data[i] ^= 4;
            EXPECT_FAIL(image_decode("flip", data, bytes, 3, 0, &image), BAD_DATA, "flip: is not");
            data[i] ^= 4;
        }
        EXPECT_OK(image_decode("whole", data, bytes, 3, 0, &image));
        image_free(&image);
        if (kind > 0) { // a size that so few bytes cannot hold
            for (size_t i = 2; i + 9 < bytes; ++i)
                if ((uint8_t)data[i] == 0xff &&
                    ((uint8_t)data[i + 1] == 0xc0 || (uint8_t)data[i + 1] == 0xc2)) {
                    data[i + 5] = data[i + 7] = 0x3f;
                    break;
                }
            EXPECT_FAIL(image_decode("bomb", data, bytes, 3, 0, &image), BAD_DATA, "can hold");
        }
        free(data);
    }
    uint8_t *wide = calloc(30000, 1);
    PngRecipe large = {
        .width = 30000, .height = 1, .depth = 8, .rows = wide, .row_bytes = 30000, .clear = -1};
    support_write_png(file, &large);
    char *data;
    size_t bytes;
    Image image;
    EXPECT_OK(file_read(file, 1 << 20, &data, &bytes));
    EXPECT_OK(image_header("wide", data, bytes, &image));
    EXPECT(image.width == 30000 && image.height == 1 && image.channels == 1);
    EXPECT_FAIL(image_decode("text", "GIF89a and more", 15, 3, 0, &image), BAD_DATA,
                "is neither a JPEG nor a PNG");
    free(data);
    free(wide);
}

// The numbers of ADM's center_crop_arr, by PIL itself.
static const char *const pil_script =
    "import sys, random\n"
    "from PIL import Image\n"
    "d = sys.argv[1]\n"
    "random.seed(1)\n"
    "for n, (w, h) in enumerate([(97, 71), (300, 151), (33, 64), (500, 501)]):\n"
    "    im = Image.frombytes('RGB', (w // 4 + 1, h // 4 + 1), random.randbytes("
    "(w // 4 + 1) * (h // 4 + 1) * 3)).resize((w, h), Image.BICUBIC)\n"
    "    im.save(f'{d}/{n}.' + ('jpg' if n % 2 else 'png'))\n"
    "    im = Image.open(f'{d}/{n}.' + ('jpg' if n % 2 else 'png'))\n"
    "    for mode in ('L', 'RGB'):\n"
    "        a = im.convert(mode)\n"
    "        while min(a.size) >= 2 * 40:\n"
    "            a = a.resize(tuple(x // 2 for x in a.size), resample=Image.BOX)\n"
    "        s = 40 / min(a.size)\n"
    "        a = a.resize(tuple(round(x * s) for x in a.size), resample=Image.BICUBIC)\n"
    "        x, y = (a.size[0] - 40) // 2, (a.size[1] - 40) // 2\n"
    "        a = a.crop((x, y, x + 40, y + 40))\n"
    "        open(f'{d}/{n}.{mode}', 'wb').write(b''.join(c.tobytes() for c in a.split()))\n";

static void test_against_pil(void) {
    char command[2048];
    if (system("python3 -c 'import PIL' 2>/dev/null") != 0) SKIP("no PIL for python3");
    snprintf(file, sizeof file, "%s/script.py", folder);
    EXPECT_OK(file_write_atomic(file, pil_script, strlen(pil_script)));
    snprintf(command, sizeof command, "python3 %s/script.py %s", folder, folder);
    EXPECT_EQ(system(command), 0);
    for (int n = 0; n < 4; ++n)
        for (int32_t channels = 1; channels <= 3; channels += 2) {
            char *expected = NULL;
            size_t bytes = 0, wrong = 0;
            Image image = {0};
            snprintf(file, sizeof file, "%s/%d.%s", folder, n, channels == 1 ? "L" : "RGB");
            EXPECT_OK(file_read(file, 1 << 20, &expected, &bytes));
            snprintf(file, sizeof file, "%s/%d.%s", folder, n, n % 2 ? "jpg" : "png");
            EXPECT_OK(decode_file(file, channels, 40, &image));
            EXPECT_EQ(bytes, channels * 1600);
            for (size_t i = 0; image.pixels != NULL && i < bytes; ++i)
                wrong += abs(image.pixels[i] - (uint8_t)expected[i]) > n % 2;
            EXPECT_EQ(wrong, 0);
            free(expected);
            image_free(&image);
        }
}

int main(void) {
    folder = test_folder("image-file");
    snprintf(file, sizeof file, "%s/picture", folder);
    RUN(test_png_kinds);
    RUN(test_jpeg_kinds);
    RUN(test_resize_by_hand);
    RUN(test_crop);
    RUN(test_damage);
    RUN(test_against_pil);
    return test_report();
}
