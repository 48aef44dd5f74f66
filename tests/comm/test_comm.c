// The comm of one process, and what is decided before MPI starts.
#include "base/clock.h"
#include "comm/comm.h"
#include "tests/test.h"

static void forget_launcher(void) {
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("PMIX_RANK");
    unsetenv("PMI_RANK");
    unsetenv("SLURM_STEP_NUM_TASKS");
}

static void test_auto_without_launcher(void) {
    Comm *comm;
    forget_launcher();
    double start = clock_now();
    EXPECT_OK(comm_open("auto", &comm));
    EXPECT(clock_now() - start < 0.1);
    EXPECT_TEXT(comm_description(comm), "1 process without MPI");
    EXPECT_EQ(comm_rank(comm), 0);
    EXPECT_EQ(comm_world(comm), 1);
    EXPECT_EQ(comm_local_rank(comm), 0);
    EXPECT_EQ(comm_local_world(comm), 1);
    EXPECT(comm_init_seconds(comm) == 0);
    char host[64] = "";
    EXPECT_EQ(gethostname(host, sizeof host - 1), 0);
    EXPECT_TEXT(comm_host(comm), host);
    EXPECT_TEXT(comm_host_of(comm, 0), host);
    comm_close(comm);
    comm_close(NULL);
}

// A SLURM step of one task needs no MPI; a batch shell's variable must not start it.
static void test_auto_in_single_task(void) {
    Comm *comm;
    forget_launcher();
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    setenv("SLURM_NTASKS", "8", 1);
    EXPECT_OK(comm_open("auto", &comm));
    EXPECT_TEXT(comm_description(comm), "1 process without MPI");
    comm_close(comm);
}

static void test_unknown_kind(void) {
    Comm *comm;
    EXPECT_FAIL(comm_open("gloo", &comm), COMM, "'gloo': use auto, mpi or local");
}

static void test_talking_to_oneself(void) {
    Comm *comm;
    EXPECT_OK(comm_open("local", &comm));
    double board[2] = {1.5, -2};
    EXPECT_OK(comm_board(comm, board, 2));
    EXPECT(board[0] == 1.5 && board[1] == -2);
    uint64_t sum[1] = {UINT64_MAX};
    EXPECT_OK(comm_sum_u64(comm, sum, 1));
    EXPECT(sum[0] == UINT64_MAX);
    char text[4] = "abc", all[4] = "";
    EXPECT_OK(comm_broadcast(comm, text, sizeof text, 0));
    EXPECT_OK(comm_gather(comm, text, sizeof text, all));
    EXPECT_TEXT(all, "abc");
    Exchange *exchange;
    EXPECT_OK(comm_exchange_start(comm, NULL, 0, NULL, 0, 3, &exchange));
    EXPECT_OK(comm_exchange_wait(comm, exchange));
    comm_close(comm);
}

static void test_agreement_with_oneself(void) {
    Comm *comm;
    EXPECT_OK(comm_open("local", &comm));
    for (int status = 0; status < STATUS_COUNT; ++status) {
        int speaker = -1;
        EXPECT_EQ(comm_agree(comm, (Status)status, &speaker), status);
        EXPECT_EQ(speaker, 0);
    }
    comm_close(comm);
}

int main(void) {
    RUN(test_auto_without_launcher);
    RUN(test_auto_in_single_task);
    RUN(test_unknown_kind);
    RUN(test_talking_to_oneself);
    RUN(test_agreement_with_oneself);
    return test_report();
}
