// A picture in a terminal: two pixels above each other are one character.
#pragma once

#include <stdio.h>

#include "base/status.h"

// A PNG or JPEG, made smaller to `columns` pixels where it is wider, of which as much is shown from
// above as fits into `lines` lines: half blocks in its colours where the stream is a terminal that
// has some (24 bits where COLORTERM says so, else the 256 of xterm), else shades of one colour.
// Errors: NOT_FOUND, IO, BAD_DATA, NO_MEMORY.
Status blocks_print(const char *path, int columns, int lines, FILE *out);
