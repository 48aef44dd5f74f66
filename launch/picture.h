// What drawn samples look like: a grid of pictures, or lines of text or numbers.
#pragma once

#include "data/dataset.h"
#include "model/network.h"

// Writes samples[count] (4-byte numbers of one sample behind the other's): images as a PNG grid
// (values limited to [-1,1]), and so grids of tokens (id 0 white, the last symbol of `data` black);
// text one sample a line in the alphabet of `data`; rows of tokens one a line, as digits without
// spaces where there are at most 10 symbols; vectors one a line as numbers. Errors: IO, NO_MEMORY,
// BAD_DATA (images of neither 1 nor 3 channels).
Status picture_write(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                     int64_t count, const char *path);
// The same with so many columns in a grid, 0: as square as it gets.
Status picture_write_rows(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                          int64_t count, int32_t columns, const char *path);
// One picture of data that are drawn, pixel by pixel, without a frame.
Status picture_write_one(const DatasetInfo *data, const NetworkShape *shape, const void *sample,
                         const char *path);
// Clouds of `points` points in the plane, x and y behind each other, seen from -3 to 3: a PNG grid,
// the darker the more points. Errors: IO, NO_MEMORY.
Status picture_write_clouds(const float *points, int64_t clouds, int64_t each, int32_t columns,
                            const char *path);
// Animated, frame after frame: grids of `each` samples, or clouds. The first and the last frame are
// shown longest.
Status picture_animate(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                       int64_t each, int frames, const char *path);
Status picture_animate_clouds(const float *points, int64_t each, int frames, const char *path);
// Bytes of the UTF-8 character at `text`, which is not its end.
int character_bytes(const char *text);
