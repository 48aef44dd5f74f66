// Decoding is that of libarchive.
#include "data/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 16 };

struct TarReader {
    char path[PATH_BYTES];
    struct archive *archive;
    struct archive_entry *entry; // the header that was read last
    bool ended;
    bool pending;         // it opens the next sample
    char key[PATH_BYTES]; // of `entry`
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
    if (reader->archive != NULL) archive_read_free(reader->archive);
    clear_sample(&reader->sample);
    free(reader);
}

Status tar_open(const char *path, const char *place, TarReader **out) {
    Status status = STATUS_OK;
    FAIL_IF(!file_exists(place), NOT_FOUND, "%s: there is no such file", path);
    TarReader *reader = calloc(1, sizeof *reader);
    FAIL_IF(reader == NULL, NO_MEMORY, "%s: no memory to read it", path);
    TRY_OR(fail, status, path_format(reader->path, "%s", path));
    reader->archive = archive_read_new();
    if (reader->archive == NULL) FAIL_OR(fail, status, NO_MEMORY, "%s: no memory to read it", path);
    archive_read_support_format_tar(reader->archive);
    if (archive_read_open_filename(reader->archive, place, READ_BYTES) != ARCHIVE_OK)
        FAIL_OR(fail, status, BAD_DATA, "%s: is no tar: %s", path,
                archive_error_string(reader->archive));
    *out = reader;
    return STATUS_OK;
fail:
    tar_close(reader);
    return status;
}

// The next header that belongs to a sample; reader->pending is false at the end.
static Status read_header(TarReader *reader) {
    int code;
    reader->pending = false;
    if (reader->ended) return STATUS_OK;
    while ((code = archive_read_next_header(reader->archive, &reader->entry)) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(reader->entry);
        if (name == NULL || archive_entry_filetype(reader->entry) != AE_IFREG ||
            archive_entry_hardlink(reader->entry) != NULL)
            continue;
        reader->pending = tar_split_name(name, reader->key, reader->extension);
        if (reader->pending) return STATUS_OK;
    }
    FAIL_IF(code != ARCHIVE_EOF, BAD_DATA, "%s: ends early or is damaged behind sample '%s': %s",
            reader->path, reader->key, archive_error_string(reader->archive));
    reader->ended = true;
    return STATUS_OK;
}

static Status read_contents(TarReader *reader, TarMember *member) {
    size_t done = 0;
    member->data = malloc(member->bytes + 1); // never of no bytes
    FAIL_IF(member->data == NULL, NO_MEMORY, "%s: no memory for '%s.%s'", reader->path, reader->key,
            reader->extension);
    while (done < member->bytes) {
        la_ssize_t count =
            archive_read_data(reader->archive, member->data + done, member->bytes - done);
        FAIL_IF(count <= 0, BAD_DATA, "%s: ends early or is damaged in '%s.%s'", reader->path,
                reader->key, reader->extension);
        done += (size_t)count;
    }
    return STATUS_OK;
}

static Status add_member(TarReader *reader, bool contents) {
    TarSample *sample = &reader->sample;
    int64_t bytes = archive_entry_size(reader->entry);
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
