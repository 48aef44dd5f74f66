// NPY: one array of NumPy in a file. Only the header is handled here.
//
//   93 "NUMPY" | u8 major, minor | u16 (major 1) or u32 length | header | data
//
// The header is a Python dict literal with the keys descr, fortran_order and shape, in any order;
// it is parsed by hand, never evaluated.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { NPY_DIMS_MOST = 8, NPY_HEADER_MOST = 10000, NPY_START_MOST = 12 + NPY_HEADER_MOST };

// What one number of an array is: kind 'b' (truth value), 'u', 'i', 'f', or 'V': bf16, which NumPy
// knows as two bytes without a meaning.
typedef struct {
    char kind;
    int bytes;
    bool big; // big-endian
} NpyType;

typedef struct {
    NpyType type;
    int dims; // 0: one number
    int64_t dim[NPY_DIMS_MOST];
    int64_t numbers;     // the product of dim
    bool fortran;        // the first size is the fastest
    size_t header_bytes; // where the data begins
} NpyHeader;

// Parses the first `bytes` bytes of a file, of which NPY_START_MOST are enough. `what` (a file
// name) stands in every error. Two bytes without a meaning are taken for bf16. Errors: BAD_DATA
// (also: Fortran order of two or more sizes; objects, structures, text, complex numbers, dates).
Status npy_parse(const void *start, size_t bytes, const char *what, NpyHeader *out);
// The same, but for Fortran order, which the caller takes.
Status npy_parse_any_order(const void *start, size_t bytes, const char *what, NpyHeader *out);
bool npy_begins(const void *start, size_t bytes); // the magic
