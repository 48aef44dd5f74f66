// Letters between control threads, and strangers at the door: other keys, garbage, silence.
#include "launch/watch/wire.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <zmq.h>

#include "base/clock.h"
#include "tests/test.h"

enum { WORLD = 3 };
static Wire *wire[WORLD];
static WirePeer peer[WORLD];

static void open_job(Wire *out[WORLD], WirePeer peers[WORLD]) {
    const int centre[WIRE_CENTRES] = {0, 1};
    for (int i = 0; i < WORLD; ++i) EXPECT_OK(wire_open(true, 0, &peers[i], &out[i]));
    for (int i = 0; i < WORLD; ++i) EXPECT_OK(wire_connect(out[i], peers, i, centre));
}

static void close_job(Wire *all[WORLD]) {
    for (int i = 0; i < WORLD; ++i) wire_close(all[i]);
}

// The next letter, if one comes within the time.
static bool await(Wire *at, Letter *out, double seconds) {
    for (double end = clock_now() + seconds; clock_now() < end;) {
        if (wire_receive(at, out)) return true;
        wire_wait(at, 20);
    }
    return false;
}

// Letters may be lost until the connection stands: sends until one arrives.
static bool arrives(int from, int which, const char *text) {
    Letter letter = {.kind = LETTER_SEEN, .from = from}, got;
    snprintf(letter.text, sizeof letter.text, "%s", text);
    for (int tries = 0; tries < 100; ++tries) {
        wire_to_centre(wire[from], which, &letter);
        if (await(wire[which], &got, 0.05) && strcmp(got.text, text) == 0) return got.from == from;
    }
    return false;
}

static void test_letters(void) {
    Letter letter = {.kind = LETTER_ALIVE}, got;
    EXPECT(arrives(2, 0, "to rank 0"));
    EXPECT(arrives(2, 1, "to the deputy"));
    EXPECT(arrives(1, 0, "from the deputy"));
    wire_to_rank(wire[0], 2, &letter);
    EXPECT(await(wire[2], &got, 2));
    EXPECT_EQ(got.kind, LETTER_ALIVE);
    EXPECT(!await(wire[1], &got, 0.1)); // it was not for others
    wire_to_rank(wire[0], 77, &letter); // nobody: lost
}

static void test_port_taken(void) {
    WirePeer other;
    Wire *second;
    EXPECT_FAIL(wire_open(true, peer[0].port, &other, &second), BUSY, "set control.port");
}

// Whoever has keys of another job cannot get a letter in, nor one of ours who claims another rank.
static void test_other_keys(void) {
    Wire *strangers[WORLD];
    WirePeer theirs[WORLD], mixed[WORLD];
    Letter letter = {.kind = LETTER_END}, got;
    const int centre[WIRE_CENTRES] = {0, -1};
    for (int i = 0; i < WORLD; ++i) EXPECT_OK(wire_open(true, 0, &theirs[i], &strangers[i]));
    memcpy(mixed, theirs, sizeof mixed);
    mixed[0].port = peer[0].port; // our door, with a key that is not ours
    EXPECT_OK(wire_connect(strangers[2], mixed, 2, centre));
    for (int i = 0; i < 10; ++i) {
        wire_to_centre(strangers[2], 0, &letter);
        EXPECT(!await(wire[0], &got, 0.05));
    }
    close_job(strangers);

    Wire *liar;
    WirePeer ignored;
    EXPECT_OK(wire_open(true, 0, &ignored, &liar));
    EXPECT_OK(wire_connect(liar, peer, 5, centre));
    letter.from = 1;
    for (int i = 0; i < 10; ++i) {
        wire_to_centre(liar, 0, &letter);
        EXPECT(!await(wire[0], &got, 0.05));
    }
    wire_close(liar);
    EXPECT(arrives(2, 0, "after strangers"));
}

static int knock(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)peer[0].port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    EXPECT(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static void test_garbage(void) {
    // ZeroMQ's greeting without encryption; noise; a greeting that stays half.
    static const uint8_t greeting[64] = {0xff, 0,    0, 0, 0,   0,   0,   0,
                                         1,    0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    uint8_t noise[4096];
    int fds[60];
    Letter got;
    for (size_t i = 0; i < sizeof noise; ++i) noise[i] = (uint8_t)(i * 7919 >> 3);
    for (int i = 0; i < 60; ++i) {
        fds[i] = knock();
        if (i % 3 == 0) EXPECT(send(fds[i], noise, sizeof noise, MSG_NOSIGNAL) > 0);
        if (i % 3 == 1) EXPECT(send(fds[i], greeting, sizeof greeting, MSG_NOSIGNAL) > 0);
        if (i % 3 == 2) EXPECT(send(fds[i], greeting, 5, MSG_NOSIGNAL) > 0);
    }
    EXPECT(!await(wire[0], &got, 0.2));
    EXPECT(arrives(2, 0, "beside strangers"));
    // Half-open connections do not stay for ever.
    char byte;
    struct timeval limit = {5, 0};
    setsockopt(fds[2], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ssize_t n;
    while ((n = recv(fds[2], &byte, 1, 0)) > 0) {
    }
    EXPECT_EQ(n, 0);
    for (int i = 0; i < 60; ++i) close(fds[i]);
}

// One of the job's own keys, and messages that are no letters.
static void test_no_letters(void) {
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    char public[41], secret[41], endpoint[64];
    Letter got;
    int no_wait = 0;
    EXPECT(zmq_curve_keypair(public, secret) == 0);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, peer[0].key, 40);
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public, 40);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 40);
    zmq_setsockopt(socket, ZMQ_LINGER, &no_wait, sizeof no_wait);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", peer[0].port);
    EXPECT(zmq_connect(socket, endpoint) == 0);
    for (int i = 0; i < 10; ++i) {
        zmq_send(socket, "", 0, 0);
        zmq_send(socket, "short", 5, 0);
        zmq_send(socket, "many", 4, ZMQ_SNDMORE);
        zmq_send(socket, "parts", 5, ZMQ_SNDMORE);
        zmq_send(socket, "here", 4, 0);
        EXPECT(!await(wire[0], &got, 0.03));
    }
    zmq_close(socket);
    zmq_ctx_term(context);
    EXPECT(arrives(2, 0, "after nonsense"));
}

int main(void) {
    open_job(wire, peer);
    RUN(test_letters);
    RUN(test_port_taken);
    RUN(test_other_keys);
    RUN(test_garbage);
    RUN(test_no_letters);
    close_job(wire);
    return test_report();
}
