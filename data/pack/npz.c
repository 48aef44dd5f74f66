// Members of a ZIP archive become files.
#include "data/pack/npz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/pack/container.h"

bool npz_begins(const void *start, size_t bytes) {
    return bytes >= 4 &&
           (memcmp(start, "PK\003\004", 4) == 0 || memcmp(start, "PK\005\006", 4) == 0);
}

static Status unfold_member(Container *container, const ContainerMember *member, const char *path,
                            const char *folder) {
    char file[PATH_BYTES];
    const char *name = member->name;
    size_t length = strlen(name);
    if (length < 5 || strcmp(name + length - 4, ".npy") != 0) return STATUS_OK;
    FAIL_IF(strchr(name, '/') != NULL || name[0] == '.', BAD_DATA,
            "%s: its array \"%s\" is named like a path or a hidden file", path, name);
    FAIL_IF(member->encrypted, BAD_DATA, "%s: its array \"%s\" is encrypted", path, name);
    TRY(path_format(file, "%s/%s", folder, name));
    FAIL_IF(file_exists(file), BAD_DATA, "%s: holds two arrays named \"%s\"", path, name);
    int64_t bytes;
    Status status = container_extract(container, file, &bytes);
    if (status == STATUS_BAD_DATA) {
        ErrorRecord record = error_take();
        FAIL(BAD_DATA, "%.300s (its array \"%s\")", record.text, name);
    }
    TRY(status);
    FAIL_IF(member->bytes >= 0 && member->bytes != bytes, BAD_DATA,
            "%s: its array \"%s\" is %lld bytes long, but its directory says %lld", path, name,
            (long long)bytes, (long long)member->bytes);
    return STATUS_OK;
}

static Status unfold_all(const char *path, int fd, const char *folder) {
    Container *container;
    ContainerMember member;
    bool more;
    TRY(container_open(path, fd, CONTAINER_ZIP, &container));
    Status status = container_next(container, &member, &more);
    while (status == STATUS_OK && more) {
        status = unfold_member(container, &member, path, folder);
        if (status == STATUS_OK) status = container_next(container, &member, &more);
    }
    container_close(container);
    return status;
}

Status npz_unfold(const char *path, const char *folder) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    FAIL_IF(fd < 0 && errno == ENOENT, NOT_FOUND, "%s: there is no such file", path);
    FAIL_IF(fd < 0, IO, "%s: cannot be opened: %s", path, strerror(errno));
    Status status = folder_remove(folder);
    if (status == STATUS_OK) status = folder_make(folder);
    if (status == STATUS_OK) status = unfold_all(path, fd, folder);
    close(fd);
    return status;
}
