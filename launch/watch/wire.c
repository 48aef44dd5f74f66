// ZeroMQ behind launch/watch/wire.h.
#include "launch/watch/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

enum {
    KEY_BYTES = 41,      // Z85 text of a key, with its NUL
    LETTERS_QUEUED = 16, // an old report is worth nothing
    HANDSHAKE_MS = 2000, // a stranger's half-open connection is closed after it
    LINGER_MS = 200,
    ENDPOINT_BYTES = 64
};

typedef struct {
    void *socket; // NULL: this rank is the centre, or there is none
    WirePeer peer;
    int address; // in use
    char endpoint[ENDPOINT_BYTES];
} Centre;

struct Wire {
    void *context, *door; // ROUTER
    char public[KEY_BYTES], secret[KEY_BYTES];
    bool one_host;
    Centre centre[WIRE_CENTRES];
};

static Status failure(const char *what) {
    FAIL(COMM, "control connection: %s: %s", what, zmq_strerror(zmq_errno()));
}

static bool set_number(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static bool set_text(void *socket, int option, const char *text) {
    return zmq_setsockopt(socket, option, text, strlen(text)) == 0;
}

static bool set_common(void *socket) {
    const int64_t most = sizeof(Letter) + 256; // encryption adds to it
    return set_number(socket, ZMQ_SNDHWM, LETTERS_QUEUED) &&
           set_number(socket, ZMQ_LINGER, LINGER_MS) &&
           set_number(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) &&
           set_number(socket, ZMQ_RECONNECT_IVL, 200) &&
           set_number(socket, ZMQ_RECONNECT_IVL_MAX, 2000) &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most) == 0;
}

// ---- opening ------------------------------------------------------------------------------------

static Status open_door(Wire *wire, int port, int *chosen) {
    char endpoint[ENDPOINT_BYTES];
    wire->door = zmq_socket(wire->context, ZMQ_ROUTER);
    if (wire->door == NULL) return failure("socket");
    bool ready = set_common(wire->door) && set_number(wire->door, ZMQ_CURVE_SERVER, 1) &&
                 set_text(wire->door, ZMQ_CURVE_SECRETKEY, wire->secret) &&
                 set_number(wire->door, ZMQ_ROUTER_HANDOVER, 1);
    if (!ready) return failure("options");
    snprintf(endpoint, sizeof endpoint, "tcp://%s:%d", wire->one_host ? "127.0.0.1" : "0.0.0.0",
             port);
    if (port == 0) snprintf(strrchr(endpoint, ':'), 3, ":*");
    if (zmq_bind(wire->door, endpoint) != 0) {
        FAIL_IF(errno == EADDRINUSE, BUSY,
                "port %d is taken by another program; set control.port to another one, or to 0",
                port);
        return failure(endpoint);
    }
    size_t bytes = sizeof endpoint;
    if (zmq_getsockopt(wire->door, ZMQ_LAST_ENDPOINT, endpoint, &bytes) != 0)
        return failure("port");
    *chosen = atoi(strrchr(endpoint, ':') + 1);
    return STATUS_OK;
}

Status wire_open(bool one_host, int port, WirePeer *me, Wire **out) {
    Wire *wire = calloc(1, sizeof *wire);
    FAIL_IF(wire == NULL, NO_MEMORY, "no memory for control connections");
    *me = (WirePeer){.pid = getpid()};
    addresses_list(me->address);
    wire->one_host = one_host;
    Status status = STATUS_OK;
    wire->context = zmq_ctx_new();
    if (wire->context == NULL || zmq_curve_keypair(wire->public, wire->secret) != 0)
        status = failure("this ZeroMQ library cannot encrypt");
    int chosen = 0;
    if (status == STATUS_OK) status = open_door(wire, port, &chosen);
    if (status != STATUS_OK) {
        wire_close(wire);
        return status;
    }
    me->port = chosen;
    memcpy(me->key, wire->public, sizeof wire->public);
    *out = wire;
    return STATUS_OK;
}

static void connect_centre(Wire *wire, Centre *centre) {
    char ip[ADDRESS_TEXT_BYTES] = "127.0.0.1";
    if (!wire->one_host) address_text(centre->peer.address[centre->address].ip, ip);
    snprintf(centre->endpoint, sizeof centre->endpoint, "tcp://%s:%d", ip, centre->peer.port);
    // Fails only for a text that is no endpoint; being heard is what counts.
    (void)zmq_connect(centre->socket, centre->endpoint);
}

// The ROUTER's name for a rank.
static void name_rank(int rank, uint8_t out[5]) {
    out[0] = 'r';
    memcpy(out + 1, &rank, sizeof rank);
}

static Status open_centre(Wire *wire, Centre *centre, const WirePeer *peer, int rank) {
    uint8_t name[5];
    Address ours[ADDRESSES_MOST];
    centre->peer = *peer;
    addresses_list(ours);
    addresses_prefer(ours, centre->peer.address);
    centre->socket = zmq_socket(wire->context, ZMQ_DEALER);
    if (centre->socket == NULL) return failure("socket");
    name_rank(rank, name);
    bool ready = set_common(centre->socket) && set_number(centre->socket, ZMQ_IMMEDIATE, 1) &&
                 zmq_setsockopt(centre->socket, ZMQ_ROUTING_ID, name, sizeof name) == 0 &&
                 set_text(centre->socket, ZMQ_CURVE_SERVERKEY, centre->peer.key) &&
                 set_text(centre->socket, ZMQ_CURVE_PUBLICKEY, wire->public) &&
                 set_text(centre->socket, ZMQ_CURVE_SECRETKEY, wire->secret);
    if (!ready) return failure("options");
    connect_centre(wire, centre);
    return STATUS_OK;
}

Status wire_connect(Wire *wire, const WirePeer *peers, int rank, const int centre[WIRE_CENTRES]) {
    for (int i = 0; i < WIRE_CENTRES; ++i)
        if (centre[i] >= 0 && centre[i] != rank)
            TRY(open_centre(wire, &wire->centre[i], &peers[centre[i]], rank));
    return STATUS_OK;
}

void wire_close(Wire *wire) {
    if (wire == NULL) return;
    for (int i = 0; i < WIRE_CENTRES; ++i)
        if (wire->centre[i].socket != NULL) zmq_close(wire->centre[i].socket);
    if (wire->door != NULL) zmq_close(wire->door);
    if (wire->context != NULL) zmq_ctx_term(wire->context);
    free(wire);
}

const char *wire_turn(Wire *wire, int which) {
    Centre *centre = &wire->centre[which];
    if (centre->socket == NULL || wire->one_host) return centre->endpoint;
    (void)zmq_disconnect(centre->socket, centre->endpoint);
    ++centre->address;
    if (centre->address == ADDRESSES_MOST || centre->peer.address[centre->address].ip == 0)
        centre->address = 0;
    connect_centre(wire, centre);
    return centre->endpoint;
}

const char *wire_version(void) {
    static char text[32];
    int major, minor, patch;
    zmq_version(&major, &minor, &patch);
    snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
    return text;
}

// ---- letters ------------------------------------------------------------------------------------

void wire_wait(Wire *wire, int milliseconds) {
    zmq_pollitem_t items[1 + WIRE_CENTRES] = {{wire->door, 0, ZMQ_POLLIN, 0}};
    int count = 1;
    for (int i = 0; i < WIRE_CENTRES; ++i)
        if (wire->centre[i].socket != NULL)
            items[count++] = (zmq_pollitem_t){wire->centre[i].socket, 0, ZMQ_POLLIN, 0};
    (void)zmq_poll(items, count, milliseconds);
}

static bool more_follows(void *socket) {
    int more = 0;
    size_t bytes = sizeof more;
    return zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &bytes) == 0 && more != 0;
}

// Reads a whole message; true if it was one letter.
static bool receive_letter(void *socket, Letter *out) {
    int bytes = zmq_recv(socket, out, sizeof *out, ZMQ_DONTWAIT);
    bool whole = bytes == (int)sizeof *out && !more_follows(socket);
    while (bytes >= 0 && more_follows(socket)) bytes = zmq_recv(socket, NULL, 0, ZMQ_DONTWAIT);
    out->text[LETTER_TEXT_BYTES - 1] = '\0';
    return whole;
}

bool wire_receive(Wire *wire, Letter *out) {
    uint8_t name[5];
    int bytes;
    while ((bytes = zmq_recv(wire->door, name, sizeof name, ZMQ_DONTWAIT)) >= 0) {
        if (!more_follows(wire->door) || !receive_letter(wire->door, out)) continue;
        int rank;
        memcpy(&rank, name + 1, sizeof rank);
        if (bytes == sizeof name && name[0] == 'r' && rank == out->from) return true;
    }
    for (int i = 0; i < WIRE_CENTRES; ++i)
        if (wire->centre[i].socket != NULL && receive_letter(wire->centre[i].socket, out))
            return true;
    return false;
}

void wire_to_rank(Wire *wire, int rank, const Letter *letter) {
    uint8_t name[5];
    name_rank(rank, name);
    if (zmq_send(wire->door, name, sizeof name, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        (void)zmq_send(wire->door, letter, sizeof *letter, ZMQ_DONTWAIT);
}

void wire_to_centre(Wire *wire, int which, const Letter *letter) {
    if (wire->centre[which].socket != NULL)
        (void)zmq_send(wire->centre[which].socket, letter, sizeof *letter, ZMQ_DONTWAIT);
}
