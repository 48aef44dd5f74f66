// A file as bytes that can be read anywhere, whatever it is compressed with: a plain file is read
// where it lies; one in gzip, zstd or compress (.Z) is decoded once, by the lead, into the stage
// folder, where the other ranks find it.
#pragma once

#include "data/pack/source.h"

typedef struct Blob Blob;

// The content behind the first `skip` bytes of the file. Errors: NOT_FOUND, IO, BAD_DATA (does not
// decode; names the file).
Status blob_open(const char *path, int64_t skip, const SourceOptions *options, Blob **out);
void blob_close(Blob *blob); // NULL is fine
int64_t blob_bytes(const Blob *blob);
const char *blob_path(const Blob *blob);  // the file's own, for messages
const char *blob_place(const Blob *blob); // where its content lies as a plain file (behind `skip`)
// Fills out[bytes]; BAD_DATA where the blob ends before.
Status blob_read(Blob *blob, int64_t at, void *out, size_t bytes);
// Length and content hash (data/content_hash.h) of all behind `skip`: a pass over the blob.
Status blob_hash(Blob *blob, int64_t *bytes, uint64_t *hash);

// The first bytes of a file's decoded content, without a stage: enough to tell what it is.
// *got < bytes: it ends there. False: it cannot be read or does not decode.
bool blob_begins(const char *path, void *out, size_t bytes, size_t *got);

const char *blob_version(void); // of zlib
