// NPY headers: a parser of the one dict literal that they hold.
#include "data/pack/npy.h"

#include <stdio.h>
#include <string.h>

static const char magic[6] = {(char)0x93, 'N', 'U', 'M', 'P', 'Y'};

typedef struct {
    const char *at, *end, *what;
} Text;

bool npy_begins(const void *start, size_t bytes) {
    return bytes >= sizeof magic && memcmp(start, magic, sizeof magic) == 0;
}

static void skip_space(Text *text) {
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\n' || *text->at == '\t'))
        ++text->at;
}

static bool take(Text *text, char c) {
    skip_space(text);
    if (text->at >= text->end || *text->at != c) return false;
    ++text->at;
    return true;
}

static bool take_word(Text *text, const char *word) {
    size_t length = strlen(word);
    skip_space(text);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length) != 0)
        return false;
    text->at += length;
    return true;
}

static Status take_text(Text *text, char *out, size_t most) {
    size_t length = 0;
    char quote = take(text, '\'') ? '\'' : take(text, '"') ? '"' : '\0';
    FAIL_IF(quote == '\0', BAD_DATA, "%s: its NPY header lacks a text in quotes", text->what);
    while (text->at < text->end && *text->at != quote && length + 1 < most)
        out[length++] = *text->at++;
    out[length] = '\0';
    FAIL_IF(text->at >= text->end || *text->at != quote, BAD_DATA,
            "%s: a text of its NPY header is too long or does not end", text->what);
    ++text->at;
    return STATUS_OK;
}

static Status parse_type(const char *descr, const char *what, NpyType *out) {
    const char *code = descr;
    char order = strchr("<>|=", *code) != NULL && *code != '\0' ? *code++ : '=';
    FAIL_IF(*code == 'O', BAD_DATA,
            "%s: holds Python objects (descr %s), which are never read: save numbers", what, descr);
    int bytes = 0;
    char end = '\0';
    bool number = *code != '\0' && sscanf(code + 1, "%1d%c", &bytes, &end) == 1;
    bool known = number && ((*code == 'b' && bytes == 1) || (*code == 'V' && bytes == 2));
    if (number && (*code == 'u' || *code == 'i'))
        known = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
    if (number && *code == 'f') known = bytes == 2 || bytes == 4 || bytes == 8;
    FAIL_IF(!known, BAD_DATA,
            "%s: holds %s (descr %s): only truth values, integers and floats of 1 to 8 bytes are "
            "read",
            what,
            *code == 'U' || *code == 'S'   ? "text"
            : *code == 'c'                 ? "complex numbers"
            : *code == 'm' || *code == 'M' ? "dates or times"
            : *code == 'V'                 ? "structures"
                                           : "an unknown type",
            descr);
    *out = (NpyType){.kind = *code, .bytes = bytes, .big = order == '>'};
    return STATUS_OK;
}

static Status take_shape(Text *text, NpyHeader *out) {
    bool comma = true;
    FAIL_IF(!take(text, '('), BAD_DATA, "%s: the shape in its NPY header is no tuple", text->what);
    while (!take(text, ')')) {
        int64_t size = 0;
        int digits = 0;
        FAIL_IF(!comma || out->dims == NPY_DIMS_MOST, BAD_DATA,
                "%s: the shape in its NPY header is damaged, or has more than %d sizes", text->what,
                NPY_DIMS_MOST);
        skip_space(text);
        for (; text->at < text->end && *text->at >= '0' && *text->at <= '9'; ++text->at, ++digits) {
            FAIL_IF(size > INT64_MAX / 16, BAD_DATA, "%s: a size in its NPY header is too large",
                    text->what);
            size = size * 10 + (*text->at - '0');
        }
        FAIL_IF(digits == 0, BAD_DATA, "%s: a size in its NPY header is no number", text->what);
        (void)take(text, 'L'); // as Python 2 wrote them
        comma = take(text, ',');
        out->dim[out->dims++] = size;
    }
    FAIL_IF(out->dims == 1 && !comma, BAD_DATA, "%s: the shape in its NPY header is no tuple",
            text->what);
    return STATUS_OK;
}

static Status count_numbers(NpyHeader *header, const char *what) {
    int64_t most = INT64_MAX / 8;
    header->numbers = 1;
    for (int i = 0; i < header->dims; ++i) {
        FAIL_IF(header->dim[i] > 0 && header->numbers > most / header->dim[i], BAD_DATA,
                "%s: the shape in its NPY header is too large", what);
        header->numbers *= header->dim[i];
    }
    return STATUS_OK;
}

static Status take_value(Text *text, const char *key, NpyHeader *out, bool *fortran,
                         unsigned *seen) {
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    unsigned k = 0;
    while (k < 3 && strcmp(key, keys[k]) != 0) ++k;
    FAIL_IF(k == 3, BAD_DATA, "%s: its NPY header has an unknown key \"%s\"", text->what, key);
    FAIL_IF((*seen & 1U << k) != 0, BAD_DATA, "%s: its NPY header has %s twice", text->what, key);
    *seen |= 1U << k;
    if (k == 0) {
        char descr[32];
        FAIL_IF(take(text, '['), BAD_DATA,
                "%s: holds structures (its descr is a list): save each field as an array of its "
                "own",
                text->what);
        TRY(take_text(text, descr, sizeof descr));
        return parse_type(descr, text->what, &out->type);
    }
    if (k == 2) return take_shape(text, out);
    *fortran = take_word(text, "True");
    FAIL_IF(!*fortran && !take_word(text, "False"), BAD_DATA,
            "%s: fortran_order in its NPY header is neither True nor False", text->what);
    return STATUS_OK;
}

static Status parse_dict(Text *text, NpyHeader *out) {
    bool comma = true;
    unsigned seen = 0;
    char key[32];
    FAIL_IF(!take(text, '{'), BAD_DATA, "%s: its NPY header is no dict", text->what);
    while (!take(text, '}')) {
        FAIL_IF(!comma, BAD_DATA, "%s: its NPY header lacks a comma", text->what);
        TRY(take_text(text, key, sizeof key));
        FAIL_IF(!take(text, ':'), BAD_DATA, "%s: its NPY header lacks a colon", text->what);
        TRY(take_value(text, key, out, &out->fortran, &seen));
        comma = take(text, ',');
    }
    skip_space(text);
    FAIL_IF(text->at != text->end, BAD_DATA, "%s: has something behind the dict of its NPY header",
            text->what);
    FAIL_IF(seen != 7, BAD_DATA, "%s: its NPY header lacks descr, fortran_order or shape",
            text->what);
    return STATUS_OK;
}

Status npy_parse(const void *start, size_t bytes, const char *what, NpyHeader *out) {
    TRY(npy_parse_any_order(start, bytes, what, out));
    FAIL_IF(out->fortran && out->dims >= 2, BAD_DATA,
            "%s: is in Fortran order: save it with np.ascontiguousarray(array)", what);
    return STATUS_OK;
}

Status npy_parse_any_order(const void *start, size_t bytes, const char *what, NpyHeader *out) {
    const uint8_t *byte = start;
    *out = (NpyHeader){0};
    FAIL_IF(!npy_begins(start, bytes), BAD_DATA, "%s: does not begin like an NPY file", what);
    FAIL_IF(bytes < 12, BAD_DATA, "%s: ends within its NPY header", what);
    FAIL_IF(byte[6] < 1 || byte[6] > 3 || byte[7] != 0, BAD_DATA,
            "%s: is of NPY version %d.%d; 1.0, 2.0 and 3.0 are read", what, byte[6], byte[7]);
    size_t begin = byte[6] == 1 ? 10 : 12, length = byte[8] | (size_t)byte[9] << 8;
    if (byte[6] > 1) length |= (size_t)byte[10] << 16 | (size_t)byte[11] << 24;
    FAIL_IF(length > NPY_HEADER_MOST, BAD_DATA, "%s: its NPY header is longer than %d characters",
            what, NPY_HEADER_MOST);
    FAIL_IF(length > bytes - begin, BAD_DATA, "%s: ends within its NPY header", what);
    const char *dict = (const char *)start + begin;
    Text text = {.at = dict, .end = dict + length, .what = what};
    TRY(parse_dict(&text, out));
    out->header_bytes = begin + length;
    return count_numbers(out, what);
}
