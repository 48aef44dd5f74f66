// A grid of images, or a single one, as a PNG file.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { PNG_GAP = 2, PNG_SIDE_MOST = 1 << 16 };

typedef struct {
    const uint8_t *images; // [n, channels, height, width], planar
    int64_t n;             // at least 1
    int32_t channels;      // 1: grey, 3: red, green, blue
    int32_t height, width; // of one image
    int32_t columns;       // 0: as square as it gets
    int32_t scale;         // each pixel becomes scale x scale; at least 1
    int32_t gap;           // pixels around each image, such as PNG_GAP; 0: none
    uint8_t ground;        // grey value of gaps and empty places, such as 128 or 255
} PngGrid;

// The images row by row as a file in memory, malloc'ed, the caller frees. It holds no time and no
// text: equal grids give equal pixels. Errors: BAD_USAGE (a size below 1, other channels, a side
// beyond PNG_SIDE_MOST), NO_MEMORY.
Status png_encode_grid(const PngGrid *grid, uint8_t **out, size_t *bytes);
// The same to a file, which is replaced atomically. Errors: also IO.
Status png_write_grid(const char *path, const PngGrid *grid);

// An animation (APNG), frame by frame and for ever; who cannot show it shows the first one. All
// frames are of one size. Errors: as png_write_grid.
typedef struct {
    PngGrid grid;
    int milliseconds; // for which it is shown, below 65536
} PngFrame;
Status png_write_animation(const char *path, const PngFrame *frame, int frames);

const char *png_version(void); // of libpng
