// Pictures as files, made by libpng and libjpeg themselves.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t width, height;
    int depth;           // bits of a sample
    int colour;          // PNG_COLOR_TYPE_...
    int interlace;       // PNG_INTERLACE_...
    const uint8_t *rows; // [height], as the file has them: samples packed, big-endian
    size_t row_bytes;
    const uint8_t *palette; // [256, 4] red, green, blue, alpha; NULL: none
    int clear;              // the sample value that is transparent; -1: none
} PngRecipe;

void support_write_png(const char *path, const PngRecipe *recipe);
// channels: 1 grey, 3 colour, 4 CMYK, stored as they are; progressive or not.
void support_write_jpeg(const char *path, const uint8_t *pixels, int32_t width, int32_t height,
                        int channels, bool progressive);
