// Configuration: YAML files and key=value words into a plain struct, through one table.
//
//   typedef struct { struct { int64_t batch; double lr; } train; Interval save; } Config;
//
//   static const SchemaRow rows[] = {
//       SCHEMA_NUMBER(Config, train.batch, "256", 1, 1 << 20, UNIT_SAMPLES, SCHEMA_FIXED,
//                     "global batch"),
//       SCHEMA_NUMBER(Config, train.lr, "1e-4", 0, 10, UNIT_NONE, SCHEMA_FREE, "peak rate"),
//       SCHEMA_INTERVAL(Config, save, "10m", SCHEMA_FREE, "how often to save"),
//   };
//   static const Schema schema = SCHEMA(Config, rows);
//
//   TRY(schema_defaults(&schema, &config));
//   TRY(schema_load_yaml(&schema, "run.yaml", &config));
//   TRY(schema_set(&schema, "train.batch=1k", &config));
//
// A row's key is the field's path and its type is the field's type: a row that does not fit its
// field does not compile. Defaults are text and go through the same parser as the user's values.
//
// What a value may look like:
//   bool       true, false
//   integer    256, 20k, 1.5M, 2e6: must come out whole; k M G T are powers of 1000,
//              with UNIT_BYTES of 1024 ("64M" is 64 MiB; "64MiB" says the same)
//   float      1e-4, 0.5; with UNIT_SECONDS also 90s, 10m, 2h, 1d
//   text       at most the field's bytes - 1 of UTF-8, or one of the row's choices
//   Interval   500 or 2k: steps; 90s, 10m, 2h, 1d: wall time; 0: never. Mind 10m and 10M.
// A YAML file holds mappings and single values only; "train: {lr: 1}", a nested block and
// "train.lr: 1" are the same. Keys that are not given keep what they are.
//
// Errors are BAD_CONFIG, begin with FILE:LINE (or "command line"), name the key, and say what would
// be right: the allowed range or choices, or the nearest key. After an error *out may hold some of
// the values.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/status.h"

typedef enum {
    SCHEMA_TYPE_BOOL,
    SCHEMA_TYPE_I32,
    SCHEMA_TYPE_I64,
    SCHEMA_TYPE_U64,
    SCHEMA_TYPE_F32,
    SCHEMA_TYPE_F64,
    SCHEMA_TYPE_TEXT,
    SCHEMA_TYPE_INTERVAL,
} SchemaType;

typedef enum { UNIT_NONE, UNIT_SAMPLES, UNIT_SECONDS, UNIT_BYTES } SchemaUnit;

// May a run that goes on from a checkpoint be given another value?
typedef enum { SCHEMA_FIXED, SCHEMA_FREE } SchemaResume;

enum { SCHEMA_ROWS_MOST = 256, SCHEMA_KEY_BYTES = 96, SCHEMA_VALUE_BYTES = 4096 };

typedef struct {
    const char *key; // "train.batch"
    SchemaType type;
    size_t offset, size; // of the field
    const char *text;    // the default
    double least, most;  // numbers: inclusive
    const char *choices; // text: "cosine|linear"; NULL: anything
    SchemaUnit unit;
    SchemaResume resume;
    const char *help; // one line
} SchemaRow;

typedef struct {
    const SchemaRow *row; // rows of one section stand together
    int rows;
    size_t bytes; // of the struct
} Schema;

#define SCHEMA(Config, rows_)                                                                      \
    { rows_, (int)(sizeof(rows_) / sizeof *(rows_)), sizeof(Config) }

// The formatter breaks selections by type apart.
// clang-format off

// int32_t, int64_t, uint64_t, float and double fields. A uint64_t without an upper end: 0x1p64.
#define SCHEMA_NUMBER(Config, field, text_, least_, most_, unit_, resume_, help_)                  \
    SCHEMA_NUMBER_AS(#field, Config, field, text_, least_, most_, unit_, resume_, help_)
// The same for a field whose path is not its key, like an array's element.
#define SCHEMA_NUMBER_AS(key_, Config, field, text_, least_, most_, unit_, resume_, help_)         \
    {SCHEMA_PLACE(key_, Config, field, text_, resume_, help_),                                     \
     .type = _Generic(((Config *)0)->field,                                                        \
                      int32_t: SCHEMA_TYPE_I32, int64_t: SCHEMA_TYPE_I64,                          \
                      uint64_t: SCHEMA_TYPE_U64, float: SCHEMA_TYPE_F32,                           \
                      double: SCHEMA_TYPE_F64),                                                    \
     .least = (least_), .most = (most_), .unit = (unit_)}
#define SCHEMA_SWITCH(Config, field, text_, resume_, help_)                                        \
    {SCHEMA_PLACE(#field, Config, field, text_, resume_, help_),                                   \
     .type = _Generic(((Config *)0)->field, bool: SCHEMA_TYPE_BOOL)}
#define SCHEMA_INTERVAL(Config, field, text_, resume_, help_)                                      \
    {SCHEMA_PLACE(#field, Config, field, text_, resume_, help_),                                   \
     .type = _Generic(((Config *)0)->field, Interval: SCHEMA_TYPE_INTERVAL)}
#define SCHEMA_TEXT(Config, field, text_, resume_, help_)                                          \
    SCHEMA_CHOICE(Config, field, text_, NULL, resume_, help_)
// char[N] fields. The array decays to char * in the selection; a field that is a pointer itself
// makes an array of negative size.
#define SCHEMA_CHOICE(Config, field, text_, choices_, resume_, help_)                              \
    {SCHEMA_PLACE(#field, Config, field, text_, resume_, help_),                                   \
     .type = _Generic(((Config *)0)->field, char *: SCHEMA_TYPE_TEXT) +                            \
             0 * sizeof(char[SCHEMA_IS_POINTER(((Config *)0)->field) ? -1 : 1]),                   \
     .choices = (choices_)}
#define SCHEMA_IS_POINTER(field) __builtin_types_compatible_p(__typeof__(field), char *)
#define SCHEMA_PLACE(key_, Config, field, text_, resume_, help_)                                   \
    .key = (key_), .offset = offsetof(Config, field), .size = sizeof(((Config *)0)->field),        \
    .text = (text_), .resume = (resume_), .help = (help_)

// clang-format on

// Zeroes *out and gives every field its default. Also checks the table itself: a default out of
// range, a range beyond the type, a key given twice, a section in two pieces are BAD_CONFIG.
Status schema_defaults(const Schema *schema, void *out);

// A file of at most 1 MiB. Errors: NOT_FOUND, BAD_CONFIG.
Status schema_load_yaml(const Schema *schema, const char *path, void *out);
// The same from memory; `name` stands in for the file in messages.
Status schema_load_text(const Schema *schema, const char *name, const char *text, size_t bytes,
                        void *out);
// One word "train.lr=1e-3". A later one wins.
Status schema_set(const Schema *schema, const char *word, void *out);

// A complete YAML file with every key, which loads back to an equal struct; with `comments` each
// line ends with unit and help. The caller frees *out. Errors: NO_MEMORY.
Status schema_format(const Schema *schema, const void *in, bool comments, char **out);
// A table for people: key, default, what is allowed, help; an asterisk marks SCHEMA_FREE. Of the
// key `prefix`, or of those below it: "optim"; "": all. False: there are none.
bool schema_print_help(const Schema *schema, const char *prefix, FILE *out);
// All keys as tables in Markdown, a section each.
void schema_print_markdown(const Schema *schema, FILE *out);

// Each key of SCHEMA_FIXED and its value.
void schema_fixed(const Schema *schema, const void *in,
                  void (*tell)(void *context, const char *key, const char *value), void *context);
// Calls `tell` for each key whose values differ, in the order of the table.
typedef void SchemaTell(void *context, const SchemaRow *row, const char *a, const char *b);
void schema_diff(const Schema *schema, const void *a, const void *b, SchemaTell *tell,
                 void *context);
// Hash of keys and values of the SCHEMA_FIXED rows. The order of the table does not matter.
uint64_t schema_hash(const Schema *schema, const void *in);

const char *schema_version(void); // of libyaml
