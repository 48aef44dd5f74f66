// Drawn samples as files for other programs: a folder of pictures, or NPZ.
#pragma once

#include "data/dataset.h"
#include "model/network.h"

// By the name: "DIR/" a PNG for each picture, DIR/000000.png from number `first` on; "FILE.npz" all
// in one archive, not compressed; any other as picture_write. NPZ: arr_0 is u8 [count, height,
// width, 3] of images, which is what tools that compute an FID read, else numbers as they are, i32
// of symbols and f32; arr_1 is i64 [count] of labels, where `label` is not NULL. Errors: IO,
// NO_MEMORY, BAD_USAGE (a folder of what is no picture), those of picture_write.
Status sample_write(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                    const int32_t *label, int64_t first, int64_t count, const char *path);
// NPZ of arr_0 [frames, count, ...]: f32 or i32, images as [.., channels, height, width]; arr_1 is
// f32 [frames], `time` of each, unless that is NULL.
Status sample_write_frames(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                           const float *time, int64_t frames, int64_t count, const char *path);
