// A hash of a stream in pieces of fixed size.
#include "data/content_hash.h"

#include <string.h>

#include "data/codec.h"

void content_hash_init(ContentHash *hash) {
    hash->value = 0;
    hash->filled = 0;
}

static void fold_piece(ContentHash *hash) {
    for (int i = 0; i < 8; ++i) hash->buffer[i] = (uint8_t)(hash->value >> (8 * i));
    hash->value = codec_hash(hash->buffer, 8 + hash->filled);
    hash->filled = 0;
}

void content_hash_add(ContentHash *hash, const void *data, size_t bytes) {
    const uint8_t *from = data;
    while (bytes > 0) {
        size_t room = CONTENT_PIECE_BYTES - hash->filled;
        size_t part = bytes < room ? bytes : room;
        memcpy(hash->buffer + 8 + hash->filled, from, part);
        hash->filled += part;
        from += part;
        bytes -= part;
        if (hash->filled == CONTENT_PIECE_BYTES) fold_piece(hash);
    }
}

uint64_t content_hash_finish(ContentHash *hash) {
    if (hash->filled > 0) fold_piece(hash);
    return hash->value;
}
