// Hands out pieces of one block of memory, each aligned to 64 bytes. With `base` NULL it only
// measures: the same function then tells how much is needed and, later, where everything lies.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *base;
    size_t used;
} Bump;

static inline void *bump_take(Bump *bump, int64_t count, size_t bytes_each) {
    size_t at = bump->used;
    bump->used += ((size_t)count * bytes_each + 63) / 64 * 64;
    return bump->base == NULL ? NULL : bump->base + at;
}
static inline float *bump_floats(Bump *bump, int64_t count) {
    return bump_take(bump, count, sizeof(float));
}
static inline void *bump_numbers(Bump *bump, int64_t count, bool half) {
    return bump_take(bump, count, half ? sizeof(uint16_t) : sizeof(float));
}
