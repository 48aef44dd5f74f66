// What drawn samples look like: a grid of images, or lines of text or numbers.
#pragma once

#include "data/dataset.h"
#include "model/network.h"

// Writes samples[count] (4-byte numbers of one sample behind the other's): images as a PNG grid
// (values limited to [-1,1]), token samples one a line in the alphabet of `data`, vectors one a
// line as numbers. Errors: IO, NO_MEMORY, BAD_DATA (images of neither 1 nor 3 channels).
Status picture_write(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                     int64_t count, const char *path);
