// Appending behind launch/lines.h: one write a line, cut back where it was short.
#include "launch/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

struct Lines {
    char path[PATH_BYTES];
    const char *precious;
    void (*warn)(const char *message);
    int fd;           // -1: to be opened
    bool torn;        // part of a line stands behind byte `whole` of the file
    off_t whole;      // where the file is to be cut, if torn
    bool is_waiting;  // the last write failed, and that was told
    bool is_dropping; // lines were dropped since, and that was told
    size_t bytes;
    char pending[LINES_PENDING_MOST];
};

static void tell(const Lines *lines, const char *what, const char *reason) {
    char message[PATH_BYTES + 256];
    snprintf(message, sizeof message, "%s: %s%s", lines->path, what, reason);
    lines->warn(message);
}

static size_t length_of(const Lines *lines, size_t at) {
    const char *line = lines->pending + at;
    return (size_t)((char *)memchr(line, '\n', lines->bytes - at) - line) + 1;
}

static void forget(Lines *lines, size_t at, size_t bytes) {
    lines->bytes -= bytes;
    memmove(lines->pending + at, lines->pending + at + bytes, lines->bytes - at);
}

// ---- the file -----------------------------------------------------------------------------------

static int cut_back(Lines *lines) {
    if (lines->torn && ftruncate(lines->fd, lines->whole) != 0) return errno;
    lines->torn = false;
    return 0;
}

// One line at the end of the file, or nothing. Returns 0 or the reason.
static int put_line(Lines *lines, size_t bytes) {
    if (lines->fd < 0)
        lines->fd = open(lines->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (lines->fd < 0) return errno;
    int failed = cut_back(lines);
    if (failed != 0) return failed;
    ssize_t written = write(lines->fd, lines->pending, bytes);
    if (written == (ssize_t)bytes) return 0;
    failed = written < 0 ? errno : ENOSPC;
    struct stat info;
    if (written > 0 && fstat(lines->fd, &info) == 0) {
        lines->torn = true;
        lines->whole = info.st_size - written;
        (void)cut_back(lines);
    }
    return failed;
}

static void put_pending(Lines *lines) {
    int failed = 0;
    while (lines->bytes > 0 && failed == 0) {
        size_t bytes = length_of(lines, 0);
        failed = put_line(lines, bytes);
        if (failed == 0) forget(lines, 0, bytes);
    }
    if (failed != 0 && !lines->is_waiting) {
        tell(lines, "cannot be written; lines wait in memory until it can: ", strerror(failed));
        lines->is_waiting = true;
    }
    // Opened anew at the next try: the file system may have been mounted again.
    if (failed != 0 && lines->fd >= 0) {
        close(lines->fd);
        lines->fd = -1;
    }
    if (failed != 0 || !lines->is_waiting) return;
    tell(lines, "is written again",
         lines->is_dropping ? "; some lines were lost" : "; no line is lost");
    lines->is_waiting = lines->is_dropping = false;
}

// ---- what waits ---------------------------------------------------------------------------------

// Where the oldest line begins that is not precious; if all are, the oldest.
static size_t least_precious(const Lines *lines) {
    for (size_t at = 0; at < lines->bytes && lines->precious != NULL; at += length_of(lines, at))
        if (memmem(lines->pending + at, length_of(lines, at), lines->precious,
                   strlen(lines->precious)) == NULL)
            return at;
    return 0;
}

static void make_room(Lines *lines, size_t bytes) {
    while (lines->bytes > 0 && lines->bytes + bytes > sizeof lines->pending) {
        size_t at = least_precious(lines);
        forget(lines, at, length_of(lines, at));
        if (!lines->is_dropping) tell(lines, "too many lines wait: the oldest are dropped", "");
        lines->is_dropping = true;
    }
}

// ---- from outside -------------------------------------------------------------------------------

Status lines_open(const char *path, const char *precious, void (*warn)(const char *message),
                  Lines **out) {
    Lines *lines = calloc(1, sizeof *lines);
    FAIL_IF(lines == NULL, NO_MEMORY, "no memory for the lines of %s", path);
    snprintf(lines->path, sizeof lines->path, "%s", path);
    lines->precious = precious;
    lines->warn = warn;
    lines->fd = -1;
    *out = lines;
    return STATUS_OK;
}

void lines_add(Lines *lines, const char *line, size_t bytes) {
    REQUIRE(bytes > 0 && bytes <= sizeof lines->pending && line[bytes - 1] == '\n');
    make_room(lines, bytes);
    memcpy(lines->pending + lines->bytes, line, bytes);
    lines->bytes += bytes;
    put_pending(lines);
}

void lines_close(Lines *lines) {
    if (lines == NULL) return;
    put_pending(lines);
    if (lines->bytes > 0) tell(lines, "its last lines could not be written and are lost", "");
    if (lines->fd >= 0) close(lines->fd);
    free(lines);
}
