// Signal handlers behind launch/signals.h: flags, and one prepared message.
#include "launch/signals.h"

#include <errno.h>
#include <pthread.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "launch/wall_clock.h"
#include "trainer/trainer.h"

// From mpirun's SIGTERM to its SIGKILL, less a margin for what follows a save.
static const double seconds_to_kill = 0.9, continue_window = 1.5;
static const double seconds_to_leave = 4; // before the end of a job, behind a save

static bool under_mpirun; // SLURM's SIGCONT and SIGTERM leave half a minute
static volatile sig_atomic_t stop_wanted;
static volatile double continued_at, killed_at; // clock_now() values; 0: never
static double job_ends_at;                      // clock_wall() value; 0: not known
static bool is_speaker;

// Two buffers, so that the handler never reads one that is being written.
static char message[2][2000];
static volatile sig_atomic_t message_now;
static char good[1024], cause[512]; // what it is made of
static pthread_mutex_t message_mutex = PTHREAD_MUTEX_INITIALIZER;

static void on_continue(int signal) {
    (void)signal;
    continued_at = clock_now();
}

static void on_stop(int signal) {
    int saved = errno;
    double now = clock_now();
    if (under_mpirun && signal == SIGTERM && continued_at > 0 &&
        now - continued_at < continue_window && killed_at == 0) {
        killed_at = now + seconds_to_kill;
        const char *text = message[message_now];
        if (is_speaker && write(STDERR_FILENO, text, strlen(text)) < 0) errno = saved;
    }
    stop_wanted = 1;
    errno = saved;
}

static Status handle(int signal, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    FAIL_IF(sigaction(signal, &action, NULL) != 0, FAILED, "cannot handle signal %d: %s", signal,
            strerror(errno));
    return STATUS_OK;
}

Status signals_open(bool speaker) {
    is_speaker = speaker;
    under_mpirun = getenv("OMPI_COMM_WORLD_RANK") != NULL;
    const char *end = getenv("DYE_END_TIME");
    if (end == NULL) end = getenv("SLURM_JOB_END_TIME");
    job_ends_at = end != NULL ? strtod(end, NULL) : 0;
    if (job_ends_at < clock_wall()) job_ends_at = 0; // that of another job
    signals_good_checkpoint("");
    TRY(handle(SIGCONT, on_continue));
    TRY(handle(SIGUSR1, on_stop));
    TRY(handle(SIGTERM, on_stop));
    return handle(SIGINT, on_stop);
}

int signals_pending(double *seconds_left) {
    double left = INFINITY;
    if (job_ends_at > 0) left = job_ends_at - seconds_to_leave - clock_wall();
    if (killed_at > 0) left = fmin(left, killed_at - clock_now());
    *seconds_left = isinf(left) ? 0 : fmax(left, 1e-3);
    int actions = stop_wanted ? ACTION_STOP : 0;
    if (actions != 0) stop_wanted = 0; // what comes between these lines asks for the same
    return actions;
}

static void prepare_message(void) {
    int other = 1 - message_now;
    const char *cause_end = cause[0] != '\0' ? "\n" : "";
    if (good[0] == '\0')
        snprintf(message[other], sizeof message[other],
                 "\n%s%smpirun ends the job in 1 s and nothing has been saved yet; send SIGUSR1 to"
                 " mpirun to save and stop\n",
                 cause, cause_end);
    else
        snprintf(message[other], sizeof message[other],
                 "\n%s%smpirun ends the job in 1 s; the last good checkpoint is %s (send SIGUSR1 to"
                 " mpirun to save and stop)\n",
                 cause, cause_end, good);
    message_now = other;
}

void signals_good_checkpoint(const char *path) {
    pthread_mutex_lock(&message_mutex);
    snprintf(good, sizeof good, "%s", path);
    prepare_message();
    pthread_mutex_unlock(&message_mutex);
}

bool signals_launcher_ends(void) {
    return killed_at > 0;
}

void signals_cause(const char *text) {
    pthread_mutex_lock(&message_mutex);
    snprintf(cause, sizeof cause, "%.*s", (int)strcspn(text, "\n"), text);
    prepare_message();
    pthread_mutex_unlock(&message_mutex);
}
