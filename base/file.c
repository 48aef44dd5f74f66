// Files through POSIX calls; every error names the path and the system's reason.
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// For the last failed system call on `path`: absent things are NOT_FOUND, all else IO.
#define FAIL_ERRNO(doing, path)                                                                    \
    return error_raise(errno == ENOENT || errno == ENOTDIR ? STATUS_NOT_FOUND : STATUS_IO,         \
                       __FILE__, __LINE__, __func__, "cannot %s %s: %s", doing, path,              \
                       strerror(errno))

Status path_format(char out[PATH_BYTES], const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out, PATH_BYTES, format, args);
    va_end(args);
    FAIL_IF(n < 0 || n >= PATH_BYTES, BAD_USAGE, "path is longer than %d bytes: %.80s...",
            PATH_BYTES - 1, out);
    return STATUS_OK;
}

static Status read_all(FILE *file, const char *path, size_t most, char **out, size_t *bytes) {
    struct stat info;
    if (fstat(fileno(file), &info) != 0) FAIL_ERRNO("read", path);
    FAIL_IF(S_ISDIR(info.st_mode), BAD_DATA, "%s is a folder, a file was expected", path);
    FAIL_IF(S_ISREG(info.st_mode) && (uint64_t)info.st_size > most, BAD_DATA,
            "%s is %lld bytes long, at most %zu are expected", path, (long long)info.st_size, most);
    // Pipes and what the kernel makes up have no size: as much as is allowed, and a byte more.
    size_t room = info.st_size > 0 ? (size_t)info.st_size : most + 1;
    *out = malloc(room + 1);
    FAIL_IF(*out == NULL, NO_MEMORY, "%s: no memory to read it", path);
    *bytes = fread(*out, 1, room, file);
    if (ferror(file)) FAIL_ERRNO("read", path);
    FAIL_IF(*bytes > most, BAD_DATA, "%s is longer than the %zu bytes expected", path, most);
    (*out)[*bytes] = 0;
    return STATUS_OK;
}

Status file_read(const char *path, size_t most, char **out, size_t *bytes) {
    *out = NULL;
    FILE *file = fopen(path, "re");
    if (file == NULL) FAIL_ERRNO("open", path);
    Status status = read_all(file, path, most, out, bytes);
    fclose(file);
    if (status != STATUS_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

Status file_size(const char *path, uint64_t *bytes) {
    struct stat info;
    if (stat(path, &info) != 0) FAIL_ERRNO("find", path);
    FAIL_IF(!S_ISREG(info.st_mode), BAD_DATA, "%s is not a regular file", path);
    *bytes = (uint64_t)info.st_size;
    return STATUS_OK;
}

Status file_put(int fd, const char *path, const void *data, size_t bytes) {
    for (const char *at = data; bytes > 0;) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) FAIL_ERRNO("write", path);
        at += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

Status file_flush(int fd, const char *path) {
    if (fsync(fd) != 0) FAIL_ERRNO("flush", path);
    return STATUS_OK;
}

Status file_write_atomic(const char *path, const void *data, size_t bytes) {
    char temporary[PATH_BYTES];
    uint64_t random; // keeps writers apart, on different hosts too
    FAIL_IF(getrandom(&random, sizeof random, 0) != sizeof random, IO,
            "cannot create a temporary file beside %s", path);
    TRY(path_format(temporary, "%s.tmp-%016llx", path, (unsigned long long)random));
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) FAIL_ERRNO("create", temporary);
    Status status = file_put(fd, path, data, bytes);
    if (status == STATUS_OK) status = file_flush(fd, path);
    close(fd);
    if (status == STATUS_OK) status = file_rename(temporary, path);
    if (status != STATUS_OK) unlink(temporary);
    return status;
}

Status file_rename(const char *from, const char *to) {
    char parent[PATH_BYTES];
    TRY(path_format(parent, "%s", to));
    int reason = rename(from, to) == 0 ? 0 : errno;
    FAIL_IF(reason == ENOENT, NOT_FOUND, "cannot rename %s to %s: %s", from, to, strerror(reason));
    FAIL_IF(reason != 0, IO, "cannot rename %s to %s: %s", from, to, strerror(reason));
    return folder_sync(dirname(parent));
}

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
    return make_one(part);
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

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info, (void)place;
    FAIL_IF(type == FTW_DNR, IO, "cannot remove folder %s: it cannot be read", path);
    FAIL_IF(remove(path) != 0 && errno != ENOENT, IO, "cannot remove %s: %s", path,
            strerror(errno));
    return STATUS_OK;
}

Status folder_remove(const char *path) {
    enum { OPEN_FOLDERS = 16 };
    struct stat info;
    if (lstat(path, &info) != 0) {
        if (errno == ENOENT) return STATUS_OK;
        FAIL_ERRNO("find", path);
    }
    FAIL_IF(!S_ISDIR(info.st_mode), IO, "cannot remove %s: it is not a folder", path);
    // Symbolic links are removed and never followed.
    int result = nftw(path, remove_entry, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS);
    FAIL_IF(result < 0, IO, "cannot remove %s: %s", path, strerror(errno));
    return (Status)result;
}

static int is_name(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

Status folder_names(const char *path, char ***names, int *count) {
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, is_name, compare_names);
    if (n < 0) FAIL_ERRNO("open folder", path);
    *count = n;
    *names = (char **)entries; // each name moves to the start of its entry's memory
    for (int i = 0; i < n; ++i) {
        const char *name = entries[i]->d_name;
        (*names)[i] = memmove(entries[i], name, strlen(name) + 1);
    }
    return STATUS_OK;
}

void folder_names_free(char **names, int count) {
    for (int i = 0; names != NULL && i < count; ++i) free(names[i]);
    free(names);
}

Status folder_free_bytes(const char *path, uint64_t *bytes) {
    struct statvfs info;
    if (statvfs(path, &info) != 0) FAIL_ERRNO("ask the free space of", path);
    *bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return STATUS_OK;
}
