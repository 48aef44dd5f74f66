// Keys, files and command lines of the configuration; values themselves are in schema_value.c.
#include "launch/schema.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/file.h"
#include "launch/schema_impl.h"

enum { YAML_BYTES_MOST = 1 << 20, DEPTH_MOST = 6, SHOWN_BYTES = 64 };

static const SchemaRow *schema_find(const Schema *schema, const char *key) {
    for (int i = 0; i < schema->rows; ++i)
        if (strcmp(schema->row[i].key, key) == 0) return &schema->row[i];
    return NULL;
}

// Is `prefix` (without a final dot) the name of a section that holds `key`?
static bool key_within(const char *key, const char *prefix) {
    size_t n = strlen(prefix);
    return strncmp(key, prefix, n) == 0 && key[n] == '.';
}

// The first row within a section, or NULL.
static const SchemaRow *section_first(const Schema *schema, const char *prefix) {
    for (int i = 0; i < schema->rows; ++i)
        if (key_within(schema->row[i].key, prefix)) return &schema->row[i];
    return NULL;
}

static const char *last_part(const char *key) {
    const char *dot = strrchr(key, '.');
    return dot != NULL ? dot + 1 : key;
}

// Insertions, deletions and replacements that turn a into b.
static int edit_distance(const char *a, const char *b) {
    int row[SCHEMA_KEY_BYTES + 1];
    int n = (int)strlen(b);
    for (int j = 0; j <= n; ++j) row[j] = j;
    for (int i = 1; a[i - 1] != 0; ++i) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; ++j) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            int shifted = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < shifted ? replaced : shifted;
        }
    }
    return row[n];
}

typedef struct {
    char name[SCHEMA_KEY_BYTES];
    int score;
} Nearest;

enum { SCORE_OF_EDIT = 1000 };

// The whole key or its last part counts, whichever is nearer; the whole key breaks ties.
static void nearest_offer(Nearest *nearest, const char *wanted, const char *candidate) {
    int full = edit_distance(wanted, candidate);
    int last = edit_distance(last_part(wanted), last_part(candidate));
    int score = SCORE_OF_EDIT * (last < full ? last : full) + full;
    if (score >= nearest->score) return;
    nearest->score = score;
    snprintf(nearest->name, sizeof nearest->name, "%s", candidate);
}

// " (nearest: 'train.lr')", or the sections where nothing is near.
static void hint_format(const Schema *schema, const char *wanted, bool section, char *out,
                        size_t bytes) {
    Nearest nearest = {.score = SCORE_OF_EDIT * (2 + (int)strlen(last_part(wanted)) / 3)};
    char name[SCHEMA_KEY_BYTES], sections[512] = "";
    for (int i = 0; i < schema->rows; ++i) {
        const char *key = schema->row[i].key;
        if (!section) nearest_offer(&nearest, wanted, key);
        for (const char *dot = strchr(key, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
            snprintf(name, sizeof name, "%.*s", (int)(dot - key), key);
            if (section) nearest_offer(&nearest, wanted, name);
            size_t n = strlen(sections);
            if (section_first(schema, name) == &schema->row[i] && strchr(name, '.') == NULL)
                snprintf(sections + n, sizeof sections - n, "%s%s", n == 0 ? "" : ", ", name);
        }
    }
    if (nearest.name[0] != 0)
        snprintf(out, bytes, " (nearest: '%s')", nearest.name);
    else
        snprintf(out, bytes, " (sections: %s)", sections);
}

// A user's text for a message: cut at a character, without control characters.
static const char *shown_format(const char *text, char out[SHOWN_BYTES]) {
    size_t n = strlen(text), most = SHOWN_BYTES - 4;
    bool cut = n > most;
    if (cut)
        for (n = most; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80;) --n;
    for (size_t i = 0; i < n; ++i) out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    strcpy(out + n, cut ? "..." : "");
    return out;
}

#define SHOWN(text) shown_format(text, (char[SHOWN_BYTES]){0})

// `place` begins every message.
static Status set_value(const Schema *schema, const char *place, const char *key, const char *text,
                        void *out) {
    char more[640];
    const SchemaRow *row = schema_find(schema, key), *below = section_first(schema, key);
    FAIL_IF(row == NULL && below != NULL, BAD_CONFIG,
            "%s: '%s' is a section: give a key below it, like '%s'", place, SHOWN(key), below->key);
    if (row == NULL) {
        hint_format(schema, key, false, more, sizeof more);
        FAIL(BAD_CONFIG, "%s: unknown key '%s'%s", place, SHOWN(key), more);
    }
    if (!value_parse(row, text, out)) {
        value_allowed(row, false, more, sizeof more);
        FAIL(BAD_CONFIG, "%s: %s is '%s', must be %s", place, row->key, SHOWN(text), more);
    }
    return STATUS_OK;
}

Status schema_set(const Schema *schema, const char *word, void *out) {
    char key[SCHEMA_KEY_BYTES];
    const char *equals = strchr(word, '=');
    FAIL_IF(equals == NULL || equals == word, BAD_CONFIG, "command line: '%s' is not key=value",
            SHOWN(word));
    FAIL_IF((size_t)(equals - word) >= sizeof key, BAD_CONFIG,
            "command line: no key is as long as '%s'", SHOWN(word));
    snprintf(key, sizeof key, "%.*s", (int)(equals - word), word);
    return set_value(schema, "command line", key, equals + 1, out);
}

// A section in two pieces would be written as two blocks of one name, which is no valid YAML.
static bool section_is_split(const Schema *schema, int row) {
    const char *key = schema->row[row].key;
    char name[SCHEMA_KEY_BYTES];
    for (const char *dot = strchr(key, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        snprintf(name, sizeof name, "%.*s", (int)(dot - key), key);
        bool goes_on = row > 0 && key_within(schema->row[row - 1].key, name);
        if (!goes_on && section_first(schema, name) != &schema->row[row]) return true;
    }
    return false;
}

static int key_depth(const char *key) {
    int depth = 1;
    for (const char *c = key; *c != 0; ++c) depth += *c == '.';
    return depth;
}

static Status check_row(const Schema *schema, int i) {
    const SchemaRow *row = &schema->row[i];
    bool is_number = row->type >= SCHEMA_TYPE_I32 && row->type <= SCHEMA_TYPE_F64;
    size_t letters = strspn(row->key, "abcdefghijklmnopqrstuvwxyz0123456789_-.");
    FAIL_IF(letters == 0 || row->key[letters] != 0 || letters >= SCHEMA_KEY_BYTES ||
                key_depth(row->key) > DEPTH_MOST,
            BAD_CONFIG, "schema: '%s' is no good key", row->key);
    FAIL_IF(schema_find(schema, row->key) != row, BAD_CONFIG, "schema: key '%s' stands twice",
            row->key);
    FAIL_IF(section_first(schema, row->key) != NULL, BAD_CONFIG,
            "schema: '%s' is a key and a section", row->key);
    FAIL_IF(section_is_split(schema, i), BAD_CONFIG,
            "schema: '%s' stands apart from the other keys of its section", row->key);
    FAIL_IF(is_number && !value_range_fits(row), BAD_CONFIG,
            "schema: the range of '%s' does not fit its field's type", row->key);
    FAIL_IF(row->type == SCHEMA_TYPE_TEXT && row->size > SCHEMA_VALUE_BYTES, BAD_CONFIG,
            "schema: '%s' is longer than %d bytes", row->key, SCHEMA_VALUE_BYTES);
    return STATUS_OK;
}

Status schema_defaults(const Schema *schema, void *out) {
    REQUIRE(schema->rows <= SCHEMA_ROWS_MOST);
    memset(out, 0, schema->bytes);
    for (int i = 0; i < schema->rows; ++i) {
        TRY(check_row(schema, i));
        TRY(set_value(schema, "schema", schema->row[i].key, schema->row[i].text, out));
    }
    return STATUS_OK;
}

typedef struct {
    const Schema *schema;
    const char *name;
    void *out;
    int documents, depth;              // depth: open mappings
    size_t prefix_end[DEPTH_MOST + 2]; // at each depth, how much of `key` is the open section
    char key[SCHEMA_KEY_BYTES];        // "section.key", while its value is awaited
    bool has_key;
    int line; // of the event at hand
    // Where a key or section was given first: by the first row that it names, and its depth.
    int line_of[SCHEMA_ROWS_MOST][DEPTH_MOST + 1];
} Loader;

#define FAIL_HERE(loader, format, ...)                                                             \
    FAIL(BAD_CONFIG, "%s:%d: " format, (loader)->name, (loader)->line, ##__VA_ARGS__)
#define FAIL_HERE_IF(condition, loader, format, ...)                                               \
    do {                                                                                           \
        if (condition) FAIL_HERE(loader, format, ##__VA_ARGS__);                                   \
    } while (0)

static Status refuse_again(Loader *loader, const SchemaRow *row, const char *what) {
    int *first = &loader->line_of[row - loader->schema->row][key_depth(loader->key)];
    FAIL_HERE_IF(*first != 0, loader, "%s '%s' is given again (first in line %d)", what,
                 loader->key, *first);
    *first = loader->line;
    return STATUS_OK;
}

// Puts a key behind the names of the open sections.
static Status take_key(Loader *loader, const char *text) {
    size_t end = loader->prefix_end[loader->depth];
    FAIL_HERE_IF(end + strlen(text) >= sizeof loader->key, loader, "no key is as long as '%s'",
                 SHOWN(text));
    strcpy(loader->key + end, text);
    loader->has_key = true;
    return STATUS_OK;
}

static Status take_value(Loader *loader, const char *text, bool is_empty_plain) {
    const Schema *schema = loader->schema;
    char place[PATH_BYTES + 16];
    snprintf(place, sizeof place, "%s:%d", loader->name, loader->line);
    loader->has_key = false;
    // "train:" with all its lines commented out.
    if (is_empty_plain && section_first(schema, loader->key) != NULL) return STATUS_OK;
    const SchemaRow *row = schema_find(schema, loader->key);
    if (row != NULL) {
        TRY(refuse_again(loader, row, "key"));
        FAIL_HERE_IF(is_empty_plain, loader, "%s has no value", row->key);
    }
    return set_value(schema, place, loader->key, text, loader->out);
}

static Status take_scalar(Loader *loader, const yaml_event_t *event) {
    const char *text = (const char *)event->data.scalar.value;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    bool empty = event->data.scalar.length == 0;
    FAIL_HERE_IF(strlen(text) != event->data.scalar.length, loader, "a zero byte in the text");
    FAIL_HERE_IF(loader->depth == 0 && !empty, loader, "expected lines of 'key: value'");
    if (loader->depth == 0) return STATUS_OK;
    return loader->has_key ? take_value(loader, text, empty && plain) : take_key(loader, text);
}

static Status enter_section(Loader *loader) {
    FAIL_HERE_IF(!loader->has_key, loader, "a key must be a single word");
    const SchemaRow *first = section_first(loader->schema, loader->key);
    FAIL_HERE_IF(schema_find(loader->schema, loader->key) != NULL, loader,
                 "%s takes one value, not a block of keys", loader->key);
    if (first == NULL) {
        char hint[640];
        hint_format(loader->schema, loader->key, true, hint, sizeof hint);
        FAIL_HERE(loader, "unknown section '%s'%s", SHOWN(loader->key), hint);
    }
    TRY(refuse_again(loader, first, "section"));
    // check_row bounds the depth of known sections, and so of prefix_end, and their length.
    strcat(loader->key, ".");
    loader->prefix_end[++loader->depth] = strlen(loader->key);
    loader->has_key = false;
    return STATUS_OK;
}

// Anchors and tags: nothing that they could mean is wanted in a configuration.
static Status refuse_decoration(const Loader *loader, const yaml_event_t *event) {
    bool has_value = event->type == YAML_SCALAR_EVENT || event->type == YAML_MAPPING_START_EVENT ||
                     event->type == YAML_SEQUENCE_START_EVENT;
    if (!has_value) return STATUS_OK;
    // The three begin with the same two fields.
    const yaml_char_t *anchor = event->data.scalar.anchor, *tag = event->data.scalar.tag;
    FAIL_HERE_IF(anchor != NULL, loader, "anchors (&%.40s) are not allowed", anchor);
    FAIL_HERE_IF(tag != NULL, loader, "tags (%.40s) are not allowed", tag);
    return STATUS_OK;
}

static Status take_event(Loader *loader, const yaml_event_t *event) {
    loader->line = (int)event->start_mark.line + 1;
    TRY(refuse_decoration(loader, event));
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        FAIL_HERE_IF(++loader->documents > 1, loader,
                     "a second document begins here; only one is allowed");
        break;
    case YAML_ALIAS_EVENT:
        FAIL_HERE(loader, "aliases (*%.40s) are not allowed", event->data.alias.anchor);
    case YAML_SEQUENCE_START_EVENT:
        FAIL_HERE_IF(loader->depth == 0, loader, "expected lines of 'key: value', not a list");
        FAIL_HERE_IF(!loader->has_key, loader, "a key must be a single word");
        FAIL_HERE(loader, "%s takes one value, not a list", SHOWN(loader->key));
    case YAML_MAPPING_START_EVENT:
        if (loader->depth == 0)
            loader->depth = 1;
        else
            TRY(enter_section(loader));
        break;
    case YAML_MAPPING_END_EVENT: --loader->depth; break;
    case YAML_SCALAR_EVENT: TRY(take_scalar(loader, event)); break;
    default: break;
    }
    return STATUS_OK;
}

static Status fail_parser(const yaml_parser_t *parser, const char *name, const char *text) {
    FAIL_IF(parser->error == YAML_MEMORY_ERROR, NO_MEMORY, "%s: no memory to read it", name);
    size_t line = parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < parser->problem_offset; ++i) line += text[i] == '\n';
    }
    FAIL(BAD_CONFIG, "%s:%zu: not valid YAML: %s", name, line,
         parser->problem != NULL ? parser->problem : "unknown reason");
}

static Status load_events(yaml_parser_t *parser, Loader *loader, const char *text) {
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) return fail_parser(parser, loader->name, text);
        more = event.type != YAML_STREAM_END_EVENT;
        Status status = take_event(loader, &event);
        yaml_event_delete(&event);
        TRY(status);
    }
    return STATUS_OK;
}

Status schema_load_text(const Schema *schema, const char *name, const char *text, size_t bytes,
                        void *out) {
    FAIL_IF(bytes > YAML_BYTES_MOST, BAD_CONFIG, "%s: longer than %d bytes", name, YAML_BYTES_MOST);
    Loader loader = {.schema = schema, .name = name, .out = out};
    yaml_parser_t parser;
    FAIL_IF(!yaml_parser_initialize(&parser), NO_MEMORY, "%s: no memory to read it", name);
    // Without this a file could switch to UTF-16 by its first bytes.
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    Status status = load_events(&parser, &loader, text);
    yaml_parser_delete(&parser);
    return status;
}

Status schema_load_yaml(const Schema *schema, const char *path, void *out) {
    char *text;
    size_t bytes;
    TRY(file_read(path, YAML_BYTES_MOST, &text, &bytes));
    Status status = schema_load_text(schema, path, text, bytes, out);
    free(text);
    return status;
}

const char *schema_version(void) {
    return yaml_get_version_string();
}
