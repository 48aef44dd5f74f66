// What ranks say to each other: each call against what it must give for the world at hand.
#include "comm/comm.h"
#include "tests/test.h"

static Comm *comm;
static int rank, world;

static void test_identity(void) {
    char expected[64];
    snprintf(expected, sizeof expected, ", %d rank%s on 1 host", world, world == 1 ? "" : "s");
    EXPECT(strstr(comm_description(comm), expected) != NULL);
    EXPECT(strncmp(comm_description(comm), "Open MPI ", 9) == 0);
    EXPECT_EQ(world, atoi(getenv("OMPI_COMM_WORLD_SIZE")));
    EXPECT_EQ(rank, atoi(getenv("OMPI_COMM_WORLD_RANK")));
    EXPECT_EQ(comm_local_rank(comm), rank);
    EXPECT_EQ(comm_local_world(comm), world);
    EXPECT(comm_init_seconds(comm) > 0);
    char host[64] = "";
    EXPECT_EQ(gethostname(host, sizeof host - 1), 0);
    for (int r = 0; r < world; ++r) EXPECT_TEXT(comm_host_of(comm, r), host);
    Comm *again;
    EXPECT_FAIL(comm_open("mpi", &again), COMM, "only once");
}

static void test_board(void) {
    for (int round = 0; round < 20; ++round) {
        double values[64];
        for (int i = 0; i < 64; ++i)
            values[i] = i % world == rank ? sin(i + 100 * round) * 1e-200 : 0;
        EXPECT_OK(comm_board(comm, values, 64));
        for (int i = 0; i < 64; ++i) EXPECT(values[i] == sin(i + 100 * round) * 1e-200);
    }
    double special[2] = {rank == world - 1 ? INFINITY : 0, rank == 0 ? NAN : 0};
    EXPECT_OK(comm_board(comm, special, 2));
    EXPECT(isinf(special[0]) && isnan(special[1]));
}

static void test_sum_wraps(void) {
    uint64_t values[2] = {UINT64_MAX - (uint64_t)rank, 1};
    EXPECT_OK(comm_sum_u64(comm, values, 2));
    uint64_t expected = 0;
    for (int r = 0; r < world; ++r) expected += UINT64_MAX - (uint64_t)r;
    EXPECT(values[0] == expected);
    EXPECT_EQ(values[1], world);
}

static void test_broadcast(void) {
    static unsigned char data[300000];
    for (int root = 0; root < world; ++root) {
        for (size_t i = 0; i < sizeof data; ++i)
            data[i] = rank == root ? (unsigned char)(i * 7 + (size_t)root) : 0;
        EXPECT_OK(comm_broadcast(comm, data, sizeof data, root));
        int64_t wrong = 0;
        for (size_t i = 0; i < sizeof data; ++i)
            wrong += data[i] != (unsigned char)(i * 7 + (size_t)root);
        EXPECT_EQ(wrong, 0);
    }
    EXPECT_OK(comm_broadcast(comm, data, 0, 0));
}

static void test_gather(void) {
    int mine[3] = {rank, rank * rank, -rank}, all[3 * 64];
    EXPECT_OK(comm_gather(comm, mine, sizeof mine, all));
    for (int r = 0; r < world; ++r)
        EXPECT(all[3 * r] == r && all[3 * r + 1] == r * r && all[3 * r + 2] == -r);
}

static void test_agree(void) {
    int speaker = -1, last = world - 1;
    EXPECT_EQ(comm_agree(comm, STATUS_OK, &speaker), STATUS_OK);
    EXPECT_EQ(comm_agree(comm, rank == last ? STATUS_BAD_DATA : STATUS_OK, &speaker),
              STATUS_BAD_DATA);
    EXPECT_EQ(speaker, last);
    // The lowest of several speaks.
    EXPECT_EQ(comm_agree(comm, rank >= last / 2 ? STATUS_IO : STATUS_OK, &speaker), STATUS_IO);
    EXPECT_EQ(speaker, last / 2);
    // The worst code wins over the lowest rank; merely being unfinished never hides a failure.
    EXPECT_EQ(comm_agree(comm, rank == last ? STATUS_BAD_CONFIG : STATUS_FAILED, &speaker),
              STATUS_BAD_CONFIG);
    EXPECT_EQ(speaker, last);
    EXPECT_EQ(comm_agree(comm, rank == last ? STATUS_FAILED : STATUS_UNFINISHED, &speaker),
              STATUS_FAILED);
    EXPECT_EQ(speaker, last);
    EXPECT_EQ(comm_agree(comm, STATUS_UNFINISHED, &speaker), STATUS_UNFINISHED);
    EXPECT_EQ(speaker, 0);
}

// Three exchanges at a time, completed in another order; two messages between each pair, of which
// the second may be empty; sizes on both sides of the eager limit.
static void test_exchange(void) {
    enum { TAGS = 3, MOST = 50000 };
    static int out[TAGS][2][MOST], in[TAGS][2][8][MOST];
    Message send[16], receive[16];
    Exchange *exchange[TAGS];
    for (int tag = 0; tag < TAGS; ++tag) {
        int count = 0, n[2] = {tag == 1 ? MOST : 10, tag * 100};
        for (int m = 0; m < 2; ++m)
            for (int i = 0; i < n[m]; ++i) out[tag][m][i] = rank * 1000003 + tag * 101 + m * 17 + i;
        for (int peer = 0; peer < world; ++peer) {
            for (int m = 0; m < 2 && peer != rank; ++m) {
                size_t bytes = (size_t)n[m] * sizeof(int);
                send[count] = (Message){peer, out[tag][m], bytes};
                receive[count++] = (Message){peer, in[tag][m][peer], bytes};
            }
        }
        EXPECT_OK(comm_exchange_start(comm, send, count, receive, count, tag, &exchange[tag]));
    }
    for (int tag = TAGS - 1; tag >= 0; --tag) {
        EXPECT_OK(comm_exchange_wait(comm, exchange[tag]));
        int n[2] = {tag == 1 ? MOST : 10, tag * 100};
        int64_t wrong = 0;
        for (int peer = 0; peer < world; ++peer)
            for (int m = 0; m < 2 && peer != rank; ++m)
                for (int i = 0; i < n[m]; ++i)
                    wrong += in[tag][m][peer][i] != peer * 1000003 + tag * 101 + m * 17 + i;
        EXPECT_EQ(wrong, 0);
    }
}

// The memory of exchanges is given back: many more than fit at once.
static void test_many_exchanges(void) {
    int next = (rank + 1) % world, before = (rank + world - 1) % world, count = world > 1;
    for (int i = 0; i < 200; ++i) {
        int mine = rank + i, theirs = -1;
        Message send = {next, &mine, sizeof mine}, receive = {before, &theirs, sizeof theirs};
        Exchange *exchange;
        EXPECT_OK(comm_exchange_start(comm, &send, count, &receive, count, 1023, &exchange));
        EXPECT_OK(comm_exchange_wait(comm, exchange));
        if (world > 1) EXPECT_EQ(theirs, before + i);
    }
    Exchange *open[EXCHANGES_MOST], *extra;
    for (int i = 0; i < EXCHANGES_MOST; ++i)
        EXPECT_OK(comm_exchange_start(comm, NULL, 0, NULL, 0, i, &open[i]));
    EXPECT_FAIL(comm_exchange_start(comm, NULL, 0, NULL, 0, 99, &extra), COMM,
                "more than 16 exchanges at a time (exchange 99)");
    for (int i = 0; i < EXCHANGES_MOST; ++i) EXPECT_OK(comm_exchange_wait(comm, open[i]));
}

int main(void) {
    EXPECT_OK(comm_open("auto", &comm));
    rank = comm_rank(comm);
    world = comm_world(comm);
    RUN(test_identity);
    RUN(test_board);
    RUN(test_sum_wraps);
    RUN(test_broadcast);
    RUN(test_gather);
    RUN(test_agree);
    RUN(test_exchange);
    RUN(test_many_exchanges);
    comm_close(comm);
    return test_report();
}
