// A command line under construction, run or written down for a shell.
//
//   Words words = {0};
//   words_add(&words, "mpirun");
//   words_add(&words, "-n");
//   words_add(&words, "%d", ranks);
//   status = words_run(&words); // comes back only if it failed
#pragma once

#include "base/status.h"

enum { WORDS_MOST = 1024 };

typedef struct {
    char *word[WORDS_MOST + 1]; // NULL behind the last one
    int count;
    bool failed; // no memory, or too many: words_run and words_text tell
} Words;

void words_add(Words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
void words_free(Words *words);
// As one line for sh, quoted where that is needed; the caller frees.
Status words_text(const Words *words, char **text);
// Becomes this program, found in PATH. NOT_FOUND, NO_MEMORY.
Status words_run(const Words *words);
