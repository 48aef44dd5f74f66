// Runs one operation on every instruction set of this processor, and on the second of two streams,
// and expects the same bits from all of them; then on a GPU, real or emulated, where the backend
// "cuda" opens, and expects nearly the same numbers.
#pragma once

#include "model/backend.h"

typedef enum {
    OP_IN,    // must come back unchanged
    OP_OUT,   // filled with NaN before the call
    OP_INOUT, // its numbers are there before the call
    OP_KEPT,  // as OP_OUT, but of the backend's own kind: a GPU's is not compared
} OpKind;

// What a GPU may differ in: integers not at all (they are told from fp32 by their bits), numbers by
// this share of the largest of their buffer.
#define OP_NEAR_F32  2e-6
#define OP_NEAR_HALF 8e-3 // one rounding to bf16
#define OP_NEAR_F64  1e-12
typedef enum { OP_F32, OP_HALF, OP_F64 } OpType; // two bf16 a number; a float64 in two numbers

// One array of fp32 (or int32) numbers: `host` has them before and after, `device` is where they
// are during the call (NULL if host is NULL).
typedef struct {
    void *host;
    int64_t n;
    OpKind kind;
    void *device;
    OpType type;
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
