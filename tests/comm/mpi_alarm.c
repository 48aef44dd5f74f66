// A wait that lasts too long names itself and the ranks that are missing.
#include "base/clock.h"
#include "comm/comm.h"
#include "tests/test.h"

enum { LATE_MICROSECONDS = 600000 };

static Comm *comm;
static int rank, world, late;

typedef struct {
    int calls, count, missing[64];
    double seconds[8];
    char what[32];
} Seen;

static void note(void *context, const char *what, double seconds, const int *missing, int count) {
    Seen *seen = context;
    if (seen->calls < 8) seen->seconds[seen->calls] = seconds;
    ++seen->calls;
    seen->count = count;
    memcpy(seen->missing, missing, (size_t)count * sizeof *missing);
    snprintf(seen->what, sizeof seen->what, "%s", what);
}

static Seen seen;
static int speaker;

static void arm(void) {
    EXPECT_OK(comm_agree(comm, STATUS_OK, &speaker));
    seen = (Seen){0};
    comm_set_alarm(comm, note, &seen);
    comm_set_alarm_times(comm, 0.2, 0.15);
    if (rank == late) usleep(LATE_MICROSECONDS);
}

static void test_exchange_names_the_late_rank(void) {
    static int out, in[64];
    Message send[64], receive[64];
    int count = 0;
    arm();
    for (int peer = 0; peer < world; ++peer) {
        if (peer == rank) continue;
        send[count] = (Message){peer, &out, sizeof out};
        receive[count++] = (Message){peer, &in[peer], sizeof out};
    }
    Exchange *exchange;
    EXPECT_OK(comm_exchange_start(comm, send, count, receive, count, 12, &exchange));
    EXPECT_OK(comm_exchange_wait(comm, exchange));
    if (rank == late) {
        EXPECT_EQ(seen.calls, 0);
        return;
    }
    EXPECT(seen.calls >= 1 && seen.calls <= 4);
    EXPECT_TEXT(seen.what, "exchange 12");
    EXPECT_EQ(seen.count, 1);
    EXPECT_EQ(seen.missing[0], late);
    EXPECT(seen.seconds[0] >= 0.2);
    for (int i = 1; i < seen.calls; ++i) EXPECT(seen.seconds[i] >= seen.seconds[i - 1] + 0.15);
}

static void test_long_send_names_the_receiver(void) {
    enum { BYTES = 1 << 22 };
    static char data[BYTES];
    arm();
    int sends = rank == 0, receives = rank == late;
    Message send = {late, data, BYTES}, receive = {0, data, BYTES};
    Exchange *exchange;
    EXPECT_OK(comm_exchange_start(comm, &send, sends, &receive, receives, 13, &exchange));
    EXPECT_OK(comm_exchange_wait(comm, exchange));
    if (rank != 0) return;
    EXPECT(seen.calls >= 1);
    EXPECT_TEXT(seen.what, "exchange 13");
    EXPECT_EQ(seen.count, 1);
    EXPECT_EQ(seen.missing[0], late);
}

static void test_collective_names_itself(void) {
    arm();
    EXPECT_OK(comm_agree(comm, STATUS_OK, &speaker));
    if (rank != late) {
        EXPECT(seen.calls >= 1);
        EXPECT_TEXT(seen.what, "agreement");
        EXPECT_EQ(seen.count, 0);
    }
    arm();
    double board = 0;
    EXPECT_OK(comm_board(comm, &board, 1));
    if (rank != late) EXPECT_TEXT(seen.what, "board");
}

// Without a hook, and when all are in time, nothing happens.
static void test_silence(void) {
    arm();
    comm_set_alarm(comm, NULL, NULL);
    EXPECT_OK(comm_agree(comm, STATUS_OK, &speaker));
    comm_set_alarm(comm, note, &seen);
    comm_set_alarm_times(comm, 10, 30);
    EXPECT_OK(comm_agree(comm, STATUS_OK, &speaker));
    EXPECT_EQ(seen.calls, 0);
}

int main(void) {
    EXPECT_OK(comm_open("auto", &comm));
    rank = comm_rank(comm);
    world = comm_world(comm);
    late = world - 1;
    REQUIRE(world > 1);
    RUN(test_exchange_names_the_late_rank);
    RUN(test_long_send_names_the_receiver);
    RUN(test_collective_names_itself);
    RUN(test_silence);
    comm_close(comm);
    return test_report();
}
