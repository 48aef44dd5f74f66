// The client of launch/share/wire_share.h.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/thread.h"
#include "launch/share/wire_share_impl.h"

enum {
    WINDOW = 2, // pieces on their way at a time
    ROUNDS = 3,
    TURNS = 256,
};
static const double failure_memory = 60; // seconds that a silent server is passed over, if possible

// A connection that no thread uses, or one does.
typedef struct Line {
    struct Line *next;
    void *socket; // DEALER
    int address;  // of the source
} Line;

typedef struct {
    ShareSource of;
    int address;   // in use
    double silent; // when it was last found so; 0: never
    Line *idle;
} Source;

struct ShareClient {
    pthread_mutex_t mutex;
    void *context;
    char public[SHARE_KEY_BYTES], secret[SHARE_KEY_BYTES];
    Source *source;
    int sources;
    bool one_host;
    double timeout;
    _Atomic bool stopped;
    _Atomic uint64_t ticket;
    _Atomic uint8_t turn[TURNS]; // by what is fetched: again may mean that the first was damaged
    ShareTotals totals;
};

// What is wanted, and from where.
typedef struct {
    ShareClient *client;
    int folder;
    const char *file;
    uint64_t offset;
    size_t bytes;
    uint8_t *out;
    double timeout;
} Want;

static void endpoint_of(const ShareClient *client, const Source *source, int address, char *out) {
    char ip[ADDRESS_TEXT_BYTES] = "127.0.0.1";
    if (!client->one_host) address_text(source->of.peer.address[address].ip, ip);
    snprintf(out, SHARE_ENDPOINT_BYTES, "tcp://%s:%d", ip, source->of.peer.port);
}

static void line_close(Line *line) {
    if (line == NULL) return;
    if (line->socket != NULL) zmq_close(line->socket);
    free(line);
}

static Status line_open(ShareClient *client, const Source *source, int address, Line **out) {
    char endpoint[SHARE_ENDPOINT_BYTES];
    Line *line = calloc(1, sizeof *line);
    FAIL_IF(line == NULL, NO_MEMORY, "no memory to fetch data");
    line->address = address;
    line->socket = zmq_socket(client->context, ZMQ_DEALER);
    endpoint_of(client, source, address, endpoint);
    bool ready = line->socket != NULL &&
                 share_set_common(line->socket, sizeof(ShareReply) + SHARE_PIECE_BYTES + 256) &&
                 share_set_text(line->socket, ZMQ_CURVE_SERVERKEY, source->of.peer.key) &&
                 share_set_text(line->socket, ZMQ_CURVE_PUBLICKEY, client->public) &&
                 share_set_text(line->socket, ZMQ_CURVE_SECRETKEY, client->secret) &&
                 zmq_connect(line->socket, endpoint) == 0;
    if (ready) {
        *out = line;
        return STATUS_OK;
    }
    Status status = share_failure(endpoint);
    line_close(line);
    return status;
}

static Status line_take(ShareClient *client, Source *source, Line **out) {
    pthread_mutex_lock(&client->mutex);
    int address = source->address;
    Line *line = source->idle;
    if (line != NULL) source->idle = line->next;
    pthread_mutex_unlock(&client->mutex);
    if (line != NULL && line->address == address) {
        *out = line;
        return STATUS_OK;
    }
    line_close(line);
    return line_open(client, source, address, out);
}

static void line_give(ShareClient *client, Source *source, Line *line) {
    pthread_mutex_lock(&client->mutex);
    line->next = source->idle;
    source->idle = line;
    source->silent = 0;
    pthread_mutex_unlock(&client->mutex);
}

// No word came by this address: the next time by another one.
static void source_fell_silent(ShareClient *client, Source *source, int address) {
    pthread_mutex_lock(&client->mutex);
    source->silent = clock_now();
    if (source->address == address && !client->one_host) {
        int next = address + 1;
        bool known = next < ADDRESSES_MOST && source->of.peer.address[next].ip != 0;
        source->address = known ? next : 0;
    }
    pthread_mutex_unlock(&client->mutex);
}

static size_t piece_bytes(const Want *want, size_t at) {
    size_t left = want->bytes - at;
    return left < SHARE_PIECE_BYTES ? left : SHARE_PIECE_BYTES;
}

static void ask(const Want *want, Line *line, uint64_t ticket, size_t at) {
    ShareRequest request = {.magic = "DYEQ",
                            .folder = (uint32_t)want->folder,
                            .ticket = ticket,
                            .offset = want->offset + at,
                            .bytes = (uint32_t)piece_bytes(want, at)};
    snprintf(request.file, sizeof request.file, "%s", want->file);
    (void)zmq_send(line->socket, &request, sizeof request, ZMQ_DONTWAIT); // lost: no answer either
}

// Waits for a message of the line. Errors: COMM, silence or stopped.
static Status await(const Want *want, Line *line) {
    double end = clock_now() + want->timeout;
    for (;;) {
        zmq_pollitem_t item = {line->socket, 0, ZMQ_POLLIN, 0};
        FAIL_IF(atomic_load(&want->client->stopped), COMM, "the run ends");
        if (zmq_poll(&item, 1, 100) > 0) return STATUS_OK;
        FAIL_IF(clock_now() > end, COMM, "no answer for %.3g s", want->timeout);
    }
}

static Status take_reply(const Want *want, uint64_t ticket, size_t at, zmq_msg_t *message) {
    ShareReply head;
    const char *data = zmq_msg_data(message);
    size_t bytes = zmq_msg_size(message), expected = piece_bytes(want, at);
    FAIL_IF(bytes < sizeof head, COMM, "an answer of %zu bytes", bytes);
    memcpy(&head, data, sizeof head);
    data += sizeof head;
    bool ours = memcmp(head.magic, "DYER", sizeof head.magic) == 0 && head.ticket == ticket &&
                head.offset == want->offset + at && head.bytes == bytes - sizeof head;
    FAIL_IF(!ours, COMM, "an answer to something else");
    FAIL_IF(head.status != STATUS_OK, BAD_DATA, "%.*s", (int)head.bytes, data);
    FAIL_IF(head.bytes != expected, COMM, "%u bytes instead of %zu", (unsigned)head.bytes,
            expected);
    memcpy(want->out + at, data, expected);
    return STATUS_OK;
}

static Status fetch_by(const Want *want, Line *line) {
    uint64_t ticket = atomic_fetch_add(&want->client->ticket, 1);
    size_t asked = 0;
    for (size_t got = 0; got < want->bytes; got += piece_bytes(want, got)) {
        while (asked < want->bytes && asked - got < (size_t)WINDOW * SHARE_PIECE_BYTES) {
            ask(want, line, ticket, asked);
            asked += piece_bytes(want, asked);
        }
        TRY(await(want, line));
        zmq_msg_t message;
        zmq_msg_init(&message);
        bool came = zmq_msg_recv(&message, line->socket, ZMQ_DONTWAIT) >= 0;
        Status status =
            came ? take_reply(want, ticket, got, &message) : share_failure("an answer was lost");
        zmq_msg_close(&message);
        TRY(status);
    }
    return STATUS_OK;
}

static Status fetch_from(const Want *want, Source *source, int *address) {
    Line *line = NULL;
    TRY(line_take(want->client, source, &line));
    *address = line->address;
    Status status = fetch_by(want, line);
    if (status == STATUS_OK)
        line_give(want->client, source, line);
    else
        line_close(line); // later answers on it would be to something else
    return status;
}

typedef struct {
    char text[ERROR_TEXT_BYTES - 256];
    size_t used;
    int silent, count;
} Complaints;

static void complain(Complaints *all, const ShareClient *client, const Source *source, int address,
                     Status status) {
    char endpoint[SHARE_ENDPOINT_BYTES];
    endpoint_of(client, source, address, endpoint);
    all->silent += status == STATUS_COMM;
    ++all->count;
    if (all->used >= sizeof all->text) return;
    all->used += (size_t)snprintf(all->text + all->used, sizeof all->text - all->used,
                                  "%srank %d on %s (%s): %s", all->count > 1 ? "; " : "",
                                  source->of.rank, source->of.host, endpoint, error_get()->text);
}

static bool is_passed_over(ShareClient *client, const Source *source) {
    pthread_mutex_lock(&client->mutex);
    double silent = source->silent;
    pthread_mutex_unlock(&client->mutex);
    return silent != 0 && clock_now() - silent < failure_memory;
}

// Every server of the data set once. True: it is here. `complaints` are those of this round.
static bool go_round(const Want *want, int round, Complaints *complaints) {
    ShareClient *client = want->client;
    uint64_t key = want->offset;
    for (const char *c = want->file; *c != '\0'; ++c) key = key * 31 + (uint8_t)*c;
    key = (key ^ key >> 29) * UINT64_C(0x9E3779B97F4A7C15) >> 32;
    key += atomic_fetch_add(&client->turn[key % TURNS], 1);
    *complaints = (Complaints){0};
    for (int i = 0; i < client->sources; ++i) {
        Source *source = &client->source[(key + (unsigned)i) % (unsigned)client->sources];
        int address = 0;
        bool serves = (source->of.folders >> want->folder & 1) != 0;
        if (!serves || (round == 0 && is_passed_over(client, source))) continue;
        Status status = fetch_from(want, source, &address);
        if (status == STATUS_OK) return true;
        if (atomic_load(&client->stopped)) return false;
        complain(complaints, client, source, address, status);
        if (status == STATUS_COMM) source_fell_silent(client, source, address);
    }
    return false;
}

Status share_client_fetch(ShareClient *client, int folder, const char *name, const char *file,
                          uint64_t offset, size_t bytes, void *out) {
    Want want = {client, folder, file, offset, bytes, out, client->timeout};
    Complaints complaints = {0};
    for (int round = 0; round < ROUNDS; ++round, want.timeout *= 2) {
        if (go_round(&want, round, &complaints)) {
            error_clear();
            pthread_mutex_lock(&client->mutex);
            ++client->totals.blocks;
            client->totals.bytes += bytes;
            pthread_mutex_unlock(&client->mutex);
            return STATUS_OK;
        }
        FAIL_IF(atomic_load(&client->stopped), COMM, "%s/%s: not fetched, the run ends", name,
                file);
    }
    FAIL_IF(complaints.count == 0, COMM, "%s/%s: no rank serves it", name, file);
    FAIL_IF(complaints.silent == 0, BAD_DATA, "%s/%s: not on this host, and not to be had: %s",
            name, file, complaints.text);
    FAIL(COMM, "%s/%s: not on this host, and not to be had: %s", name, file, complaints.text);
}

Status share_client_open(const ShareSource *sources, int count, bool one_host, double timeout,
                         ShareClient **out) {
    Address ours[ADDRESSES_MOST];
    ShareClient *client = calloc(1, sizeof *client);
    FAIL_IF(client == NULL, NO_MEMORY, "no memory to fetch data");
    pthread_mutex_init(&client->mutex, NULL);
    client->one_host = one_host;
    client->timeout = timeout;
    client->sources = count;
    client->source = calloc((size_t)count, sizeof *client->source);
    client->context = zmq_ctx_new();
    bool keyed = client->context != NULL && zmq_curve_keypair(client->public, client->secret) == 0;
    if (client->source == NULL || !keyed) {
        Status status = share_failure("this ZeroMQ library cannot encrypt, or there is no memory");
        share_client_close(client);
        return status;
    }
    addresses_list(ours);
    for (int i = 0; i < count; ++i) {
        client->source[i].of = sources[i];
        addresses_prefer(ours, client->source[i].of.peer.address);
    }
    *out = client;
    return STATUS_OK;
}

void share_client_close(ShareClient *client) {
    if (client == NULL) return;
    for (int i = 0; client->source != NULL && i < client->sources; ++i)
        for (Line *line = client->source[i].idle, *next; line != NULL; line = next) {
            next = line->next;
            line_close(line);
        }
    if (client->context != NULL) zmq_ctx_term(client->context);
    pthread_mutex_destroy(&client->mutex);
    free(client->source);
    free(client);
}

void share_client_stop(ShareClient *client) {
    if (client != NULL) atomic_store(&client->stopped, true);
}

ShareTotals share_client_totals(ShareClient *client) {
    if (client == NULL) return (ShareTotals){0};
    pthread_mutex_lock(&client->mutex);
    ShareTotals totals = client->totals;
    pthread_mutex_unlock(&client->mutex);
    return totals;
}
