// Runs one operation on every instruction set of this processor, and on the second of two streams,
// and expects the same bits from all of them.
#pragma once

#include "model/backend.h"

typedef enum {
    OP_IN,    // must come back unchanged
    OP_OUT,   // filled with NaN before the call
    OP_INOUT, // its numbers are there before the call
} OpKind;

// One array of fp32 (or int32) numbers: `host` has them before and after, `device` is where they
// are during the call (NULL if host is NULL).
typedef struct {
    void *host;
    int64_t n;
    OpKind kind;
    void *device;
} OpBuffer;

typedef void (*OpCall)(Stream *stream, OpBuffer *buffers, const void *shape);

// Fails the current test (through failures, which the caller adds to its own) when bits differ
// between runs, when an input changes, or when something is written next to a buffer. Returns the
// number of failures and prints each.
int ops_run(const char *name, OpCall call, const void *shape, OpBuffer *buffers, int count);

// n numbers, uniform in [-1, 1), a function of `seed` and the index.
float *ops_numbers(int64_t n, uint64_t seed);
// Never NULL, like the above: the test program ends when there is no memory.
void *ops_memory(int64_t n, size_t size);
