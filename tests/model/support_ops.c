// Running one operation in all the ways that must agree.
#include "tests/model/support_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, OP_BUFFERS = 16, SCRATCH_BYTES = 1 << 20 };
static const uint32_t guard_bits = 0x7FA5A5A5, poison_bits = 0x7FC00000; // both are NaN

void *ops_memory(int64_t n, size_t size) {
    void *memory = calloc((size_t)n + 1, size);
    if (memory == NULL) abort();
    return memory;
}

float *ops_numbers(int64_t n, uint64_t seed) {
    float *x = ops_memory(n, sizeof *x);
    for (int64_t i = 0; i < n; ++i)
        x[i] = (float)(mix64(seed * MIX_GOLDEN + (uint64_t)i) >> 40) * 0x1p-23f - 1.0f;
    return x;
}

// What lies in device memory: guards, then the buffer, then guards.
static uint32_t *image_before(const OpBuffer *buffer) {
    uint32_t *image = ops_memory(buffer->n + 2 * GUARD, sizeof *image);
    for (int64_t i = 0; i < buffer->n + 2 * GUARD; ++i) image[i] = guard_bits;
    for (int64_t i = 0; i < buffer->n; ++i) image[GUARD + i] = poison_bits;
    if (buffer->kind == OP_IN || buffer->kind == OP_INOUT)
        memcpy(image + GUARD, buffer->host, (size_t)buffer->n * sizeof *image);
    return image;
}

static int image_check(const char *name, int index, const OpBuffer *buffer, const uint32_t *image) {
    int failures = 0;
    for (int64_t i = 0; i < GUARD; ++i)
        failures += image[i] != guard_bits || image[GUARD + buffer->n + i] != guard_bits;
    if (failures > 0) printf("  %s: wrote next to buffer %d\n", name, index);
    if (buffer->kind == OP_IN &&
        memcmp(image + GUARD, buffer->host, (size_t)buffer->n * sizeof *image) != 0) {
        printf("  %s: changed its input %d\n", name, index);
        ++failures;
    }
    return failures;
}

typedef struct {
    const char *isa;
    int streams;
} OpWay;

// Runs once; images[i] becomes what is in device memory afterwards.
static int run_one(const char *name, Device *device, OpCall call, const void *shape,
                   OpBuffer *buffers, int count, uint32_t **images) {
    Stream *stream = device_stream(device, device->streams - 1);
    uint32_t *memory[OP_BUFFERS] = {NULL};
    int failures = 0;
    for (int i = 0; i < count; ++i) {
        buffers[i].device = NULL;
        images[i] = NULL;
        if (buffers[i].host == NULL) continue;
        size_t bytes = (size_t)(buffers[i].n + 2 * GUARD) * sizeof(uint32_t);
        images[i] = image_before(&buffers[i]);
        REQUIRE(device_alloc(device, bytes, (void **)&memory[i]) == STATUS_OK);
        stream_upload(stream, memory[i], images[i], bytes);
        buffers[i].device = memory[i] + GUARD;
    }
    call(stream, buffers, shape);
    for (int i = 0; i < count; ++i)
        if (images[i] != NULL)
            stream_download(stream, images[i], memory[i],
                            (size_t)(buffers[i].n + 2 * GUARD) * sizeof(uint32_t));
    failures += stream_wait(stream) != STATUS_OK;
    for (int i = 0; i < count; ++i) {
        if (images[i] != NULL) failures += image_check(name, i, &buffers[i], images[i]);
        device_release(device, memory[i]);
    }
    return failures;
}

static int images_compare(const char *name, const OpWay *way, const OpBuffer *buffers, int count,
                          uint32_t **first, uint32_t **images) {
    int failures = 0;
    for (int i = 0; i < count; ++i) {
        int64_t differ = 0;
        for (int64_t k = 0; images[i] != NULL && k < buffers[i].n; ++k)
            differ += first[i][GUARD + k] != images[i][GUARD + k];
        if (differ > 0) {
            printf(
                "  %s: %lld of %lld numbers of buffer %d have other bits on %s with %d streams\n",
                name, (long long)differ, (long long)buffers[i].n, i, way->isa, way->streams);
            ++failures;
        }
    }
    return failures;
}

static double number_of(const OpBuffer *buffer, const uint32_t *image, int64_t i) {
    const uint32_t *at = image + GUARD;
    union {
        uint32_t u;
        float f;
    } bits = {0};
    double wide;
    if (buffer->type == OP_F64) {
        memcpy(&wide, at + 2 * i, sizeof wide);
        return wide;
    }
    bits.u = buffer->type == OP_HALF ? (uint32_t)((const uint16_t *)at)[i] << 16 : at[i];
    return (double)bits.f;
}

// Of small integers, positive or negative, fp32 would be denormal or NaN.
static bool is_integer(uint32_t bits) {
    return (bits & 0x7F800000) == 0 || bits >= 0xFF800001;
}

static int images_near(const char *name, const OpBuffer *buffer, int index, const uint32_t *first,
                       const uint32_t *image) {
    static const double share[] = {OP_NEAR_F32, OP_NEAR_HALF, OP_NEAR_F64};
    int64_t n = buffer->type == OP_HALF  ? 2 * buffer->n
                : buffer->type == OP_F64 ? buffer->n / 2
                                         : buffer->n;
    double largest = 0, worst = 0;
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; ++i) {
        double x = fabs(number_of(buffer, first, i));
        if (isfinite(x) && x > largest) largest = x;
    }
    for (int64_t i = 0; i < n; ++i) {
        double x = number_of(buffer, first, i), y = number_of(buffer, image, i), gap = fabs(x - y);
        uint32_t a = first[GUARD + i % buffer->n], b = image[GUARD + i % buffer->n];
        if (memcmp(&x, &y, sizeof x) == 0) continue;
        bool whole = buffer->type == OP_F32 && is_integer(a) && is_integer(b) && a + b != 1u << 31;
        if (!whole && isnan(x) && isnan(y)) continue; // each processor has a NaN of its own
        if (whole || !(gap <= share[buffer->type] * largest)) ++wrong;
        if (gap > worst) worst = gap;
    }
    if (wrong > 0)
        printf("  %s: %lld of %lld numbers of buffer %d are not near on the GPU: %.3g of %.3g\n",
               name, (long long)wrong, (long long)n, index, worst, largest);
    return wrong > 0;
}

// On a GPU, if there is one, against the first way's images.
static int run_gpu_way(const char *name, const char *attention, OpCall call, const void *shape,
                       OpBuffer *buffers, int count, uint32_t **first) {
    DeviceConfig config = {.backend = "cuda",
                           .streams = 1,
                           .scratch_bytes = SCRATCH_BYTES,
                           .wide_bytes = SCRATCH_BYTES,
                           .attention = attention};
    uint32_t *images[OP_BUFFERS];
    Device *device;
    if (device_open(&config, &device) != STATUS_OK) {
        const char *why = error_get()->text; // to have no GPU is no failure
        bool absent = strstr(why, "not installed") != NULL || strstr(why, "no GPU") != NULL;
        if (!absent) printf("  %s: %s\n", name, why);
        return !absent;
    }
    int failures = run_one(name, device, call, shape, buffers, count, images);
    if (failures > 0) printf("  %s on %s: %s\n", name, device->description, error_get()->text);
    for (int i = 0; i < count; ++i) {
        bool same = buffers[i].kind == OP_OUT || buffers[i].kind == OP_INOUT;
        if (images[i] != NULL && same && failures == 0)
            failures += images_near(name, &buffers[i], i, first[i], images[i]);
        free(images[i]);
    }
    device_close(device);
    return failures;
}

// Attention in both ways.
static int run_gpu(const char *name, OpCall call, const void *shape, OpBuffer *buffers, int count,
                   uint32_t **first) {
    int failures = run_gpu_way(name, "auto", call, shape, buffers, count, first);
    if (strncmp(name, "attention", 9) == 0)
        failures += run_gpu_way(name, "products", call, shape, buffers, count, first);
    return failures;
}

int ops_run(const char *name, OpCall call, const void *shape, OpBuffer *buffers, int count) {
    static const OpWay ways[] = {{"v2", 1}, {"v3", 1}, {"v4", 1}, {NULL, 2}};
    uint32_t *first[OP_BUFFERS] = {NULL}, *images[OP_BUFFERS];
    bool have_first = false;
    int failures = 0;
    REQUIRE(count <= OP_BUFFERS);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; ++w) {
        DeviceConfig config = {.backend = "cpu",
                               .streams = ways[w].streams,
                               .scratch_bytes = SCRATCH_BYTES,
                               .isa = ways[w].isa};
        Device *device;
        if (device_open(&config, &device) != STATUS_OK) {
            failures += strstr(error_get()->text, "cannot execute") == NULL;
            continue;
        }
        failures += run_one(name, device, call, shape, buffers, count, images);
        device_close(device);
        if (have_first) failures += images_compare(name, &ways[w], buffers, count, first, images);
        for (int i = 0; i < count; ++i) {
            if (have_first)
                free(images[i]);
            else
                first[i] = images[i];
        }
        have_first = true;
    }
    REQUIRE(have_first);
    failures += run_gpu(name, call, shape, buffers, count, first);
    for (int i = 0; i < count; ++i) {
        if (first[i] != NULL)
            memcpy(buffers[i].host, first[i] + GUARD, (size_t)buffers[i].n * sizeof(uint32_t));
        free(first[i]);
    }
    return failures;
}
