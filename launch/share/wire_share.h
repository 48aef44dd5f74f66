// Pieces of shards between ranks, beside MPI: a server thread on a rank that has a data set,
// clients on ranks that have not. ZeroMQ over TCP with CURVE keys that travel over MPI alone, as in
// launch/watch/wire.h.
//
// A request names a data set by its number, a shard by its file name, an offset and at most 1 MiB.
// Only files that the index lists can be asked for. A client has two pieces on their way at a time,
// a server has 256 MiB on their way to all of its clients; then it reads no further request.
#pragma once

#include <stddef.h>

#include "data/dataset_index.h"
#include "launch/watch/wire.h"

enum { SHARE_FOLDERS_MOST = DATASET_PARTS_MOST, SHARE_PIECE_BYTES = 1 << 20 };
_Static_assert(SHARE_FOLDERS_MOST <= 64, "a bit each");

// What a server hands out.
typedef struct {
    const char *path;          // of the folder; NULL: this data set is not served here
    const DatasetIndex *index; // lent
} ShareFolder;

typedef struct ShareServer ShareServer;
// Listens, on the loopback interface alone if all ranks are on one host, from a thread of low
// priority. port 0: any free one. Fills `me` with what clients need. Errors: BUSY (the port is
// taken), COMM, NO_MEMORY.
Status share_server_open(const ShareFolder folder[SHARE_FOLDERS_MOST], bool one_host, int port,
                         WirePeer *me, ShareServer **out);
void share_server_close(ShareServer *server); // NULL is fine

// A server, for clients.
typedef struct {
    int rank;
    char host[64];
    uint64_t folders; // bit i: it serves data set i
    WirePeer peer;
} ShareSource;

typedef struct {
    uint64_t blocks, bytes;
} ShareTotals;

typedef struct ShareClient ShareClient;
// timeout: seconds without a byte until another server is asked. Connects only when something is
// fetched. Errors: COMM, NO_MEMORY.
Status share_client_open(const ShareSource *sources, int count, bool one_host, double timeout,
                         ShareClient **out);
void share_client_close(ShareClient *client); // no fetch may be under way; NULL is fine

// Bytes [offset, offset + bytes) of a shard; by any number of threads at once. Which server is
// asked first depends on shard and offset, and is another one the next time; one that fails makes
// way for the next, in three rounds with patience growing. `name` stands in errors for the data
// set. Errors: BAD_DATA (all that were asked say that they cannot read it), COMM: names the servers
// that were tried and what became of it.
Status share_client_fetch(ShareClient *client, int folder, const char *name, const char *file,
                          uint64_t offset, size_t bytes, void *out);
// From here on every fetch fails, also those under way.
void share_client_stop(ShareClient *client);
ShareTotals share_client_totals(ShareClient *client);
