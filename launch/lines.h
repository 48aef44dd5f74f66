// Lines appended to a file on a disk that may be full, read-only or away: never half a line, and
// none lost while memory holds them.
#pragma once

#include <stddef.h>

#include "base/status.h"

enum { LINES_PENDING_MOST = 1 << 20 };

typedef struct Lines Lines;

// `warn` is told when lines begin to wait, when they are written again, and what is lost.
// `precious` (NULL: none): lines that hold this text are the last to go when more than
// LINES_PENDING_MOST bytes wait. A file that cannot be opened now is tried again with each line.
// Errors: NO_MEMORY.
Status lines_open(const char *path, const char *precious, void (*warn)(const char *message),
                  Lines **out);
void lines_add(Lines *lines, const char *line, size_t bytes); // whole, with its newline
void lines_close(Lines *lines);                               // tries a last time; NULL is fine
