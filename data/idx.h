// IDX files of the MNIST family, plain or gzipped: the header, then a stream of items.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct IdxFile IdxFile;

// Reads the header; `dims` sizes are expected, of bytes (type 08). Sizes are compared with the
// length of the file before anything relies on them: a plain file must fit exactly, a gzipped one
// must be long enough to hold so much. Errors: NOT_FOUND, IO, BAD_DATA (names the file).
Status idx_open(const char *path, int dims, IdxFile **out);
void idx_close(IdxFile *file);
int64_t idx_dim(const IdxFile *file, int i); // size i; 0: the number of items
int64_t idx_item_bytes(const IdxFile *file);
int64_t idx_bytes(const IdxFile *file); // of the decoded content after the header
// Up to `most` further bytes of the content; *got 0 once it is complete and the file ends there.
// Errors: BAD_DATA (the file ends early, goes on behind the last item, or is damaged).
Status idx_read(IdxFile *file, void *out, size_t most, size_t *got);
// After the end: length and content hash of the whole decoded file, header included.
void idx_source(IdxFile *file, int64_t *bytes, uint64_t *hash);
