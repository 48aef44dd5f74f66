// Shards between ranks: the right bytes, whoever asks for what; servers that lie, fail, and die.
#include "launch/share/wire_share.h"

#include <fcntl.h>
#include <pthread.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/codec.h"
#include "launch/share/share.h"
#include "tests/test.h"

enum { BYTES = 5 * SHARE_PIECE_BYTES / 2 + 77, SMALL = 100 };
static const char big[] = "train-image-00000.zst", small[] = "train-label-00000.zst";
static char folder[512];
static uint8_t content[BYTES];
static IndexShard shard[2];
static DatasetIndex set = {.shard = shard, .shards = 2};

static void write_file(const char *name, const void *data, size_t bytes) {
    char path[PATH_BYTES];
    EXPECT_OK(path_format(path, "%s/%s", folder, name));
    EXPECT_OK(file_write_atomic(path, data, bytes));
}

static void make_files(void) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < BYTES; ++i) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        content[i] = (uint8_t)x;
    }
    snprintf(folder, sizeof folder, "%s", test_folder("share"));
    strcpy(shard[0].file, big);
    strcpy(shard[1].file, small);
    shard[0].file_info.bytes = BYTES;
    shard[1].file_info.bytes = SMALL;
    write_file(big, content, BYTES);
    write_file(small, content, SMALL);
    write_file("secret", content, SMALL); // beside the shards, but no shard
}

static ShareServer *serve(int rank, ShareSource *source) {
    ShareServer *server = NULL;
    ShareFolder served[SHARE_FOLDERS_MOST] = {[1] = {folder, &set}};
    *source = (ShareSource){.rank = rank, .host = "here", .folders = 2};
    EXPECT_OK(share_server_open(served, true, 0, &source->peer, &server));
    return server;
}

static Status fetch(ShareClient *client, const char *file, uint64_t offset, size_t bytes,
                    uint8_t *out) {
    return share_client_fetch(client, 1, "set", file, offset, bytes, out);
}

static void expect_bytes(ShareClient *client, const char *file, uint64_t offset, size_t bytes) {
    static _Thread_local uint8_t out[BYTES + 1];
    memset(out, 0xA5, sizeof out);
    EXPECT_OK(fetch(client, file, offset, bytes, out));
    EXPECT(memcmp(out, content + offset, bytes) == 0);
    EXPECT_EQ(out[bytes], 0xA5); // not one more
}

static void test_bytes(void) {
    ShareSource source;
    ShareServer *server = serve(3, &source);
    ShareClient *client;
    uint8_t out[8];
    EXPECT_OK(share_client_open(&source, 1, true, 2, &client));
    expect_bytes(client, big, 0, BYTES);
    expect_bytes(client, big, 1234567, 1);
    expect_bytes(client, big, BYTES - 5, 5);
    expect_bytes(client, big, 1, SHARE_PIECE_BYTES);
    expect_bytes(client, big, 1, SHARE_PIECE_BYTES + 1);
    expect_bytes(client, small, 0, SMALL);
    ShareTotals totals = share_client_totals(client);
    EXPECT_EQ(totals.blocks, 6);
    EXPECT_EQ(totals.bytes, BYTES + 1 + 5 + 2 * SHARE_PIECE_BYTES + 1 + SMALL);
    EXPECT_FAIL(fetch(client, "secret", 0, 5, out), BAD_DATA, "has no such shard");
    EXPECT_FAIL(
        fetch(client, "../secret", 0, 5, out), BAD_DATA,
        "set/../secret: not on this host, and not to be had: rank 3 on here (tcp://127.0.0.1:");
    EXPECT_FAIL(fetch(client, small, SMALL, 1, out), BAD_DATA, "that it does not have");
    EXPECT_FAIL(fetch(client, small, SMALL - 1, 2, out), BAD_DATA, "that it does not have");
    EXPECT_FAIL(fetch(client, small, UINT64_MAX, 2, out), BAD_DATA, "that it does not have");
    EXPECT_FAIL(share_client_fetch(client, 0, "other", small, 0, 1, out), COMM,
                "no rank serves it");
    share_client_close(client);
    source.folders = 1; // a lie
    EXPECT_OK(share_client_open(&source, 1, true, 2, &client));
    EXPECT_FAIL(share_client_fetch(client, 0, "other", small, 0, 1, out), BAD_DATA,
                "data set 0 is not served here");
    share_client_close(client);
    share_server_close(server);
}

// ---- many threads, and the end ------------------------------------------------------------------

typedef struct {
    ShareClient *client;
    unsigned seed;
    int good;
} Reader;

static void *read_some(void *context) {
    Reader *reader = context;
    uint8_t *out = malloc(BYTES);
    for (int i = 0; i < 20; ++i) {
        size_t bytes = (size_t)rand_r(&reader->seed) % (BYTES / 2) + 1;
        size_t offset = (size_t)rand_r(&reader->seed) % (BYTES - bytes);
        Status status = fetch(reader->client, big, offset, bytes, out);
        reader->good += status == STATUS_OK && memcmp(out, content + offset, bytes) == 0;
    }
    free(out);
    return NULL;
}

static void test_threads(void) {
    enum { THREADS = 4 };
    ShareSource source[2];
    ShareServer *server[2] = {serve(0, &source[0]), serve(1, &source[1])};
    ShareClient *client;
    pthread_t thread[THREADS];
    Reader reader[THREADS];
    EXPECT_OK(share_client_open(source, 2, true, 5, &client));
    for (int i = 0; i < THREADS; ++i) {
        reader[i] = (Reader){client, (unsigned)i + 1, 0};
        EXPECT(pthread_create(&thread[i], NULL, read_some, &reader[i]) == 0);
    }
    for (int i = 0; i < THREADS; ++i) pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; ++i) EXPECT_EQ(reader[i].good, 20);
    EXPECT_EQ(share_client_totals(client).blocks, 20 * THREADS);
    share_client_close(client);
    for (int i = 0; i < 2; ++i) share_server_close(server[i]);
}

static void *stop_soon(void *client) {
    usleep(200000);
    share_client_stop(client);
    return NULL;
}

static void test_stop(void) {
    ShareSource source;
    ShareClient *client;
    pthread_t thread;
    uint8_t out[SMALL];
    share_server_close(serve(0, &source)); // gone: nobody will answer
    EXPECT_OK(share_client_open(&source, 1, true, 60, &client));
    EXPECT(pthread_create(&thread, NULL, stop_soon, client) == 0);
    double began = clock_now();
    EXPECT_FAIL(fetch(client, small, 0, SMALL, out), COMM, "the run ends");
    EXPECT(clock_now() - began < 2);
    EXPECT_FAIL(fetch(client, small, 0, SMALL, out), COMM, "the run ends");
    pthread_join(thread, NULL);
    share_client_close(client);
}

// ---- servers that fail --------------------------------------------------------------------------

static void test_dead_server(void) {
    ShareSource source[2];
    ShareServer *server[2] = {serve(4, &source[0]), serve(7, &source[1])};
    ShareClient *client;
    uint8_t out[SMALL];
    EXPECT_OK(share_client_open(source, 2, true, 0.1, &client));
    for (uint64_t at = 0; at < 8; ++at) expect_bytes(client, big, at * 1000, 999);
    share_server_close(server[0]);
    for (uint64_t at = 0; at < 8; ++at) expect_bytes(client, big, at * 1000, 999); // by the other
    share_server_close(server[1]);
    EXPECT_FAIL(fetch(client, small, 0, SMALL, out), COMM, "rank 7 on here (tcp://127.0.0.1:");
    EXPECT(strstr(error_get()->text, "set/train-label-00000.zst: not on this host") != NULL);
    EXPECT(strstr(error_get()->text, "rank 4 on here") != NULL);
    EXPECT(strstr(error_get()->text, "no answer for 0.4 s") != NULL);
    share_client_close(client);
}

// The first address of a host leads nowhere: the second one is found, and kept.
static void test_addresses(void) {
    static const uint32_t nowhere = UINT32_C(0xC0000201), loopback = UINT32_C(0x7F000001);
    ShareFolder served[SHARE_FOLDERS_MOST] = {[1] = {folder, &set}};
    ShareSource source = {.folders = 2};
    ShareServer *server = NULL;
    ShareClient *client;
    EXPECT_OK(share_server_open(served, false, 0, &source.peer, &server));
    memset(source.peer.address, 0, sizeof source.peer.address);
    source.peer.address[0] = (Address){nowhere, UINT32_MAX};
    source.peer.address[1] = (Address){loopback, UINT32_MAX};
    EXPECT_OK(share_client_open(&source, 1, false, 0.3, &client));
    double began = clock_now();
    expect_bytes(client, small, 0, SMALL);
    double first = clock_now() - began;
    EXPECT(first >= 0.3);
    began = clock_now();
    expect_bytes(client, small, 0, SMALL);
    EXPECT(clock_now() - began < 0.3);
    share_client_close(client);
    share_server_close(server);
}

// A server whose file is damaged without knowing it: whoever asks again gets the other one's bytes.
static void test_other_bytes(void) {
    char bad[512], path[PATH_BYTES];
    uint8_t wrong[SMALL] = {0}, out[SMALL];
    ShareSource source[2];
    ShareServer *server[2] = {serve(0, &source[0]), NULL};
    ShareClient *client;
    int good = 0;
    snprintf(bad, sizeof bad, "%s", test_folder("share"));
    EXPECT_OK(path_format(path, "%s/%s", bad, small));
    EXPECT_OK(file_write_atomic(path, wrong, SMALL));
    ShareFolder served[SHARE_FOLDERS_MOST] = {[1] = {bad, &set}};
    source[1] = (ShareSource){.rank = 1, .folders = 2};
    EXPECT_OK(share_server_open(served, true, 0, &source[1].peer, &server[1]));
    EXPECT_OK(share_client_open(source, 2, true, 2, &client));
    for (int i = 0; i < 6; ++i) {
        EXPECT_OK(fetch(client, small, 3, 90, out));
        good += memcmp(out, content + 3, 90) == 0;
    }
    EXPECT_EQ(good, 3);
    share_client_close(client);
    for (int i = 0; i < 2; ++i) share_server_close(server[i]);
    (void)folder_remove(bad);
}

static void test_damaged_file(void) {
    ShareSource source;
    ShareServer *server = serve(0, &source);
    ShareClient *client;
    uint8_t out[SMALL];
    char path[PATH_BYTES];
    EXPECT_OK(share_client_open(&source, 1, true, 2, &client));
    write_file(small, content, SMALL - 1);
    EXPECT_FAIL(fetch(client, small, 0, 10, out), BAD_DATA,
                "has 99 bytes, but index.json says 100");
    EXPECT_OK(path_format(path, "%s/%s", folder, small));
    unlink(path);
    EXPECT_FAIL(fetch(client, small, 0, 10, out), BAD_DATA, "No such file");
    write_file(small, content, SMALL);
    expect_bytes(client, small, 0, 10); // mended
    EXPECT(truncate(path, 50) == 0);    // while it is open
    EXPECT_FAIL(fetch(client, small, 60, 10, out), BAD_DATA, "has 50 bytes");
    write_file(small, content, SMALL);
    expect_bytes(client, small, 60, 10);
    share_client_close(client);
    share_server_close(server);
}

// ---- strangers ----------------------------------------------------------------------------------

static void *connect_to(void *context, const WirePeer *peer, const char *key) {
    char public[41], secret[41], endpoint[64];
    int none = 0;
    void *socket = zmq_socket(context, ZMQ_DEALER);
    EXPECT(zmq_curve_keypair(public, secret) == 0);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, key, 40);
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public, 40);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 40);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", peer->port);
    EXPECT(zmq_connect(socket, endpoint) == 0);
    return socket;
}

static bool answers(void *socket, int milliseconds) {
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
    return zmq_poll(&item, 1, milliseconds) > 0;
}

// Of the job, by their key, but nonsense; then of no job, with a good request.
static void test_strangers(void) {
    struct {
        char magic[4];
        uint32_t folder;
        uint64_t ticket, offset;
        uint32_t bytes, reserved;
        char file[INDEX_FILE_BYTES];
    } request = {"DYEQ", 1, 5, 0, SMALL, 0, "train-label-00000.zst"};
    uint8_t noise[sizeof request], reply[512];
    ShareSource source;
    ShareServer *server = serve(0, &source);
    ShareClient *client;
    char public[41], secret[41];
    void *context = zmq_ctx_new(), *socket = connect_to(context, &source.peer, source.peer.key);
    for (size_t i = 0; i < sizeof noise; ++i) noise[i] = (uint8_t)(i * 7919 >> 3);
    for (int i = 0; i < 20; ++i) {
        zmq_send(socket, "", 0, 0);
        zmq_send(socket, noise, sizeof noise, 0);
        zmq_send(socket, &request, sizeof request - 1, 0);
        zmq_send(socket, &request, sizeof request, ZMQ_SNDMORE);
        zmq_send(socket, "more", 4, 0);
    }
    EXPECT(!answers(socket, 200));
    // Names without end, too much, nothing: an answer each, but no bytes.
    for (int i = 0; i < 4; ++i) {
        memset(request.file, 'x', i == 0 ? sizeof request.file : 0);
        request.bytes = i == 1 ? 0 : i == 2 ? SHARE_PIECE_BYTES + 1 : SMALL;
        request.folder = i == 3 ? UINT32_MAX : 1;
        zmq_send(socket, &request, sizeof request, 0);
        EXPECT(answers(socket, 2000));
        EXPECT(zmq_recv(socket, reply, sizeof reply, ZMQ_DONTWAIT) < 300);
        uint32_t status;
        memcpy(&status, reply + 4, sizeof status);
        EXPECT(status != STATUS_OK);
        strcpy(request.file, small);
    }
    request.folder = 1;
    request.bytes = SMALL;
    zmq_send(socket, &request, sizeof request, 0);
    EXPECT(answers(socket, 2000)); // that one was good
    EXPECT_EQ(zmq_recv(socket, reply, sizeof reply, ZMQ_DONTWAIT), 32 + SMALL);
    EXPECT(memcmp(reply + 32, content, SMALL) == 0);
    zmq_close(socket);
    EXPECT(zmq_curve_keypair(public, secret) == 0);
    socket = connect_to(context, &source.peer, public); // not the server's key
    zmq_send(socket, &request, sizeof request, 0);
    EXPECT(!answers(socket, 200));
    zmq_close(socket);
    zmq_ctx_term(context);
    EXPECT_OK(share_client_open(&source, 1, true, 2, &client));
    expect_bytes(client, big, 0, BYTES);
    share_client_close(client);
    share_server_close(server);
}

static void test_port_taken(void) {
    ShareSource source;
    ShareServer *server = serve(0, &source), *second;
    ShareFolder served[SHARE_FOLDERS_MOST] = {{folder, &set}};
    WirePeer peer;
    EXPECT_FAIL(share_server_open(served, true, source.peer.port, &peer, &second), BUSY,
                "set control.port");
    share_server_close(server);
}

// ---- paths --------------------------------------------------------------------------------------

static void test_paths(void) {
    char path[SHARE_FOLDERS_MOST][SHARE_PATH_BYTES];
    int count;
    EXPECT_OK(share_split_paths("one", path, &count));
    EXPECT_EQ(count, 1);
    EXPECT_TEXT(path[0], "one");
    EXPECT_OK(share_split_paths(" a/b, c d ,e", path, &count));
    EXPECT_EQ(count, 3);
    EXPECT_TEXT(path[0], "a/b");
    EXPECT_TEXT(path[1], "c d");
    EXPECT_TEXT(path[2], "e");
    EXPECT_FAIL(share_split_paths(" ", path, &count), BAD_CONFIG, "names no folder");
    char most[2 * SHARE_FOLDERS_MOST + 2] = "";
    for (int i = 0; i < SHARE_FOLDERS_MOST; ++i) strcat(most, i == 0 ? "x" : ",x");
    EXPECT_OK(share_split_paths(most, path, &count));
    EXPECT_EQ(count, SHARE_FOLDERS_MOST);
    strcat(most, ",x");
    EXPECT_FAIL(share_split_paths(most, path, &count), BAD_CONFIG, "names more than");
}

// One rank that has everything needs nothing and opens nothing; one without data is told as ever.
static void test_survey_alone(void) {
    Comm *comm;
    Share *share;
    DatasetIndex index;
    uint64_t check;
    char text[200];
    static RunSettings settings = {.data = {.share = true, .cache_dir = "elsewhere"}};
    snprintf(settings.data.path, sizeof settings.data.path, "%.400s/nothing", folder);
    EXPECT_OK(comm_open("local", &comm));
    EXPECT_OK(share_survey(comm, &settings, &share));
    EXPECT_OK(share_start(share));
    EXPECT(share_fetch(share) == NULL);
    EXPECT(!share_is_needed(share, 0, &check));
    EXPECT_FAIL(share_load(share, 0, &index), NOT_FOUND, "make one with `dye pack`");
    share_describe(share, text, sizeof text);
    EXPECT_TEXT(text, "");
    share_close(share);
    comm_close(comm);
}

int main(void) {
    make_files();
    RUN(test_bytes);
    RUN(test_threads);
    RUN(test_stop);
    RUN(test_dead_server);
    RUN(test_addresses);
    RUN(test_other_bytes);
    RUN(test_damaged_file);
    RUN(test_strangers);
    RUN(test_port_taken);
    RUN(test_paths);
    RUN(test_survey_alone);
    (void)folder_remove(folder);
    return test_report();
}
