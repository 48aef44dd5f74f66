// Any bytes as JSON, then every typed access to what was parsed.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void ask(const json_t *object, const char *key) {
    int64_t whole;
    char text[16];
    uint64_t hash;
    json_t *child = NULL;
    if (json_get_i64(object, key, "fuzz", -100, 1 << 30, &whole) == STATUS_OK &&
        (whole < -100 || whole > 1 << 30))
        abort();
    if (json_get_text(object, key, "fuzz", text, sizeof text) == STATUS_OK &&
        strlen(text) >= sizeof text)
        abort();
    if (json_get_hex64(object, key, "fuzz", &hash) == STATUS_OK) {
        json_t *back = json_hex64(hash);
        if (!json_equal(back, json_object_get(object, key))) abort();
        json_decref(back);
    }
    if (json_get_array(object, key, "fuzz", &child) != STATUS_OK) error_clear();
    if (json_get_object(object, key, "fuzz", &child) == STATUS_OK) ask(child, "a");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    json_t *value;
    if (json_parse((const char *)data, bytes, "fuzz", &value) != STATUS_OK) return 0;
    const char *key;
    json_t *member;
    json_object_foreach(value, key, member) ask(value, key);
    json_decref(value);
    return 0;
}
