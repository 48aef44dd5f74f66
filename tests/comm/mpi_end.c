// Ways for a job to end, one a run; expect_exit.sh looks at mpirun's exit code and the time.
//   abort    the last rank calls comm_abort(7) while the others wait for its word
//   early    the same where the others wait for its message
//   bug      the last rank breaks a REQUIRE with the hook of launch/: exit code 70
//   agree    the last rank fails at a quiet point: all agree on its code, close and return it
//   slurm    started without a launcher inside a SLURM step of several tasks
//   pmi2     the same by a launcher that speaks PMI-2
#include "comm/comm.h"
#include "tests/test.h"

static Comm *comm;

static void end_job(int exit_code) {
    comm_abort(comm, exit_code);
}

static int fail_alone(const char *how) {
    int last = comm_world(comm) - 1;
    if (comm_rank(comm) == last) {
        if (strcmp(how, "bug") == 0) {
            error_set_bug_hook(end_job);
            REQUIRE(how == NULL);
        }
        comm_abort(comm, 7);
    }
    if (strcmp(how, "early") == 0) {
        int data;
        Message receive = {last, &data, sizeof data};
        Exchange *exchange;
        if (comm_exchange_start(comm, NULL, 0, &receive, 1, 0, &exchange) == STATUS_OK &&
            comm_exchange_wait(comm, exchange) == STATUS_OK)
            return 1;
    }
    int speaker;
    return comm_agree(comm, STATUS_OK, &speaker) == STATUS_OK ? 1 : 2;
}

static int fail_together(void) {
    bool mine = comm_rank(comm) == comm_world(comm) - 1;
    int speaker;
    Status status = comm_agree(comm, mine ? STATUS_BAD_CONFIG : STATUS_OK, &speaker);
    comm_close(comm);
    return status_info(status)->exit_code;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    bool pmi2 = strcmp(how, "pmi2") == 0;
    if (pmi2 || strcmp(how, "slurm") == 0) setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    if (pmi2) setenv("PMI_RANK", "0", 1);
    Status status = comm_open("auto", &comm);
    if (status != STATUS_OK) {
        fprintf(stderr, "%s: %s\n", status_info(status)->name, error_get()->text);
        comm_abort(NULL, status_info(status)->exit_code);
    }
    return strcmp(how, "agree") == 0 ? fail_together() : fail_alone(how);
}
