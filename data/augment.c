// One picture at a time.
#include "data/augment.h"

#include <string.h>

#include "base/rng.h"

void augment_image(const Augment *augment, uint64_t seed, uint64_t position, const uint8_t *in,
                   int64_t channels, int64_t height, int64_t width, uint8_t *out) {
    uint32_t bits[4], sides = 2 * (uint32_t)augment->crop + 1;
    rng_block(rng_key(seed, RNG_AUGMENT, 0), position, 0, bits);
    bool flip = augment->flip && bits[0] >> 31 != 0;
    int64_t down = (int64_t)rng_below(bits[1], sides) - augment->crop;
    int64_t right = (int64_t)rng_below(bits[2], sides) - augment->crop;
    memset(out, 0, (size_t)(channels * height * width));
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t y = 0; y < height; ++y) {
            int64_t from_y = y + down;
            if (from_y < 0 || from_y >= height) continue;
            const uint8_t *row = in + (c * height + from_y) * width;
            uint8_t *to = out + (c * height + y) * width;
            for (int64_t x = 0; x < width; ++x) {
                int64_t from_x = x + right;
                if (from_x < 0 || from_x >= width) continue;
                to[x] = row[flip ? width - 1 - from_x : from_x];
            }
        }
}
