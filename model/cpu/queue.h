// A worker thread with a bounded ring of calls: one host thread pushes, the worker executes in
// order. Nothing is allocated after queue_open.
//
//   QueueRecord *record = queue_next(queue);        // waits while the ring is full
//   record->run = run_something;
//   memcpy(record->args, &args, sizeof args);       // a copy: the caller's may go
//   queue_push(queue);
//   queue_drain(queue);                             // waits until all calls are done
#pragma once

#include "base/status.h"

enum { QUEUE_ARGS_BYTES = 192, QUEUE_RECORDS = 1024 };

typedef struct {
    void (*run)(void *context, const void *args);
    _Alignas(16) unsigned char args[QUEUE_ARGS_BYTES];
} QueueRecord;

typedef struct Queue Queue;

// Starts the worker, pinned to `core` if that is not negative; `context` is handed to each call.
// Errors: NO_MEMORY, BAD_CONFIG (the core is not among those that this process may use), FAILED (no
// further thread can be started).
Status queue_open(int core, void *context, Queue **out);
void queue_close(Queue *queue); // executes what is left; NULL is fine

QueueRecord *queue_next(Queue *queue);
void queue_push(Queue *queue);
void queue_drain(Queue *queue);
