// The comm between GPUs, on emulated ones and an emulated NCCL: what is chosen, what travels, and
// what is said when something is wrong.
#include "base/clock.h"
#include "comm/comm.h"
#include "model/backend.h"
#include "tests/test.h"

static Comm *comm;
static int rank, world, last;

static Device *open_gpu(int gpu) {
    Device *device = NULL;
    DeviceConfig config = {.backend = "cuda", .streams = 1, .gpu = gpu};
    EXPECT_OK(device_open(&config, &device));
    return device;
}

// Ranks of other tests end at other times; none may be in the midst of a message then.
static void meet(void) {
    int speaker;
    EXPECT_OK(comm_agree(comm, STATUS_OK, &speaker));
}

static void test_gpus_are_dealt(void) {
    char expected[64];
    for (int gpu = 0; gpu < 20; ++gpu) {
        Device *device = open_gpu(gpu);
        EXPECT_EQ(device->gpu, gpu % 8);
        snprintf(expected, sizeof expected, "GPU-00000000-0000-0000-0000-0000000000%02x",
                 gpu % 8 + 1);
        EXPECT_TEXT(device->identity, expected);
        device_close(device);
    }
}

static void test_own_gpus(void) {
    static const char *const exchanges[] = {"auto", "nccl", "host"};
    Device *device = open_gpu(rank);
    for (int i = 0; i < 3; ++i) {
        Comm *link = NULL;
        EXPECT_OK(comm_open_device(comm, device, exchanges[i], &link));
        bool nccl = world > 1 && i < 2;
        EXPECT_EQ(link != comm, nccl);
        if (!nccl) continue;
        EXPECT_EQ(comm_rank(link), rank);
        EXPECT_EQ(comm_world(link), world);
        EXPECT(strncmp(comm_description(link), "NCCL 2.", 7) == 0);
        EXPECT(strstr(comm_description(link), " ranks on 1 host") != NULL);
        comm_close(link);
    }
    device_close(device);
}

static void test_shared_gpu(void) {
    char host[32];
    Comm *link;
    Device *device = open_gpu(5);
    EXPECT_OK(comm_open_device(comm, device, "auto", &link));
    EXPECT(link == comm);
    EXPECT(error_get()->status == STATUS_OK);
    if (world > 1)
        EXPECT_FAIL(comm_open_device(comm, device, "nccl", &link), BAD_CONFIG, "ranks 0 and 1 on ");
    EXPECT(world == 1 || strstr(error_get()->text, "share the GPU GPU-") != NULL);
    // As NCCL sees it these are hosts of one GPU each.
    snprintf(host, sizeof host, "host-%d", rank);
    setenv("NCCL_HOSTID", host, 1);
    EXPECT_OK(comm_open_device(comm, device, "nccl", &link));
    unsetenv("NCCL_HOSTID");
    if (link != comm) comm_close(link);
    device_close(device);
}

// One rank whose device is none.
static void test_no_gpu(void) {
    Comm *link;
    Device *device = NULL;
    EXPECT_OK(device_open(&(DeviceConfig){.backend = "cpu", .streams = 1}, &device));
    EXPECT_OK(comm_open_device(comm, device, "auto", &link));
    EXPECT(link == comm);
    if (world > 1)
        EXPECT_FAIL(comm_open_device(comm, device, "nccl", &link), BAD_CONFIG, "rank 0 on ");
    EXPECT(link == comm);
    device_close(device);
}

static void test_library_is_missing_on_one(void) {
    Comm *link;
    Device *device = open_gpu(rank);
    char *folder = strdup(getenv("DYE_BACKENDS"));
    if (rank == last) setenv("DYE_BACKENDS", "/nowhere", 1);
    EXPECT_OK(comm_open_device(comm, device, "auto", &link));
    EXPECT(link == comm);
    if (world > 1)
        EXPECT_FAIL(comm_open_device(comm, device, "nccl", &link), BAD_CONFIG,
                    "libdye_nccl.so is not installed");
    setenv("DYE_BACKENDS", folder, 1);
    free(folder);
    device_close(device);
}

// Exchanges waited for in another order than they were started in, two messages between each pair.
static void test_exchanges(void) {
    enum { TAGS = 5, MOST = 3000 };
    static int out[TAGS][2][MOST], in[TAGS][2][8][MOST];
    Message send[16], receive[16];
    Exchange *exchange[TAGS];
    Comm *link;
    Device *device = open_gpu(rank);
    EXPECT_OK(comm_open_device(comm, device, "nccl", &link));
    for (int tag = 0; tag < TAGS; ++tag) {
        int count = 0, n[2] = {tag == 1 ? MOST : 10, tag * 100};
        for (int m = 0; m < 2; ++m)
            for (int i = 0; i < n[m]; ++i) out[tag][m][i] = rank * 1000003 + tag * 101 + m * 17 + i;
        for (int peer = 0; peer < world; ++peer)
            for (int m = 0; m < 2 && peer != rank; ++m) {
                size_t bytes = (size_t)n[m] * sizeof(int);
                send[count] = (Message){peer, out[tag][m], bytes};
                receive[count++] = (Message){peer, in[tag][m][peer], bytes};
            }
        EXPECT_OK(comm_exchange_start(link, send, count, receive, count, tag, &exchange[tag]));
    }
    for (int k = 0; k < TAGS; ++k) {
        int tag = (k * 2 + 3) % TAGS;
        EXPECT_OK(comm_exchange_wait(link, exchange[tag]));
        int n[2] = {tag == 1 ? MOST : 10, tag * 100};
        int64_t wrong = 0;
        for (int peer = 0; peer < world; ++peer)
            for (int m = 0; m < 2 && peer != rank; ++m)
                for (int i = 0; i < n[m]; ++i)
                    wrong += in[tag][m][peer][i] != peer * 1000003 + tag * 101 + m * 17 + i;
        EXPECT_EQ(wrong, 0);
    }
    // Any number may be started before one is waited for, and with it all.
    for (int i = 0; i < 3 * EXCHANGES_MOST && world > 1; ++i)
        EXPECT_OK(comm_exchange_start(link, NULL, 0, NULL, 0, i, &exchange[0]));
    if (world > 1) EXPECT_OK(comm_exchange_wait(link, exchange[0]));
    if (link != comm) comm_close(link);
    device_close(device);
}

// A stream that waits for an exchange: when it has come so far, what was received is there.
static void test_mark(void) {
    static int out, in[8];
    Message send[8], receive[8];
    Exchange *exchange, *marked;
    Comm *link;
    int count = 0;
    Device *device = open_gpu(rank);
    Stream *stream = device_stream(device, 0);
    EXPECT_OK(comm_open_device(comm, device, "nccl", &link));
    out = 77 + rank;
    for (int peer = 0; peer < world; ++peer) {
        if (peer == rank) continue;
        send[count] = (Message){peer, &out, sizeof out};
        receive[count++] = (Message){peer, &in[peer], sizeof out};
    }
    EXPECT_OK(comm_exchange_start(link, send, count, receive, count, 3, &exchange));
    EXPECT_OK(stream_after(stream, device->side));
    EXPECT_OK(comm_exchange_mark(link, stream, &marked));
    EXPECT_OK(comm_exchange_wait(link, marked));
    for (int peer = 0; peer < world; ++peer) EXPECT_EQ(in[peer], peer == rank ? 0 : 77 + peer);
    EXPECT_OK(comm_exchange_wait(link, exchange));
    comm_close(link);
    device_close(device);
}

// Every entry is one rank's, and comes to all with its bits.
static void test_board(void) {
    enum { ENTRIES = 1000 };
    static const double special[] = {NAN, INFINITY, -INFINITY, 5e-324, 1.7e308, -1.0 / 3};
    double mine[ENTRIES] = {0}, all[ENTRIES];
    Exchange *marked;
    Comm *link;
    Device *device = open_gpu(rank);
    Stream *stream = device_stream(device, 0);
    EXPECT_OK(comm_open_device(comm, device, "nccl", &link));
    for (int i = 0; i < ENTRIES; ++i) {
        if (i % world == rank) mine[i] = i < 6 ? special[i] : 1e-3 * i;
        all[i] = -7; // it is not added to what was there
    }
    EXPECT_OK(stream_after(device->side, stream));
    EXPECT_OK(comm_board_start(link, mine, all, ENTRIES));
    EXPECT_OK(stream_after(stream, device->side));
    EXPECT_OK(comm_exchange_mark(link, stream, &marked));
    EXPECT_OK(comm_exchange_wait(link, marked));
    int wrong = 0;
    for (int i = 1; i < ENTRIES; ++i) wrong += all[i] != (i < 6 ? special[i] : 1e-3 * i);
    EXPECT(wrong == 0 && isnan(all[0]));
    comm_close(link);
    device_close(device);
}

static int alarms;
static char alarm_what[32];
static void note(void *context, const char *what, double seconds, const int *missing, int count) {
    (void)context, (void)missing;
    EXPECT(seconds >= 0.1);
    EXPECT_EQ(count, 0);
    snprintf(alarm_what, sizeof alarm_what, "%s", what);
    ++alarms;
}

static Status exchange_all(Comm *link, int tag) {
    static int out, in[8];
    Message send[8], receive[8];
    Exchange *exchange;
    int count = 0;
    for (int peer = 0; peer < world; ++peer) {
        if (peer == rank) continue;
        send[count] = (Message){peer, &out, sizeof out};
        receive[count++] = (Message){peer, &in[peer], sizeof out};
    }
    TRY(comm_exchange_start(link, send, count, receive, count, tag, &exchange));
    return comm_exchange_wait(link, exchange);
}

static void test_late_rank_rings(void) {
    Comm *link;
    Device *device = open_gpu(rank);
    comm_set_alarm(comm, note, NULL);
    comm_set_alarm_times(comm, 0.1, 0.1);
    EXPECT_OK(comm_open_device(comm, device, "nccl", &link));
    if (rank == last) usleep(300000);
    EXPECT_OK(exchange_all(link, 12));
    if (rank != last) {
        EXPECT(alarms > 0);
        EXPECT_TEXT(alarm_what, "exchange 12");
    }
    comm_set_alarm(comm, NULL, NULL);
    if (link != comm) comm_close(link);
    device_close(device);
}

// An error that comes while it waits, on one rank alone: it says so, and does so again.
static void test_error_on_the_way(void) {
    char drill[16];
    Comm *link;
    Device *device = open_gpu(rank);
    snprintf(drill, sizeof drill, "error=%d", last);
    EXPECT_OK(comm_open_device(comm, device, "nccl", &link));
    setenv("DYE_EMULATED_NCCL", drill, 1);
    if (rank == last) {
        EXPECT_FAIL(exchange_all(link, 7), COMM, "exchange 7: NCCL fails on rank ");
        EXPECT(strstr(error_get()->text, "network error: emulated; another rank") != NULL);
        EXPECT_FAIL(exchange_all(link, 8), COMM, "exchange 8: NCCL has failed before");
    } else {
        EXPECT_OK(exchange_all(link, 7));
    }
    unsetenv("DYE_EMULATED_NCCL");
    meet();
    comm_close(link);
    device_close(device);
}

// The end has a deadline; what was wrong before is not forgotten over it.
static void test_end_is_bounded(void) {
    Comm *link;
    Device *device = open_gpu(rank);
    comm_set_alarm_times(comm, 0.02, 10);
    EXPECT_OK(comm_open_device(comm, device, "nccl", &link));
    setenv("DYE_EMULATED_NCCL", "stuck=0", 1);
    (void)!error_raise(STATUS_IO, "file", 1, "function", "what it was");
    double start = clock_now();
    comm_close(link);
    EXPECT(rank != 0 || clock_now() - start > 0.2);
    EXPECT_TEXT(error_get()->text, "what it was");
    unsetenv("DYE_EMULATED_NCCL");
    device_close(device);
    meet();
}

static void test_rank_that_never_comes(void) {
    char drill[16];
    Comm *link;
    Device *device = open_gpu(rank);
    comm_set_alarm_times(comm, 0.02, 10);
    snprintf(drill, sizeof drill, "absent=%d", last);
    setenv("DYE_EMULATED_NCCL", drill, 1);
    EXPECT_FAIL(comm_open_device(comm, device, "auto", &link), COMM,
                "start of NCCL: NCCL on rank ");
    EXPECT(strstr(error_get()->text, "NCCL_SOCKET_IFNAME") != NULL);
    EXPECT(link == comm);
    unsetenv("DYE_EMULATED_NCCL");
    device_close(device);
    meet();
}

int main(void) {
    EXPECT_OK(comm_open("auto", &comm));
    rank = comm_rank(comm);
    world = comm_world(comm);
    last = world - 1;
    RUN(test_gpus_are_dealt);
    RUN(test_own_gpus);
    RUN(test_shared_gpu);
    RUN(test_no_gpu);
    RUN(test_library_is_missing_on_one);
    RUN(test_exchanges);
    if (world > 1) {
        RUN(test_mark);
        RUN(test_board);
        RUN(test_late_rank_rings);
        RUN(test_error_on_the_way);
        RUN(test_end_is_bounded);
        RUN(test_rank_that_never_comes);
    }
    comm_close(comm);
    return test_report();
}
