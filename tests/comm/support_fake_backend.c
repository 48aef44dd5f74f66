// The late device: a list of operations for each stream.
#include "tests/comm/support_fake_backend.h"

#include <stdlib.h>
#include <string.h>

enum { FAKE_STREAMS = 8, FAKE_OPS = 4096 };

typedef struct {
    bool copy;
    void *to;
    const void *from;
    size_t bytes;
    Elementwise axpby;
} FakeOp;

typedef struct {
    Stream stream; // first
    FakeOp op[FAKE_OPS];
    int count;
} FakeStream;

typedef struct {
    Device device; // first
    FakeStream stream[FAKE_STREAMS];
    Stream *list[FAKE_STREAMS];
    int blocks;
} FakeDevice;

static Status fake_alloc(Device *device, size_t bytes, void **out) {
    size_t rounded = (bytes + 63) / 64 * 64;
    *out = aligned_alloc(64, rounded);
    FAIL_IF(*out == NULL, NO_MEMORY, "no memory");
    memset(*out, 0, rounded);
    ++((FakeDevice *)device)->blocks;
    return STATUS_OK;
}

static void fake_release(Device *device, void *memory) {
    --((FakeDevice *)device)->blocks;
    free(memory);
}

static void queue(Stream *stream, FakeOp op) {
    FakeStream *fake = (FakeStream *)stream;
    REQUIRE(fake->count < FAKE_OPS);
    fake->op[fake->count++] = op;
}

static void fake_upload(Stream *stream, void *to, const void *from, size_t bytes) {
    queue(stream, (FakeOp){.copy = true, .to = to, .from = from, .bytes = bytes});
}

static void fake_download(Stream *stream, void *to, const void *from, size_t bytes) {
    queue(stream, (FakeOp){.copy = true, .to = to, .from = from, .bytes = bytes});
}

static void fake_axpby(Stream *stream, const Elementwise *args) {
    queue(stream, (FakeOp){.axpby = *args});
}

static Status fake_wait(Stream *stream) {
    FakeStream *fake = (FakeStream *)stream;
    for (int i = 0; i < fake->count; ++i) {
        const FakeOp *op = &fake->op[i];
        if (op->copy) memcpy(op->to, op->from, op->bytes);
        float *y = op->axpby.y;
        for (int64_t e = 0; !op->copy && e < op->axpby.n; ++e)
            y[e] = op->axpby.a * op->axpby.x[e] + op->axpby.b * y[e];
    }
    fake->count = 0;
    return STATUS_OK;
}

static const Backend fake_backend = {
    .name = "fake",
    .alloc = fake_alloc,
    .release = fake_release,
    .upload = fake_upload,
    .download = fake_download,
    .wait = fake_wait,
    .axpby = fake_axpby,
};

Status fake_device_open(int streams, Device **out) {
    REQUIRE(streams <= FAKE_STREAMS);
    FakeDevice *fake = calloc(1, sizeof *fake);
    FAIL_IF(fake == NULL, NO_MEMORY, "no memory");
    fake->device.backend = &fake_backend;
    fake->device.streams = streams;
    fake->device.stream = fake->list;
    for (int i = 0; i < streams; ++i) {
        fake->stream[i].stream =
            (Stream){.backend = &fake_backend, .device = &fake->device, .index = i};
        fake->list[i] = &fake->stream[i].stream;
    }
    *out = &fake->device;
    return STATUS_OK;
}

void fake_device_close(Device *device) {
    FakeDevice *fake = (FakeDevice *)device;
    REQUIRE(fake->blocks == 0);
    free(fake);
}
