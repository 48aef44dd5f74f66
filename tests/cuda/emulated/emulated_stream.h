// Streams and events of the emulated GPU, which its runtime and its NCCL share.
//
// Work that is queued is done as late as it may: when somebody waits for it, or for something
// behind it. A host that reads too early, or a stream that goes on without waiting for another,
// therefore gets wrong numbers.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

// Called again and again until it says that it is done.
using EmulatedWork = std::function<bool()>;

__attribute__((visibility("default"))) void emulated_queue(cudaStream_t stream, EmulatedWork work);
// Lets time pass, for events alone. Within a work.
__attribute__((visibility("default"))) void emulated_pass(double seconds);
// How much has been queued on all other streams so far.
__attribute__((visibility("default"))) unsigned long long emulated_elsewhere(cudaStream_t stream);
// Into the file of DYE_EMULATED_WAITS, see emulated_stream.cpp.
__attribute__((visibility("default"))) void emulated_note(const char *what, unsigned long long n);
