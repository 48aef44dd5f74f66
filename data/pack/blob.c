// Decoding is that of libarchive and zlib.
#include "data/pack/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "data/codec.h"
#include "data/pack/container.h"
#include "data/content_hash.h"

enum { READ_BYTES = 1 << 18 };

struct Blob {
    char path[PATH_BYTES], staged[PATH_BYTES]; // staged: "" for a plain file
    int fd;
    int64_t skip, bytes;
};

// A stream of what a file decodes to. gzip goes through zlib, as libarchive does not compare its
// checksum.
typedef struct {
    gzFile gzip;
    Container *container;
    bool plain; // as it is
} Decoder;

static void decoder_close(Decoder *decoder) {
    if (decoder->gzip != NULL) gzclose(decoder->gzip);
    container_close(decoder->container);
}

static Status open_gzip(Decoder *decoder, const char *path, int fd) {
    int own = dup(fd); // which gzclose closes
    decoder->gzip = own >= 0 ? gzdopen(own, "rb") : NULL;
    if (decoder->gzip == NULL && own >= 0) close(own);
    FAIL_IF(decoder->gzip == NULL, NO_MEMORY, "%s: no memory to decode it", path);
    return STATUS_OK;
}

// Close it in any case. Errors: IO, BAD_DATA.
static Status decoder_open(Decoder *decoder, const char *path, int fd, int64_t skip) {
    uint8_t magic[2] = {0};
    ContainerMember member;
    bool more;
    *decoder = (Decoder){0};
    bool readable =
        pread(fd, magic, sizeof magic, (off_t)skip) >= 0 && lseek(fd, (off_t)skip, SEEK_SET) >= 0;
    FAIL_IF(!readable, IO, "%s: cannot be read: %s", path, strerror(errno));
    if (magic[0] == 0x1F && magic[1] == 0x8B) return open_gzip(decoder, path, fd);
    TRY(container_open(path, fd, CONTAINER_STREAM, &decoder->container));
    TRY(container_next(decoder->container, &member, &more));
    decoder->plain = !more || container_is_plain(decoder->container);
    return STATUS_OK;
}

// *got < most only at the end.
static Status decoder_read(Decoder *decoder, const char *path, void *out, size_t most,
                           size_t *got) {
    if (decoder->gzip == NULL) return container_read(decoder->container, out, most, got);
    int code = Z_OK, count = gzread(decoder->gzip, out, (unsigned)most);
    const char *why = gzerror(decoder->gzip, &code);
    FAIL_IF(count < 0 || (code != Z_OK && code != Z_STREAM_END), BAD_DATA,
            "%s: does not decompress: %s", path, why);
    *got = (size_t)count;
    return STATUS_OK;
}

bool blob_begins(const char *path, void *out, size_t bytes, size_t *got) {
    Decoder decoder = {0};
    *got = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    Status status = decoder_open(&decoder, path, fd, 0);
    if (status == STATUS_OK) status = decoder_read(&decoder, path, out, bytes, got);
    if (status != STATUS_OK) error_clear();
    decoder_close(&decoder);
    close(fd);
    return status == STATUS_OK;
}

static Status copy_decoded(Blob *blob, Decoder *decoder, int to, const char *name) {
    size_t got;
    void *buffer = malloc(READ_BYTES);
    FAIL_IF(buffer == NULL, NO_MEMORY, "%s: no memory to decode it", blob->path);
    Status status = STATUS_OK;
    do {
        TRY_OR(done, status, decoder_read(decoder, blob->path, buffer, READ_BYTES, &got));
        TRY_OR(done, status, file_put(to, name, buffer, got));
    } while (got > 0);
done:
    free(buffer);
    return status;
}

// Decodes into the stage folder, under its final name once it is complete.
static Status stage_file(Blob *blob, Decoder *decoder) {
    char part[PATH_BYTES];
    TRY(path_format(part, "%s.part", blob->staged));
    int to = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FAIL_IF(to < 0, IO, "%s: cannot be made: %s", part, strerror(errno));
    Status status = copy_decoded(blob, decoder, to, part);
    close(to);
    if (status != STATUS_OK) unlink(part);
    TRY(status);
    FAIL_IF(rename(part, blob->staged) != 0, IO, "%s: cannot be renamed: %s", part,
            strerror(errno));
    return STATUS_OK;
}

static Status use_staged(Blob *blob, Decoder *decoder, const SourceOptions *options) {
    char name[PATH_BYTES + 24];
    int length = snprintf(name, sizeof name, "%s+%lld", blob->path, (long long)blob->skip);
    uint64_t key = codec_hash(name, (size_t)length);
    TRY(path_format(blob->staged, "%s/blob-%016llx", options->stage, (unsigned long long)key));
    // The stage is made anew for each pack: what is there is complete and of this one.
    if (options->lead && !file_exists(blob->staged)) TRY(stage_file(blob, decoder));
    close(blob->fd);
    blob->skip = 0;
    blob->fd = open(blob->staged, O_RDONLY | O_CLOEXEC);
    FAIL_IF(blob->fd < 0, IO, "%s: cannot be opened: %s", blob->staged, strerror(errno));
    return STATUS_OK;
}

static Status open_decoded(Blob *blob, const SourceOptions *options) {
    Decoder decoder;
    Status status = STATUS_OK;
    TRY_OR(done, status, decoder_open(&decoder, blob->path, blob->fd, blob->skip));
    if (!decoder.plain) TRY_OR(done, status, use_staged(blob, &decoder, options));
done:
    decoder_close(&decoder);
    return status;
}

Status blob_open(const char *path, int64_t skip, const SourceOptions *options, Blob **out) {
    Status status = STATUS_OK;
    uint64_t bytes;
    Blob *blob = calloc(1, sizeof *blob);
    FAIL_IF(blob == NULL, NO_MEMORY, "%s: no memory to read it", path);
    blob->skip = skip;
    blob->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (blob->fd < 0 && errno == ENOENT)
        FAIL_OR(fail, status, NOT_FOUND, "%s: there is no such file", path);
    if (blob->fd < 0) FAIL_OR(fail, status, IO, "%s: cannot be opened: %s", path, strerror(errno));
    TRY_OR(fail, status, path_format(blob->path, "%s", path));
    TRY_OR(fail, status, open_decoded(blob, options));
    TRY_OR(fail, status, file_size(blob->staged[0] != '\0' ? blob->staged : path, &bytes));
    if ((int64_t)bytes < blob->skip)
        FAIL_OR(fail, status, BAD_DATA, "%s: ends before byte %lld", path, (long long)skip);
    blob->bytes = (int64_t)bytes - blob->skip;
    *out = blob;
    return STATUS_OK;
fail:
    blob_close(blob);
    return status;
}

void blob_close(Blob *blob) {
    if (blob == NULL) return;
    if (blob->fd >= 0) close(blob->fd);
    free(blob);
}

int64_t blob_bytes(const Blob *blob) {
    return blob->bytes;
}

const char *blob_path(const Blob *blob) {
    return blob->path;
}

const char *blob_place(const Blob *blob) {
    return blob->staged[0] != '\0' ? blob->staged : blob->path;
}

Status blob_read(Blob *blob, int64_t at, void *out, size_t bytes) {
    FAIL_IF(at > blob->bytes || bytes > (uint64_t)(blob->bytes - at), BAD_DATA,
            "%s: ends at byte %lld, before what should stand there", blob->path,
            (long long)blob->bytes);
    for (size_t done = 0; done < bytes;) {
        off_t from = (off_t)(blob->skip + at) + (off_t)done;
        ssize_t count = pread(blob->fd, (char *)out + done, bytes - done, from);
        if (count < 0 && errno == EINTR) continue;
        FAIL_IF(count < 0, IO, "%s: cannot be read: %s", blob->path, strerror(errno));
        FAIL_IF(count == 0, BAD_DATA, "%s: became shorter while it was read", blob->path);
        done += (size_t)count;
    }
    return STATUS_OK;
}

Status blob_hash(Blob *blob, int64_t *bytes, uint64_t *hash) {
    Status status = STATUS_OK;
    ContentHash *content = malloc(sizeof *content + READ_BYTES);
    FAIL_IF(content == NULL, NO_MEMORY, "%s: no memory to read it", blob->path);
    uint8_t *buffer = (uint8_t *)(content + 1);
    content_hash_init(content);
    for (int64_t at = 0; at < blob->bytes; at += READ_BYTES) {
        int64_t left = blob->bytes - at;
        size_t part = left < READ_BYTES ? (size_t)left : READ_BYTES;
        TRY_OR(done, status, blob_read(blob, at, buffer, part));
        content_hash_add(content, buffer, part);
    }
    *bytes = blob->bytes;
    *hash = content_hash_finish(content);
done:
    free(content);
    return status;
}

const char *blob_version(void) {
    return zlibVersion();
}
