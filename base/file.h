// Files that are old or new, never half; paths; folders.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { PATH_BYTES = 1024 };

// Joins printf-style into `out`; BAD_USAGE if it does not fit.
Status path_format(char out[PATH_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Reads a whole file of at most `most` bytes; *out is malloc'ed with a NUL behind the data, the
// caller frees. Errors: NOT_FOUND, IO, BAD_DATA (longer than `most`).
Status file_read(const char *path, size_t most, char **out, size_t *bytes);
// Writes to a temporary name beside `path`, fsyncs, renames over `path`, fsyncs the folder.
Status file_write_atomic(const char *path, const void *data, size_t bytes);
// Parts of writing for formats that do it in steps: all the bytes; fsync. `path` stands in errors.
Status file_put(int fd, const char *path, const void *data, size_t bytes);
Status file_flush(int fd, const char *path);
bool file_exists(const char *path);
Status file_size(const char *path, uint64_t *bytes);

Status folder_make(const char *path);                 // with parents; fine if it exists
Status folder_sync(const char *path);                 // fsync of the folder itself
Status folder_remove(const char *path);               // with all that is in it; fine if absent
Status file_rename(const char *from, const char *to); // rename, then fsync of to's folder
// Sorted names of the entries (without . and ..); free with folder_names_free.
Status folder_names(const char *path, char ***names, int *count);
void folder_names_free(char **names, int count);
Status folder_free_bytes(const char *path, uint64_t *bytes); // statvfs
