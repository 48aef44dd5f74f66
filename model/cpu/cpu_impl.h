// Private to model/cpu: the stream that executes kernels, and the table of kernels of one
// instruction set.
//
// Every file in kernels/ is compiled once for each instruction set (CPU_ISA is v2, v3 or v4: the
// x86-64 levels) and names its functions with CPU_KERNEL:
//
//   void CPU_KERNEL(add_rows)(Stream *stream, const AddRows *args) { ... }
//
// A kernel runs on one worker thread, allocates nothing, calls no libm function other than fmaf,
// fma, sqrt and sqrtf, and gives the same bits for every CPU_ISA (kernels/simd.h helps with that).
#pragma once

#include <stddef.h>

#include "base/status.h"
#include "model/backend.h"
#include "model/cpu/amx.h"
#include "model/cpu/queue.h"

typedef struct {
#define CPU_ENTRY(name, Args, pointers) void (*name)(Stream * stream, const Args *args);
    BACKEND_OPS(CPU_ENTRY)
#undef CPU_ENTRY
} CpuKernels;

extern const CpuKernels cpu_v2_kernels, cpu_v3_kernels, cpu_v4_kernels;

typedef struct {
    Stream base;
    const CpuKernels *kernels;
    void *scratch; // 64-byte aligned, of this stream alone; contents are lost between kernels
    size_t scratch_bytes;
    ProductCache *products;
    AmxRoom *amx; // NULL: this processor has no tiles
    Queue *queue;
} CpuStream;

// Room for a kernel's intermediate results. Asking for more than DeviceConfig.scratch_bytes is a
// bug of whoever opened the device.
static inline void *cpu_scratch(Stream *stream, size_t bytes) {
    CpuStream *cpu = (CpuStream *)stream;
    REQUIRE(bytes <= cpu->scratch_bytes);
    return cpu->scratch;
}

static inline bool cpu_has_tiles(Stream *stream, const Product *product) {
    return ((CpuStream *)stream)->amx != NULL && amx_takes(product);
}

static inline void cpu_product(Stream *stream, const Product *product) {
    CpuStream *cpu = (CpuStream *)stream;
    if (cpu_has_tiles(stream, product))
        amx_product(cpu->amx, product);
    else
        product_run(cpu->products, product);
}

#ifdef CPU_ISA
#define CPU_PASTE_AGAIN(isa, name) cpu_##isa##_##name
#define CPU_PASTE(isa, name)       CPU_PASTE_AGAIN(isa, name)
#define CPU_KERNEL(name)           CPU_PASTE(CPU_ISA, name)
#define CPU_PROTOTYPE(name, Args, pointers)                                                        \
    void CPU_KERNEL(name)(Stream * stream, const Args *args);
BACKEND_OPS(CPU_PROTOTYPE)
#undef CPU_PROTOTYPE
#endif
