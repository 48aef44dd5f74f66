// safetensors: the file format that other tools read weights in. Only the header is handled here;
// the caller moves the data.
//
//   u64 N | N bytes of JSON, padded with spaces | data of all tensors, gapless
//
// The header is {"__metadata__": {text: text, ...}, "name": {"dtype": "F32", "shape": [2, 3],
// "data_offsets": [begin, end]}, ...}; offsets count from the first byte behind the header. The
// reader refuses whatever two readers could understand differently: duplicate names, holes,
// overlaps, trailing bytes, sizes that do not follow from the shape.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"

enum { SAFETENSORS_DIMS_MOST = 8, SAFETENSORS_HEADER_MOST = 100000000 };

typedef struct {
    const char *name;  // UTF-8; never a path to open
    const char *dtype; // "F32", "BF16", "U8", ...: the names of the format
    int dims;          // 0: one number
    int64_t dim[SAFETENSORS_DIMS_MOST];
    uint64_t begin, end; // bytes behind the header
} SafetensorsEntry;

typedef struct {
    SafetensorsEntry *list; // in the order of their data
    int count;
    const json_t *metadata; // object of texts, borrowed from `root`; NULL if there is none
    uint64_t header_bytes;  // 8 + N: where the data begins
    json_t *root;           // owns names and texts
} Safetensors;

// Parses the first `bytes` bytes of a file of `file_bytes` bytes in all; the whole header must be
// among them. `what` (a file name) stands in every error. Close `out` afterwards.
// Errors: BAD_DATA, NO_MEMORY.
Status safetensors_parse(const void *start, size_t bytes, uint64_t file_bytes, const char *what,
                         Safetensors *out);
// The same from a file, reading no data. Errors: also NOT_FOUND, IO.
Status safetensors_read(const char *path, Safetensors *out);
void safetensors_close(Safetensors *tensors); // fine on a zeroed one
const SafetensorsEntry *safetensors_find(const Safetensors *tensors, const char *name); // or NULL

// Lays `count` tensors one behind the other in the given order (fills begin and end) and builds the
// 8 bytes of length and the header, padded so that the data begins at a multiple of 8. `metadata`
// is an object of texts, written with sorted keys, or NULL. *out is malloc'ed. To keep every tensor
// aligned to its type, put wide types first. Errors: BAD_USAGE (unknown dtype, repeated name, part
// of a byte, text that is no UTF-8), NO_MEMORY.
Status safetensors_build(SafetensorsEntry *list, int count, const json_t *metadata, char **out,
                         size_t *bytes);
