// Text as a stream of symbols in one of several forms (TextForm).
#pragma once

#include "data/pack/blob.h"

enum { TEXT_SYMBOLS_MOST = 256 };

typedef struct TextStream TextStream;

// A plain or compressed file, or bible.data of Debian's bible-kjv-text (magic "EC02"), of which the
// header line and the verse references are left out. FORM_DEFAULT as in source.h. Errors:
// NOT_FOUND, IO, BAD_DATA, BAD_USAGE (an alphabet that is no list of different characters).
Status text_open(const char *path, const SourceOptions *options, TextStream **out);
void text_close(TextStream *text); // NULL is fine
TextForm text_form(const TextStream *text);
Blob *text_blob(TextStream *text); // what it is read from, lent
// Up to `most` >= 1 further symbols; *got 0 at the end. FORM_ALPHABET: their numbers in the
// alphabet; other forms: bytes. Errors: IO, BAD_DATA (names file and line).
Status text_read(TextStream *text, uint8_t *out, size_t most, size_t *got);
bool text_is_bible(const char *path);
// Characters of valid UTF-8; BAD_USAGE: it is not, one stands twice, there are none or too many.
Status text_check_alphabet(const char *alphabet, int *symbols);
