// jansson behind Status.
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { JSON_FILE_MOST = 64 << 20 };

Status json_parse(const char *text, size_t bytes, const char *what, json_t **out) {
    json_error_t error;
    json_t *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    FAIL_IF(value == NULL, BAD_DATA, "%s:%d: not valid JSON: %s", what, error.line, error.text);
    if (!json_is_object(value)) {
        json_decref(value);
        FAIL(BAD_DATA, "%s:1: must hold a JSON object {...}", what);
    }
    *out = value;
    return STATUS_OK;
}

Status json_read(const char *path, json_t **out) {
    char *text;
    size_t bytes;
    TRY(file_read(path, JSON_FILE_MOST, &text, &bytes));
    Status status = json_parse(text, bytes, path, out);
    free(text);
    TRY(status);
    return STATUS_OK;
}

Status json_write(const char *path, const json_t *value) {
    char *text = json_dumps(value, JSON_INDENT(2));
    FAIL_IF(text == NULL, NO_MEMORY, "%s: no memory to write it as JSON text", path);
    // The NUL behind the text makes room for the final newline.
    size_t bytes = strlen(text);
    text[bytes] = '\n';
    Status status = file_write_atomic(path, text, bytes + 1);
    free(text);
    TRY(status);
    return STATUS_OK;
}

static Status member(const json_t *object, const char *key, const char *what, json_t **out) {
    *out = json_object_get(object, key);
    FAIL_IF(*out == NULL, BAD_DATA, "%s: key '%s' is missing", what, key);
    return STATUS_OK;
}

Status json_get_i64(const json_t *object, const char *key, const char *what, int64_t least,
                    int64_t most, int64_t *out) {
    json_t *value;
    TRY(member(object, key, what, &value));
    FAIL_IF(!json_is_integer(value), BAD_DATA, "%s: '%s' must be an integer", what, key);
    int64_t number = json_integer_value(value);
    FAIL_IF(number < least || number > most, BAD_DATA,
            "%s: '%s' is %lld, must be from %lld to %lld", what, key, (long long)number,
            (long long)least, (long long)most);
    *out = number;
    return STATUS_OK;
}

Status json_get_f64(const json_t *object, const char *key, const char *what, double *out) {
    json_t *value;
    TRY(member(object, key, what, &value));
    FAIL_IF(!json_is_number(value), BAD_DATA, "%s: '%s' must be a number", what, key);
    *out = json_number_value(value);
    return STATUS_OK;
}

Status json_get_text(const json_t *object, const char *key, const char *what, char *out,
                     size_t bytes) {
    json_t *value;
    TRY(member(object, key, what, &value));
    FAIL_IF(!json_is_string(value), BAD_DATA, "%s: '%s' must be text", what, key);
    size_t length = json_string_length(value);
    FAIL_IF(length >= bytes, BAD_DATA, "%s: '%s' is %zu bytes long, at most %zu fit", what, key,
            length, bytes - 1);
    memcpy(out, json_string_value(value), length + 1);
    return STATUS_OK;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

Status json_get_hex64(const json_t *object, const char *key, const char *what, uint64_t *out) {
    json_t *value;
    TRY(member(object, key, what, &value));
    bool good = json_is_string(value) && json_string_length(value) == 16;
    uint64_t number = 0;
    for (int i = 0; good && i < 16; ++i) {
        int digit = hex_digit(json_string_value(value)[i]);
        good = digit >= 0;
        number = number << 4 | (uint64_t)(digit & 15);
    }
    FAIL_IF(!good, BAD_DATA, "%s: '%s' must be text of 16 hex digits (0-9, a-f)", what, key);
    *out = number;
    return STATUS_OK;
}

Status json_get_array(const json_t *object, const char *key, const char *what, json_t **out) {
    TRY(member(object, key, what, out));
    FAIL_IF(!json_is_array(*out), BAD_DATA, "%s: '%s' must be a list [...]", what, key);
    return STATUS_OK;
}

Status json_get_object(const json_t *object, const char *key, const char *what, json_t **out) {
    TRY(member(object, key, what, out));
    FAIL_IF(!json_is_object(*out), BAD_DATA, "%s: '%s' must be an object {...}", what, key);
    return STATUS_OK;
}

json_t *json_hex64(uint64_t value) {
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    return json_string(text);
}

const char *json_version(void) {
    return jansson_version_str();
}
