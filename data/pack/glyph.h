// Glyphs of a bitmap font in the .hex format of GNU Unifont. Each line is the code point in 4 to 6
// hexadecimal digits, a colon, and the pixels in 32 (8 x 16) or 64 (16 x 16) of them: row by row,
// the highest bit left, 1 is ink.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { GLYPH_SIDE = 16, GLYPH_PIXELS = GLYPH_SIDE * GLYPH_SIDE, GLYPH_LINE_MOST = 6 + 1 + 64 };

// Takes a line apart; *wide: it is of 16 x 16 pixels, which stand in `pixel` as 0 and 1. `what` and
// the line's number name it in errors: BAD_DATA.
Status glyph_parse(const char *text, size_t length, const char *what, int64_t line, bool *wide,
                   uint8_t pixel[GLYPH_PIXELS]);
// Whether a file that starts with this text is such a font: a code point, a colon and 32
// hexadecimal digits. GLYPH_LINE_MOST bytes are enough to tell.
bool glyph_begins(const char *text, size_t length);
