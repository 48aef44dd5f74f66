// What kernels and library calls of this backend know of a stream. Compiled as C and as CUDA C++.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#include "model/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Stream Stream;

cudaStream_t cuda_queue(Stream *stream);
int cuda_processors(Stream *stream); // multiprocessors of its device

// Room for an operation's intermediate results, 256-byte aligned, in device memory; what it holds
// is lost between operations. Never NULL.
void *cuda_scratch(Stream *stream);
size_t cuda_scratch_bytes(Stream *stream);

// The same if it has so many bytes; else that is a failure of the stream.
void *cuda_scratch_of(Stream *stream, size_t bytes);

bool cuda_failed(Stream *stream); // before: nothing more is to be queued

// Keeps the first failure of queued work, which stream_wait then returns. `what` stays as it is as
// long as the stream is open.
void cuda_note(Stream *stream, cudaError_t error, const char *what);

// One function an operation, under its name: cuda_axpby(stream, args).
#define CUDA_PROTOTYPE(name, Args, pointers) void cuda_##name(Stream *stream, const Args *args);
BACKEND_OPS(CUDA_PROTOTYPE)
#undef CUDA_PROTOTYPE

#ifdef __cplusplus
}
#endif
