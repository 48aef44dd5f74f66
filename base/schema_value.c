// Values of the configuration: text to fields and back, exactly.
#include "base/schema_impl.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double interval_seconds_most = 1e9; // 31 years

static void *field_of(const SchemaRow *row, void *out) {
    return (char *)out + row->offset;
}

static const void *field_in(const SchemaRow *row, const void *in) {
    return (const char *)in + row->offset;
}

// ---- numbers from text --------------------------------------------------------------------------

// Moves *at over digits with at most one point and gives them as an integer times
// 10^-fraction_digits; false without a digit or beyond 64 bits.
static bool scan_decimal(const char **at, uint64_t *mantissa, int *fraction_digits) {
    bool point = false, any = false;
    *mantissa = 0;
    *fraction_digits = 0;
    for (;; ++*at) {
        if (**at == '.' && !point) {
            point = true;
            continue;
        }
        if (!isdigit((unsigned char)**at)) return any;
        any = true;
        *fraction_digits += point;
        uint64_t digit = (uint64_t)(**at - '0');
        if (__builtin_mul_overflow(*mantissa, 10, mantissa) ||
            __builtin_add_overflow(*mantissa, digit, mantissa))
            return false;
    }
}

static bool scan_exponent(const char **at, int *exponent) {
    *exponent = 0;
    if (**at != 'e' && **at != 'E') return true;
    ++*at;
    bool negative = **at == '-';
    if (**at == '-' || **at == '+') ++*at;
    if (!isdigit((unsigned char)**at)) return false;
    for (; isdigit((unsigned char)**at); ++*at)
        if (*exponent < 1000) *exponent = 10 * *exponent + (**at - '0');
    if (negative) *exponent = -*exponent;
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

// "1.5M", "2e6", "-3": the exact integer, or false.
static bool parse_integer(const char *text, bool binary, bool *negative, uint64_t *magnitude) {
    const char *at = text;
    int fraction_digits, exponent;
    *negative = *at == '-';
    if (*at == '-' || *at == '+') ++at;
    uint64_t value;
    if (!scan_decimal(&at, &value, &fraction_digits) || !scan_exponent(&at, &exponent))
        return false;
    int thousands = scan_thousands(&at, binary);
    if (*at != 0) return false;
    if (binary) {
        if (__builtin_mul_overflow(value, (uint64_t)1 << 10 * thousands, &value)) return false;
    } else {
        exponent += 3 * thousands;
    }
    exponent -= fraction_digits;
    for (; value != 0 && exponent > 0; --exponent)
        if (__builtin_mul_overflow(value, 10, &value)) return false;
    for (; value != 0 && exponent < 0; ++exponent) {
        if (value % 10 != 0) return false;
        value /= 10;
    }
    *magnitude = value;
    return true;
}

// Seconds in one 's', 'm', 'h' or 'd'; 0 for any other character.
static double seconds_of(char letter) {
    switch (letter) {
    case 's': return 1;
    case 'm': return 60;
    case 'h': return 3600;
    case 'd': return 86400;
    default: return 0;
    }
}

// strtod accepts more (hexadecimal, inf, nan, blanks): digits, point and exponent are checked here.
static bool parse_real(const char *text, bool seconds, bool single, double *out) {
    const char *at = text;
    if (*at == '-' || *at == '+') ++at;
    bool digits = false;
    for (int points = 0; isdigit((unsigned char)*at) || (*at == '.' && points++ == 0); ++at)
        digits = digits || *at != '.';
    int exponent;
    if (!digits || !scan_exponent(&at, &exponent)) return false;
    char number[128];
    size_t n = (size_t)(at - text);
    if (n >= sizeof number) return false;
    memcpy(number, text, n);
    number[n] = 0;
    double unit = 1;
    if (seconds && *at != 0) unit = seconds_of(*at++);
    if (*at != 0 || unit == 0) return false;
    *out = single ? (double)(strtof(number, NULL) * (float)unit) : strtod(number, NULL) * unit;
    return isfinite(*out);
}

static bool parse_interval(const char *text, Interval *out) {
    size_t n = strlen(text);
    Interval value = {0, 0};
    if (n > 0 && seconds_of(text[n - 1]) > 0) {
        if (!parse_real(text, true, false, &value.seconds)) return false;
        if (!(value.seconds >= 0 && value.seconds <= interval_seconds_most)) return false;
    } else {
        bool negative;
        uint64_t steps;
        if (!parse_integer(text, false, &negative, &steps)) return false;
        if (steps > INT64_MAX || (negative && steps > 0)) return false;
        value.steps = (int64_t)steps;
    }
    *out = value;
    return true;
}

// ---- text ---------------------------------------------------------------------------------------

int32_t utf8_next(const char **text) {
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

static bool text_is_utf8(const char *text) {
    while (*text != 0)
        if (utf8_next(&text) < 0) return false;
    return true;
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
    if (n >= row->size || !text_is_utf8(text)) return false;
    if (row->choices != NULL && !is_choice(row->choices, text)) return false;
    memset(out, 0, row->size);
    memcpy(out, text, n);
    return true;
}

// ---- fields from text ---------------------------------------------------------------------------

static bool parse_bool(const char *text, bool *out) {
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0) return false;
    *out = yes;
    return true;
}

// long double holds every 64-bit integer, so that the comparison with the range is exact.
static bool parse_whole(const SchemaRow *row, const char *text, void *out) {
    bool negative;
    uint64_t magnitude;
    if (!parse_integer(text, row->unit == UNIT_BYTES, &negative, &magnitude)) return false;
    long double value = negative ? -(long double)magnitude : (long double)magnitude;
    if (!(value >= row->least && value <= row->most)) return false;
    if (row->type == SCHEMA_TYPE_U64) {
        if (negative && magnitude > 0) return false;
        *(uint64_t *)out = magnitude;
        return true;
    }
    if (magnitude > (uint64_t)INT64_MAX) return false;
    int64_t number = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    if (row->type == SCHEMA_TYPE_I32)
        *(int32_t *)out = (int32_t)number;
    else
        *(int64_t *)out = number;
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
    void *field = field_of(row, out);
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

// ---- fields to text -----------------------------------------------------------------------------

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

static void format_integer(bool negative, uint64_t magnitude, SchemaUnit unit, char *out,
                           size_t bytes) {
    static const char *const suffix[] = {"", "k", "M", "G", "T"};
    bool scaled = unit == UNIT_BYTES || unit == UNIT_SAMPLES;
    uint64_t thousand = unit == UNIT_BYTES ? 1024 : 1000;
    int power = 0;
    for (; scaled && power < 4 && magnitude != 0 && magnitude % thousand == 0; ++power)
        magnitude /= thousand;
    snprintf(out, bytes, "%s%llu%s", negative ? "-" : "", (unsigned long long)magnitude,
             suffix[power]);
}

static void format_signed(int64_t value, SchemaUnit unit, char *out, size_t bytes) {
    format_integer(value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, unit, out, bytes);
}

static void format_interval(const Interval *value, char *out, size_t bytes) {
    if (value->seconds <= 0) {
        format_signed(value->steps, UNIT_NONE, out, bytes);
        return;
    }
    char number[32];
    double unit = fmod(value->seconds, 3600) == 0 ? 3600 : fmod(value->seconds, 60) == 0 ? 60 : 1;
    format_real(value->seconds / unit, false, number, sizeof number);
    snprintf(out, bytes, "%s%c", number, unit == 3600 ? 'h' : unit == 60 ? 'm' : 's');
}

void schema_value(const SchemaRow *row, const void *in, char out[SCHEMA_VALUE_BYTES]) {
    const void *field = field_in(row, in);
    size_t bytes = SCHEMA_VALUE_BYTES;
    switch (row->type) {
    case SCHEMA_TYPE_BOOL:
        snprintf(out, bytes, "%s", *(const bool *)field ? "true" : "false");
        break;
    case SCHEMA_TYPE_I32: format_signed(*(const int32_t *)field, row->unit, out, bytes); break;
    case SCHEMA_TYPE_I64: format_signed(*(const int64_t *)field, row->unit, out, bytes); break;
    case SCHEMA_TYPE_U64:
        format_integer(false, *(const uint64_t *)field, row->unit, out, bytes);
        break;
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
        if (point < 0) { // put there by a program: the parser lets no such text in
            fputs("\\uFFFD", out);
            ++text;
            continue;
        }
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

// ---- what is allowed ----------------------------------------------------------------------------

const char *unit_name(SchemaUnit unit) {
    static const char *const names[] = {[UNIT_NONE] = "",
                                        [UNIT_SAMPLES] = "samples",
                                        [UNIT_SECONDS] = "seconds",
                                        [UNIT_BYTES] = "bytes"};
    return names[unit];
}

static bool is_whole(const SchemaRow *row) {
    return row->type == SCHEMA_TYPE_I32 || row->type == SCHEMA_TYPE_I64 ||
           row->type == SCHEMA_TYPE_U64;
}

static void format_limit(const SchemaRow *row, double limit, char *out, size_t bytes) {
    if (is_whole(row) && fabs(limit) < 0x1p63)
        format_signed((int64_t)limit, row->unit, out, bytes);
    else if (is_whole(row))
        snprintf(out, bytes, "%.0f", limit);
    else
        format_real(limit, false, out, bytes);
}

void value_allowed(const SchemaRow *row, char *out, size_t bytes) {
    char least[32], most[32];
    format_limit(row, row->least, least, sizeof least);
    format_limit(row, row->most, most, sizeof most);
    switch (row->type) {
    case SCHEMA_TYPE_BOOL: snprintf(out, bytes, "true or false"); break;
    case SCHEMA_TYPE_I32:
    case SCHEMA_TYPE_I64:
    case SCHEMA_TYPE_U64:
        snprintf(out, bytes, "%s from %s to %s",
                 row->unit == UNIT_BYTES ? "a size like 64M (64 MiB)" : "a whole number", least,
                 most);
        break;
    case SCHEMA_TYPE_F32:
    case SCHEMA_TYPE_F64:
        snprintf(out, bytes, "%s from %s to %s",
                 row->unit == UNIT_SECONDS ? "seconds or a time like 90s, 10m, 2h," : "a number",
                 least, most);
        break;
    case SCHEMA_TYPE_TEXT:
        if (row->choices != NULL)
            snprintf(out, bytes, "one of %s", row->choices);
        else
            snprintf(out, bytes, "at most %zu bytes of UTF-8 text", row->size - 1);
        break;
    case SCHEMA_TYPE_INTERVAL:
        snprintf(out, bytes, "steps (500), a time (90s, 10m, 2h, 1d) or 0 for never");
        break;
    }
}

void value_allowed_short(const SchemaRow *row, char *out, size_t bytes) {
    char least[32], most[32];
    format_limit(row, row->least, least, sizeof least);
    format_limit(row, row->most, most, sizeof most);
    switch (row->type) {
    case SCHEMA_TYPE_BOOL: snprintf(out, bytes, "true|false"); break;
    case SCHEMA_TYPE_TEXT:
        snprintf(out, bytes, "%s", row->choices != NULL ? row->choices : "text");
        break;
    case SCHEMA_TYPE_INTERVAL: snprintf(out, bytes, "steps or time"); break;
    default:
        snprintf(out, bytes, "%s .. %s%s%s", least, most, row->unit == UNIT_NONE ? "" : " ",
                 unit_name(row->unit));
        break;
    }
}
