// JSON for indexes, manifests and --json output: jansson behind Status. This is the only file pair
// that includes jansson; other folders see json_t through it.
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"

// Reads an object from a file of at most 64 MiB; duplicate keys are refused. Errors name file and
// line (BAD_DATA, NOT_FOUND). The caller owns *out (json_decref).
Status json_read(const char *path, json_t **out);
Status json_parse(const char *text, size_t bytes, const char *what, json_t **out);
// Atomically written, 2-space indent, final newline, keys in the order given.
Status json_write(const char *path, const json_t *value);

// Typed access to object[key]; `what` (a file name) stands in the error. BAD_DATA when it is absent
// or of another type or out of range.
Status json_get_i64(const json_t *object, const char *key, const char *what, int64_t least,
                    int64_t most, int64_t *out);
Status json_get_text(const json_t *object, const char *key, const char *what, char *out,
                     size_t bytes);
Status json_get_hex64(const json_t *object, const char *key, const char *what, uint64_t *out);
Status json_get_array(const json_t *object, const char *key, const char *what, json_t **out);
Status json_get_object(const json_t *object, const char *key, const char *what, json_t **out);
// `count` numbers, exactly as json_numbers wrote them.
Status json_get_numbers(const json_t *object, const char *key, const char *what, int64_t count,
                        double *out);
json_t *json_hex64(uint64_t value);                         // 16 hex digits as text
json_t *json_numbers(const double *numbers, int64_t count); // finite ones; NULL: no memory
