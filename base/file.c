// Files through POSIX calls; every error names the path and the system's reason.
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// For the last failed system call on `path`: absent things are NOT_FOUND, all else IO.
#define FAIL_ERRNO(doing, path)                                                                    \
    do {                                                                                           \
        int errno_ = errno;                                                                        \
        FAIL_IF(errno_ == ENOENT || errno_ == ENOTDIR, NOT_FOUND, "cannot %s %s: %s", doing, path, \
                strerror(errno_));                                                                 \
        FAIL(IO, "cannot %s %s: %s", doing, path, strerror(errno_));                               \
    } while (0)

Status path_format(char out[PATH_BYTES], const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out, PATH_BYTES, format, args);
    va_end(args);
    FAIL_IF(n < 0 || n >= PATH_BYTES, BAD_USAGE, "path is longer than %d bytes: %.80s...",
            PATH_BYTES - 1, out);
    return STATUS_OK;
}

// The folder that holds `path`: "a/b" -> "a", "b" -> ".", "/b" -> "/", "a/b/" -> "a".
static Status path_parent(const char *path, char out[PATH_BYTES]) {
    TRY(path_format(out, "%s", path));
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') --n;
    while (n > 0 && out[n - 1] != '/') --n;
    while (n > 1 && out[n - 1] == '/') --n;
    if (n == 0) out[n++] = '.';
    out[n] = 0;
    return STATUS_OK;
}

// ---- reading ------------------------------------------------------------------------------------

// Reads to the end or to `room`, whichever comes first.
static Status read_some(int fd, const char *path, char *out, size_t room, size_t *bytes) {
    *bytes = 0;
    while (*bytes < room) {
        ssize_t n = read(fd, out + *bytes, room - *bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) FAIL_ERRNO("read", path);
        if (n == 0) break;
        *bytes += (size_t)n;
    }
    return STATUS_OK;
}

static Status read_all(int fd, const char *path, size_t most, char **out, size_t *bytes) {
    struct stat info;
    if (fstat(fd, &info) != 0) FAIL_ERRNO("read", path);
    FAIL_IF(S_ISDIR(info.st_mode), BAD_DATA, "%s is a folder, a file was expected", path);
    FAIL_IF(S_ISREG(info.st_mode) && (uint64_t)info.st_size > most, BAD_DATA,
            "%s is %lld bytes long, at most %zu are expected", path, (long long)info.st_size, most);
    // Pipes have no size, and a file may grow: the room doubles until the end is seen.
    size_t room = (size_t)info.st_size + 1, filled = 0;
    char *text = NULL;
    Status status = STATUS_OK;
    for (bool more = true; more; room *= 2) {
        char *larger = realloc(text, room + 1);
        if (larger == NULL) FAIL_OR(fail, status, NO_MEMORY, "%s: no memory to read it", path);
        text = larger;
        size_t n;
        TRY_OR(fail, status, read_some(fd, path, text + filled, room - filled, &n));
        filled += n;
        if (filled > most)
            FAIL_OR(fail, status, BAD_DATA, "%s is longer than the %zu bytes expected", path, most);
        more = filled == room;
    }
    text[filled] = 0;
    *out = text;
    *bytes = filled;
    return STATUS_OK;
fail:
    free(text);
    return status;
}

Status file_read(const char *path, size_t most, char **out, size_t *bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) FAIL_ERRNO("open", path);
    Status status = read_all(fd, path, most, out, bytes);
    close(fd);
    TRY(status);
    return STATUS_OK;
}

bool file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

Status file_size(const char *path, uint64_t *bytes) {
    struct stat info;
    if (stat(path, &info) != 0) FAIL_ERRNO("find", path);
    FAIL_IF(!S_ISREG(info.st_mode), BAD_DATA, "%s is not a regular file", path);
    *bytes = (uint64_t)info.st_size;
    return STATUS_OK;
}

// ---- writing ------------------------------------------------------------------------------------

// A file of a fresh name beside `path`. The random part keeps writers on different hosts apart.
static Status open_beside(const char *path, char temporary[PATH_BYTES], int *fd) {
    for (int attempt = 0; attempt < 16; ++attempt) {
        uint64_t random = 0;
        if (getrandom(&random, sizeof random, 0) != sizeof random) continue;
        TRY(path_format(temporary, "%s.tmp-%016llx", path, (unsigned long long)random));
        *fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd >= 0) return STATUS_OK;
        if (errno != EEXIST) FAIL_ERRNO("create", temporary);
    }
    FAIL(IO, "cannot create a temporary file beside %s", path);
}

static Status write_all(int fd, const char *path, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) FAIL_ERRNO("write", path);
        data += n;
        bytes -= (size_t)n;
    }
    if (fsync(fd) != 0) FAIL_ERRNO("flush", path);
    return STATUS_OK;
}

Status file_write_atomic(const char *path, const void *data, size_t bytes) {
    char temporary[PATH_BYTES];
    int fd = -1;
    TRY(open_beside(path, temporary, &fd));
    Status status = write_all(fd, path, data, bytes);
    close(fd);
    if (status == STATUS_OK) status = file_rename(temporary, path);
    if (status != STATUS_OK) unlink(temporary);
    TRY(status);
    return STATUS_OK;
}

Status file_rename(const char *from, const char *to) {
    char parent[PATH_BYTES];
    TRY(path_parent(to, parent));
    if (rename(from, to) != 0) {
        int reason = errno;
        FAIL_IF(reason == ENOENT, NOT_FOUND, "cannot rename %s to %s: %s", from, to,
                strerror(reason));
        FAIL(IO, "cannot rename %s to %s: %s", from, to, strerror(reason));
    }
    TRY(folder_sync(parent));
    return STATUS_OK;
}

// ---- folders ------------------------------------------------------------------------------------

static Status make_one(const char *path) {
    if (mkdir(path, 0777) == 0) return STATUS_OK;
    int reason = errno;
    struct stat info;
    bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (is_folder) return STATUS_OK;
    FAIL_IF(reason == EEXIST, IO, "cannot make folder %s: a file of that name is in the way", path);
    FAIL(IO, "cannot make folder %s: %s", path, strerror(reason));
}

Status folder_make(const char *path) {
    char part[PATH_BYTES];
    FAIL_IF(path[0] == 0, BAD_USAGE, "cannot make a folder with an empty name");
    TRY(path_format(part, "%s", path));
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        TRY(make_one(part));
        *slash = '/';
    }
    TRY(make_one(part));
    return STATUS_OK;
}

Status folder_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) FAIL_ERRNO("open folder", path);
    // Some network file systems cannot flush a folder and say EINVAL: there is no more to do then.
    int failed = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    close(fd);
    FAIL_IF(failed != 0, IO, "cannot flush folder %s: %s", path, strerror(failed));
    return STATUS_OK;
}

// Works on open folders, so that a symbolic link is removed and never followed.
static Status remove_tree(int parent, const char *name, const char *path) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (folder == NULL) {
        int reason = errno;
        if (fd >= 0) close(fd);
        FAIL(IO, "cannot remove %s: cannot open folder '%s': %s", path, name, strerror(reason));
    }
    Status status = STATUS_OK;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const char *child = entry->d_name;
        if (strcmp(child, ".") == 0 || strcmp(child, "..") == 0) continue;
        if (unlinkat(fd, child, 0) == 0 || errno == ENOENT) continue;
        if (errno == EISDIR || errno == EPERM)
            TRY_OR(done, status, remove_tree(fd, child, path));
        else
            FAIL_OR(done, status, IO, "cannot remove %s: '%s': %s", path, child, strerror(errno));
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        FAIL_OR(done, status, IO, "cannot remove %s: '%s': %s", path, name, strerror(errno));
done:
    closedir(folder);
    return status;
}

Status folder_remove(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0) {
        if (errno == ENOENT) return STATUS_OK;
        FAIL_ERRNO("find", path);
    }
    FAIL_IF(!S_ISDIR(info.st_mode), IO, "cannot remove %s: it is not a folder", path);
    TRY(remove_tree(AT_FDCWD, path, path));
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static Status names_add(char ***names, int *count, int *room, const char *name) {
    if (*count == *room) {
        *room = *room == 0 ? 16 : 2 * *room;
        char **larger = realloc(*names, (size_t)*room * sizeof **names);
        FAIL_IF(larger == NULL, NO_MEMORY, "no memory for %d file names", *room);
        *names = larger;
    }
    char *copy = strdup(name);
    FAIL_IF(copy == NULL, NO_MEMORY, "no memory for a file name");
    (*names)[(*count)++] = copy;
    return STATUS_OK;
}

Status folder_names(const char *path, char ***names, int *count) {
    DIR *folder = opendir(path);
    if (folder == NULL) FAIL_ERRNO("open folder", path);
    Status status = STATUS_OK;
    int room = 0;
    *names = NULL;
    *count = 0;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL; errno = 0) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        TRY_OR(fail, status, names_add(names, count, &room, entry->d_name));
    }
    if (errno != 0) FAIL_OR(fail, status, IO, "cannot list %s: %s", path, strerror(errno));
    closedir(folder);
    if (*count > 0) qsort(*names, (size_t)*count, sizeof **names, compare_names);
    return STATUS_OK;
fail:
    closedir(folder);
    folder_names_free(*names, *count);
    *names = NULL;
    *count = 0;
    return status;
}

void folder_names_free(char **names, int count) {
    for (int i = 0; i < count; ++i) free(names[i]);
    free(names);
}

Status folder_free_bytes(const char *path, uint64_t *bytes) {
    struct statvfs info;
    if (statvfs(path, &info) != 0) FAIL_ERRNO("ask the free space of", path);
    *bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return STATUS_OK;
}
