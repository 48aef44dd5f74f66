// libarchive behind data/pack/container.h.
#include "data/pack/container.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { READ_BYTES = 1 << 18 };

struct Container {
    char name[PATH_BYTES];
    struct archive *archive;
};

// libarchive reads the first bytes here.
static Status start(Container *container, int fd, ContainerKind kind) {
    struct archive *archive = container->archive = archive_read_new();
    FAIL_IF(archive == NULL, NO_MEMORY, "%s: no memory to read it", container->name);
    switch (kind) {
    case CONTAINER_TAR: archive_read_support_format_tar(archive); break;
    case CONTAINER_ZIP: archive_read_support_format_zip_seekable(archive); break;
    case CONTAINER_STREAM:
        archive_read_support_filter_zstd(archive);
        archive_read_support_filter_compress(archive);
        archive_read_support_format_raw(archive);
        archive_read_support_format_empty(archive);
    }
    FAIL_IF(archive_read_open_fd(archive, fd, READ_BYTES) != ARCHIVE_OK, BAD_DATA,
            "%s: cannot be read: %s", container->name, archive_error_string(archive));
    return STATUS_OK;
}

Status container_open(const char *name, int fd, ContainerKind kind, Container **out) {
    Container *container = calloc(1, sizeof *container);
    FAIL_IF(container == NULL, NO_MEMORY, "%s: no memory to read it", name);
    Status status = path_format(container->name, "%s", name);
    if (status == STATUS_OK) status = start(container, fd, kind);
    if (status == STATUS_OK)
        *out = container;
    else
        container_close(container);
    return status;
}

void container_close(Container *container) {
    if (container == NULL) return;
    if (container->archive != NULL) archive_read_free(container->archive);
    free(container);
}

Status container_next(Container *container, ContainerMember *out, bool *more) {
    struct archive_entry *entry;
    int code = archive_read_next_header(container->archive, &entry);
    *more = code == ARCHIVE_OK;
    if (code == ARCHIVE_EOF) return STATUS_OK;
    FAIL_IF(code != ARCHIVE_OK, BAD_DATA, "%s: ends early or is damaged: %s", container->name,
            archive_error_string(container->archive));
    const char *name = archive_entry_pathname(entry);
    *out = (ContainerMember){
        .name = name != NULL ? name : "",
        .bytes = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : -1,
        .file = archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == NULL,
        .encrypted = archive_entry_is_encrypted(entry) != 0,
    };
    return STATUS_OK;
}

bool container_is_plain(const Container *container) {
    return archive_filter_count(container->archive) <= 1;
}

Status container_read(Container *container, void *out, size_t most, size_t *got) {
    for (*got = 0; *got < most;) {
        la_ssize_t count = archive_read_data(container->archive, (char *)out + *got, most - *got);
        FAIL_IF(count < 0, BAD_DATA, "%s: does not decompress: %s", container->name,
                archive_error_string(container->archive));
        if (count == 0) break;
        *got += (size_t)count;
    }
    return STATUS_OK;
}

static Status copy_rest(Container *container, int fd, const char *path, int64_t *bytes) {
    size_t got;
    void *buffer = malloc(READ_BYTES);
    FAIL_IF(buffer == NULL, NO_MEMORY, "%s: no memory to decode it", container->name);
    Status status = STATUS_OK;
    *bytes = 0;
    do {
        TRY_OR(done, status, container_read(container, buffer, READ_BYTES, &got));
        TRY_OR(done, status, file_put(fd, path, buffer, got));
        *bytes += (int64_t)got;
    } while (got == READ_BYTES);
done:
    free(buffer);
    return status;
}

Status container_extract(Container *container, const char *path, int64_t *bytes) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FAIL_IF(fd < 0, IO, "%s: cannot be made: %s", path, strerror(errno));
    Status status = copy_rest(container, fd, path, bytes);
    close(fd);
    return status;
}

const char *container_version(void) {
    return archive_version_string() + strlen("libarchive ");
}

// ---- making one ---------------------------------------------------------------------------------

static bool put_member(struct archive *archive, const StoredMember *member) {
    struct archive_entry *entry = archive_entry_new();
    if (entry == NULL) return false;
    archive_entry_set_pathname(entry, member->name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (int64_t)(member->bytes[0] + member->bytes[1]));
    bool good = archive_write_header(archive, entry) == ARCHIVE_OK;
    for (int i = 0; i < 2 && good; ++i)
        good = archive_write_data(archive, member->part[i], member->bytes[i]) ==
               (ssize_t)member->bytes[i];
    archive_entry_free(entry);
    return good;
}

static bool put_members(struct archive *archive, const char *path, const StoredMember *member,
                        int members) {
    bool good = archive_write_set_format_zip(archive) == ARCHIVE_OK &&
                archive_write_set_options(archive, "zip:compression=store") == ARCHIVE_OK &&
                archive_write_open_filename(archive, path) == ARCHIVE_OK;
    for (int i = 0; i < members && good; ++i) good = put_member(archive, &member[i]);
    return good && archive_write_close(archive) == ARCHIVE_OK;
}

Status container_store(const char *path, const StoredMember *member, int members) {
    char half[PATH_BYTES];
    TRY(path_format(half, "%s.half", path));
    struct archive *archive = archive_write_new();
    FAIL_IF(archive == NULL, NO_MEMORY, "no memory to write %s", path);
    Status status = STATUS_OK;
    if (!put_members(archive, half, member, members))
        status = error_raise(STATUS_IO, __FILE__, __LINE__, __func__, "%s cannot be written: %s",
                             path, archive_error_string(archive));
    archive_write_free(archive);
    if (status == STATUS_OK) return file_rename(half, path);
    unlink(half);
    return status;
}
