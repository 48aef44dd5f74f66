// Block files: zstd frames, each with its hash in the index at the end.
#include "data/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

#include "base/file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the structs below are as in the file");

enum {
    SKIPPABLE_MAGIC = 0x184D2A5D,
    FORMAT_VERSION = 1,
    FRAME_HEADER = 8,      // magic and size of the skippable frame
    BLOCKS_MOST = 1 << 26, // keeps the size of the skippable frame within 32 bits
};

typedef struct {
    uint32_t stored, raw; // bytes
    uint64_t hash;
} Entry;

// The skippable frame: this, the entries, the tail.
typedef struct {
    uint32_t magic, bytes;
    char name[4]; // "DYEB"
    uint32_t version;
    Entry entry[];
} Index;

typedef struct {
    uint32_t blocks, hash;
    char name[4]; // "DYEI"
} IndexTail;

static size_t index_bytes(uint64_t blocks) {
    return sizeof(Index) + (size_t)blocks * sizeof(Entry) + sizeof(IndexTail);
}

// What the tail's `hash` has to be: it covers all from "DYEB" to the number of blocks.
static uint32_t index_hash(const Index *index, uint32_t blocks) {
    const char *begin = (const char *)index + offsetof(Index, name);
    const char *end = (const char *)&index->entry[blocks] + offsetof(IndexTail, hash);
    return (uint32_t)codec_hash(begin, (size_t)(end - begin));
}

uint64_t codec_hash(const void *data, size_t bytes) {
    return XXH3_64bits(data, bytes);
}

struct BlockWriter {
    char path[PATH_BYTES];
    int fd;
    ZSTD_CCtx *zstd;
    XXH3_state_t *hash;
    void *stored; // one compressed block
    void *index;  // an Index; its entries are filled as blocks come
    BlockFileInfo info;
    bool broken; // a write failed: the file can only be discarded
};

static void writer_free(BlockWriter *writer) {
    if (writer->fd >= 0) close(writer->fd);
    ZSTD_freeCCtx(writer->zstd);
    XXH3_freeState(writer->hash);
    free(writer->stored);
    free(writer->index);
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
    writer->zstd = ZSTD_createCCtx();
    writer->hash = XXH3_createState();
    Status status = STATUS_OK;
    TRY_OR(fail, status, path_format(writer->path, "%s", path));
    if (writer->zstd == NULL || writer->hash == NULL)
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

static Status writer_put(BlockWriter *writer, const void *data, size_t bytes) {
    XXH3_64bits_update(writer->hash, data, bytes);
    writer->info.bytes += bytes;
    writer->broken = true;
    TRY(file_put(writer->fd, writer->path, data, bytes));
    writer->broken = false;
    return STATUS_OK;
}

static Status resize(void **memory, const char *path, size_t bytes) {
    void *resized = realloc(*memory, bytes);
    FAIL_IF(resized == NULL, NO_MEMORY, "%s: no memory for %zu bytes", path, bytes);
    *memory = resized;
    return STATUS_OK;
}

Status block_writer_add(BlockWriter *writer, const void *raw, size_t bytes) {
    uint32_t block = writer->info.blocks;
    FAIL_IF(bytes > BLOCK_RAW_MOST, BAD_USAGE, "%s: a block of %zu bytes, at most %d are allowed",
            writer->path, bytes, BLOCK_RAW_MOST);
    FAIL_IF(block == BLOCKS_MOST, BAD_USAGE, "%s: more than %d blocks", writer->path, BLOCKS_MOST);
    size_t bound = ZSTD_compressBound(bytes);
    TRY(resize(&writer->stored, writer->path, bound));
    TRY(resize(&writer->index, writer->path, index_bytes((uint64_t)block + 1)));
    size_t stored = ZSTD_compress2(writer->zstd, writer->stored, bound, raw, bytes);
    FAIL_IF(ZSTD_isError(stored), NO_MEMORY, "%s: zstd cannot compress block %u: %s", writer->path,
            block, ZSTD_getErrorName(stored));
    Index *index = writer->index;
    index->entry[block] =
        (Entry){(uint32_t)stored, (uint32_t)bytes, codec_hash(writer->stored, stored)};
    TRY(writer_put(writer, writer->stored, stored));
    ++writer->info.blocks;
    writer->info.raw += bytes;
    return STATUS_OK;
}

static Status writer_end(BlockWriter *writer) {
    FAIL_IF(writer->broken, IO, "%s: an earlier write failed", writer->path);
    uint32_t blocks = writer->info.blocks;
    size_t bytes = index_bytes(blocks);
    TRY(resize(&writer->index, writer->path, bytes));
    Index *index = writer->index;
    *index = (Index){SKIPPABLE_MAGIC, (uint32_t)(bytes - FRAME_HEADER), "DYEB", FORMAT_VERSION};
    IndexTail *tail = (IndexTail *)&index->entry[blocks];
    *tail = (IndexTail){.blocks = blocks, .name = "DYEI"};
    tail->hash = index_hash(index, blocks);
    TRY(writer_put(writer, index, bytes));
    return file_flush(writer->fd, writer->path);
}

Status block_writer_finish(BlockWriter *writer, BlockFileInfo *info) {
    Status status = writer_end(writer);
    if (status != STATUS_OK) unlink(writer->path);
    writer->info.hash = XXH3_64bits_digest(writer->hash);
    *info = writer->info;
    writer_free(writer);
    return status;
}

// ---- reading ------------------------------------------------------------------------------------

struct BlockDecoder {
    ZSTD_DCtx *zstd;
    uint8_t *stored; // one frame
    size_t room;
};

struct BlockReader {
    char path[PATH_BYTES];
    BlockBytes from;
    int fd; // of a plain file, else -1
    Index *index;
    uint64_t *begin; // [blocks + 1] where each frame begins in the file
    uint64_t raw;
    size_t raw_most, stored_most;
    int blocks;
    BlockDecoder *decoder; // of block_reader_read, made when it is first needed
};

static Status read_file(void *context, uint64_t offset, void *out, size_t bytes) {
    const BlockReader *reader = context;
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(reader->fd, (char *)out + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        FAIL_IF(n < 0, IO, "cannot read %s: %s", reader->path, strerror(errno));
        FAIL_IF(n == 0, BAD_DATA, "%s ends early, at byte %llu", reader->path,
                (unsigned long long)(offset + done));
        done += (size_t)n;
    }
    return STATUS_OK;
}

typedef Status ReadBytes(void *context, uint64_t offset, void *out, size_t bytes);

// Loads the index after checking that the file can hold it.
static Status load_index(BlockReader *reader, ReadBytes *read, uint64_t *index_begin) {
    const char *path = reader->path;
    uint64_t file_bytes = reader->from.bytes;
    IndexTail tail;
    FAIL_IF(file_bytes < index_bytes(0), BAD_DATA,
            "%s is no block file: %llu bytes are less than an empty one has", path,
            (unsigned long long)file_bytes);
    TRY(read(reader->from.context, file_bytes - sizeof tail, &tail, sizeof tail));
    FAIL_IF(memcmp(tail.name, "DYEI", 4) != 0, BAD_DATA,
            "%s does not end with a block index: it is cut short or no block file", path);
    uint32_t blocks = tail.blocks;
    size_t bytes = index_bytes(blocks);
    FAIL_IF(blocks > BLOCKS_MOST || bytes > file_bytes, BAD_DATA,
            "%s: its index claims %u blocks, more than the file can hold", path, blocks);
    Index *index = reader->index = malloc(bytes);
    reader->begin = malloc(((size_t)blocks + 1) * sizeof *reader->begin);
    FAIL_IF(index == NULL || reader->begin == NULL, NO_MEMORY, "%s: no memory for %u blocks", path,
            blocks);
    *index_begin = file_bytes - bytes;
    TRY(read(reader->from.context, *index_begin, index, bytes));
    bool good = index->magic == SKIPPABLE_MAGIC && index->bytes == bytes - FRAME_HEADER &&
                memcmp(index->name, "DYEB", 4) == 0 && index_hash(index, blocks) == tail.hash;
    FAIL_IF(!good, BAD_DATA, "%s: its index is damaged (bytes %llu to %llu)", path,
            (unsigned long long)*index_begin, (unsigned long long)file_bytes);
    FAIL_IF(index->version != FORMAT_VERSION, BAD_DATA,
            "%s: block file version %u, this program reads version %d", path, index->version,
            FORMAT_VERSION);
    reader->blocks = (int)blocks;
    return STATUS_OK;
}

static Status find_index(BlockReader *reader, uint64_t *index_begin) {
    Status status = load_index(reader, reader->from.read, index_begin);
    if (status == STATUS_OK || reader->from.renew == NULL) return status;
    free(reader->begin);
    free(reader->index);
    reader->begin = NULL;
    reader->index = NULL;
    error_clear();
    return load_index(reader, reader->from.renew, index_begin);
}

// Checks the entries against each other and the file.
static Status check_entries(BlockReader *reader, uint64_t index_begin) {
    uint64_t at = 0;
    for (int i = 0; i < reader->blocks; ++i) {
        uint32_t stored = reader->index->entry[i].stored, raw = reader->index->entry[i].raw;
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
        if (stored > reader->stored_most) reader->stored_most = stored;
    }
    reader->begin[reader->blocks] = at;
    FAIL_IF(at != index_begin, BAD_DATA,
            "%s: its blocks end at byte %llu but its index begins at byte %llu", reader->path,
            (unsigned long long)at, (unsigned long long)index_begin);
    return STATUS_OK;
}

static Status open_reader(const char *name, BlockReader **out) {
    BlockReader *reader = calloc(1, sizeof *reader);
    FAIL_IF(reader == NULL, NO_MEMORY, "%s: no memory to read it", name);
    reader->fd = -1;
    Status status = path_format(reader->path, "%s", name);
    if (status != STATUS_OK) free(reader);
    *out = reader;
    return status;
}

static Status load_reader(BlockReader *reader, BlockReader **out) {
    uint64_t index_begin = 0;
    Status status = find_index(reader, &index_begin);
    if (status == STATUS_OK) status = check_entries(reader, index_begin);
    if (status == STATUS_OK)
        *out = reader;
    else
        block_reader_close(reader);
    return status;
}

Status block_reader_open_bytes(const char *name, const BlockBytes *from, BlockReader **out) {
    BlockReader *reader = NULL;
    TRY(open_reader(name, &reader));
    reader->from = *from;
    return load_reader(reader, out);
}

Status block_reader_open(const char *path, BlockReader **out) {
    BlockReader *reader = NULL;
    uint64_t bytes;
    TRY(file_size(path, &bytes));
    TRY(open_reader(path, &reader));
    reader->from = (BlockBytes){.context = reader, .bytes = bytes, .read = read_file};
    reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (reader->fd >= 0) return load_reader(reader, out);
    Status status = error_raise(STATUS_IO, __FILE__, __LINE__, __func__, "cannot open %s: %s", path,
                                strerror(errno));
    block_reader_close(reader);
    return status;
}

void block_reader_close(BlockReader *reader) {
    if (reader == NULL) return;
    if (reader->fd >= 0) close(reader->fd);
    block_decoder_close(reader->decoder);
    free(reader->begin);
    free(reader->index);
    free(reader);
}

int block_reader_count(const BlockReader *reader) {
    return reader->blocks;
}

size_t block_reader_raw_bytes(const BlockReader *reader, int block) {
    REQUIRE(block >= 0 && block < reader->blocks);
    return reader->index->entry[block].raw;
}

Status block_decoder_open(BlockDecoder **out) {
    BlockDecoder *decoder = calloc(1, sizeof *decoder);
    FAIL_IF(decoder == NULL, NO_MEMORY, "no memory to decode with");
    decoder->zstd = ZSTD_createDCtx();
    if (decoder->zstd == NULL) {
        free(decoder);
        FAIL(NO_MEMORY, "no memory to decode with");
    }
    *out = decoder;
    return STATUS_OK;
}

void block_decoder_close(BlockDecoder *decoder) {
    if (decoder == NULL) return;
    ZSTD_freeDCtx(decoder->zstd);
    free(decoder->stored);
    free(decoder);
}

static Status read_frame(const BlockReader *reader, int block, ReadBytes *read, uint8_t *stored) {
    uint64_t begin = reader->begin[block], end = reader->begin[block + 1];
    TRY(read(reader->from.context, begin, stored, (size_t)(end - begin)));
    bool same = codec_hash(stored, (size_t)(end - begin)) == reader->index->entry[block].hash;
    FAIL_IF(!same, BAD_DATA, "%s: block %d (bytes %llu to %llu) is damaged: wrong hash",
            reader->path, block, (unsigned long long)begin, (unsigned long long)end);
    return STATUS_OK;
}

// From near or far, to decoder->stored.
static Status take_frame(const BlockReader *reader, BlockDecoder *decoder, int block) {
    if (decoder->room < reader->stored_most) {
        void *larger = realloc(decoder->stored, reader->stored_most);
        FAIL_IF(larger == NULL, NO_MEMORY, "%s: no memory for blocks of %zu bytes", reader->path,
                reader->stored_most);
        decoder->stored = larger;
        decoder->room = reader->stored_most;
    }
    Status status = read_frame(reader, block, reader->from.read, decoder->stored);
    if (status == STATUS_OK || reader->from.renew == NULL) return status;
    error_clear();
    return read_frame(reader, block, reader->from.renew, decoder->stored);
}

Status block_reader_read_with(const BlockReader *reader, BlockDecoder *decoder, int block,
                              void *raw) {
    size_t raw_bytes = block_reader_raw_bytes(reader, block);
    uint64_t begin = reader->begin[block], end = reader->begin[block + 1];
    TRY(take_frame(reader, decoder, block));
    char place[96]; // begins what may be wrong
    snprintf(place, sizeof place, "block %d (bytes %llu to %llu)", block, (unsigned long long)begin,
             (unsigned long long)end);
    size_t n =
        ZSTD_decompressDCtx(decoder->zstd, raw, raw_bytes, decoder->stored, (size_t)(end - begin));
    FAIL_IF(ZSTD_isError(n), BAD_DATA, "%s: %s does not decode: %s", reader->path, place,
            ZSTD_getErrorName(n));
    FAIL_IF(n != raw_bytes, BAD_DATA, "%s: %s decodes to %zu bytes, its index says %zu",
            reader->path, place, n, raw_bytes);
    return STATUS_OK;
}

Status block_reader_read(BlockReader *reader, int block, void *raw) {
    if (reader->decoder == NULL) TRY(block_decoder_open(&reader->decoder));
    return block_reader_read_with(reader, reader->decoder, block, raw);
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

static Status check_file(const char *path, const BlockFileInfo *expected, bool decode) {
    BlockReader *reader = NULL;
    TRY(block_reader_open(path, &reader));
    Status status = STATUS_OK;
    XXH3_state_t *hash = XXH3_createState();
    void *raw = malloc(decode ? reader->raw_most + 1 : 1);
    if (hash == NULL || raw == NULL)
        FAIL_OR(done, status, NO_MEMORY, "%s: no memory to check it", path);
    XXH3_64bits_reset(hash);
    TRY_OR(done, status, block_decoder_open(&reader->decoder));
    // In the order of the file, so that its hash falls out on the way.
    for (int i = 0; i < reader->blocks; ++i) {
        TRY_OR(done, status,
               decode ? block_reader_read(reader, i, raw) : take_frame(reader, reader->decoder, i));
        XXH3_64bits_update(hash, reader->decoder->stored, reader->index->entry[i].stored);
    }
    size_t index = index_bytes((uint64_t)reader->blocks);
    XXH3_64bits_update(hash, reader->index, index);
    BlockFileInfo info = {.bytes = reader->begin[reader->blocks] + index,
                          .raw = reader->raw,
                          .hash = XXH3_64bits_digest(hash),
                          .blocks = (uint32_t)reader->blocks};
    if (expected != NULL) TRY_OR(done, status, compare_info(path, &info, expected));
done:
    XXH3_freeState(hash);
    free(raw);
    block_reader_close(reader);
    return status;
}

Status block_file_verify(const char *path, const BlockFileInfo *expected) {
    return check_file(path, expected, true);
}

Status block_file_compare(const char *path, const BlockFileInfo *expected) {
    return check_file(path, expected, false);
}

static void split_pairs(const void *in, size_t n, uint8_t *restrict a) {
    uint8_t *restrict b = a + n;
    for (size_t i = 0; i < n; ++i) {
        uint16_t word;
        memcpy(&word, (const char *)in + 2 * i, 2);
        a[i] = (uint8_t)word;
        b[i] = (uint8_t)(word >> 8);
    }
}

void codec_split_planes(const void *in, size_t n, int word, void *out) {
    REQUIRE(word == 2 || word == 4);
    if (word == 2) {
        split_pairs(in, n, out);
        return;
    }
    uint8_t *restrict a = out, *restrict b = a + n, *restrict c = b + n, *restrict d = c + n;
    for (size_t i = 0; i < n; ++i) {
        uint32_t bits;
        memcpy(&bits, (const char *)in + 4 * i, 4);
        a[i] = (uint8_t)bits;
        b[i] = (uint8_t)(bits >> 8);
        c[i] = (uint8_t)(bits >> 16);
        d[i] = (uint8_t)(bits >> 24);
    }
}

static void join_pairs(const uint8_t *a, size_t n, void *restrict out) {
    const uint8_t *b = a + n;
    for (size_t i = 0; i < n; ++i) {
        uint16_t word = (uint16_t)(a[i] | b[i] << 8);
        memcpy((char *)out + 2 * i, &word, 2);
    }
}

void codec_join_planes(const void *in, size_t n, int word, void *restrict out) {
    REQUIRE(word == 2 || word == 4);
    if (word == 2) {
        join_pairs(in, n, out);
        return;
    }
    const uint8_t *a = in, *b = a + n, *c = b + n, *d = c + n;
    for (size_t i = 0; i < n; ++i) {
        uint32_t bits = a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24;
        memcpy((char *)out + 4 * i, &bits, 4);
    }
}

const char *codec_hash_version(void) {
    static char text[16];
    unsigned version = XXH_versionNumber();
    snprintf(text, sizeof text, "%u.%u.%u", version / 10000, version / 100 % 100, version % 100);
    return text;
}

const char *codec_version(void) {
    return ZSTD_versionString();
}
