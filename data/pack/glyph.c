// Lines of hexadecimal digits as pixels.
#include "data/pack/glyph.h"

enum { CODE_LEAST = 4, CODE_MOST = 6, NARROW_DIGITS = 32, WIDE_DIGITS = 64 };

static int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

static size_t count_digits(const char *text, size_t length) {
    size_t count = 0;
    while (count < length && digit_value(text[count]) >= 0) ++count;
    return count;
}

// Digits of the code point, 0: no such line.
static size_t code_digits(const char *text, size_t length) {
    size_t code = count_digits(text, length);
    bool fits = code >= CODE_LEAST && code <= CODE_MOST && code < length && text[code] == ':';
    return fits ? code : 0;
}

Status glyph_parse(const char *text, size_t length, const char *what, int64_t line, bool *wide,
                   uint8_t pixel[GLYPH_PIXELS]) {
    size_t code = code_digits(text, length);
    FAIL_IF(code == 0, BAD_DATA,
            "%s: line %lld does not begin with a code point of %d to %d hexadecimal digits and a "
            "colon",
            what, (long long)line, CODE_LEAST, CODE_MOST);
    const char *digit = text + code + 1;
    size_t digits = length - code - 1;
    FAIL_IF(count_digits(digit, digits) != digits ||
                (digits != NARROW_DIGITS && digits != WIDE_DIGITS),
            BAD_DATA, "%s: line %lld has no glyph of %d or %d hexadecimal digits", what,
            (long long)line, NARROW_DIGITS, WIDE_DIGITS);
    *wide = digits == WIDE_DIGITS;
    for (int i = 0; *wide && i < GLYPH_PIXELS; ++i)
        pixel[i] = digit_value(digit[i / 4]) >> (3 - i % 4) & 1;
    return STATUS_OK;
}

bool glyph_begins(const char *text, size_t length) {
    size_t code = code_digits(text, length);
    if (code == 0) return false;
    return count_digits(text + code + 1, length - code - 1) >= NARROW_DIGITS;
}
