// Block files: zstd frames, each with its hash in the index at the end.
#include "base/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the planes are loaded as words");

enum {
    SKIPPABLE_MAGIC = 0x184D2A5D,
    FORMAT_VERSION = 1,
    FRAME_HEADER = 8, // magic and size of the skippable frame
    INDEX_HEAD = 8,   // "DYEB" and version
    ENTRY = 16,
    INDEX_TAIL = 12, // n, hash, "DYEI"
    INDEX_LEAST = FRAME_HEADER + INDEX_HEAD + INDEX_TAIL,
    BLOCKS_MOST = 1 << 26, // keeps the size of the skippable frame within 32 bits
};

static void put_u32(uint8_t *to, uint32_t value) {
    memcpy(to, &value, sizeof value);
}
static void put_u64(uint8_t *to, uint64_t value) {
    memcpy(to, &value, sizeof value);
}

static uint32_t get_u32(const uint8_t *from) {
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static uint64_t get_u64(const uint8_t *from) {
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

uint64_t codec_hash(const void *data, size_t bytes) {
    return XXH3_64bits(data, bytes);
}

// ---- writing ------------------------------------------------------------------------------------

struct BlockWriter {
    char *path;
    int fd;
    ZSTD_CCtx *zstd;
    XXH3_state_t *hash;
    uint8_t *stored; // room for one compressed block
    size_t room;
    uint8_t *index; // from FRAME_HEADER on filled as the file wants it
    size_t index_room;
    BlockFileInfo info;
    bool broken; // a write failed: the file can only be discarded
};

static size_t index_bytes(uint64_t blocks) {
    return INDEX_LEAST + (size_t)blocks * ENTRY;
}

static void writer_free(BlockWriter *writer) {
    if (writer->fd >= 0) close(writer->fd);
    ZSTD_freeCCtx(writer->zstd);
    XXH3_freeState(writer->hash);
    free(writer->stored);
    free(writer->index);
    free(writer->path);
    free(writer);
}

void block_writer_discard(BlockWriter *writer) {
    if (writer == NULL) return;
    if (writer->fd >= 0) unlink(writer->path);
    writer_free(writer);
}

Status block_writer_open(const char *path, int level, BlockWriter **out) {
    BlockWriter *writer = calloc(1, sizeof *writer);
    FAIL_IF(writer == NULL, NO_MEMORY, "%s: no memory to write it", path);
    writer->fd = -1;
    writer->path = strdup(path);
    writer->zstd = ZSTD_createCCtx();
    writer->hash = XXH3_createState();
    Status status = STATUS_OK;
    if (writer->path == NULL || writer->zstd == NULL || writer->hash == NULL)
        FAIL_OR(fail, status, NO_MEMORY, "%s: no memory to write it", path);
    if (ZSTD_isError(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_checksumFlag, 1)))
        FAIL_OR(fail, status, BAD_USAGE, "%s: zstd refuses level %d", path, level);
    XXH3_64bits_reset(writer->hash);
    writer->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (writer->fd < 0) FAIL_OR(fail, status, IO, "cannot create %s: %s", path, strerror(errno));
    *out = writer;
    return STATUS_OK;
fail:
    block_writer_discard(writer);
    return status;
}

static Status writer_put(BlockWriter *writer, const uint8_t *data, size_t bytes) {
    XXH3_64bits_update(writer->hash, data, bytes);
    writer->info.bytes += bytes;
    while (bytes > 0) {
        ssize_t n = write(writer->fd, data, bytes);
        if (n < 0 && errno == EINTR) continue;
        writer->broken = n < 0;
        FAIL_IF(n < 0, IO, "cannot write %s: %s", writer->path, strerror(errno));
        data += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static Status grow(const char *path, uint8_t **memory, size_t *room, size_t needed) {
    if (needed <= *room) return STATUS_OK;
    size_t larger = needed > 2 * *room ? needed : 2 * *room;
    uint8_t *grown = realloc(*memory, larger);
    FAIL_IF(grown == NULL, NO_MEMORY, "%s: no memory for %zu bytes", path, larger);
    *memory = grown;
    *room = larger;
    return STATUS_OK;
}

Status block_writer_add(BlockWriter *writer, const void *raw, size_t bytes) {
    FAIL_IF(bytes > BLOCK_RAW_MOST, BAD_USAGE, "%s: a block of %zu bytes, at most %d are allowed",
            writer->path, bytes, BLOCK_RAW_MOST);
    FAIL_IF(writer->info.blocks == BLOCKS_MOST, BAD_USAGE, "%s: more than %d blocks", writer->path,
            BLOCKS_MOST);
    TRY(grow(writer->path, &writer->stored, &writer->room, ZSTD_compressBound(bytes)));
    TRY(grow(writer->path, &writer->index, &writer->index_room,
             index_bytes((uint64_t)writer->info.blocks + 1)));
    ZSTD_CCtx_reset(writer->zstd, ZSTD_reset_session_only);
    ZSTD_CCtx_setPledgedSrcSize(writer->zstd, bytes);
    size_t stored = ZSTD_compress2(writer->zstd, writer->stored, writer->room, raw, bytes);
    FAIL_IF(ZSTD_isError(stored), NO_MEMORY, "%s: zstd cannot compress block %u: %s", writer->path,
            writer->info.blocks, ZSTD_getErrorName(stored));
    uint8_t *entry =
        writer->index + FRAME_HEADER + INDEX_HEAD + (size_t)writer->info.blocks * ENTRY;
    put_u32(entry, (uint32_t)stored);
    put_u32(entry + 4, (uint32_t)bytes);
    put_u64(entry + 8, codec_hash(writer->stored, stored));
    TRY(writer_put(writer, writer->stored, stored));
    ++writer->info.blocks;
    writer->info.raw += bytes;
    return STATUS_OK;
}

static Status writer_end(BlockWriter *writer) {
    FAIL_IF(writer->broken, IO, "%s: an earlier write failed", writer->path);
    size_t bytes = index_bytes(writer->info.blocks);
    TRY(grow(writer->path, &writer->index, &writer->index_room, bytes));
    uint8_t *index = writer->index, *tail = index + bytes - INDEX_TAIL;
    put_u32(index, SKIPPABLE_MAGIC);
    put_u32(index + 4, (uint32_t)(bytes - FRAME_HEADER));
    memcpy(index + 8, "DYEB", 4);
    put_u32(index + 12, FORMAT_VERSION);
    put_u32(tail, writer->info.blocks);
    put_u32(tail + 4, (uint32_t)codec_hash(index + 8, bytes - FRAME_HEADER - 8));
    memcpy(tail + 8, "DYEI", 4);
    TRY(writer_put(writer, index, bytes));
    FAIL_IF(fsync(writer->fd) != 0, IO, "cannot flush %s: %s", writer->path, strerror(errno));
    return STATUS_OK;
}

Status block_writer_finish(BlockWriter *writer, BlockFileInfo *info) {
    Status status = writer_end(writer);
    if (status != STATUS_OK) {
        block_writer_discard(writer);
        TRY(status);
    }
    writer->info.hash = XXH3_64bits_digest(writer->hash);
    *info = writer->info;
    writer_free(writer);
    return STATUS_OK;
}

// ---- reading ------------------------------------------------------------------------------------

struct BlockReader {
    char *path;
    int fd;
    ZSTD_DCtx *zstd;
    uint8_t *index;  // the whole skippable frame
    uint64_t *begin; // [blocks + 1] where each frame begins in the file
    uint8_t *stored; // room for the largest frame
    uint64_t raw;
    size_t raw_most;
    int blocks;
};

static const uint8_t *entry_of(const BlockReader *reader, int block) {
    return reader->index + FRAME_HEADER + INDEX_HEAD + (size_t)block * ENTRY;
}

static Status read_at(const BlockReader *reader, uint64_t offset, uint8_t *out, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(reader->fd, out + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        FAIL_IF(n < 0, IO, "cannot read %s: %s", reader->path, strerror(errno));
        FAIL_IF(n == 0, BAD_DATA, "%s ends early, at byte %llu", reader->path,
                (unsigned long long)(offset + done));
        done += (size_t)n;
    }
    return STATUS_OK;
}

// Loads the index after checking that a file of `file_bytes` can hold it.
static Status load_index(BlockReader *reader, uint64_t file_bytes, uint64_t *index_begin) {
    const char *path = reader->path;
    uint8_t tail[INDEX_TAIL];
    FAIL_IF(file_bytes < INDEX_LEAST, BAD_DATA,
            "%s is no block file: %llu bytes are less than an empty one has", path,
            (unsigned long long)file_bytes);
    TRY(read_at(reader, file_bytes - INDEX_TAIL, tail, INDEX_TAIL));
    FAIL_IF(memcmp(tail + 8, "DYEI", 4) != 0, BAD_DATA,
            "%s does not end with a block index: it is cut short or no block file", path);
    uint32_t blocks = get_u32(tail);
    FAIL_IF(blocks > BLOCKS_MOST || index_bytes(blocks) > file_bytes, BAD_DATA,
            "%s: its index claims %u blocks, more than the file can hold", path, blocks);
    size_t bytes = index_bytes(blocks);
    reader->index = malloc(bytes);
    reader->begin = malloc(((size_t)blocks + 1) * sizeof *reader->begin);
    FAIL_IF(reader->index == NULL || reader->begin == NULL, NO_MEMORY,
            "%s: no memory for %u blocks", path, blocks);
    TRY(read_at(reader, file_bytes - bytes, reader->index, bytes));
    const uint8_t *index = reader->index;
    bool headed = get_u32(index) == SKIPPABLE_MAGIC && memcmp(index + 8, "DYEB", 4) == 0 &&
                  get_u32(index + 4) == bytes - FRAME_HEADER;
    FAIL_IF(!headed, BAD_DATA, "%s: the head of its index is damaged", path);
    uint32_t hash = (uint32_t)codec_hash(index + 8, bytes - FRAME_HEADER - 8);
    FAIL_IF(hash != get_u32(index + bytes - 8), BAD_DATA,
            "%s: its index is damaged (bytes %llu to %llu)", path,
            (unsigned long long)(file_bytes - bytes), (unsigned long long)file_bytes);
    FAIL_IF(get_u32(index + 12) != FORMAT_VERSION, BAD_DATA,
            "%s: block file version %u, this program reads version %d", path, get_u32(index + 12),
            FORMAT_VERSION);
    reader->blocks = (int)blocks;
    *index_begin = file_bytes - bytes;
    return STATUS_OK;
}

// Checks the entries against each other and the file, then takes the memory to read any block.
static Status check_entries(BlockReader *reader, uint64_t index_begin) {
    uint64_t at = 0;
    size_t stored_most = 1;
    for (int i = 0; i < reader->blocks; ++i) {
        uint32_t stored = get_u32(entry_of(reader, i)), raw = get_u32(entry_of(reader, i) + 4);
        FAIL_IF(raw > BLOCK_RAW_MOST, BAD_DATA,
                "%s: block %d claims %u decoded bytes, at most %d are allowed", reader->path, i,
                raw, BLOCK_RAW_MOST);
        FAIL_IF(stored == 0 || stored > ZSTD_compressBound(raw) || stored > index_begin - at,
                BAD_DATA, "%s: block %d claims %u stored bytes, which cannot be", reader->path, i,
                stored);
        reader->begin[i] = at;
        at += stored;
        reader->raw += raw;
        if (raw > reader->raw_most) reader->raw_most = raw;
        if (stored > stored_most) stored_most = stored;
    }
    reader->begin[reader->blocks] = at;
    FAIL_IF(at != index_begin, BAD_DATA,
            "%s: its blocks end at byte %llu but its index begins at byte %llu", reader->path,
            (unsigned long long)at, (unsigned long long)index_begin);
    reader->stored = malloc(stored_most);
    reader->zstd = ZSTD_createDCtx();
    FAIL_IF(reader->stored == NULL || reader->zstd == NULL, NO_MEMORY,
            "%s: no memory for blocks of %zu bytes", reader->path, stored_most);
    return STATUS_OK;
}

static Status open_reader(BlockReader *reader, const char *path) {
    struct stat info;
    reader->path = strdup(path);
    FAIL_IF(reader->path == NULL, NO_MEMORY, "%s: no memory to read it", path);
    reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    int reason = errno;
    FAIL_IF(reader->fd < 0 && (reason == ENOENT || reason == ENOTDIR), NOT_FOUND,
            "cannot open %s: %s", path, strerror(reason));
    FAIL_IF(reader->fd < 0 || fstat(reader->fd, &info) != 0, IO, "cannot open %s: %s", path,
            strerror(reason));
    FAIL_IF(!S_ISREG(info.st_mode), BAD_DATA, "%s is no regular file", path);
    uint64_t index_begin = 0;
    TRY(load_index(reader, (uint64_t)info.st_size, &index_begin));
    TRY(check_entries(reader, index_begin));
    return STATUS_OK;
}

Status block_reader_open(const char *path, BlockReader **out) {
    BlockReader *reader = calloc(1, sizeof *reader);
    FAIL_IF(reader == NULL, NO_MEMORY, "%s: no memory to read it", path);
    reader->fd = -1;
    Status status = open_reader(reader, path);
    if (status != STATUS_OK) {
        block_reader_close(reader);
        TRY(status);
    }
    *out = reader;
    return STATUS_OK;
}

void block_reader_close(BlockReader *reader) {
    if (reader == NULL) return;
    if (reader->fd >= 0) close(reader->fd);
    ZSTD_freeDCtx(reader->zstd);
    free(reader->stored);
    free(reader->begin);
    free(reader->index);
    free(reader->path);
    free(reader);
}

int block_reader_count(const BlockReader *reader) {
    return reader->blocks;
}

size_t block_reader_raw_bytes(const BlockReader *reader, int block) {
    REQUIRE(block >= 0 && block < reader->blocks);
    return get_u32(entry_of(reader, block) + 4);
}

uint64_t block_reader_total_raw(const BlockReader *reader) {
    return reader->raw;
}

Status block_reader_read(BlockReader *reader, int block, void *raw) {
    size_t raw_bytes = block_reader_raw_bytes(reader, block);
    uint64_t begin = reader->begin[block], end = reader->begin[block + 1];
    size_t stored = (size_t)(end - begin);
    TRY(read_at(reader, begin, reader->stored, stored));
    bool same = codec_hash(reader->stored, stored) == get_u64(entry_of(reader, block) + 8);
    FAIL_IF(!same, BAD_DATA, "%s: block %d (bytes %llu to %llu) is damaged: wrong hash",
            reader->path, block, (unsigned long long)begin, (unsigned long long)end);
    size_t n = ZSTD_decompressDCtx(reader->zstd, raw, raw_bytes, reader->stored, stored);
    FAIL_IF(ZSTD_isError(n), BAD_DATA, "%s: block %d (bytes %llu to %llu) does not decode: %s",
            reader->path, block, (unsigned long long)begin, (unsigned long long)end,
            ZSTD_getErrorName(n));
    FAIL_IF(n != raw_bytes, BAD_DATA,
            "%s: block %d (bytes %llu to %llu) decodes to %zu bytes, its index says %zu",
            reader->path, block, (unsigned long long)begin, (unsigned long long)end, n, raw_bytes);
    return STATUS_OK;
}

// Reads all blocks in the order of the file, so that its hash falls out on the way.
static Status read_and_hash(BlockReader *reader, XXH3_state_t *hash, void *raw) {
    for (int i = 0; i < reader->blocks; ++i) {
        TRY(block_reader_read(reader, i, raw));
        XXH3_64bits_update(hash, reader->stored, (size_t)(reader->begin[i + 1] - reader->begin[i]));
    }
    XXH3_64bits_update(hash, reader->index, index_bytes((uint64_t)reader->blocks));
    return STATUS_OK;
}

static Status compare_info(const char *path, const BlockFileInfo *is, const BlockFileInfo *wanted) {
    FAIL_IF(is->bytes != wanted->bytes, BAD_DATA, "%s has %llu bytes, %llu are expected", path,
            (unsigned long long)is->bytes, (unsigned long long)wanted->bytes);
    FAIL_IF(is->blocks != wanted->blocks, BAD_DATA, "%s has %u blocks, %u are expected", path,
            is->blocks, wanted->blocks);
    FAIL_IF(is->raw != wanted->raw, BAD_DATA, "%s decodes to %llu bytes, %llu are expected", path,
            (unsigned long long)is->raw, (unsigned long long)wanted->raw);
    FAIL_IF(is->hash != wanted->hash, BAD_DATA, "%s has hash %016llx, %016llx is expected", path,
            (unsigned long long)is->hash, (unsigned long long)wanted->hash);
    return STATUS_OK;
}

Status block_file_verify(const char *path, const BlockFileInfo *expected) {
    BlockReader *reader;
    TRY(block_reader_open(path, &reader));
    Status status = STATUS_OK;
    XXH3_state_t *hash = XXH3_createState();
    void *raw = malloc(reader->raw_most + 1);
    if (hash == NULL || raw == NULL)
        FAIL_OR(done, status, NO_MEMORY, "%s: no memory to check it", path);
    XXH3_64bits_reset(hash);
    TRY_OR(done, status, read_and_hash(reader, hash, raw));
    BlockFileInfo info = {
        .bytes = reader->begin[reader->blocks] + index_bytes((uint64_t)reader->blocks),
        .raw = reader->raw,
        .hash = XXH3_64bits_digest(hash),
        .blocks = (uint32_t)reader->blocks,
    };
    if (expected != NULL) TRY_OR(done, status, compare_info(path, &info, expected));
done:
    XXH3_freeState(hash);
    free(raw);
    block_reader_close(reader);
    return status;
}

// ---- byte planes --------------------------------------------------------------------------------

static void split_4(const uint8_t *in, size_t n, uint8_t *out) {
    uint8_t *restrict a = out, *restrict b = out + n;
    uint8_t *restrict c = out + 2 * n, *restrict d = out + 3 * n;
    for (size_t i = 0; i < n; ++i) {
        uint32_t word;
        memcpy(&word, in + 4 * i, 4);
        a[i] = (uint8_t)word;
        b[i] = (uint8_t)(word >> 8);
        c[i] = (uint8_t)(word >> 16);
        d[i] = (uint8_t)(word >> 24);
    }
}

static void join_4(const uint8_t *in, size_t n, uint8_t *restrict out) {
    const uint8_t *a = in, *b = in + n, *c = in + 2 * n, *d = in + 3 * n;
    for (size_t i = 0; i < n; ++i) {
        uint32_t word = a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24;
        memcpy(out + 4 * i, &word, 4);
    }
}

void codec_split_planes(const void *in, size_t n, int width, void *out) {
    const uint8_t *from = in;
    uint8_t *to = out;
    if (width == 4) {
        split_4(from, n, to);
        return;
    }
    size_t stride = (size_t)width;
    for (size_t plane = 0; plane < stride; ++plane)
        for (size_t i = 0; i < n; ++i) to[plane * n + i] = from[i * stride + plane];
}

void codec_join_planes(const void *in, size_t n, int width, void *out) {
    const uint8_t *from = in;
    uint8_t *to = out;
    if (width == 4) {
        join_4(from, n, to);
        return;
    }
    size_t stride = (size_t)width;
    for (size_t plane = 0; plane < stride; ++plane)
        for (size_t i = 0; i < n; ++i) to[i * stride + plane] = from[plane * n + i];
}

const char *codec_version(void) {
    return ZSTD_versionString();
}
