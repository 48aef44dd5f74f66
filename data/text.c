// Text: source bytes, then verses without their references, then the form.
#include "data/text.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "data/content_hash.h"

extern char **environ;

enum { BIBLE_STREAM_START = 368, READ_BYTES = 65536, REFERENCE_BYTES = 32, END = -1 };

struct TextStream {
    char path[PATH_BYTES];
    TextForm form;
    int fd;      // of the file or of the pipe from gzip; -1 once at its end
    pid_t child; // gzip; 0: none
    bool verses; // the Bible: leave out line 1 and the references
    uint8_t buffer[READ_BYTES];
    size_t filled, next;
    int64_t line; // being read, from 1
    bool at_line_start;
    bool started, gap; // letters27: something was written; a space is due before the next letter
    int held;          // letters27: the letter behind that space, 0: none
    int64_t source_bytes;
    ContentHash content;
};

// Runs `gzip -cd` with the file, positioned at its LZW stream, as standard input. No shell sees the
// path; what gzip says goes nowhere, its exit code is checked at the end.
static Status start_gzip(TextStream *text) {
    int pipe_fd[2];
    char *arguments[] = {(char[]){"gzip"}, (char[]){"-cd"}, NULL};
    FAIL_IF(lseek(text->fd, BIBLE_STREAM_START, SEEK_SET) < 0, IO, "%s: cannot be positioned: %s",
            text->path, strerror(errno));
    FAIL_IF(pipe2(pipe_fd, O_CLOEXEC) != 0, IO, "%s: no pipe to gzip: %s", text->path,
            strerror(errno));
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, text->fd, STDIN_FILENO);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], STDOUT_FILENO);
    if (error == 0) {
        error = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    }
    if (error == 0) error = posix_spawnp(&text->child, "gzip", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fd[1]);
    close(text->fd);
    text->fd = pipe_fd[0];
    if (error != 0) text->child = 0;
    FAIL_IF(error != 0, IO, "%s: needs the program gzip to decode it: %s", text->path,
            strerror(error));
    return STATUS_OK;
}

static Status open_source(TextStream *text) {
    char magic[4] = "";
    text->fd = open(text->path, O_RDONLY | O_CLOEXEC);
    FAIL_IF(text->fd < 0 && errno == ENOENT, NOT_FOUND, "%s: there is no such file", text->path);
    FAIL_IF(text->fd < 0, IO, "%s: cannot be opened: %s", text->path, strerror(errno));
    text->verses = pread(text->fd, magic, 4, 0) == 4 && memcmp(magic, "EC02", 4) == 0;
    if (text->form == FORM_DEFAULT) text->form = text->verses ? FORM_LETTERS27 : FORM_BYTES;
    if (text->verses) TRY(start_gzip(text));
    return STATUS_OK;
}

Status text_open(const char *path, TextForm form, TextStream **out) {
    Status status = STATUS_OK;
    TextStream *text = calloc(1, sizeof *text);
    FAIL_IF(text == NULL, NO_MEMORY, "%s: no memory to read it", path);
    text->fd = -1;
    text->form = form;
    text->line = 1;
    text->at_line_start = true;
    content_hash_init(&text->content);
    TRY_OR(fail, status, path_format(text->path, "%s", path));
    TRY_OR(fail, status, open_source(text));
    *out = text;
    return STATUS_OK;
fail:
    text_close(text);
    return status;
}

static int reap_gzip(TextStream *text) {
    int code = 0;
    if (text->child == 0) return 0;
    while (waitpid(text->child, &code, 0) < 0 && errno == EINTR) {
    }
    text->child = 0;
    return code;
}

void text_close(TextStream *text) {
    if (text == NULL) return;
    if (text->fd >= 0) close(text->fd); // a gzip that still writes ends by SIGPIPE
    reap_gzip(text);
    free(text);
}

TextForm text_form(const TextStream *text) {
    return text->form;
}

static Status fill_buffer(TextStream *text) {
    text->next = text->filled = 0;
    if (text->fd < 0) return STATUS_OK;
    ssize_t count;
    do {
        count = read(text->fd, text->buffer, sizeof text->buffer);
    } while (count < 0 && errno == EINTR);
    FAIL_IF(count < 0, IO, "%s: cannot be read: %s", text->path, strerror(errno));
    if (count == 0) {
        close(text->fd);
        text->fd = -1;
        int code = reap_gzip(text);
        FAIL_IF(code != 0, BAD_DATA, "%s: gzip could not decode it (wait status %d)", text->path,
                code);
        return STATUS_OK;
    }
    text->filled = (size_t)count;
    text->source_bytes += count;
    content_hash_add(&text->content, text->buffer, text->filled);
    return STATUS_OK;
}

// The next byte of the source, or END.
static Status next_byte(TextStream *text, int *out) {
    if (text->next == text->filled) TRY(fill_buffer(text));
    if (text->next == text->filled) {
        *out = END;
        return STATUS_OK;
    }
    uint8_t byte = text->buffer[text->next++];
    FAIL_IF(byte == 0, BAD_DATA, "%s: line %lld holds a NUL byte: this is not a text file",
            text->path, (long long)text->line);
    if (byte == '\n') ++text->line;
    *out = byte;
    return STATUS_OK;
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// `Ge1:1 `, `1Sam12:3 `: perhaps a digit, letters, digits, a colon, digits.
static bool is_reference(const char *text) {
    if (is_digit(*text)) ++text;
    if (!is_letter(*text)) return false;
    while (is_letter(*text)) ++text;
    if (!is_digit(*text)) return false;
    while (is_digit(*text)) ++text;
    if (*text++ != ':' || !is_digit(*text)) return false;
    while (is_digit(*text)) ++text;
    return *text == '\0';
}

// Reads up to the space behind a verse reference, or nothing at the end of the text.
static Status skip_reference(TextStream *text) {
    char reference[REFERENCE_BYTES] = "";
    size_t length = 0;
    int64_t line = text->line;
    for (;;) {
        int byte;
        TRY(next_byte(text, &byte));
        if (byte == END && length == 0) return STATUS_OK;
        if (byte == ' ') break;
        FAIL_IF(byte == END || length + 1 == sizeof reference, BAD_DATA,
                "%s: decoded line %lld does not begin with a verse reference", text->path,
                (long long)line);
        reference[length++] = (char)byte;
    }
    FAIL_IF(!is_reference(reference), BAD_DATA,
            "%s: decoded line %lld begins with \"%s\", not with a verse reference", text->path,
            (long long)line, reference);
    return STATUS_OK;
}

// The next byte without header line and references, or END.
static Status next_of_verse(TextStream *text, int *out) {
    if (!text->verses) {
        TRY(next_byte(text, out));
        return STATUS_OK;
    }
    while (text->line == 1) {
        TRY(next_byte(text, out));
        if (*out == END) return STATUS_OK;
    }
    if (text->at_line_start) TRY(skip_reference(text));
    TRY(next_byte(text, out));
    text->at_line_start = *out == '\n';
    return STATUS_OK;
}

// The next character in the form, or END.
static Status next_of_form(TextStream *text, int *out) {
    if (text->form != FORM_LETTERS27) {
        TRY(next_of_verse(text, out));
        return STATUS_OK;
    }
    if (text->held != 0) {
        *out = text->held;
        text->held = 0;
        return STATUS_OK;
    }
    for (;;) {
        TRY(next_of_verse(text, out));
        if (*out == END || is_letter(*out)) break;
        text->gap = text->started;
    }
    if (*out == END) return STATUS_OK;
    *out |= 0x20; // lower case
    if (text->gap) {
        text->held = *out;
        *out = ' ';
    }
    text->gap = false;
    text->started = true;
    return STATUS_OK;
}

Status text_read(TextStream *text, uint8_t *out, size_t most, size_t *got) {
    REQUIRE(most >= 1);
    for (*got = 0; *got < most; ++*got) {
        int byte;
        TRY(next_of_form(text, &byte));
        if (byte == END) break;
        out[*got] = (uint8_t)byte;
    }
    return STATUS_OK;
}

void text_source(TextStream *text, int64_t *bytes, uint64_t *hash) {
    *bytes = text->source_bytes;
    *hash = content_hash_finish(&text->content);
}
