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
    return status;
}

Status json_write(const char *path, const json_t *value) {
    char *text = json_dumps(value, JSON_INDENT(2));
    FAIL_IF(text == NULL, NO_MEMORY, "%s: no memory to write it as JSON text", path);
    // The NUL behind the text makes room for the final newline.
    size_t bytes = strlen(text);
    text[bytes] = '\n';
    Status status = file_write_atomic(path, text, bytes + 1);
    free(text);
    return status;
}

static Status member(const json_t *object, const char *key, const char *what, json_type type,
                     const char *type_name, json_t **out) {
    *out = json_object_get(object, key);
    FAIL_IF(*out == NULL, BAD_DATA, "%s: key '%s' is missing", what, key);
    FAIL_IF(json_typeof(*out) != type, BAD_DATA, "%s: '%s' must be %s", what, key, type_name);
    return STATUS_OK;
}

Status json_get_i64(const json_t *object, const char *key, const char *what, int64_t least,
                    int64_t most, int64_t *out) {
    json_t *value;
    TRY(member(object, key, what, JSON_INTEGER, "an integer", &value));
    int64_t number = json_integer_value(value);
    FAIL_IF(number < least || number > most, BAD_DATA,
            "%s: '%s' is %lld, must be from %lld to %lld", what, key, (long long)number,
            (long long)least, (long long)most);
    *out = number;
    return STATUS_OK;
}

Status json_get_text(const json_t *object, const char *key, const char *what, char *out,
                     size_t bytes) {
    json_t *value;
    TRY(member(object, key, what, JSON_STRING, "text", &value));
    size_t length = json_string_length(value);
    FAIL_IF(length >= bytes, BAD_DATA, "%s: '%s' is %zu bytes long, at most %zu fit", what, key,
            length, bytes - 1);
    memcpy(out, json_string_value(value), length + 1);
    return STATUS_OK;
}

Status json_get_hex64(const json_t *object, const char *key, const char *what, uint64_t *out) {
    static const char wanted[] = "text of 16 hex digits (0-9, a-f)";
    json_t *value;
    TRY(member(object, key, what, JSON_STRING, wanted, &value));
    const char *text = json_string_value(value);
    FAIL_IF(strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16, BAD_DATA,
            "%s: '%s' must be %s", what, key, wanted);
    *out = strtoull(text, NULL, 16);
    return STATUS_OK;
}

Status json_get_array(const json_t *object, const char *key, const char *what, json_t **out) {
    return member(object, key, what, JSON_ARRAY, "a list [...]", out);
}

Status json_get_object(const json_t *object, const char *key, const char *what, json_t **out) {
    return member(object, key, what, JSON_OBJECT, "an object {...}", out);
}

Status json_get_numbers(const json_t *object, const char *key, const char *what, int64_t count,
                        double *out) {
    json_t *list;
    TRY(json_get_array(object, key, what, &list));
    FAIL_IF((int64_t)json_array_size(list) != count, BAD_DATA,
            "%s: '%s' has %zu numbers where %lld belong", what, key, json_array_size(list),
            (long long)count);
    for (int64_t i = 0; i < count; ++i) {
        const json_t *entry = json_array_get(list, (size_t)i);
        FAIL_IF(!json_is_number(entry), BAD_DATA, "%s: entry %lld of '%s' is no number", what,
                (long long)i, key);
        out[i] = json_number_value(entry);
    }
    return STATUS_OK;
}

json_t *json_hex64(uint64_t value) {
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    return json_string(text);
}

json_t *json_numbers(const double *numbers, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; ++i) json_array_append_new(list, json_real(numbers[i]));
    return list;
}
