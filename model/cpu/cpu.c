// Devices of the CPU backend: the choice of kernels, memory, and queued calls.
#include "model/cpu/cpu.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/cpu/cpu_impl.h"

enum { STREAMS_MOST = 1024, LINE_BYTES = 64, HUGE_PAGE_BYTES = 2 << 20 };

typedef struct {
    Device base;
    Stream *stream[]; // what base.stream points to
} CpuDevice;

// ---- choice of kernels ------------------------------------------------------------------------

typedef struct {
    const char *name;
    const CpuKernels *kernels;
    bool here; // this processor can execute them
} Isa;

enum { ISAS = 3 };

// Best first. What distinguishes the x86-64 levels on every processor that was built.
static void isa_list(Isa list[ISAS]) {
    __builtin_cpu_init();
    bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    list[0] = (Isa){"v4", &cpu_v4_kernels, v4};
    list[1] = (Isa){"v3", &cpu_v3_kernels, v3};
    list[2] = (Isa){"v2", &cpu_v2_kernels, v2};
}

static Status isa_choose(const char *wanted, Isa *out) {
    Isa list[ISAS];
    isa_list(list);
    for (int i = 0; i < ISAS; ++i) {
        if (wanted != NULL && strcmp(wanted, list[i].name) != 0) continue;
        if (list[i].here) {
            *out = list[i];
            return STATUS_OK;
        }
        FAIL_IF(wanted != NULL, BAD_CONFIG, "this processor cannot execute x86-64-%s", wanted);
    }
    FAIL_IF(wanted != NULL, BAD_CONFIG, "there is no instruction set \"%s\": v2, v3 or v4", wanted);
    FAIL(BAD_CONFIG, "this processor is too old: Dye needs x86-64-v2 (SSE 4.2)");
}

// ---- memory -----------------------------------------------------------------------------------

static Status cpu_alloc(Device *device, size_t bytes, void **out) {
    (void)device;
    *out = NULL;
    bool huge = bytes >= HUGE_PAGE_BYTES;
    size_t unit = huge ? HUGE_PAGE_BYTES : LINE_BYTES;
    size_t most = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    FAIL_IF(bytes > most, NO_MEMORY, "the device is asked for %zu bytes; this machine has %zu",
            bytes, most);
    size_t rounded = bytes == 0 ? unit : (bytes + unit - 1) / unit * unit;
    void *memory = aligned_alloc(unit, rounded);
    FAIL_IF(memory == NULL, NO_MEMORY, "no memory for %zu bytes of the device", rounded);
    // Whole pages come zeroed from the kernel, when they are first touched.
    if (!huge || madvise(memory, rounded, MADV_DONTNEED) != 0) memset(memory, 0, rounded);
    if (huge) (void)madvise(memory, rounded, MADV_HUGEPAGE); // a wish: nothing depends on it
    *out = memory;
    return STATUS_OK;
}

static void cpu_release(Device *device, void *memory) {
    (void)device;
    free(memory);
}

// ---- queued calls -----------------------------------------------------------------------------

#define CALL(name, Args, pointers)                                                                 \
    _Static_assert(sizeof(Args) <= QUEUE_ARGS_BYTES, #Args " does not fit a record");              \
    static void run_##name(void *context, const void *args) {                                      \
        CpuStream *stream = context;                                                               \
        double started = clock_now();                                                              \
        stream->kernels->name(&stream->base, args);                                                \
        stream->base.seconds[OP_##name] += clock_now() - started;                                  \
    }                                                                                              \
    static void queue_##name(Stream *stream, const Args *args) {                                   \
        queue_call(((CpuStream *)stream)->queue, run_##name, args, sizeof *args);                  \
    }
BACKEND_OPS(CALL)
#undef CALL

typedef struct {
    void *to;
    const void *from;
    size_t bytes;
} Copy;

static void run_copy(void *context, const void *args) {
    (void)context;
    const Copy *copy = args;
    if (copy->bytes > 0) memcpy(copy->to, copy->from, copy->bytes);
}

static void queue_copy(Stream *stream, void *to, const void *from, size_t bytes) {
    Copy copy = {to, from, bytes};
    queue_call(((CpuStream *)stream)->queue, run_copy, &copy, sizeof copy);
}

static Status cpu_wait(Stream *stream) {
    queue_drain(((CpuStream *)stream)->queue);
    return STATUS_OK;
}

// ---- open and close ---------------------------------------------------------------------------

static void cpu_close(Device *device) {
    for (int i = 0; i < device->streams && device->stream[i] != NULL; ++i) {
        CpuStream *stream = (CpuStream *)device->stream[i];
        queue_close(stream->queue);
        product_cache_close(stream->products);
        amx_room_close(stream->amx);
        free(stream->scratch);
        free(stream);
    }
    free(device);
}

static Status stream_open(Device *device, int index, const DeviceConfig *config,
                          const CpuKernels *kernels, bool tiles, Stream **out) {
    CpuStream *stream = calloc(1, sizeof *stream);
    FAIL_IF(stream == NULL, NO_MEMORY, "no memory for a stream");
    *out = &stream->base;
    stream->base = (Stream){.backend = device->backend, .device = device, .index = index};
    stream->kernels = kernels;
    stream->scratch_bytes = config->scratch_bytes;
    TRY(cpu_alloc(device, config->scratch_bytes, &stream->scratch));
    stream->products = product_cache_open();
    stream->amx = tiles ? amx_room_open() : NULL;
    FAIL_IF(stream->products == NULL || (tiles && stream->amx == NULL), NO_MEMORY,
            "no memory for a stream's matrix products");
    return queue_open(config->core != NULL ? config->core[index] : -1, stream, &stream->queue);
}

static Status cpu_open(const DeviceConfig *config, Device **out) {
    *out = NULL;
    Isa isa = {0};
    FAIL_IF(config->streams > STREAMS_MOST, BAD_CONFIG, "%d streams are more than %d",
            config->streams, STREAMS_MOST);
    TRY(isa_choose(config->isa, &isa));
    bool tiles = amx_open();
    size_t pointers = (size_t)config->streams * sizeof(Stream *);
    CpuDevice *cpu = calloc(1, sizeof *cpu + pointers);
    FAIL_IF(cpu == NULL, NO_MEMORY, "no memory for a device");
    Device *device = &cpu->base;
    Status status = STATUS_OK;
    *device = (Device){.backend = &cpu_backend,
                       .streams = config->streams,
                       .stream = cpu->stream,
                       .has_half = product_has_half(),
                       .on_host = true};
    char products[64];
    product_describe(products, sizeof products);
    snprintf(device->description, sizeof device->description, "cpu %s, %s%s", isa.name, products,
             tiles ? ", tiles" : "");
    for (int i = 0; i < config->streams; ++i)
        TRY_OR(failed, status, stream_open(device, i, config, isa.kernels, tiles, &cpu->stream[i]));
    *out = device;
    return STATUS_OK;
failed:
    cpu_close(device);
    return status;
}

#define ENTRY(name, Args, pointers) .name = queue_##name,
const Backend cpu_backend = {.name = "cpu",
                             .open = cpu_open,
                             .close = cpu_close,
                             .alloc = cpu_alloc,
                             .release = cpu_release,
                             .upload = queue_copy,
                             .download = queue_copy,
                             .wait = cpu_wait,
                             BACKEND_OPS(ENTRY)};
#undef ENTRY
