// Threads besides the main one. Signals are for the main thread: these block all of them.
#pragma once

#include <pthread.h>
#include <signal.h>

// As pthread_create: 0 or an error number.
static inline int thread_start(pthread_t *thread, void *(*run)(void *), void *context) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}
