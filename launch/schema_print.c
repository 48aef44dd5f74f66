// The configuration as text: complete YAML, the help table, differences, the hash.
#include "launch/schema.h"

#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "launch/schema_impl.h"

// Opens the sections of `key` that `before` was not in; gives its indent and its last part.
static const char *open_sections(const char *before, const char *key, FILE *out, int *indent) {
    const char *part = key;
    bool open = true;
    *indent = 0;
    for (const char *dot; (dot = strchr(part, '.')) != NULL; part = dot + 1, *indent += 2) {
        open = open && strncmp(before, key, (size_t)(dot + 1 - key)) == 0;
        if (!open) fprintf(out, "%*s%.*s:\n", *indent, "", (int)(dot - part), part);
    }
    return part;
}

static void print_yaml(const Schema *schema, const void *in, bool comments, FILE *out) {
    const char *before = "";
    for (int i = 0; i < schema->rows; ++i) {
        const SchemaRow *row = &schema->row[i];
        int indent;
        const char *name = open_sections(before, row->key, out, &indent);
        fprintf(out, "%*s%s: ", indent, "", name);
        value_print_yaml(row, in, out);
        const char *unit = unit_name(row->unit);
        if (comments) fprintf(out, "  # %s%s%s", unit, *unit == 0 ? "" : ": ", row->help);
        fputc('\n', out);
        before = row->key;
    }
}

Status schema_format(const Schema *schema, const void *in, bool comments, char **out) {
    size_t bytes = 0;
    char *text = NULL;
    FILE *stream = open_memstream(&text, &bytes);
    FAIL_IF(stream == NULL, NO_MEMORY, "no memory to write the configuration");
    print_yaml(schema, in, comments, stream);
    bool failed = ferror(stream) != 0;
    if (fclose(stream) != 0 || failed) {
        free(text);
        FAIL(NO_MEMORY, "no memory to write the configuration");
    }
    *out = text;
    return STATUS_OK;
}

static int longer(int a, const char *text) {
    int n = (int)strlen(text);
    return n > a ? n : a;
}

// `prefix` is the key, or a section it is in.
static bool is_below(const char *key, const char *prefix) {
    size_t length = strlen(prefix);
    return strncmp(key, prefix, length) == 0 &&
           (length == 0 || key[length] == '\0' || key[length] == '.');
}

bool schema_print_help(const Schema *schema, const char *prefix, FILE *out) {
    int key = 0, value = 0, allowed = 0, printed = 0;
    char text[128];
    for (int i = 0; i < schema->rows; ++i) {
        if (!is_below(schema->row[i].key, prefix)) continue;
        value_allowed(&schema->row[i], true, text, sizeof text);
        key = longer(key, schema->row[i].key);
        value = longer(value, schema->row[i].text);
        allowed = longer(allowed, text);
    }
    for (int i = 0; i < schema->rows; ++i) {
        const SchemaRow *row = &schema->row[i];
        size_t section = strcspn(row->key, ".") + 1;
        if (!is_below(row->key, prefix)) continue;
        bool new_section = printed++ > 0 && strncmp(row[-1].key, row->key, section) != 0;
        value_allowed(row, true, text, sizeof text);
        fprintf(out, "%s%c %-*s  %-*s  %-*s  %s\n", new_section ? "\n" : "",
                row->resume == SCHEMA_FREE ? '*' : ' ', key, row->key, value,
                row->text[0] == 0 ? "\"\"" : row->text, allowed, text, row->help);
    }
    if (printed > 0) fprintf(out, "\n* may be changed when a run goes on from a checkpoint\n");
    return printed > 0;
}

// Words with bars between them, each as code.
static void print_words(FILE *out, const char *words) {
    for (size_t length; *words != '\0'; words += length + (words[length] == '|')) {
        length = strcspn(words, "|");
        fprintf(out, "`%.*s`%s", (int)length, words, words[length] == '|' ? ", " : "");
    }
}

void schema_print_markdown(const Schema *schema, FILE *out) {
    const char *section = "";
    char text[128];
    for (int i = 0; i < schema->rows; ++i) {
        const SchemaRow *row = &schema->row[i];
        size_t length = strcspn(row->key, ".");
        if (strncmp(section, row->key, length + 1) != 0)
            fprintf(
                out,
                "\n## %.*s\n\n| key | default | allowed | may change | |\n|---|---|---|---|---|\n",
                (int)length, row->key);
        section = row->key;
        fprintf(out, "| `%s` | `%s` | ", row->key, row->text[0] == '\0' ? "\"\"" : row->text);
        value_allowed(row, true, text, sizeof text);
        if (row->choices != NULL || row->type == SCHEMA_TYPE_BOOL)
            print_words(out, row->choices != NULL ? row->choices : text);
        else
            fputs(text, out);
        fprintf(out, " | %s | %s |\n", row->resume == SCHEMA_FREE ? "yes" : "no", row->help);
    }
}

void schema_diff(const Schema *schema, const void *a, const void *b, SchemaTell *tell,
                 void *context) {
    char text_a[SCHEMA_VALUE_BYTES], text_b[SCHEMA_VALUE_BYTES];
    for (int i = 0; i < schema->rows; ++i) {
        schema_value(&schema->row[i], a, text_a);
        schema_value(&schema->row[i], b, text_b);
        if (strcmp(text_a, text_b) != 0) tell(context, &schema->row[i], text_a, text_b);
    }
}

void schema_fixed(const Schema *schema, const void *in,
                  void (*tell)(void *context, const char *key, const char *value), void *context) {
    char value[SCHEMA_VALUE_BYTES];
    for (int i = 0; i < schema->rows; ++i) {
        if (schema->row[i].resume != SCHEMA_FIXED) continue;
        schema_value(&schema->row[i], in, value);
        tell(context, schema->row[i].key, value);
    }
}

static void add_hash(void *context, const char *key, const char *value) {
    char line[SCHEMA_KEY_BYTES + 1 + SCHEMA_VALUE_BYTES];
    snprintf(line, sizeof line, "%s=%s", key, value);
    *(uint64_t *)context += codec_hash(line, strlen(line));
}

uint64_t schema_hash(const Schema *schema, const void *in) {
    uint64_t sum = 0;
    schema_fixed(schema, in, add_hash, &sum);
    return sum;
}
