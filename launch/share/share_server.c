// The server of launch/share/wire_share.h, and the options of all its sockets.
#include "launch/share/wire_share_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "base/file.h"
#include "base/thread.h"

enum {
    PIECES_QUEUED = 8,   // for one connection; more are lost
    HANDSHAKE_MS = 2000, // a stranger's half-open connection is closed after it
    HEARTBEAT_MS = 5000, // a client that is stopped or gone frees what is queued for it
    SILENCE_MS = 15000,  // after this time
    FLIGHT_BYTES = 256 << 20,
    FILES_OPEN = 64,
    NICER = 10, // than the threads of the step
    REASON_BYTES = 256,
};
Status share_failure(const char *what) {
    FAIL(COMM, "data between ranks: %s: %s", what, zmq_strerror(zmq_errno()));
}

bool share_set_number(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

bool share_set_text(void *socket, int option, const char *text) {
    return zmq_setsockopt(socket, option, text, strlen(text)) == 0;
}

bool share_set_common(void *socket, int64_t message_most) {
    return share_set_number(socket, ZMQ_SNDHWM, PIECES_QUEUED) &&
           share_set_number(socket, ZMQ_LINGER, 0) &&
           share_set_number(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) &&
           share_set_number(socket, ZMQ_RECONNECT_IVL, 200) &&
           share_set_number(socket, ZMQ_RECONNECT_IVL_MAX, 2000) &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &message_most, sizeof message_most) == 0;
}

// ---- server: files ------------------------------------------------------------------------------

typedef struct {
    const IndexShard *shard; // NULL: nothing is open
    int fd;
} OpenFile;

struct ShareServer {
    ShareFolder folder[SHARE_FOLDERS_MOST];
    const IndexShard **by_name[SHARE_FOLDERS_MOST]; // [shards], sorted
    OpenFile open[FILES_OPEN];
    void *context, *door; // ROUTER; both belong to the thread
    char public[SHARE_KEY_BYTES], secret[SHARE_KEY_BYTES];
    bool one_host;
    int port, wake; // eventfd: readable when the thread is to end
    _Atomic size_t flying;
    pthread_t thread;
    bool has_thread;
    sem_t opened;
    ErrorRecord error; // of opening
};

static int compare_shards(const void *a, const void *b) {
    const IndexShard *const *left = a, *const *right = b;
    return strcmp((*left)->file, (*right)->file);
}

static int compare_name(const void *name, const void *entry) {
    const IndexShard *const *shard = entry;
    return strcmp(name, (*shard)->file);
}

static Status sort_names(ShareServer *server) {
    for (int f = 0; f < SHARE_FOLDERS_MOST; ++f) {
        const DatasetIndex *index = server->folder[f].index;
        if (server->folder[f].path == NULL) continue;
        const IndexShard **names = calloc((size_t)index->shards, sizeof *names);
        FAIL_IF(names == NULL, NO_MEMORY, "no memory to serve %d shards", index->shards);
        for (int i = 0; i < index->shards; ++i) names[i] = &index->shard[i];
        qsort(names, (size_t)index->shards, sizeof *names, compare_shards);
        server->by_name[f] = names;
    }
    return STATUS_OK;
}

static void close_file(OpenFile *file) {
    if (file->shard != NULL) close(file->fd);
    file->shard = NULL;
}

static Status open_file(ShareServer *server, int folder, const IndexShard *shard, OpenFile **out) {
    const ShareFolder *from = &server->folder[folder];
    OpenFile *file = &server->open[(size_t)(shard - from->index->shard) % FILES_OPEN];
    *out = file;
    if (file->shard == shard) return STATUS_OK;
    char path[PATH_BYTES];
    struct stat info = {0};
    close_file(file);
    TRY(path_format(path, "%s/%s", from->path, shard->file));
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    FAIL_IF(file->fd < 0, BAD_DATA, "%s: %s", path, strerror(errno));
    file->shard = shard;
    if (fstat(file->fd, &info) == 0 && (uint64_t)info.st_size == shard->file_info.bytes)
        return STATUS_OK;
    close_file(file);
    FAIL(BAD_DATA, "%s: has %lld bytes, but index.json says %llu", path, (long long)info.st_size,
         (unsigned long long)shard->file_info.bytes);
}

static Status find_shard(const ShareServer *server, const ShareRequest *request,
                         const IndexShard **out) {
    uint32_t f = request->folder;
    FAIL_IF(f >= SHARE_FOLDERS_MOST || server->folder[f].path == NULL, NOT_FOUND,
            "data set %u is not served here", (unsigned)f);
    FAIL_IF(memchr(request->file, '\0', sizeof request->file) == NULL, NOT_FOUND,
            "a name without end");
    const IndexShard **found =
        bsearch(request->file, server->by_name[f], (size_t)server->folder[f].index->shards,
                sizeof *found, compare_name);
    FAIL_IF(found == NULL, NOT_FOUND, "%s has no such shard", server->folder[f].path);
    uint64_t bytes = (*found)->file_info.bytes;
    FAIL_IF(request->bytes < 1 || request->bytes > SHARE_PIECE_BYTES || request->offset > bytes ||
                request->bytes > bytes - request->offset,
            BAD_DATA, "%s: bytes were asked for that it does not have", (*found)->file);
    *out = *found;
    return STATUS_OK;
}

static Status read_piece(ShareServer *server, const ShareRequest *request, const IndexShard *shard,
                         uint8_t *out) {
    OpenFile *file;
    TRY(open_file(server, (int)request->folder, shard, &file));
    for (size_t done = 0; done < request->bytes;) {
        ssize_t n =
            pread(file->fd, out + done, request->bytes - done, (off_t)(request->offset + done));
        if (n < 0 && errno == EINTR) continue;
        int error = errno;
        if (n <= 0) close_file(file);
        FAIL_IF(n <= 0, BAD_DATA, "%s/%s: %s", server->folder[request->folder].path, shard->file,
                n == 0 ? "ends early" : strerror(error));
        done += (size_t)n;
    }
    return STATUS_OK;
}

// ---- server: the door ---------------------------------------------------------------------------

// By a thread of ZeroMQ, once the bytes have left.
static void piece_left(void *data, void *flying) {
    free(data);
    atomic_fetch_sub((_Atomic size_t *)flying, (size_t)SHARE_PIECE_BYTES);
}

static void send_reply(ShareServer *server, zmq_msg_t *client, ShareReply *head, size_t bytes) {
    zmq_msg_t message;
    if (zmq_msg_init_data(&message, head, sizeof *head + bytes, piece_left, &server->flying) != 0) {
        free(head);
        return;
    }
    atomic_fetch_add(&server->flying, (size_t)SHARE_PIECE_BYTES);
    // What a client does not take in time is lost to it.
    bool sent = zmq_msg_send(client, server->door, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
                zmq_msg_send(&message, server->door, ZMQ_DONTWAIT) >= 0;
    if (!sent) zmq_msg_close(&message);
}

static void answer(ShareServer *server, zmq_msg_t *client, const ShareRequest *request) {
    const IndexShard *shard = NULL;
    Status status = find_shard(server, request, &shard);
    size_t bytes = status == STATUS_OK ? request->bytes : REASON_BYTES;
    ShareReply *head = calloc(1, sizeof *head + bytes);
    if (head == NULL) {
        error_clear();
        return; // the client asks again, or somebody else
    }
    if (status == STATUS_OK)
        status = read_piece(server, request, shard, (uint8_t *)head + sizeof *head);
    *head = (ShareReply){.magic = "DYER",
                         .status = (uint32_t)status,
                         .ticket = request->ticket,
                         .offset = request->offset};
    if (status != STATUS_OK) {
        char reason[REASON_BYTES];
        snprintf(reason, sizeof reason, "%.*s", REASON_BYTES - 1, error_get()->text);
        bytes = strlen(reason);
        ShareReply *shorter = realloc(head, sizeof *head + bytes + 1);
        if (shorter != NULL) head = shorter;
        memcpy((char *)head + sizeof *head, reason, bytes + 1);
        error_clear();
    }
    head->bytes = (uint32_t)bytes;
    send_reply(server, client, head, bytes);
}

static bool more_follows(void *socket) {
    int more = 0;
    size_t bytes = sizeof more;
    return zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &bytes) == 0 && more != 0;
}

// One message of the door; false: none is there.
static bool serve_one(ShareServer *server) {
    zmq_msg_t client;
    ShareRequest request;
    zmq_msg_init(&client);
    bool came = zmq_msg_recv(&client, server->door, ZMQ_DONTWAIT) >= 0;
    int bytes = came && more_follows(server->door)
                    ? zmq_recv(server->door, &request, sizeof request, ZMQ_DONTWAIT)
                    : -1;
    bool whole = bytes == (int)sizeof request && !more_follows(server->door) &&
                 memcmp(request.magic, "DYEQ", sizeof request.magic) == 0;
    while (came && more_follows(server->door))
        if (zmq_recv(server->door, NULL, 0, ZMQ_DONTWAIT) < 0) break;
    if (whole) answer(server, &client, &request);
    zmq_msg_close(&client);
    return came;
}

static Status open_door(ShareServer *server) {
    char endpoint[SHARE_ENDPOINT_BYTES];
    size_t bytes = sizeof endpoint;
    server->context = zmq_ctx_new();
    if (server->context == NULL || zmq_curve_keypair(server->public, server->secret) != 0)
        return share_failure("this ZeroMQ library cannot encrypt");
    server->door = zmq_socket(server->context, ZMQ_ROUTER);
    if (server->door == NULL) return share_failure("socket");
    bool ready =
        share_set_common(server->door, sizeof(ShareRequest) + 256) && // encryption adds to it
        share_set_number(server->door, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) &&
        share_set_number(server->door, ZMQ_HEARTBEAT_TIMEOUT, SILENCE_MS) &&
        share_set_number(server->door, ZMQ_CURVE_SERVER, 1) &&
        share_set_text(server->door, ZMQ_CURVE_SECRETKEY, server->secret);
    if (!ready) return share_failure("options");
    snprintf(endpoint, sizeof endpoint, "tcp://%s:%d", server->one_host ? "127.0.0.1" : "0.0.0.0",
             server->port);
    if (server->port == 0) snprintf(strrchr(endpoint, ':'), 3, ":*");
    if (zmq_bind(server->door, endpoint) != 0) {
        FAIL_IF(errno == EADDRINUSE, BUSY,
                "port %d, for data between ranks, is taken by another program; set control.port to"
                " another one, or to 0",
                server->port);
        return share_failure(endpoint);
    }
    if (zmq_getsockopt(server->door, ZMQ_LAST_ENDPOINT, endpoint, &bytes) != 0)
        return share_failure("port");
    server->port = atoi(strrchr(endpoint, ':') + 1);
    return STATUS_OK;
}

static void serve_all(ShareServer *server) {
    zmq_pollitem_t items[2] = {{NULL, server->wake, ZMQ_POLLIN, 0},
                               {server->door, 0, ZMQ_POLLIN, 0}};
    for (;;) {
        bool full = atomic_load(&server->flying) >= (size_t)FLIGHT_BYTES;
        items[0].revents = items[1].revents = 0;
        (void)zmq_poll(items, full ? 1 : 2, full ? 5 : -1);
        if (items[0].revents != 0) return;
        if (items[1].revents != 0) serve_one(server);
    }
}

// Opened here, so that the threads of ZeroMQ, which encrypt, inherit the low priority.
static void *serve(void *context) {
    ShareServer *server = context;
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICER); // of this thread
    Status status = open_door(server);
    server->error = error_take();
    server->error.status = status;
    sem_post(&server->opened);
    if (status == STATUS_OK) serve_all(server);
    if (server->door != NULL) zmq_close(server->door);
    if (server->context != NULL) zmq_ctx_term(server->context);
    return NULL;
}

Status share_server_open(const ShareFolder folder[SHARE_FOLDERS_MOST], bool one_host, int port,
                         WirePeer *me, ShareServer **out) {
    ShareServer *server = calloc(1, sizeof *server);
    FAIL_IF(server == NULL, NO_MEMORY, "no memory to serve data");
    memcpy(server->folder, folder, sizeof server->folder);
    server->one_host = one_host;
    server->port = port;
    server->wake = eventfd(0, EFD_CLOEXEC);
    sem_init(&server->opened, 0, 0);
    Status status = STATUS_OK;
    TRY_OR(fail, status, sort_names(server));
    server->has_thread =
        server->wake >= 0 && thread_start(&server->thread, "dye-share", NULL, serve, server) == 0;
    if (!server->has_thread) FAIL_OR(fail, status, NO_MEMORY, "no thread to serve data");
    while (sem_wait(&server->opened) != 0) {
    }
    if (server->error.status != STATUS_OK) TRY_OR(fail, status, error_restore(&server->error));
    *me = (WirePeer){.port = server->port, .pid = getpid()};
    addresses_list(me->address);
    memcpy(me->key, server->public, sizeof server->public);
    *out = server;
    return STATUS_OK;
fail:
    share_server_close(server);
    return status;
}

void share_server_close(ShareServer *server) {
    if (server == NULL) return;
    if (server->has_thread) {
        (void)eventfd_write(server->wake, 1);
        pthread_join(server->thread, NULL);
    }
    for (int i = 0; i < FILES_OPEN; ++i) close_file(&server->open[i]);
    for (int f = 0; f < SHARE_FOLDERS_MOST; ++f) free(server->by_name[f]);
    if (server->wake >= 0) close(server->wake);
    sem_destroy(&server->opened);
    free(server);
}
