// Resizing of 8-bit pictures, with the pixels of PIL's Image.resize and of ADM's centre crop
// (Dhariwal & Nichol 2021). The same bits on any machine: weights come from + - * / in float64 and
// are applied as integers.
#pragma once

#include <stdint.h>

#include "base/status.h"

enum { IMAGE_PIXELS_MOST = 1 << 28 };

typedef struct {
    int32_t channels, height, width;
    uint8_t *pixels; // [channels, height, width], planar, malloc'ed, owned
} Image;

// BOX: the mean of what a pixel covers; BICUBIC: a = -0.5, widened where the picture shrinks.
typedef enum { RESIZE_BOX, RESIZE_BICUBIC } ResizeFilter;

// Replaces the picture by one of height x width, each at least 1: rows first, then columns, each
// rounded to 8 bits. After an error the picture is good for image_free alone. Errors: NO_MEMORY.
Status image_resize(Image *image, int32_t height, int32_t width, ResizeFilter filter);

// Replaces the picture by a square of `size` >= 1: halved by BOX while its shorter side is at least
// 2 size, then BICUBIC until that side is `size` (the other: rounded, ties to even), then cut in
// the middle, an odd pixel more on the right and below. Errors: as above; BAD_DATA (so narrow that
// there would be more than IMAGE_PIXELS_MOST before the cut).
Status image_crop(Image *image, int32_t size);

void image_free(Image *image); // fine on a zeroed one
