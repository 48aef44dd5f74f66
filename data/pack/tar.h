// Samples in a tar as WebDataset lays them out: consecutive regular files of one key. The key is
// the path up to the first dot of the base name, the extension is what follows it, in lower case:
// "a/000.seg.png" is "seg.png" of "a/000". Files without either, and those below a folder
// "__NAME__", are passed over. Long names and pax headers are read by libarchive.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/file.h"

enum { TAR_EXTENSION_BYTES = 32, TAR_MEMBERS_MOST = 16, TAR_MEMBER_BYTES_MOST = 1 << 28 };

typedef struct {
    char extension[TAR_EXTENSION_BYTES];
    uint8_t *data; // owned by the reader; NULL where contents were not asked for
    size_t bytes;
} TarMember;

typedef struct {
    char key[PATH_BYTES];
    TarMember member[TAR_MEMBERS_MOST];
    int members;
} TarSample;

typedef struct TarReader TarReader;

// The plain tar at `place` (data/pack/blob.h undoes compression), which errors call `name`. Errors:
// NOT_FOUND; BAD_DATA (no tar); NO_MEMORY.
Status tar_open(const char *name, const char *place, TarReader **out);
void tar_close(TarReader *reader); // NULL is fine
// The next sample, good until the next call; *out is NULL at the end. Without contents the data is
// skipped. Errors, after which the reader is good for tar_close alone: BAD_DATA (truncated or
// damaged: names the sample; an extension twice in a sample; too many or too long members).
Status tar_next(TarReader *reader, bool contents, const TarSample **out);
const TarMember *tar_member(const TarSample *sample, const char *extension); // NULL: none

// False: the name is of no sample, or longer than can be kept.
bool tar_split_name(const char *name, char key[PATH_BYTES], char extension[TAR_EXTENSION_BYTES]);
