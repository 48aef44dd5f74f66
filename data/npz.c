// Reading of ZIP archives is that of libarchive.
#include "data/npz.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { READ_BYTES = 1 << 18 };

bool npz_begins(const void *start, size_t bytes) {
    return bytes >= 4 &&
           (memcmp(start, "PK\003\004", 4) == 0 || memcmp(start, "PK\005\006", 4) == 0);
}

static Status copy_member(struct archive *archive, int to, const char *name, int64_t *bytes) {
    la_ssize_t count;
    void *buffer = malloc(READ_BYTES);
    FAIL_IF(buffer == NULL, NO_MEMORY, "%s: no memory to decode it", name);
    Status status = STATUS_OK;
    for (*bytes = 0; (count = archive_read_data(archive, buffer, READ_BYTES)) > 0; *bytes += count)
        TRY_OR(done, status, file_put(to, name, buffer, (size_t)count));
    if (count < 0)
        FAIL_OR(done, status, BAD_DATA, "it does not decompress: %s",
                archive_error_string(archive));
done:
    free(buffer);
    return status;
}

static Status unfold_member(struct archive *archive, struct archive_entry *entry, const char *path,
                            const char *folder) {
    char file[PATH_BYTES];
    const char *name = archive_entry_pathname(entry);
    size_t length = name == NULL ? 0 : strlen(name);
    if (length < 5 || strcmp(name + length - 4, ".npy") != 0) return STATUS_OK;
    FAIL_IF(strchr(name, '/') != NULL || name[0] == '.', BAD_DATA,
            "%s: its array \"%s\" is named like a path or a hidden file", path, name);
    FAIL_IF(archive_entry_is_encrypted(entry), BAD_DATA, "%s: its array \"%s\" is encrypted", path,
            name);
    TRY(path_format(file, "%s/%s", folder, name));
    int64_t told = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : -1, bytes = 0;
    int to = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FAIL_IF(to < 0 && errno == EEXIST, BAD_DATA, "%s: holds two arrays named \"%s\"", path, name);
    FAIL_IF(to < 0, IO, "%s: cannot be made: %s", file, strerror(errno));
    Status status = copy_member(archive, to, file, &bytes);
    close(to);
    if (status == STATUS_BAD_DATA) {
        ErrorRecord record = error_take();
        FAIL(BAD_DATA, "%s: its array \"%s\": %.300s", path, name, record.text);
    }
    TRY(status);
    FAIL_IF(told >= 0 && told != bytes, BAD_DATA,
            "%s: its array \"%s\" is %lld bytes long, but its directory says %lld", path, name,
            (long long)bytes, (long long)told);
    return STATUS_OK;
}

static Status unfold_all(struct archive *archive, const char *path, const char *folder) {
    struct archive_entry *entry;
    int code;
    archive_read_support_format_zip_seekable(archive);
    FAIL_IF(archive_read_open_filename(archive, path, READ_BYTES) != ARCHIVE_OK, BAD_DATA,
            "%s: is no ZIP archive that can be read: %s", path, archive_error_string(archive));
    while ((code = archive_read_next_header(archive, &entry)) == ARCHIVE_OK)
        TRY(unfold_member(archive, entry, path, folder));
    FAIL_IF(code != ARCHIVE_EOF, BAD_DATA, "%s: its directory is damaged: %s", path,
            archive_error_string(archive));
    return STATUS_OK;
}

Status npz_unfold(const char *path, const char *folder) {
    FAIL_IF(!file_exists(path), NOT_FOUND, "%s: there is no such file", path);
    TRY(folder_remove(folder));
    TRY(folder_make(folder));
    struct archive *archive = archive_read_new();
    FAIL_IF(archive == NULL, NO_MEMORY, "%s: no memory to read it", path);
    Status status = unfold_all(archive, path, folder);
    archive_read_free(archive);
    TRY(status);
    return STATUS_OK;
}
