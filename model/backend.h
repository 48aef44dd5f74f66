// The seam between the mathematics and the hardware: a Device owns memory and Streams, a Stream
// executes queued operations in order. A backend is one constant table; the rest of Dye never asks
// which one runs.
//
//   Device *device;  TRY(device_open(&config, &device));
//   Stream *s = device_stream(device, 0);
//   linear_forward(s, (LinearLayer){.x = x, .w = w, ...});      // queued
//   stream_download(s, host, y, bytes);                           // queued
//   TRY(stream_wait(s));                                          // now host[] may be read
#pragma once

#include <stddef.h>

#include "base/status.h"
#include "model/ops.h"

typedef struct Device Device;
typedef struct Stream Stream;
typedef struct Backend Backend;

// Of each stream of a GPU, for its matrix library.
enum { MATMUL_WORKSPACE_BYTES = 32 << 20 };

typedef struct {
    const char *backend;  // "cpu", "cuda"; tests add "late"
    int streams;          // CPU: worker threads; each executes one grain at a time
    const int *core;      // [streams] core that worker i is pinned to, or NULL: not pinned
    size_t scratch_bytes; // per stream, for operations that need room (network_scratch_bytes)
    size_t wide_bytes;    // the same of a device that executes a whole operation at once
    const char *isa;      // CPU, for tests: "v2", "v3" or "v4" (x86-64 levels); NULL: the best here
    int gpu;              // CUDA: which of those that this process sees, modulo their number
    const char
        *attention; // CUDA, of bf16: "cudnn", "products", or "auto" (NULL): whichever is there
    bool timed;     // CUDA: fill Stream.seconds, which costs time itself; CPU: always does
} DeviceConfig;

// What a stream is given up to MARK_END is a *round*. Where a backend has them the host may go on
// while one is executed: an upload has been taken when the call returns.
typedef enum { MARK_BEGIN, MARK_ARRIVAL, MARK_END, STREAM_MARKS } StreamMark;

struct Backend {
    const char *name;
    Status (*open)(const DeviceConfig *config, Device **out);
    void (*close)(Device *device);                             // waits for all streams
    Status (*alloc)(Device *device, size_t bytes, void **out); // 64-byte aligned, zeroed
    void (*release)(Device *device, void *memory);
    void (*upload)(Stream *stream, void *device_to, const void *host_from, size_t bytes);
    void (*download)(Stream *stream, void *host_to, const void *device_from, size_t bytes);
    Status (*wait)(Stream *stream);
    Status (*after)(Stream *stream, Stream *other);   // only where there is a side stream
    Status (*mark)(Stream *stream, StreamMark mark);  // NULL: there are no rounds,
    Status (*reach)(Stream *stream, double *seconds); // as this
    // NULL: there is nothing to choose. From `measure` true to false the algorithm of each
    // operation that has not been chosen yet is the fastest one, measured while it is executed;
    // what memory it is added to must not matter. `choose` takes another Device.choice, and
    // executes by it alone: what it does not name by the library's own rule. Errors: BAD_DATA (a
    // damaged text: "is not as it was written"), BAD_CONFIG (of another device or library: "was
    // made on ..."), NO_MEMORY.
    Status (*measure)(Device *device, bool on);
    Status (*choose)(Device *device, const char *choice);
#define BACKEND_ENTRY(name, Args, pointers) void (*name)(Stream * stream, const Args *args);
    BACKEND_OPS(BACKEND_ENTRY)
#undef BACKEND_ENTRY
};

// What every backend's own Device and Stream begin with.
struct Device {
    const Backend *backend;
    int streams;
    Stream *const *stream;
    Stream *side;  // of a GPU: one more, for exchanges; it has no scratch and multiplies nothing
    bool has_half; // operations can be told `half`
    bool on_host;  // between waits the host may read and write device memory, and operations may
                   // be given host memory
    // One line for the log and the run folder: instruction set, matrix library and its kernel set.
    // Runs are comparable bit for bit only where this is the same, up to a semicolon: what follows
    // it decides no bits.
    char description[160];
    char identity[64];  // a GPU's unique id; "": it is none
    int gpu;            // its number in this process
    const char *choice; // of algorithms, as text whose last line has its hash: decides bits as the
                        // description does; NULL: none was made
};
struct Stream {
    const Backend *backend;
    Device *device;
    int index;
    void *native;        // of a GPU: its cudaStream_t
    double seconds[OPS]; // that each operation has taken on this stream so far; read after a wait
};

// All that libdye_NAME.so exports, for a backend that is a library of its own.
extern const Backend dye_backend __attribute__((visibility("default")));

// A symbol of libdye_NAME.so, which is looked for in the folder DYE_BACKENDS (environment), or,
// where that is not set, beside the program and in ../lib/dye. It stays open. Errors: BAD_CONFIG
// (not installed), NOT_FOUND (something that it needs).
Status library_find(const char *name, const char *symbol, const void **out);

// Opens the backend that config->backend names; "cuda" is a library of its own. Errors: BAD_CONFIG
// (unknown, or not installed), NO_MEMORY, NOT_FOUND (a library or a device that it needs).
Status device_open(const DeviceConfig *config, Device **out);
void device_close(Device *device); // NULL is fine
// For tests: makes a further backend known by its name.
void backend_register(const Backend *backend);

static inline Stream *device_stream(Device *device, int index) {
    return device->stream[index];
}
static inline Status device_alloc(Device *device, size_t bytes, void **out) {
    return device->backend->alloc(device, bytes, out);
}
static inline void device_release(Device *device, void *memory) {
    device->backend->release(device, memory);
}
// Queued: `host_from` must stay as it is until stream_wait, but for a device with rounds.
static inline void stream_upload(Stream *s, void *device_to, const void *host_from, size_t bytes) {
    s->backend->upload(s, device_to, host_from, bytes);
}
// Queued: `host_to` may be read after stream_wait.
static inline void stream_download(Stream *s, void *host_to, const void *device_from,
                                   size_t bytes) {
    s->backend->download(s, host_to, device_from, bytes);
}
// Returns when all that was queued has been executed, with the first error among it.
static inline Status stream_wait(Stream *s) {
    return s->backend->wait(s);
}
// What is queued on `s` from now on begins when all that `other` has queued so far has ended.
static inline Status stream_after(Stream *s, Stream *other) {
    return s->backend->after(s, other);
}

// Queued: notes when the stream comes here; of two marks of a round the later counts.
static inline Status stream_mark(Stream *s, StreamMark mark) {
    return s->backend->mark(s, mark);
}
// Waits for the end of the last round that has one, while what was queued since goes on: what was
// downloaded in it may be read. Before the next round ends. *seconds: from its MARK_BEGIN to its
// MARK_ARRIVAL.
static inline Status stream_reach(Stream *s, double *seconds) {
    return s->backend->reach(s, seconds);
}

#define BACKEND_CALL(name, Args, pointers)                                                         \
    static inline void name(Stream *stream, Args args) {                                           \
        stream->backend->name(stream, &args);                                                      \
    }
BACKEND_OPS(BACKEND_CALL)
#undef BACKEND_CALL
