// One file mapped twice, and one thread for each stream that executes no sooner than it must.
#include "tests/model/support_late.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mix.h"

enum {
    LATE_RECORDS = 512,
    LATE_ARGS_BYTES = 192,
    LATE_ALIGN = 64,
    LATE_ONE_IN = 8,
    LATE_KEPT = 16
};

typedef struct LateStream LateStream;

typedef struct {
    void (*run)(LateStream *stream, void *args);
    _Alignas(16) unsigned char args[LATE_ARGS_BYTES];
} LateRecord;

// A download that has come as far as memory of the device's own.
typedef struct {
    void *to, *from;
    size_t bytes;
    uint64_t place; // records up to it
} LateLanding;

struct LateStream {
    Stream base;
    Stream *inner; // of the CPU device
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t change;
    uint64_t pushed, released, done; // done <= released <= pushed: the worker goes up to `released`
    uint64_t random;
    uint64_t ended; // `pushed` at the end of the last round
    LateLanding *landing;
    int landings;
    bool closing;
    LateRecord record[LATE_RECORDS];
};

typedef struct {
    Device base;
    Device *inner;
    unsigned char *host_view; // no access
    unsigned char *work_view;
    size_t used;
    int live; // allocations
    LateStream *streams;
    Stream **pointers;
} LateDevice;

static const Backend late_backend, ahead_backend;

// ---- addresses --------------------------------------------------------------------------------

static bool is_device(const LateDevice *device, const void *address) {
    uintptr_t at = (uintptr_t)address, first = (uintptr_t)device->host_view;
    return at >= first && at - first < LATE_ARENA_BYTES;
}

static void *work_address(const LateDevice *device, const void *address) {
    if (address == NULL) return NULL;
    return device->work_view + ((uintptr_t)address - (uintptr_t)device->host_view);
}

static const LateDevice *device_of(const LateStream *stream) {
    return (const LateDevice *)stream->base.device;
}

static void pointers_check(const LateStream *stream, const void *args, int pointers) {
    for (int i = 0; i < pointers; ++i) {
        void *address;
        memcpy(&address, (const unsigned char *)args + (size_t)i * sizeof address, sizeof address);
        REQUIRE(address == NULL || is_device(device_of(stream), address));
    }
}

static void pointers_translate(const LateStream *stream, void *args, int pointers) {
    for (int i = 0; i < pointers; ++i) {
        unsigned char *at = (unsigned char *)args + (size_t)i * sizeof(void *);
        void *address;
        memcpy(&address, at, sizeof address);
        address = work_address(device_of(stream), address);
        memcpy(at, &address, sizeof address);
    }
}

// ---- late execution ---------------------------------------------------------------------------

static void *worker_main(void *argument) {
    LateStream *stream = argument;
    pthread_mutex_lock(&stream->mutex);
    for (;;) {
        while (stream->done == stream->released && !stream->closing)
            pthread_cond_wait(&stream->change, &stream->mutex);
        if (stream->done == stream->released) break;
        LateRecord *record = &stream->record[stream->done % LATE_RECORDS];
        pthread_mutex_unlock(&stream->mutex);
        record->run(stream, record->args);
        REQUIRE(stream_wait(stream->inner) == STATUS_OK);
        pthread_mutex_lock(&stream->mutex);
        ++stream->done;
        pthread_cond_broadcast(&stream->change);
    }
    pthread_mutex_unlock(&stream->mutex);
    return NULL;
}

static void release_up_to(LateStream *stream, uint64_t count) {
    if (count <= stream->released) return;
    stream->released = count;
    pthread_cond_broadcast(&stream->change);
}

static void push(LateStream *stream, void (*run)(LateStream *, void *), const void *args,
                 size_t bytes) {
    pthread_mutex_lock(&stream->mutex);
    while (stream->pushed - stream->done == LATE_RECORDS) {
        release_up_to(stream, stream->pushed - LATE_RECORDS / 2);
        pthread_cond_wait(&stream->change, &stream->mutex);
    }
    LateRecord *record = &stream->record[stream->pushed++ % LATE_RECORDS];
    record->run = run;
    memcpy(record->args, args, bytes);
    stream->random = mix64(stream->random + MIX_GOLDEN);
    uint64_t kept = 1 + stream->random / LATE_ONE_IN % LATE_KEPT;
    if (stream->random % LATE_ONE_IN == 0 && stream->pushed > kept)
        release_up_to(stream, stream->pushed - kept);
    pthread_mutex_unlock(&stream->mutex);
}

// What was downloaded up to `place` goes where it belongs.
static void land(LateStream *stream, uint64_t place) {
    int kept = 0;
    for (int i = 0; i < stream->landings; ++i) {
        LateLanding *landing = &stream->landing[i];
        if (landing->place > place) {
            stream->landing[kept++] = *landing;
            continue;
        }
        memcpy(landing->to, landing->from, landing->bytes);
        free(landing->from);
    }
    stream->landings = kept;
}

static Status wait_up_to(LateStream *stream, uint64_t place) {
    pthread_mutex_lock(&stream->mutex);
    release_up_to(stream, place);
    while (stream->done < place) pthread_cond_wait(&stream->change, &stream->mutex);
    pthread_mutex_unlock(&stream->mutex);
    land(stream, place);
    return STATUS_OK;
}

static Status late_wait(Stream *base) {
    return wait_up_to((LateStream *)base, ((LateStream *)base)->pushed);
}

#define LATE_CALL(name, Args, pointers)                                                            \
    _Static_assert(sizeof(Args) <= LATE_ARGS_BYTES, #Args " does not fit a record");               \
    static void run_##name(LateStream *stream, void *args) {                                       \
        pointers_translate(stream, args, pointers);                                                \
        stream->inner->backend->name(stream->inner, args);                                         \
    }                                                                                              \
    static void late_##name(Stream *stream, const Args *args) {                                    \
        pointers_check((LateStream *)stream, args, pointers);                                      \
        push((LateStream *)stream, run_##name, args, sizeof *args);                                \
    }
BACKEND_OPS(LATE_CALL)
#undef LATE_CALL

typedef struct {
    void *to;
    const void *from;
    size_t bytes;
    void *taken; // to be freed
} LateCopy;

static void run_copy(LateStream *stream, void *args) {
    (void)stream;
    const LateCopy *copy = args;
    if (copy->bytes > 0) memcpy(copy->to, copy->from, copy->bytes);
    free(copy->taken);
}

static void late_upload(Stream *stream, void *device_to, const void *host_from, size_t bytes) {
    const LateDevice *device = (LateDevice *)stream->device;
    REQUIRE(is_device(device, device_to) && !is_device(device, host_from));
    LateCopy copy = {work_address(device, device_to), host_from, bytes, NULL};
    push((LateStream *)stream, run_copy, &copy, sizeof copy);
}

static void late_download(Stream *stream, void *host_to, const void *device_from, size_t bytes) {
    const LateDevice *device = (LateDevice *)stream->device;
    REQUIRE(is_device(device, device_from) && !is_device(device, host_to));
    LateCopy copy = {host_to, work_address(device, device_from), bytes, NULL};
    push((LateStream *)stream, run_copy, &copy, sizeof copy);
}

// ---- the same with rounds -----------------------------------------------------------------------

static void *take(size_t bytes) {
    void *memory = malloc(bytes + 1);
    REQUIRE(memory != NULL);
    return memory;
}

static void ahead_upload(Stream *stream, void *device_to, const void *host_from, size_t bytes) {
    const LateDevice *device = (LateDevice *)stream->device;
    REQUIRE(is_device(device, device_to) && !is_device(device, host_from));
    void *taken = take(bytes);
    if (bytes > 0) memcpy(taken, host_from, bytes);
    LateCopy copy = {work_address(device, device_to), taken, bytes, taken};
    push((LateStream *)stream, run_copy, &copy, sizeof copy);
}

static void ahead_download(Stream *base, void *host_to, const void *device_from, size_t bytes) {
    LateStream *stream = (LateStream *)base;
    const LateDevice *device = (LateDevice *)base->device;
    REQUIRE(is_device(device, device_from) && !is_device(device, host_to));
    LateCopy copy = {take(bytes), work_address(device, device_from), bytes, NULL};
    push(stream, run_copy, &copy, sizeof copy);
    stream->landing =
        realloc(stream->landing, (size_t)(stream->landings + 1) * sizeof *stream->landing);
    REQUIRE(stream->landing != NULL);
    stream->landing[stream->landings++] = (LateLanding){host_to, copy.to, bytes, stream->pushed};
}

static Status ahead_mark(Stream *base, StreamMark mark) {
    LateStream *stream = (LateStream *)base;
    if (mark == MARK_END) stream->ended = stream->pushed;
    return STATUS_OK;
}

// No sooner than it must: what comes after the end is not done.
static Status ahead_reach(Stream *base, double *seconds) {
    *seconds = 0;
    return wait_up_to((LateStream *)base, ((LateStream *)base)->ended);
}

// ---- memory -----------------------------------------------------------------------------------

static Status late_alloc(Device *base, size_t bytes, void **out) {
    LateDevice *device = (LateDevice *)base;
    *out = NULL;
    FAIL_IF(bytes > LATE_ARENA_BYTES - LATE_ALIGN - device->used, NO_MEMORY,
            "the late device has no %zu bytes left", bytes);
    memset(device->work_view + device->used, 0, bytes);
    *out = device->host_view + device->used;
    device->used += (bytes + LATE_ALIGN) / LATE_ALIGN * LATE_ALIGN;
    ++device->live;
    return STATUS_OK;
}

static void late_release(Device *base, void *memory) {
    LateDevice *device = (LateDevice *)base;
    if (memory == NULL) return;
    REQUIRE(is_device(device, memory) && device->live > 0);
    if (--device->live == 0) device->used = 0;
}

static Status arena_open(LateDevice *device) {
    int file = memfd_create("dye-late", MFD_CLOEXEC);
    FAIL_IF(file < 0, FAILED, "cannot create a file in memory");
    void *host = MAP_FAILED, *work = MAP_FAILED;
    if (ftruncate(file, LATE_ARENA_BYTES) == 0) {
        host = mmap(NULL, LATE_ARENA_BYTES, PROT_NONE, MAP_SHARED, file, 0);
        work = mmap(NULL, LATE_ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    close(file);
    device->host_view = host != MAP_FAILED ? host : NULL;
    device->work_view = work != MAP_FAILED ? work : NULL;
    FAIL_IF(device->host_view == NULL || device->work_view == NULL, NO_MEMORY,
            "cannot map a file in memory twice");
    return STATUS_OK;
}

// ---- open and close ---------------------------------------------------------------------------

static void late_close(Device *base) {
    LateDevice *device = (LateDevice *)base;
    for (int i = 0; i < base->streams && device->pointers != NULL; ++i) {
        LateStream *stream = &device->streams[i];
        if (device->pointers[i] == NULL) continue;
        (void)late_wait(&stream->base);
        free(stream->landing);
        pthread_mutex_lock(&stream->mutex);
        stream->closing = true;
        pthread_cond_broadcast(&stream->change);
        pthread_mutex_unlock(&stream->mutex);
        pthread_join(stream->thread, NULL);
        pthread_cond_destroy(&stream->change);
        pthread_mutex_destroy(&stream->mutex);
    }
    device_close(device->inner);
    if (device->host_view != NULL) munmap(device->host_view, LATE_ARENA_BYTES);
    if (device->work_view != NULL) munmap(device->work_view, LATE_ARENA_BYTES);
    free(device->streams);
    free(device->pointers);
    free(device);
}

static Status stream_start(LateDevice *device, int index) {
    LateStream *stream = &device->streams[index];
    stream->base =
        (Stream){.backend = device->base.backend, .device = &device->base, .index = index};
    stream->inner = device_stream(device->inner, index);
    stream->random = (uint64_t)index;
    pthread_mutex_init(&stream->mutex, NULL);
    pthread_cond_init(&stream->change, NULL);
    FAIL_IF(pthread_create(&stream->thread, NULL, worker_main, stream) != 0, FAILED,
            "cannot start a late thread");
    device->pointers[index] = &stream->base;
    return STATUS_OK;
}

static Status late_open(const DeviceConfig *config, Device **out) {
    LateDevice *device = calloc(1, sizeof *device);
    FAIL_IF(device == NULL, NO_MEMORY, "no memory for a late device");
    DeviceConfig inner = *config;
    inner.backend = "cpu";
    Status status;
    device->base.backend =
        strcmp(config->backend, ahead_backend.name) == 0 ? &ahead_backend : &late_backend;
    device->base.streams = config->streams;
    device->streams = calloc((size_t)config->streams, sizeof *device->streams);
    device->pointers = calloc((size_t)config->streams, sizeof *device->pointers);
    if (device->streams == NULL || device->pointers == NULL)
        FAIL_OR(failed, status, NO_MEMORY, "no memory for %d late streams", config->streams);
    device->base.stream = device->pointers;
    TRY_OR(failed, status, device_open(&inner, &device->inner));
    device->base.has_half = device->inner->has_half;
    TRY_OR(failed, status, arena_open(device));
    for (int i = 0; i < config->streams; ++i) TRY_OR(failed, status, stream_start(device, i));
    snprintf(device->base.description, sizeof device->base.description, "%s",
             device->inner->description);
    *out = &device->base;
    return STATUS_OK;
failed:
    late_close(&device->base);
    return status;
}

#define LATE_ENTRY(name, Args, pointers) .name = late_##name,
static const Backend late_backend = {.name = "late",
                                     .open = late_open,
                                     .close = late_close,
                                     .alloc = late_alloc,
                                     .release = late_release,
                                     .upload = late_upload,
                                     .download = late_download,
                                     .wait = late_wait,
                                     BACKEND_OPS(LATE_ENTRY)};
static const Backend ahead_backend = {.name = "ahead",
                                      .open = late_open,
                                      .close = late_close,
                                      .alloc = late_alloc,
                                      .release = late_release,
                                      .upload = ahead_upload,
                                      .download = ahead_download,
                                      .wait = late_wait,
                                      .mark = ahead_mark,
                                      .reach = ahead_reach,
                                      BACKEND_OPS(LATE_ENTRY)};
#undef LATE_ENTRY

void late_register(void) {
    backend_register(&late_backend);
    backend_register(&ahead_backend);
}
