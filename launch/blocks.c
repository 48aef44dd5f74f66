// Half blocks behind launch/blocks.h.
#include "launch/blocks.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/pack/image_file.h"
#include "launch/console.h"

enum { PICTURE_BYTES_MOST = 64 << 20 };
typedef enum { COLOURS_NONE, COLOURS_256, COLOURS_ALL } Colours;

static Colours colours_of(FILE *out) {
    const char *all = getenv("COLORTERM");
    if (console_style(out, STYLE_BOLD)[0] == '\0') return COLOURS_NONE;
    bool full = all != NULL && (strcmp(all, "truecolor") == 0 || strcmp(all, "24bit") == 0);
    return full ? COLOURS_ALL : COLOURS_256;
}

static void pixel_of(const Image *image, int x, int y, int rgb[3]) {
    for (int c = 0; c < 3; ++c)
        rgb[c] = y < image->height ? image->pixels[(c * image->height + y) * image->width + x] : 0;
}

// Of xterm's 256: 24 greys from 232 on, else a cube of 6 levels from 16 on.
static int index_of(const int rgb[3]) {
    bool grey = abs(rgb[0] - rgb[1]) < 8 && abs(rgb[1] - rgb[2]) < 8;
    if (grey) return 232 + rgb[1] * 23 / 255;
    return 16 + 36 * (rgb[0] * 5 / 255) + 6 * (rgb[1] * 5 / 255) + rgb[2] * 5 / 255;
}

static void print_colour(FILE *out, Colours colours, int ground, const int rgb[3]) {
    if (colours == COLOURS_ALL)
        fprintf(out, "\033[%d;2;%d;%d;%dm", ground, rgb[0], rgb[1], rgb[2]);
    else
        fprintf(out, "\033[%d;5;%dm", ground, index_of(rgb));
}

static void print_pair(FILE *out, Colours colours, const int above[3], const int below[3]) {
    static const char *const shades[] = {" ", "░", "▒", "▓", "█"};
    int sum = 0;
    for (int c = 0; c < 3; ++c) sum += above[c] + below[c];
    if (colours == COLOURS_NONE) {
        fputs(shades[sum * 5 / (6 * 256)], out);
        return;
    }
    print_colour(out, colours, 38, above);
    print_colour(out, colours, 48, below);
    fputs("▀", out);
}

Status blocks_print(const char *path, int columns, int lines, FILE *out) {
    char *data;
    size_t bytes;
    Image image;
    Colours colours = colours_of(out);
    TRY(file_read(path, PICTURE_BYTES_MOST, &data, &bytes));
    Status status = image_decode(path, data, bytes, 3, 0, &image);
    free(data);
    TRY(status);
    int64_t height = (int64_t)image.height * columns / image.width;
    if (image.width > columns)
        status = image_resize(&image, height > 1 ? (int32_t)height : 1, columns, RESIZE_BOX);
    for (int y = 0; y < image.height && y < 2 * lines && status == STATUS_OK; y += 2) {
        fputs("  ", out);
        for (int x = 0; x < image.width; ++x) {
            int above[3], below[3];
            pixel_of(&image, x, y, above);
            pixel_of(&image, x, y + 1, below);
            print_pair(out, colours, above, below);
        }
        fprintf(out, "%s\n", console_style(out, STYLE_PLAIN));
    }
    image_free(&image);
    return status;
}
