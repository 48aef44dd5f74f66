// A hash of a stream of bytes that does not depend on how it is cut:
//   h = 0; for each piece of 262144 bytes, the last one shorter: h = XXH3-64(h as 8 bytes | piece)
// (little-endian; no piece, no step).
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { CONTENT_PIECE_BYTES = 262144 };

typedef struct {
    uint64_t value;
    size_t filled;
    uint8_t buffer[8 + CONTENT_PIECE_BYTES]; // the value so far, then the piece
} ContentHash;

void content_hash_init(ContentHash *hash);
void content_hash_add(ContentHash *hash, const void *data, size_t bytes);
uint64_t content_hash_finish(ContentHash *hash);
