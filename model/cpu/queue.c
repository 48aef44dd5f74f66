// The ring of one worker: two counters, `pushed` of the host and `done` of the worker. Either side
// spins for some microseconds before it sleeps, because most operations take about as long.
#include "model/cpu/queue.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

enum { SPINS = 300, QUEUE_RECORDS = 1024 };

typedef struct {
    void (*run)(void *context, const void *args);
    _Alignas(16) unsigned char args[QUEUE_ARGS_BYTES];
} QueueRecord;

struct Queue {
    _Alignas(64) _Atomic uint64_t pushed;
    _Alignas(64) _Atomic uint64_t done;
    _Alignas(64) pthread_mutex_t mutex;
    pthread_cond_t work, progress;
    atomic_bool idle;         // the worker sleeps on `work`
    _Atomic uint64_t awaited; // the host sleeps on `progress` until `done` is this; UINT64_MAX: no
    void *context;
    pthread_t thread;
    QueueRecord record[QUEUE_RECORDS];
};

// Both sides store their counter or flag before they look at the other's (sequentially consistent),
// so at least one of them sees the other: no wake-up is lost.
static void work_await(Queue *queue, uint64_t next) {
    for (int i = 0; i < SPINS; ++i) {
        if (atomic_load(&queue->pushed) != next) return;
        _mm_pause();
    }
    pthread_mutex_lock(&queue->mutex);
    atomic_store(&queue->idle, true);
    while (atomic_load(&queue->pushed) == next) pthread_cond_wait(&queue->work, &queue->mutex);
    atomic_store(&queue->idle, false);
    pthread_mutex_unlock(&queue->mutex);
}

static void done_await(Queue *queue, uint64_t count) {
    for (int i = 0; i < SPINS; ++i) {
        if (atomic_load(&queue->done) >= count) return;
        _mm_pause();
    }
    pthread_mutex_lock(&queue->mutex);
    atomic_store(&queue->awaited, count);
    while (atomic_load(&queue->done) < count) pthread_cond_wait(&queue->progress, &queue->mutex);
    atomic_store(&queue->awaited, UINT64_MAX);
    pthread_mutex_unlock(&queue->mutex);
}

static void signal_locked(Queue *queue, pthread_cond_t *condition) {
    pthread_mutex_lock(&queue->mutex);
    pthread_cond_signal(condition);
    pthread_mutex_unlock(&queue->mutex);
}

static void *worker_main(void *argument) {
    Queue *queue = argument;
    for (uint64_t next = 0;; ++next) {
        work_await(queue, next);
        const QueueRecord *record = &queue->record[next % QUEUE_RECORDS];
        if (record->run == NULL) return NULL;
        record->run(queue->context, record->args);
        atomic_store(&queue->done, next + 1);
        if (next + 1 >= atomic_load(&queue->awaited)) signal_locked(queue, &queue->progress);
    }
}

// The worker starts on its core.
static Status worker_start(Queue *queue, int core) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (core >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)core, &set);
        pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    int error = thread_start(&queue->thread, "dye-stream", &attributes, worker_main, queue);
    pthread_attr_destroy(&attributes);
    FAIL_IF(error != 0, FAILED, "cannot start a worker thread: %s", strerror(error));
    return STATUS_OK;
}

static bool core_is_usable(int core) {
    cpu_set_t set;
    return core < CPU_SETSIZE && sched_getaffinity(0, sizeof set, &set) == 0 &&
           CPU_ISSET((size_t)core, &set);
}

Status queue_open(int core, void *context, Queue **out) {
    *out = NULL;
    FAIL_IF(core >= 0 && !core_is_usable(core), BAD_CONFIG,
            "a stream cannot be pinned to core %d: this process may not run there", core);
    Queue *queue = aligned_alloc(_Alignof(Queue), sizeof *queue);
    FAIL_IF(queue == NULL, NO_MEMORY, "no memory for a stream's queue of %zu bytes", sizeof *queue);
    memset(queue, 0, sizeof *queue);
    queue->context = context;
    atomic_store(&queue->awaited, UINT64_MAX);
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_cond_init(&queue->work, NULL);
    pthread_cond_init(&queue->progress, NULL);
    Status status;
    TRY_OR(failed, status, worker_start(queue, core));
    *out = queue;
    return STATUS_OK;
failed:
    free(queue);
    return status;
}

void queue_close(Queue *queue) {
    if (queue == NULL) return;
    queue_call(queue, NULL, "", 0);
    pthread_join(queue->thread, NULL);
    pthread_cond_destroy(&queue->progress);
    pthread_cond_destroy(&queue->work);
    pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

void queue_call(Queue *queue, void (*run)(void *context, const void *args), const void *args,
                size_t bytes) {
    uint64_t pushed = atomic_load_explicit(&queue->pushed, memory_order_relaxed);
    // A full ring is left to half empty, so that the host is not woken for each record.
    if (pushed - atomic_load(&queue->done) >= QUEUE_RECORDS)
        done_await(queue, pushed - QUEUE_RECORDS / 2);
    QueueRecord *record = &queue->record[pushed % QUEUE_RECORDS];
    record->run = run;
    memcpy(record->args, args, bytes);
    atomic_fetch_add(&queue->pushed, 1);
    if (atomic_load(&queue->idle)) signal_locked(queue, &queue->work);
}

void queue_drain(Queue *queue) {
    done_await(queue, atomic_load(&queue->pushed));
}
