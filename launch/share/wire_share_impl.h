// What server and client of launch/share/wire_share.h have in common: the two messages, options of
// sockets.
#pragma once

#include "launch/share/wire_share.h"

enum {
    SHARE_KEY_BYTES = 41, // Z85 text of a key, with its NUL
    SHARE_ENDPOINT_BYTES = 64,
};

typedef struct {
    char magic[4]; // "DYEQ"
    uint32_t folder;
    uint64_t ticket, offset;
    uint32_t bytes, reserved;
    char file[INDEX_FILE_BYTES];
} ShareRequest;

// Followed by the bytes, or by the reason as text.
typedef struct {
    char magic[4]; // "DYER"
    uint32_t status;
    uint64_t ticket, offset;
    uint32_t bytes, reserved;
} ShareReply;

Status share_failure(const char *what); // COMM, with ZeroMQ's own reason
bool share_set_number(void *socket, int option, int value);
bool share_set_text(void *socket, int option, const char *text);
bool share_set_common(void *socket, int64_t message_most);
