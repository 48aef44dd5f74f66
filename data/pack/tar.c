// Members grouped by their keys.
#include "data/pack/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/pack/container.h"

struct TarReader {
    char path[PATH_BYTES];
    int fd;
    Container *container;
    int64_t bytes; // of the member whose header was read last
    bool ended;
    bool pending;         // it opens the next sample
    char key[PATH_BYTES]; // of that member
    char extension[TAR_EXTENSION_BYTES];
    TarSample sample;
};

bool tar_split_name(const char *name, char key[PATH_BYTES], char extension[TAR_EXTENSION_BYTES]) {
    const char *slash = strrchr(name, '/'), *base = slash != NULL ? slash + 1 : name;
    const char *dot = strchr(base, '.');
    size_t first = strcspn(name, "/");
    if (first >= 4 && strncmp(name, "__", 2) == 0 && strncmp(name + first - 2, "__", 2) == 0)
        return false;
    if (dot == NULL || dot == base) return false;
    size_t length = (size_t)(dot - name), rest = strlen(dot + 1);
    if (length >= PATH_BYTES || rest >= TAR_EXTENSION_BYTES) return false;
    memcpy(key, name, length);
    key[length] = '\0';
    for (size_t i = 0; i <= rest; ++i)
        extension[i] =
            (char)(dot[1 + i] >= 'A' && dot[1 + i] <= 'Z' ? dot[1 + i] + 32 : dot[1 + i]);
    return true;
}

static void clear_sample(TarSample *sample) {
    for (int i = 0; i < sample->members; ++i) free(sample->member[i].data);
    sample->members = 0;
}

void tar_close(TarReader *reader) {
    if (reader == NULL) return;
    container_close(reader->container);
    if (reader->fd >= 0) close(reader->fd);
    clear_sample(&reader->sample);
    free(reader);
}

Status tar_open(const char *path, const char *place, TarReader **out) {
    Status status = STATUS_OK;
    TarReader *reader = calloc(1, sizeof *reader);
    FAIL_IF(reader == NULL, NO_MEMORY, "%s: no memory to read it", path);
    reader->fd = open(place, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0 && errno == ENOENT)
        FAIL_OR(fail, status, NOT_FOUND, "%s: there is no such file", path);
    if (reader->fd < 0)
        FAIL_OR(fail, status, IO, "%s: cannot be opened: %s", path, strerror(errno));
    TRY_OR(fail, status, path_format(reader->path, "%s", path));
    TRY_OR(fail, status, container_open(path, reader->fd, CONTAINER_TAR, &reader->container));
    *out = reader;
    return STATUS_OK;
fail:
    tar_close(reader);
    return status;
}

// The next header that belongs to a sample; reader->pending is false at the end.
static Status read_header(TarReader *reader) {
    ContainerMember member;
    bool more = true;
    reader->pending = false;
    while (!reader->ended && !reader->pending) {
        Status status = container_next(reader->container, &member, &more);
        if (status == STATUS_BAD_DATA) {
            ErrorRecord record = error_take();
            FAIL(BAD_DATA, "%.400s (behind sample '%s')", record.text, reader->key);
        }
        TRY(status);
        reader->ended = !more;
        if (!more || !member.file) continue;
        reader->bytes = member.bytes;
        reader->pending = tar_split_name(member.name, reader->key, reader->extension);
    }
    return STATUS_OK;
}

static Status read_contents(TarReader *reader, TarMember *member) {
    size_t got = 0;
    member->data = malloc(member->bytes + 1); // never of no bytes
    FAIL_IF(member->data == NULL, NO_MEMORY, "%s: no memory for '%s.%s'", reader->path, reader->key,
            reader->extension);
    Status status = container_read(reader->container, member->data, member->bytes, &got);
    FAIL_IF(status == STATUS_BAD_DATA || got < member->bytes, BAD_DATA,
            "%s: ends early or is damaged in '%s.%s'", reader->path, reader->key,
            reader->extension);
    return status;
}

static Status add_member(TarReader *reader, bool contents) {
    TarSample *sample = &reader->sample;
    int64_t bytes = reader->bytes;
    FAIL_IF(tar_member(sample, reader->extension) != NULL, BAD_DATA,
            "%s: sample '%s' has two files '.%s'", reader->path, reader->key, reader->extension);
    FAIL_IF(sample->members == TAR_MEMBERS_MOST, BAD_DATA, "%s: sample '%s' has more than %d files",
            reader->path, reader->key, TAR_MEMBERS_MOST);
    FAIL_IF(bytes < 0 || bytes > TAR_MEMBER_BYTES_MOST, BAD_DATA,
            "%s: '%s.%s' claims more than %d bytes", reader->path, reader->key, reader->extension,
            TAR_MEMBER_BYTES_MOST);
    TarMember *member = &sample->member[sample->members++];
    *member = (TarMember){.bytes = (size_t)bytes};
    memcpy(member->extension, reader->extension, sizeof member->extension);
    if (contents) TRY(read_contents(reader, member));
    return STATUS_OK;
}

Status tar_next(TarReader *reader, bool contents, const TarSample **out) {
    TarSample *sample = &reader->sample;
    clear_sample(sample);
    *out = NULL;
    if (!reader->pending) TRY(read_header(reader));
    if (!reader->pending) return STATUS_OK;
    memcpy(sample->key, reader->key, sizeof sample->key);
    do {
        TRY(add_member(reader, contents));
        TRY(read_header(reader));
    } while (reader->pending && strcmp(sample->key, reader->key) == 0);
    *out = sample;
    return STATUS_OK;
}

const TarMember *tar_member(const TarSample *sample, const char *extension) {
    for (int i = 0; i < sample->members; ++i)
        if (strcmp(sample->member[i].extension, extension) == 0) return &sample->member[i];
    return NULL;
}
