// Files within files: the members of a tar or ZIP archive one after another, or what a single
// compressed file decodes to. Decoding is libarchive's, and this its only home.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum {
    CONTAINER_TAR,    // plain: compression is undone before (data/pack/blob.h)
    CONTAINER_ZIP,    // read by its directory
    CONTAINER_STREAM, // one member: what zstd, compress or nothing was applied to
} ContainerKind;

typedef struct {
    const char *name; // until the next one; of a stream: ""
    int64_t bytes;    // -1: not told
    bool file;        // a regular file: neither a folder nor a link
    bool encrypted;
} ContainerMember;

typedef struct Container Container;

// Reads from a descriptor's position on, which the caller closes afterwards; errors call it `name`.
// Errors: BAD_DATA (it is none of this kind), NO_MEMORY.
Status container_open(const char *name, int fd, ContainerKind kind, Container **out);
void container_close(Container *container); // NULL is fine
// *more false: there is none. Errors: BAD_DATA (it ends early or is damaged).
Status container_next(Container *container, ContainerMember *out, bool *more);
// The next bytes of the member, *got < most only at its end. Errors: BAD_DATA.
Status container_read(Container *container, void *out, size_t most, size_t *got);
// The rest of the member to a file, which is made or emptied; *bytes: how many. Errors: also IO.
Status container_extract(Container *container, const char *path, int64_t *bytes);
// Of a stream, after container_next: nothing had to be undone.
bool container_is_plain(const Container *container);

const char *container_version(void); // of libarchive

// A member of an archive to be made: its name, and its bytes in two parts.
typedef struct {
    const char *name;
    const void *part[2];
    size_t bytes[2];
} StoredMember;

// Makes a ZIP archive of them, not compressed, without times: equal members give equal bytes. The
// file is old or new, never half. Errors: IO, NO_MEMORY.
Status container_store(const char *path, const StoredMember *member, int members);
