// Words behind launch/words.h.
#include "launch/words.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void words_add(Words *words, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *word;
    if (words->count == WORDS_MOST || vasprintf(&word, format, arguments) < 0)
        words->failed = true;
    else
        words->word[words->count++] = word;
    va_end(arguments);
}

void words_free(Words *words) {
    for (int i = 0; i < words->count; ++i) free(words->word[i]);
    *words = (Words){0};
}

static Status check(const Words *words) {
    FAIL_IF(words->failed, NO_MEMORY, "no memory for a command of more than %d words",
            words->count);
    return STATUS_OK;
}

// 'it'\''s': everything between single quotes is itself but for a single quote.
static void quote(FILE *out, const char *word) {
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                        "_-+=./:,@%";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        fputs(word, out);
        return;
    }
    putc('\'', out);
    for (; *word != '\0'; ++word)
        if (*word == '\'')
            fputs("'\\''", out);
        else
            putc(*word, out);
    putc('\'', out);
}

Status words_text(const Words *words, char **text) {
    size_t bytes;
    *text = NULL;
    TRY(check(words));
    FILE *out = open_memstream(text, &bytes);
    FAIL_IF(out == NULL, NO_MEMORY, "no memory for a command line");
    for (int i = 0; i < words->count; ++i) {
        if (i > 0) putc(' ', out);
        quote(out, words->word[i]);
    }
    FAIL_IF(fclose(out) != 0, NO_MEMORY, "no memory for a command line");
    return STATUS_OK;
}

Status words_run(const Words *words) {
    TRY(check(words));
    execvp(words->word[0], words->word);
    FAIL(NOT_FOUND, "cannot start %s: %s", words->word[0], strerror(errno));
}
