// IDX through zlib, which passes plain files as they are.
#include "data/idx.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/file.h"
#include "data/content_hash.h"

enum {
    IDX_DIMS_MOST = 3,
    IDX_TYPE_U8 = 8,
    ITEM_BYTES_MOST = 1 << 24,
    DEFLATE_RATIO_MOST = 1032, // no deflate stream expands further
};

struct IdxFile {
    char path[PATH_BYTES];
    gzFile stream;
    int dims;
    int64_t dim[IDX_DIMS_MOST];
    int64_t left; // content bytes not read yet
    ContentHash content;
};

// Fills `out` unless the file ends first.
static Status read_bytes(IdxFile *file, void *out, size_t bytes, size_t *got) {
    int count = gzread(file->stream, out, (unsigned)bytes);
    int code = Z_OK;
    const char *text = gzerror(file->stream, &code);
    FAIL_IF(count < 0 || code != Z_OK, BAD_DATA, "%s: does not decompress: %s", file->path, text);
    *got = (size_t)count;
    content_hash_add(&file->content, out, *got);
    return STATUS_OK;
}

static Status read_header(IdxFile *file, int dims) {
    uint8_t header[4 + 4 * IDX_DIMS_MOST];
    size_t bytes = 4 + 4 * (size_t)dims, got = 0;
    TRY(read_bytes(file, header, bytes, &got));
    FAIL_IF(got < bytes, BAD_DATA, "%s: ends within the header of an IDX file", file->path);
    FAIL_IF(header[0] != 0 || header[1] != 0, BAD_DATA, "%s: is not an IDX file", file->path);
    FAIL_IF(header[2] != IDX_TYPE_U8, BAD_DATA, "%s: holds type 0x%02x; only bytes (0x08) are read",
            file->path, header[2]);
    FAIL_IF(header[3] != dims, BAD_DATA, "%s: has %d sizes, expected %d", file->path, header[3],
            dims);
    file->dims = dims;
    for (int i = 0; i < dims; ++i) {
        const uint8_t *be = header + 4 + 4 * i;
        file->dim[i] = (int64_t)be[0] << 24 | be[1] << 16 | be[2] << 8 | be[3];
        FAIL_IF(file->dim[i] == 0, BAD_DATA, "%s: size %d is 0: there is nothing in it", file->path,
                i);
    }
    return STATUS_OK;
}

static Status check_sizes(IdxFile *file, uint64_t file_bytes) {
    int64_t item = 1;
    for (int i = 1; i < file->dims; ++i) {
        FAIL_IF(file->dim[i] > ITEM_BYTES_MOST / item, BAD_DATA,
                "%s: claims items of more than %d bytes", file->path, ITEM_BYTES_MOST);
        item *= file->dim[i];
    }
    file->left = file->dim[0] * item; // below 2^32 * 2^24
    uint64_t content = (uint64_t)file->left, header = 4 + 4 * (uint64_t)file->dims;
    if (gzdirect(file->stream)) {
        FAIL_IF(file_bytes != header + content, BAD_DATA,
                "%s: is %llu bytes long, but its header says %llu", file->path,
                (unsigned long long)file_bytes, (unsigned long long)(header + content));
    } else {
        FAIL_IF(content / DEFLATE_RATIO_MOST > file_bytes, BAD_DATA,
                "%s: %llu compressed bytes cannot hold the %llu that its header says", file->path,
                (unsigned long long)file_bytes, (unsigned long long)content);
    }
    return STATUS_OK;
}

Status idx_open(const char *path, int dims, IdxFile **out) {
    REQUIRE(dims >= 1 && dims <= IDX_DIMS_MOST);
    uint64_t file_bytes;
    Status status = STATUS_OK;
    TRY(file_size(path, &file_bytes));
    IdxFile *file = calloc(1, sizeof *file);
    FAIL_IF(file == NULL, NO_MEMORY, "%s: no memory to read it", path);
    content_hash_init(&file->content);
    TRY_OR(fail, status, path_format(file->path, "%s", path));
    file->stream = gzopen(path, "rbe");
    if (file->stream == NULL) FAIL_OR(fail, status, IO, "%s: cannot be opened", path);
    TRY_OR(fail, status, read_header(file, dims));
    TRY_OR(fail, status, check_sizes(file, file_bytes));
    *out = file;
    return STATUS_OK;
fail:
    idx_close(file);
    return status;
}

void idx_close(IdxFile *file) {
    if (file == NULL) return;
    if (file->stream != NULL) gzclose(file->stream);
    free(file);
}

int64_t idx_dim(const IdxFile *file, int i) {
    REQUIRE(i >= 0 && i < file->dims);
    return file->dim[i];
}

int64_t idx_item_bytes(const IdxFile *file) {
    int64_t item = 1;
    for (int i = 1; i < file->dims; ++i) item *= file->dim[i];
    return item;
}

int64_t idx_bytes(const IdxFile *file) {
    return file->dim[0] * idx_item_bytes(file);
}

Status idx_read(IdxFile *file, void *out, size_t most, size_t *got) {
    if (file->left == 0) {
        uint8_t beyond;
        TRY(read_bytes(file, &beyond, 1, got));
        FAIL_IF(*got != 0, BAD_DATA, "%s: goes on behind the last item", file->path);
        return STATUS_OK;
    }
    size_t want = (int64_t)most < file->left ? most : (size_t)file->left;
    want = want < ITEM_BYTES_MOST ? want : ITEM_BYTES_MOST; // zlib counts in 32 bits
    TRY(read_bytes(file, out, want, got));
    FAIL_IF(*got < want, BAD_DATA, "%s: ends %lld bytes early", file->path,
            (long long)(file->left - (int64_t)*got));
    file->left -= (int64_t)want;
    return STATUS_OK;
}

void idx_source(IdxFile *file, int64_t *bytes, uint64_t *hash) {
    *bytes = 4 + 4 * (int64_t)file->dims + idx_bytes(file);
    *hash = content_hash_finish(&file->content);
}
