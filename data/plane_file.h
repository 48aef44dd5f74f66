// Files of stretches of long fp32 vectors: one safetensors file of byte planes, in the blocks of
// data/codec.h, whose header says which stretch it is. Block 0 is the header; each vector is a
// tensor U8 [4,n], the byte planes of n numbers; every plane starts a new block, so that one vector
// is read without the others. Equal numbers give equal bytes.
#pragma once

#include "data/codec.h"

enum {
    PLANES = 4,                  // bytes of a number
    PLANE_BLOCK_BYTES = 1 << 20, // most raw bytes of a block; a block lies in one plane
    PLANE_VECTORS_MOST = 8,
};

typedef struct {
    const char *const *name; // [vectors]
    int vectors, part;       // the file is number `part` of those that hold them
    int64_t first, n;        // elements [first, first + n) of each vector
} PlaneFile;

// Into a writer that was just opened: the header, then each vector in its order. `room` [4 n] is
// written to. Errors: NO_MEMORY, those of block_writer_add.
Status plane_file_begin(BlockWriter *writer, const PlaneFile *file);
Status plane_file_add(BlockWriter *writer, const PlaneFile *file, const float *numbers,
                      uint8_t *room);

// Opens a file and checks that its header and the sizes of its blocks are those of this one.
// Errors: BAD_DATA, NO_MEMORY, those of block_reader_open.
Status plane_file_open(const char *path, const PlaneFile *file, BlockReader **out);
// numbers[n] of one vector, decoding only its blocks. room [4 n].
Status plane_file_read(BlockReader *reader, const PlaneFile *file, int vector, uint8_t *room,
                       float *numbers);
