// A worker thread with a bounded ring of calls: one host thread pushes, the worker executes in
// order. Nothing is allocated after queue_open.
//
//   queue_call(queue, run_something, &args, sizeof args); // waits while the ring is full
//   queue_drain(queue);                                   // waits until all calls are done
#pragma once

#include <stddef.h>

#include "base/status.h"

enum { QUEUE_ARGS_BYTES = 192 };

typedef struct Queue Queue;

// Starts the worker, pinned to `core` if that is not negative; `context` is handed to each call.
// Errors: NO_MEMORY, BAD_CONFIG (the core is not among those that this process may use), FAILED (no
// further thread can be started).
Status queue_open(int core, void *context, Queue **out);
void queue_close(Queue *queue); // executes what is left; NULL is fine

// `args`, of at most QUEUE_ARGS_BYTES, are copied: the caller's may go.
void queue_call(Queue *queue, void (*run)(void *context, const void *args), const void *args,
                size_t bytes);
void queue_drain(Queue *queue);
