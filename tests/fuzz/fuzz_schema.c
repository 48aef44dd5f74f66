// Any bytes as a configuration file and as a command-line word. What is accepted must come back
// from its own YAML bit by bit.
#include <stdlib.h>
#include <string.h>

#include "launch/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

typedef struct {
    struct {
        bool b;
        char t[24], c[8];
        int32_t i;
        int64_t l, m;
        uint64_t u;
    } a;
    struct {
        struct {
            float f;
            double d, s;
            Interval v;
        } e;
    } o;
} Config;

static const SchemaRow rows[] = {
    SCHEMA_SWITCH(Config, a.b, "true", SCHEMA_FIXED, "switch"),
    SCHEMA_TEXT(Config, a.t, "x", SCHEMA_FREE, "text"),
    SCHEMA_CHOICE(Config, a.c, "one", "one|two", SCHEMA_FREE, "choice"),
    SCHEMA_NUMBER(Config, a.i, "1", -0x1p31, 0x1p31 - 1, UNIT_NONE, SCHEMA_FIXED, "int32"),
    SCHEMA_NUMBER(Config, a.l, "1", -0x1p63, 0x1p63, UNIT_SAMPLES, SCHEMA_FIXED, "int64"),
    SCHEMA_NUMBER(Config, a.m, "1", -0x1p63, 0x1p63, UNIT_BYTES, SCHEMA_FIXED, "bytes"),
    SCHEMA_NUMBER(Config, a.u, "1", 0, 0x1p64, UNIT_NONE, SCHEMA_FIXED, "uint64"),
    SCHEMA_NUMBER(Config, o.e.f, "1", -1e30, 1e30, UNIT_NONE, SCHEMA_FREE, "float"),
    SCHEMA_NUMBER(Config, o.e.d, "1", -1e300, 1e300, UNIT_NONE, SCHEMA_FREE, "double"),
    SCHEMA_NUMBER(Config, o.e.s, "1", 0, 1e9, UNIT_SECONDS, SCHEMA_FREE, "seconds"),
    SCHEMA_INTERVAL(Config, o.e.v, "1", SCHEMA_FREE, "interval"),
};
static const Schema schema = SCHEMA(Config, rows);

static void must(bool right) {
    if (!right) abort();
}

static void check_round_trip(const Config *config) {
    Config back;
    char *text = NULL;
    for (int comments = 0; comments < 2; ++comments) {
        must(schema_format(&schema, config, comments, &text) == STATUS_OK);
        must(schema_defaults(&schema, &back) == STATUS_OK);
        must(schema_load_text(&schema, "back", text, strlen(text), &back) == STATUS_OK);
        must(memcmp(config, &back, sizeof back) == 0);
        free(text);
    }
    must(schema_hash(&schema, config) == schema_hash(&schema, &back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Config config;
    if (bytes == 0) return 0;
    must(schema_defaults(&schema, &config) == STATUS_OK);
    Status status;
    if (data[0] & 1) {
        status = schema_load_text(&schema, "fuzz", (const char *)data + 1, bytes - 1, &config);
    } else {
        char *word = strndup((const char *)data + 1, bytes - 1);
        must(word != NULL);
        status = schema_set(&schema, word, &config);
        free(word);
    }
    if (status == STATUS_OK) check_round_trip(&config);
    return 0;
}
