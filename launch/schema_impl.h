// One value as text: shared by schema.c (keys, files) and schema_value.c (types, units, ranges).
#pragma once

#include "launch/schema.h"

// Parses `text` into the row's field of *out; false if it is not allowed, *out untouched then.
bool value_parse(const SchemaRow *row, const char *text, void *out);
// A field as text that the parser reads back to the same bits.
void schema_value(const SchemaRow *row, const void *in, char out[SCHEMA_VALUE_BYTES]);
// What the row allows, to follow "must be": "a whole number from 1 to 64". In brief, for a table:
// "1 .. 64 samples".
void value_allowed(const SchemaRow *row, bool brief, char *out, size_t bytes);
const char *unit_name(SchemaUnit unit); // "samples", "" for UNIT_NONE
// Does [least, most] of a number row lie within its field's type?
bool value_range_fits(const SchemaRow *row);
// The field as a YAML scalar, quoted where it must be.
void value_print_yaml(const SchemaRow *row, const void *in, FILE *out);
