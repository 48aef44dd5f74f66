// A *block file*: zstd frames that decode independently, then their index.
//
//   frame 0 | frame 1 | ... | skippable frame with the index
//
// Each frame is an ordinary zstd frame with content size and checksum, so `zstd -d FILE` gives the
// concatenated content; decoders skip the index. The index frame (all little-endian):
//   u32 0x184D2A5D, u32 size of what follows, "DYEB" u32 version = 1,
//   n entries { u32 stored bytes, u32 raw bytes, u64 XXH3-64 of the stored bytes },
//   u32 n, u32 low half of XXH3-64 of all index bytes from "DYEB" to n, "DYEI" (last 4 bytes).
// Both data shards and checkpoint parts are block files.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { BLOCK_RAW_MOST = 1 << 26 }; // 64 MiB: larger raw sizes in an index are refused

typedef struct {
    uint64_t bytes; // of the whole file
    uint64_t raw;   // of the decoded content
    uint64_t hash;  // XXH3-64 of the whole file
    uint32_t blocks;
} BlockFileInfo;

typedef struct BlockWriter BlockWriter;
// Creates `path` (must not exist). level: zstd level. Errors: IO.
Status block_writer_open(const char *path, int level, BlockWriter **out);
Status block_writer_add(BlockWriter *writer, const void *raw, size_t bytes); // one frame
// Writes the index, fsyncs, closes. The writer is gone also after a failure.
Status block_writer_finish(BlockWriter *writer, BlockFileInfo *info);
void block_writer_discard(BlockWriter *writer); // closes and removes the file; NULL is fine

// Where the bytes of a block file come from, if it is no plain file.
typedef struct {
    void *context;
    uint64_t bytes; // of the whole file
    // Bytes [offset, offset + bytes), by any thread.
    Status (*read)(void *context, uint64_t offset, void *out, size_t bytes);
    // The same from further away: asked once where what `read` gave is missing or has a wrong hash.
    // NULL: there is nothing further away.
    Status (*renew)(void *context, uint64_t offset, void *out, size_t bytes);
} BlockBytes;

typedef struct BlockReader BlockReader;
// Opens and checks the index. Errors: NOT_FOUND, BAD_DATA (names the file and what is wrong).
Status block_reader_open(const char *path, BlockReader **out);
Status block_reader_open_bytes(const char *name, const BlockBytes *from, BlockReader **out);
void block_reader_close(BlockReader *reader);
int block_reader_count(const BlockReader *reader);
size_t block_reader_raw_bytes(const BlockReader *reader, int block);
// Reads, checks and decodes one block into raw[block_reader_raw_bytes], by one thread at a time.
// Errors: BAD_DATA names the file, the block and its byte range.
Status block_reader_read(BlockReader *reader, int block, void *raw);

// What decoding needs: several threads may read from one reader, each with a decoder of its own,
// which serves any number of readers.
typedef struct BlockDecoder BlockDecoder;
Status block_decoder_open(BlockDecoder **out);
void block_decoder_close(BlockDecoder *decoder); // NULL is fine
Status block_reader_read_with(const BlockReader *reader, BlockDecoder *decoder, int block,
                              void *raw);
// Checks every block and compares the whole file with `expected` (NULL: blocks only).
Status block_file_verify(const char *path, const BlockFileInfo *expected);
// The same of all hashes alone: nothing is decoded.
Status block_file_compare(const char *path, const BlockFileInfo *expected);

// Byte planes of little-endian words of 2 or 4 bytes: [n][word] <-> [word][n].
void codec_split_planes(const void *in, size_t n, int word, void *out);
void codec_join_planes(const void *in, size_t n, int word, void *restrict out);

uint64_t codec_hash(const void *data, size_t bytes); // XXH3-64

const char *codec_version(void);      // of libzstd
const char *codec_hash_version(void); // of xxHash
