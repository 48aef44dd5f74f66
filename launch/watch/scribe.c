// The writing thread behind launch/watch/scribe.h.
#include "launch/watch/scribe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/thread.h"
#include "launch/wall_clock.h"
#include "launch/watch/blackbox.h"

enum { STATUS_SECONDS = 2, CAUSES_BYTES = 16384 };

struct Scribe {
    char run_dir[512];
    json_t *(*status)(void *context);
    void *context;
    pthread_t thread;
    pthread_mutex_t mutex; // of all that follows
    pthread_cond_t changed;
    char causes[CAUSES_BYTES]; // not yet written
    bool collect, stop, done;  // wanted, wanted, the thread is at its end
};

// ---- the thread ---------------------------------------------------------------------------------

static void write_status(const Scribe *scribe) {
    char path[PATH_BYTES], fresh[PATH_BYTES];
    json_t *status = scribe->status(scribe->context);
    if (status == NULL) return;
    // Read by people while it is written; not worth an fsync every two seconds.
    if (path_format(path, "%s/status.json", scribe->run_dir) == STATUS_OK &&
        path_format(fresh, "%s/.status.json", scribe->run_dir) == STATUS_OK &&
        json_dump_file(status, fresh, JSON_INDENT(1)) == 0)
        (void)rename(fresh, path);
    json_decref(status);
}

static void write_causes(const Scribe *scribe, const char *text) {
    char path[PATH_BYTES], when[32];
    time_t now = time(NULL);
    struct tm local;
    if (text[0] == '\0' ||
        path_format(path, "%s/forensics/causes.log", scribe->run_dir) != STATUS_OK)
        return;
    FILE *file = fopen(path, "ae");
    if (file == NULL) return;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &local));
    fprintf(file, "%s %s", when, text);
    fclose(file);
}

static void *run(void *context) {
    Scribe *scribe = context;
    char causes[CAUSES_BYTES];
    pthread_mutex_lock(&scribe->mutex);
    for (bool last = false; !last;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += STATUS_SECONDS;
        while (!scribe->stop && !scribe->collect && scribe->causes[0] == '\0')
            if (pthread_cond_timedwait(&scribe->changed, &scribe->mutex, &until) != 0) break;
        last = scribe->stop;
        bool collect = scribe->collect;
        memcpy(causes, scribe->causes, sizeof causes);
        scribe->causes[0] = '\0';
        pthread_mutex_unlock(&scribe->mutex);
        write_causes(scribe, causes);
        if (collect && blackbox_collect(scribe->run_dir) != STATUS_OK) error_clear();
        write_status(scribe);
        pthread_mutex_lock(&scribe->mutex);
        if (collect) scribe->collect = false;
        pthread_cond_broadcast(&scribe->changed);
    }
    scribe->done = true;
    pthread_cond_broadcast(&scribe->changed);
    pthread_mutex_unlock(&scribe->mutex);
    return NULL;
}

// ---- its callers --------------------------------------------------------------------------------

Status scribe_open(const char *run_dir, json_t *(*status)(void *context), void *context,
                   Scribe **out) {
    Scribe *scribe = calloc(1, sizeof *scribe);
    FAIL_IF(scribe == NULL, NO_MEMORY, "no memory to write the status of the run");
    snprintf(scribe->run_dir, sizeof scribe->run_dir, "%s", run_dir);
    scribe->status = status;
    scribe->context = context;
    pthread_mutex_init(&scribe->mutex, NULL);
    pthread_cond_init(&scribe->changed, NULL);
    if (thread_start(&scribe->thread, "dye-scribe", NULL, run, scribe) != 0) {
        free(scribe);
        FAIL(NO_MEMORY, "no thread to write the status of the run");
    }
    *out = scribe;
    return STATUS_OK;
}

// Waits for a flag to become `value`; false: not in time.
static bool wait_for_flag(Scribe *scribe, const bool *flag, bool value, double seconds) {
    struct timespec until;
    double end = clock_wall() + seconds;
    until.tv_sec = (time_t)end;
    until.tv_nsec = (long)((end - (double)until.tv_sec) * 1e9);
    while (*flag != value)
        if (pthread_cond_timedwait(&scribe->changed, &scribe->mutex, &until) != 0) break;
    return *flag == value;
}

bool scribe_close(Scribe *scribe) {
    if (scribe == NULL) return true;
    pthread_mutex_lock(&scribe->mutex);
    scribe->stop = true;
    pthread_cond_broadcast(&scribe->changed);
    bool done = wait_for_flag(scribe, &scribe->done, true, 1);
    pthread_mutex_unlock(&scribe->mutex);
    if (!done) { // its file system hangs: the process ends without it
        pthread_detach(scribe->thread);
        return false;
    }
    pthread_join(scribe->thread, NULL);
    pthread_mutex_destroy(&scribe->mutex);
    pthread_cond_destroy(&scribe->changed);
    free(scribe);
    return true;
}

void scribe_cause(Scribe *scribe, const char *text) {
    pthread_mutex_lock(&scribe->mutex);
    size_t used = strlen(scribe->causes);
    snprintf(scribe->causes + used, sizeof scribe->causes - used, "%s\n", text);
    pthread_cond_broadcast(&scribe->changed);
    pthread_mutex_unlock(&scribe->mutex);
}

void scribe_collect(Scribe *scribe, double seconds) {
    pthread_mutex_lock(&scribe->mutex);
    scribe->collect = true;
    pthread_cond_broadcast(&scribe->changed);
    (void)wait_for_flag(scribe, &scribe->collect, false, seconds);
    pthread_mutex_unlock(&scribe->mutex);
}
