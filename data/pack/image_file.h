// Pictures in files, JPEG and PNG, as planar bytes: what they are is told by their first bytes.
//
// Their values are taken as they are: no gamma, no colour profile. What is drawn over a transparent
// ground is drawn over white; 16 bits are scaled to 8 with rounding; grey is 601 luma,
// (19595 R + 38470 G + 7471 B + 32768) >> 16, as PIL's "L", and becomes colour by copying. JPEGs
// are decoded by the slow integer transform in their full size, so that pixels are the same
// everywhere; in CMYK they are taken as Adobe stores them, inverted. A picture is not turned as its
// EXIF says: torchvision and ADM do not either.
//
// No state outlives a call: any number of threads may decode.
#pragma once

#include <stddef.h>

#include "data/pack/image_resize.h"

enum { IMAGE_SIDE_MOST = 65500, IMAGE_MAGIC_BYTES = 8 };

typedef enum { IMAGE_NONE, IMAGE_JPEG, IMAGE_PNG } ImageType;

// Of a file that begins with these bytes, of which IMAGE_MAGIC_BYTES are enough.
ImageType image_type(const void *data, size_t bytes);

// Size and channels (1 grey, 3 colour) as stored, from the header alone: `pixels` is NULL.
// `name` stands in errors. Errors: as image_decode.
Status image_header(const char *name, const void *data, size_t bytes, Image *out);

// Decodes the file's `bytes` bytes to out->pixels [channels, height, width], which the caller
// frees with image_free. channels: 1 or 3, whatever the file has; size: image_crop to a square of
// that side, 0: as it is. Errors, after which there is nothing to free: BAD_DATA (neither JPEG nor
// PNG; truncated; damaged, where libjpeg would only warn as well; a side beyond IMAGE_SIDE_MOST,
// more than IMAGE_PIXELS_MOST pixels or more than so few bytes can hold, told before memory is
// taken; arithmetic coding), NO_MEMORY.
Status image_decode(const char *name, const void *data, size_t bytes, int32_t channels,
                    int32_t size, Image *out);

const char *image_version(void); // of libjpeg-turbo, that Dye was built with
