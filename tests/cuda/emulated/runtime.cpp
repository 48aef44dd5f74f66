// The CUDA runtime functions that model/cuda calls, on the CPU, but for those of
// emulated_stream.cpp. DYE_EMULATED_GPUS is the number of GPUs (1). Of these a process sees those
// that DYE_EMULATED_VISIBLE lists, in its order, like CUDA_VISIBLE_DEVICES for real ones.
// DYE_EMULATED_NAME is what they are called.
#include <cuda_runtime_api.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cuda/emulated/emulated_stream.h"

// The number of the GPU that this process calls `device`; -1: there is none.
static int gpu_of(int device) {
    const char *given = getenv("DYE_EMULATED_GPUS"), *seen = getenv("DYE_EMULATED_VISIBLE");
    int gpus = given != nullptr ? atoi(given) : 1, gpu = device;
    for (int i = 0; seen != nullptr && i <= device; ++i) {
        char *end;
        gpu = (int)strtol(seen, &end, 10);
        if (end == seen || gpu < 0 || gpu >= gpus) return -1;
        seen = end + (*end == ',');
    }
    return gpu < gpus ? gpu : -1;
}

extern "C" {

cudaError_t cudaGetDeviceCount(int *count) {
    for (*count = 0; gpu_of(*count) >= 0;) ++*count;
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int) {
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
    memset(properties, 0, sizeof *properties);
    const char *name = getenv("DYE_EMULATED_NAME");
    snprintf(properties->name, sizeof properties->name, "%s", name ? name : "emulated GPU");
    properties->major = 9;
    properties->multiProcessorCount = 2;
    properties->totalGlobalMem = (size_t)8 << 30;
    properties->uuid.bytes[15] = (char)(gpu_of(device) + 1);
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *all) {
    *free_bytes = *all = (size_t)8 << 30;
    return cudaSuccess;
}
cudaError_t cudaMalloc(void **out, size_t bytes) {
    *out = nullptr;
    emulated_note("memory", bytes);
    if (bytes > (size_t)8 << 30) return cudaErrorMemoryAllocation;
    *out = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (*out == nullptr) return cudaErrorMemoryAllocation;
    memset(*out, 0xFF, bytes); // NaN: a GPU's memory holds anything
    return cudaSuccess;
}
cudaError_t cudaFree(void *memory) {
    cudaError_t error = cudaDeviceSynchronize();
    free(memory);
    return error;
}
cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    memset(memory, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    emulated_queue(stream, [=] { return memset(memory, value, bytes), true; });
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
    emulated_queue(stream, [=] { return memcpy(to, from, bytes), true; });
    return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
    emulated_queue(stream, [=] {
        for (size_t i = 0; i < height; ++i)
            memcpy((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
        return true;
    });
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **out, size_t bytes) {
    return cudaMalloc(out, bytes);
}
cudaError_t cudaFreeHost(void *memory) {
    return cudaFree(memory);
}
cudaError_t cudaGetLastError(void) {
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorNoDevice ? "no CUDA-capable device is detected" : "an error";
}
const char *cudaGetErrorName(cudaError_t error) {
    return error == cudaErrorNoDevice ? "cudaErrorNoDevice" : "cudaError";
}

} // extern "C"
