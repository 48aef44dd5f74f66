// A line of a font from strangers: refused, or pixels that are the digits again.
#include <stdint.h>
#include <stdlib.h>

#include "data/pack/glyph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_pixels(const char *text, size_t length, const uint8_t pixel[GLYPH_PIXELS]) {
    const char *digit = text + length - GLYPH_PIXELS / 4;
    for (int i = 0; i < GLYPH_PIXELS / 4; ++i) {
        int value = 0;
        for (int k = 0; k < 4; ++k) value = 2 * value + pixel[4 * i + k];
        if (value != strtol((char[]){digit[i], '\0'}, NULL, 16)) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    uint8_t pixel[GLYPH_PIXELS];
    bool wide;
    if (glyph_parse(text, size, "fuzz", 1, &wide, pixel) != STATUS_OK) return 0;
    if (!glyph_begins(text, size) || size > GLYPH_LINE_MOST) abort();
    if (wide) check_pixels(text, size, pixel);
    return 0;
}
