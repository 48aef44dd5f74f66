// Text sources as a stream of bytes in one of two forms.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/pack.h"

typedef struct TextStream TextStream;

// Opens a plain file, or bible.data of Debian's bible-kjv-text (magic "EC02"), of which the header
// line and the verse references are left out; its LZW stream is decoded by the program gzip.
// FORM_DEFAULT as in pack.h. Errors: NOT_FOUND, IO.
Status text_open(const char *path, TextForm form, TextStream **out);
void text_close(TextStream *text); // NULL is fine
TextForm text_form(const TextStream *text);
// Up to `most` >= 1 further bytes; *got 0 at the end. Errors: IO, BAD_DATA (names file and line).
Status text_read(TextStream *text, uint8_t *out, size_t most, size_t *got);
// After the end: length and content hash of the source before any form was given to it.
void text_source(TextStream *text, int64_t *bytes, uint64_t *hash);
