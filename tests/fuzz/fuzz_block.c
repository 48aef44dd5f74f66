// Any bytes as a block file: refused or read within bounds. The first byte chooses how the rest
// becomes a file: as it is, or with head, size and hash of the index made right, so that the fuzzer
// reaches the checks behind them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

// rest: u8 n, n entries of 16 bytes, then what stands before the index.
static size_t forge(const uint8_t *rest, size_t bytes, uint8_t *out) {
    size_t n = bytes > 0 ? rest[0] % 8 : 0, entries = 16 * n;
    if (bytes < 1 + entries) return 0;
    size_t front = bytes - 1 - entries;
    uint32_t frame[2] = {0x184D2A5D, (uint32_t)(8 + entries + 12)}, version = 1;
    uint32_t count = (uint32_t)n;
    memcpy(out, rest + 1 + entries, front);
    uint8_t *index = out + front;
    memcpy(index, frame, 8);
    memcpy(index + 8, "DYEB", 4);
    memcpy(index + 12, &version, 4);
    memcpy(index + 16, rest + 1, entries);
    // An entry's hash is made right too where its frame lies in the file.
    for (size_t i = 0, at = 0; i < n; ++i) {
        uint32_t stored;
        memcpy(&stored, index + 16 + 16 * i, 4);
        if (stored > front - at) break;
        uint64_t hash = codec_hash(out + at, stored);
        memcpy(index + 24 + 16 * i, &hash, 8);
        at += stored;
    }
    memcpy(index + 16 + entries, &count, 4);
    uint32_t hash = (uint32_t)codec_hash(index + 8, 8 + entries + 4);
    memcpy(index + 20 + entries, &hash, 4);
    memcpy(index + 24 + entries, "DYEI", 4);
    return front + 28 + entries;
}

static void read_blocks(const char *path) {
    BlockReader *reader;
    if (block_reader_open(path, &reader) != STATUS_OK) return;
    for (int i = 0; i < block_reader_count(reader); ++i) {
        size_t n = block_reader_raw_bytes(reader, i);
        if (n > 1 << 20) continue; // only to be quick
        void *raw = malloc(n);
        if (raw == NULL) abort();
        if (block_reader_read(reader, i, raw) != STATUS_OK) error_clear();
        free(raw);
    }
    block_reader_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("block", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (bytes == 0) return 0;
    uint8_t *file = malloc(bytes + 64);
    if (file == NULL) abort();
    size_t n = bytes - 1;
    if (data[0] & 1)
        n = forge(data + 1, bytes - 1, file);
    else
        memcpy(file, data + 1, n);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, file, n, 0) != (ssize_t)n) abort();
    free(file);
    read_blocks(path);
    return 0;
}
