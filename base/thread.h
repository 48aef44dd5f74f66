// Threads besides the main one. Signals are for the main thread: these block all of them.
#pragma once

#include <pthread.h>
#include <signal.h>

// As pthread_create: 0 or an error number. `name`, of at most 15 letters, is what top -H shows.
// attributes NULL: the usual ones.
static inline int thread_start(pthread_t *thread, const char *name,
                               const pthread_attr_t *attributes, void *(*run)(void *),
                               void *context) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, attributes, run, context);
    if (error == 0) (void)pthread_setname_np(*thread, name);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}
