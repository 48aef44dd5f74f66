// Pictures from strangers: any bytes give a Status, within bounded memory.
#include <stdlib.h>

#include "data/pack/image_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Image header, image;
    if (image_header("fuzz", data, size, &header) != STATUS_OK) return 0;
    // Larger ones are right, but slow.
    if ((int64_t)header.height * header.width > 1 << 20) return 0;
    uint64_t sum = 0;
    for (int32_t channels = 1; channels <= 3; channels += 2) {
        if (image_decode("fuzz", data, size, channels, size % 2 == 0 ? 0 : 16, &image) != STATUS_OK)
            continue;
        if (image.channels != channels) abort();
        for (int64_t i = 0; i < (int64_t)channels * image.height * image.width; ++i)
            sum += image.pixels[i];
        image_free(&image);
    }
    return sum == UINT64_MAX ? -1 : 0; // every pixel is looked at
}
