// Values of the configuration: text to fields and back, exactly.
#include "launch/schema_impl.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double interval_seconds_most = 1e9; // 31 years

typedef struct {
    uint64_t mantissa;
    int exponent; // of ten
    bool fits;    // is the mantissa below 2^64?
} Decimal;

static bool is_sign(char c) {
    return c == '-' || c == '+';
}

// Moves *at over a sign, digits with at most one point, and an exponent; false if they are not
// there. The sign is left to the caller.
static bool scan_decimal(const char **at, Decimal *out) {
    bool any = false, point = false;
    *out = (Decimal){.fits = true};
    for (*at += is_sign(**at); isdigit((unsigned char)**at) || (**at == '.' && !point); ++*at) {
        if (**at == '.') {
            point = true;
            continue;
        }
        any = true;
        out->exponent -= point;
        if (__builtin_mul_overflow(out->mantissa, 10, &out->mantissa) ||
            __builtin_add_overflow(out->mantissa, **at - '0', &out->mantissa))
            out->fits = false;
    }
    if (!any || (**at != 'e' && **at != 'E')) return any;
    bool negative = *++*at == '-';
    *at += is_sign(**at);
    if (!isdigit((unsigned char)**at)) return false;
    int exponent = 0;
    for (; isdigit((unsigned char)**at); ++*at)
        if (exponent < 1000) exponent = 10 * exponent + (**at - '0');
    out->exponent += negative ? -exponent : exponent;
    return true;
}

// k M G T and, in bytes, KiB MiB GiB TiB: the number of thousands, 0 without a suffix.
static int scan_thousands(const char **at, bool binary) {
    static const char letters[] = "kMGT";
    const char *found = **at == 'K' ? letters : strchr(letters, **at);
    if (**at == 0 || found == NULL) return 0;
    ++*at;
    if (binary && strcmp(*at, "iB") == 0) *at += 2;
    return (int)(found - letters) + 1;
}

// "1.5M", "2e6", "-3": the exact integer, or false. A long double holds every 64-bit integer.
static bool parse_integer(const char *text, bool binary, long double *out) {
    const char *at = text;
    Decimal decimal;
    if (!scan_decimal(&at, &decimal) || !decimal.fits) return false;
    uint64_t value = decimal.mantissa;
    int exponent = decimal.exponent, thousands = scan_thousands(&at, binary);
    if (*at != 0) return false;
    if (!binary)
        exponent += 3 * thousands;
    else if (__builtin_mul_overflow(value, (uint64_t)1 << 10 * thousands, &value))
        return false;
    for (; value != 0 && exponent > 0; --exponent)
        if (__builtin_mul_overflow(value, 10, &value)) return false;
    for (; value != 0 && exponent < 0; ++exponent) {
        if (value % 10 != 0) return false;
        value /= 10;
    }
    *out = *text == '-' ? -(long double)value : (long double)value;
    return true;
}

// Seconds in one 's', 'm', 'h' or 'd'; 0 for any other character.
static double seconds_of(char letter) {
    static const char letters[] = "smhd";
    static const double seconds[] = {1, 60, 3600, 86400};
    const char *found = letter != 0 ? strchr(letters, letter) : NULL;
    return found != NULL ? seconds[found - letters] : 0;
}

// strtod accepts more (hexadecimal, inf, nan, blanks), so the text is looked through before.
static bool parse_real(const char *text, bool seconds, bool single, double *out) {
    const char *at = text;
    Decimal decimal;
    if (!scan_decimal(&at, &decimal)) return false;
    double unit = 1;
    if (seconds && *at != 0) unit = seconds_of(*at++);
    if (*at != 0 || unit == 0) return false;
    *out = single ? (double)(strtof(text, NULL) * (float)unit) : strtod(text, NULL) * unit;
    return isfinite(*out);
}

static bool parse_interval(const char *text, Interval *out) {
    size_t n = strlen(text);
    Interval value = {0, 0};
    if (n > 0 && seconds_of(text[n - 1]) > 0) {
        if (!parse_real(text, true, false, &value.seconds)) return false;
        if (!(value.seconds >= 0 && value.seconds <= interval_seconds_most)) return false;
        value.seconds += 0.0; // "-0m" is 0, which is written as "0": equal values, equal bytes
    } else {
        long double steps;
        if (!parse_integer(text, false, &steps)) return false;
        if (!(steps >= 0 && steps < 0x1p63L)) return false;
        value.steps = (int64_t)steps;
    }
    *out = value;
    return true;
}

// The code point at *text, which moves behind it; -1 if it is not UTF-8.
static int32_t utf8_next(const char **text) {
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)*text;
    int length = s[0] < 0x80 ? 1 : s[0] < 0xC0 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (length == 0 || s[0] > 0xF4) return -1;
    int32_t point = length == 1 ? s[0] : s[0] & (0x7F >> length);
    for (int i = 1; i < length; ++i) {
        if ((s[i] & 0xC0) != 0x80) return -1;
        point = point << 6 | (s[i] & 0x3F);
    }
    bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    if (point < least[length] || point > 0x10FFFF || surrogate) return -1;
    *text += length;
    return point;
}

static bool is_choice(const char *choices, const char *text) {
    size_t n = strlen(text);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        if (*at == '|') ++at;
        if (strcspn(at, "|") == n && strncmp(at, text, n) == 0) return true;
    }
    return false;
}

static bool parse_text(const SchemaRow *row, const char *text, char *out) {
    size_t n = strlen(text);
    if (n >= row->size) return false;
    for (const char *at = text; *at != 0;)
        if (utf8_next(&at) < 0) return false;
    if (row->choices != NULL && !is_choice(row->choices, text)) return false;
    memset(out, 0, row->size);
    memcpy(out, text, n);
    return true;
}

static bool parse_bool(const char *text, bool *out) {
    if (!is_choice("true|false", text)) return false;
    *out = *text == 't';
    return true;
}

static bool parse_whole(const SchemaRow *row, const char *text, void *out) {
    long double value;
    if (!parse_integer(text, row->unit == UNIT_BYTES, &value)) return false;
    if (!(value >= row->least && value <= row->most)) return false;
    if (row->type == SCHEMA_TYPE_I32)
        *(int32_t *)out = (int32_t)value;
    else if (row->type == SCHEMA_TYPE_U64)
        *(uint64_t *)out = (uint64_t)value;
    else if (value < 0x1p63L) // which `most` may be: the next number is not a double
        *(int64_t *)out = (int64_t)value;
    else
        return false;
    return true;
}

static bool parse_float(const SchemaRow *row, const char *text, void *out) {
    double value;
    bool single = row->type == SCHEMA_TYPE_F32;
    if (!parse_real(text, row->unit == UNIT_SECONDS, single, &value)) return false;
    if (!(value >= row->least && value <= row->most)) return false;
    if (single)
        *(float *)out = (float)value;
    else
        *(double *)out = value;
    return true;
}

bool value_parse(const SchemaRow *row, const char *text, void *out) {
    void *field = (char *)out + row->offset;
    switch (row->type) {
    case SCHEMA_TYPE_BOOL: return parse_bool(text, field);
    case SCHEMA_TYPE_I32:
    case SCHEMA_TYPE_I64:
    case SCHEMA_TYPE_U64: return parse_whole(row, text, field);
    case SCHEMA_TYPE_F32:
    case SCHEMA_TYPE_F64: return parse_float(row, text, field);
    case SCHEMA_TYPE_TEXT: return parse_text(row, text, field);
    case SCHEMA_TYPE_INTERVAL: return parse_interval(text, field);
    }
    return false;
}

bool value_range_fits(const SchemaRow *row) {
    double least, most;
    switch (row->type) {
    case SCHEMA_TYPE_I32: least = INT32_MIN, most = INT32_MAX; break;
    case SCHEMA_TYPE_I64: least = -0x1p63, most = 0x1p63; break;
    case SCHEMA_TYPE_U64: least = 0, most = 0x1p64; break;
    case SCHEMA_TYPE_F32: least = -(double)FLT_MAX, most = (double)FLT_MAX; break;
    default: least = -DBL_MAX, most = DBL_MAX; break;
    }
    return row->least >= least && row->most <= most && row->least <= row->most;
}

// The fewest digits that read back to the same number.
static void format_real(double value, bool single, char *out, size_t bytes) {
    if (fabs(value) < 1e6 && value == floor(value)) {
        snprintf(out, bytes, "%.0f", value);
        return;
    }
    for (int digits = 1; digits <= 17; ++digits) {
        snprintf(out, bytes, "%.*g", digits, value);
        bool same = single ? strtof(out, NULL) == (float)value : strtod(out, NULL) == value;
        if (same) return;
    }
}

static void format_whole(long double value, SchemaUnit unit, char *out, size_t bytes) {
    static const char *const suffix[] = {"", "k", "M", "G", "T"};
    bool scaled = unit == UNIT_BYTES || unit == UNIT_SAMPLES;
    long double thousand = unit == UNIT_BYTES ? 1024 : 1000;
    int power = 0;
    for (; scaled && power < 4 && value != 0 && fmodl(value, thousand) == 0; ++power)
        value /= thousand;
    snprintf(out, bytes, "%.0Lf%s", value, suffix[power]);
}

static void format_interval(const Interval *value, char *out, size_t bytes) {
    if (value->seconds <= 0) {
        format_whole(value->steps, UNIT_NONE, out, bytes);
        return;
    }
    char number[32];
    double unit = fmod(value->seconds, 3600) == 0 ? 3600 : fmod(value->seconds, 60) == 0 ? 60 : 1;
    format_real(value->seconds / unit, false, number, sizeof number);
    snprintf(out, bytes, "%s%c", number, unit == 3600 ? 'h' : unit == 60 ? 'm' : 's');
}

void schema_value(const SchemaRow *row, const void *in, char out[SCHEMA_VALUE_BYTES]) {
    const void *field = (const char *)in + row->offset;
    size_t bytes = SCHEMA_VALUE_BYTES;
    switch (row->type) {
    case SCHEMA_TYPE_BOOL:
        snprintf(out, bytes, "%s", *(const bool *)field ? "true" : "false");
        break;
    case SCHEMA_TYPE_I32: format_whole(*(const int32_t *)field, row->unit, out, bytes); break;
    case SCHEMA_TYPE_I64: format_whole(*(const int64_t *)field, row->unit, out, bytes); break;
    case SCHEMA_TYPE_U64: format_whole(*(const uint64_t *)field, row->unit, out, bytes); break;
    case SCHEMA_TYPE_F32: format_real((double)*(const float *)field, true, out, bytes); break;
    case SCHEMA_TYPE_F64: format_real(*(const double *)field, false, out, bytes); break;
    case SCHEMA_TYPE_TEXT: snprintf(out, bytes, "%.*s", (int)row->size, (const char *)field); break;
    case SCHEMA_TYPE_INTERVAL: format_interval(field, out, bytes); break;
    }
}

// May other YAML readers take these characters for anything but the text that they are?
static bool is_plain(const char *text) {
    static const char *const words[] = {"true", "false", "yes", "no", "on",
                                        "off",  "null",  "y",   "n"};
    if (!isalpha((unsigned char)text[0]) && text[0] != '/') return false;
    for (const char *c = text; *c != 0; ++c)
        if (!isalnum((unsigned char)*c) && strchr("_-./+", *c) == NULL) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; ++i)
        if (strcasecmp(text, words[i]) == 0) return false;
    return true;
}

static void print_quoted(const char *text, FILE *out) {
    fputc('"', out);
    while (*text != 0) {
        const char *begin = text;
        int32_t point = utf8_next(&text);
        REQUIRE(point >= 0); // the parser lets no other text in
        // Beyond ASCII, letters stay readable; signs that break lines or do not print are escaped.
        bool letter = point >= 0xA0 && point < 0xE000 && point != 0x2028 && point != 0x2029;
        if (point == '"' || point == '\\')
            fprintf(out, "\\%c", (char)point);
        else if ((point >= 0x20 && point < 0x7F) || letter)
            fwrite(begin, 1, (size_t)(text - begin), out);
        else
            fprintf(out, "\\U%08X", (unsigned)point);
    }
    fputc('"', out);
}

void value_print_yaml(const SchemaRow *row, const void *in, FILE *out) {
    char text[SCHEMA_VALUE_BYTES];
    schema_value(row, in, text);
    if (row->type == SCHEMA_TYPE_TEXT && !is_plain(text))
        print_quoted(text, out);
    else
        fputs(text, out);
}

const char *unit_name(SchemaUnit unit) {
    static const char *const names[] = {"", "samples", "seconds", "bytes"};
    return names[unit];
}

static bool is_whole(const SchemaRow *row) {
    return row->type == SCHEMA_TYPE_I32 || row->type == SCHEMA_TYPE_I64 ||
           row->type == SCHEMA_TYPE_U64;
}

static void format_limit(const SchemaRow *row, double limit, char *out, size_t bytes) {
    if (is_whole(row))
        format_whole((long double)limit, row->unit, out, bytes);
    else
        format_real(limit, false, out, bytes);
}

static const char *number_kind(const SchemaRow *row) {
    if (row->unit == UNIT_BYTES) return "a size like 64M (64 MiB)";
    if (row->unit == UNIT_SECONDS) return "seconds or a time like 90s, 10m, 2h,";
    return is_whole(row) ? "a whole number" : "a number";
}

void value_allowed(const SchemaRow *row, bool brief, char *out, size_t bytes) {
    char least[32], most[32];
    const char *unit = unit_name(row->unit);
    format_limit(row, row->least, least, sizeof least);
    format_limit(row, row->most, most, sizeof most);
    switch (row->type) {
    case SCHEMA_TYPE_BOOL: snprintf(out, bytes, brief ? "true|false" : "true or false"); break;
    case SCHEMA_TYPE_TEXT:
        if (row->choices != NULL)
            snprintf(out, bytes, "%s%s", brief ? "" : "one of ", row->choices);
        else if (brief)
            snprintf(out, bytes, "text");
        else
            snprintf(out, bytes, "at most %zu bytes of UTF-8 text", row->size - 1);
        break;
    case SCHEMA_TYPE_INTERVAL:
        snprintf(out, bytes, "%s",
                 brief ? "steps or time" : "steps (500), a time (90s, 10m, 2h, 1d) or 0 for never");
        break;
    default:
        if (brief)
            snprintf(out, bytes, "%s .. %s%s%s", least, most, *unit == 0 ? "" : " ", unit);
        else
            snprintf(out, bytes, "%s from %s to %s", number_kind(row), least, most);
        break;
    }
}
