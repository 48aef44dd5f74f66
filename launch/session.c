// How a job ends, behind launch/session.h.
#include "launch/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launch/watch/recorder.h"
#include "base/thread.h"
#include "launch/console.h"
#include "launch/watch/control.h"
#include "launch/doctor/program.h"

enum { START_SECONDS = 15 };

static Comm *open_comm; // for the bug hook

// A wait that takes long is told by every rank that waits: together the lines name the rank that
// does not. Of a job that is watched the controller speaks for all.
static void tell_wait(void *context, const char *what, double seconds, const int *missing,
                      int count) {
    const Comm *comm = context;
    if (control_is_watched()) return;
    char line[1024];
    int used = snprintf(line, sizeof line, "waiting for %.0f s in %s", seconds, what);
    for (int i = 0; i < count && used < (int)sizeof line - 80; ++i)
        used +=
            snprintf(line + used, sizeof line - (size_t)used, "%s rank %d on %s",
                     i == 0 ? "; nothing from" : ",", missing[i], comm_host_of(comm, missing[i]));
    console_warn(line);
}

static void abort_job(int exit_code) {
    comm_abort(open_comm, exit_code);
}

// A status that came from an agreement inside the body has no text on the other ranks.
static bool has_text(void) {
    return error_get()->text[0] != '\0';
}

// Every rank leaves with the same status; the lowest one that knows why prints.
static Status leave(Comm *comm, Status mine) {
    int speaker, ignored;
    JournalEntry last = {0};
    (void)journal_last(journal_mine(), &last);
    journal_enter(PHASE_END, last.step);
    Status agreed = comm_agree(comm, mine, &ignored);
    if (agreed != STATUS_OK &&
        comm_agree(comm, has_text() ? mine : STATUS_OK, &speaker) != STATUS_OK &&
        comm_rank(comm) == speaker) {
        if (mine == STATUS_UNFINISHED)
            console_say(error_get()->text);
        else
            console_error();
    }
    error_clear(); // main prints nothing more
    open_comm = NULL;
    console_open(NULL);
    comm_close(comm);
    control_close();
    return agreed;
}

// Most builds of Open MPI end the process where srun speaks PMI-2 alone; a few understand it.
static void tell_pmi(void) {
    const char *task = getenv("SLURM_PROCID"), *tasks = getenv("SLURM_STEP_NUM_TASKS");
    bool by_srun = task != NULL && tasks != NULL && getenv("OMPI_COMM_WORLD_SIZE") == NULL;
    if (by_srun && strcmp(task, "0") == 0 && atoi(tasks) > 1 && getenv("PMI_RANK") != NULL &&
        getenv("PMIX_RANK") == NULL)
        console_warn("srun speaks PMI-2 and not PMIx: if MPI does not start now, start with 'srun"
                     " --mpi=pmix' ('srun --mpi=list' shows what there is), or with mpirun");
}

// ---- a start that hangs -------------------------------------------------------------------------

// Nobody watches yet, and the main thread is inside MPI.
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool over;
} mpi_start = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void *tell_slow_start(void *context) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += START_SECONDS;
    pthread_mutex_lock(&mpi_start.mutex);
    int waited = 0;
    while (!mpi_start.over && waited == 0)
        waited = pthread_cond_timedwait(&mpi_start.changed, &mpi_start.mutex, &until);
    bool hangs = !mpi_start.over;
    pthread_mutex_unlock(&mpi_start.mutex);
    char line[512], host[64] = "this host";
    gethostname(host, sizeof host - 1);
    snprintf(
        line, sizeof line,
        "%s: MPI has not started for %d s: it waits for other ranks. Does every rank run dye, and"
        " can the hosts reach each other? Several networks: mpirun --mca oob_tcp_if_include"
        " SUBNET --mca btl_tcp_if_include SUBNET; srun: --mpi=pmix",
        host, START_SECONDS);
    if (hangs) console_warn(line);
    return context;
}

static Status open_ranks(const char *kind, Comm **out) {
    pthread_t thread;
    bool watched = thread_start(&thread, "dye-start", NULL, tell_slow_start, NULL) == 0;
    Status status = comm_open(kind, out);
    pthread_mutex_lock(&mpi_start.mutex);
    mpi_start.over = true;
    pthread_cond_signal(&mpi_start.changed);
    pthread_mutex_unlock(&mpi_start.mutex);
    if (watched) pthread_join(thread, NULL);
    return status;
}

Status session_run(const char *comm_kind, const Session *session) {
    Comm *comm;
    recorder_start();
    journal_enter(PHASE_START, 0);
    tell_pmi();
    TRY(open_ranks(comm_kind, &comm));
    open_comm = comm;
    error_set_bug_hook(abort_job);
    console_open(comm);
    comm_set_alarm(comm, tell_wait, comm);

    int speaker;
    Status status = program_check(comm);
    if (status != STATUS_OK) return leave(comm, status);
    status = session->start(session->context, comm);
    if (comm_agree(comm, status, &speaker) != STATUS_OK) {
        session->finish(session->context);
        return leave(comm, status);
    }
    status = session->run(session->context, comm);
    if (status != STATUS_OK && status != STATUS_UNFINISHED) {
        // Whoever knows the cause prints before anybody ends the job.
        if (has_text())
            console_error();
        else
            sleep(1);
        control_close(); // it has told its failure itself
        comm_abort(comm, status_info(status)->exit_code);
    }
    session->finish(session->context);
    return leave(comm, status);
}
