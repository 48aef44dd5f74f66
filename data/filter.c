// Filters of a group: differences of neighbours (images), byte planes (wider numbers).
#include "data/filter.h"

#include <math.h>
#include <string.h>

#include "data/codec.h"

int dtype_bytes(Dtype dtype) {
    return dtype == DTYPE_U8 ? 1 : dtype == DTYPE_F32 ? 4 : 2;
}

int64_t column_item_bytes(const Column *column) {
    int64_t bytes = dtype_bytes(column->dtype);
    for (int i = 0; i < column->dims; ++i) bytes *= column->dim[i];
    return bytes;
}

static void rows_subtract(const uint8_t *in, int64_t pictures, int64_t rows, int64_t width,
                          uint8_t *out) {
    for (int64_t p = 0; p < pictures; ++p) {
        memcpy(out, in, (size_t)width);
        for (int64_t i = width; i < rows * width; ++i) out[i] = (uint8_t)(in[i] - in[i - width]);
        in += rows * width;
        out += rows * width;
    }
}

static void rows_add(const uint8_t *in, int64_t pictures, int64_t rows, int64_t width,
                     uint8_t *restrict out) {
    for (int64_t p = 0; p < pictures; ++p) {
        memcpy(out, in, (size_t)width);
        for (int64_t row = 1; row < rows; ++row) {
            const uint8_t *above = out + (row - 1) * width, *delta = in + row * width;
            uint8_t *here = out + row * width;
            for (int64_t i = 0; i < width; ++i) here[i] = (uint8_t)(delta[i] + above[i]);
        }
        in += rows * width;
        out += rows * width;
    }
}

// One channel of an image: each pixel minus its left neighbour, the first of a row minus the one
// above.
static void left_subtract(const uint8_t *in, int64_t rows, int64_t width, uint8_t *out) {
    for (int64_t row = 0; row < rows; ++row) {
        out[0] = (uint8_t)(in[0] - (row > 0 ? in[-width] : 0));
        for (int64_t i = 1; i < width; ++i) out[i] = (uint8_t)(in[i] - in[i - 1]);
        in += width;
        out += width;
    }
}

static void left_add(uint8_t *pixel, int64_t rows, int64_t width) {
    uint8_t first = 0;
    for (int64_t row = 0; row < rows; ++row, pixel += width) {
        uint8_t sum = first = (uint8_t)(first + pixel[0]);
        pixel[0] = sum;
        for (int64_t i = 1; i < width; ++i) pixel[i] = sum = (uint8_t)(sum + pixel[i]);
    }
}

// Of one image, in place.
static void green_subtract(uint8_t *red, int64_t pixels) {
    uint8_t *green = red + pixels, *blue = green + pixels;
    for (int64_t i = 0; i < pixels; ++i) {
        red[i] = (uint8_t)(red[i] - green[i]);
        blue[i] = (uint8_t)(blue[i] - green[i]);
    }
}

static void green_add(uint8_t *red, int64_t pixels) {
    uint8_t *green = red + pixels, *blue = green + pixels;
    for (int64_t i = 0; i < pixels; ++i) {
        red[i] = (uint8_t)(red[i] + green[i]);
        blue[i] = (uint8_t)(blue[i] + green[i]);
    }
}

// Differences are linear: green may be subtracted after them.
static void green_left_apply(const Column *column, const uint8_t *in, int64_t items, uint8_t *out) {
    int64_t rows = column->dim[1], width = column->dim[2], pixels = rows * width;
    for (int64_t i = 0; i < 3 * items; ++i)
        left_subtract(in + i * pixels, rows, width, out + i * pixels);
    for (int64_t i = 0; i < items; ++i) green_subtract(out + 3 * i * pixels, pixels);
}

static void green_left_undo(const Column *column, const uint8_t *in, int64_t items, uint8_t *out) {
    int64_t rows = column->dim[1], width = column->dim[2], pixels = rows * width;
    memcpy(out, in, (size_t)(3 * items * pixels));
    for (int64_t i = 0; i < items; ++i) {
        green_add(out + 3 * i * pixels, pixels);
        for (int c = 0; c < 3; ++c) left_add(out + (3 * i + c) * pixels, rows, width);
    }
}

void filter_apply(const Column *column, const void *in, int64_t items, void *out) {
    int64_t bytes = items * column_item_bytes(column);
    int word = dtype_bytes(column->dtype);
    switch (column->filter) {
    case FILTER_NONE: memcpy(out, in, (size_t)bytes); break;
    case FILTER_PLANES: codec_split_planes(in, (size_t)(bytes / word), word, out); break;
    case FILTER_GREEN_LEFT: green_left_apply(column, in, items, out); break;
    case FILTER_ROW_DELTA: {
        int64_t rows = column->dim[column->dims - 2], width = column->dim[column->dims - 1];
        rows_subtract(in, bytes / (rows * width), rows, width, out);
    }
    }
}

void filter_undo(const Column *column, const void *in, int64_t items, void *out) {
    int64_t bytes = items * column_item_bytes(column);
    int word = dtype_bytes(column->dtype);
    switch (column->filter) {
    case FILTER_NONE: memcpy(out, in, (size_t)bytes); break;
    case FILTER_PLANES: codec_join_planes(in, (size_t)(bytes / word), word, out); break;
    case FILTER_GREEN_LEFT: green_left_undo(column, in, items, out); break;
    case FILTER_ROW_DELTA: {
        int64_t rows = column->dim[column->dims - 2], width = column->dim[column->dims - 1];
        rows_add(in, bytes / (rows * width), rows, width, out);
    }
    }
}

// f16 has 5 bits of exponent; the least of them means numbers without a leading 1.
static float widen_f16(uint16_t half) {
    int exponent = half >> 10 & 31, fraction = half & 1023;
    float size = exponent == 0    ? ldexpf((float)fraction, -24)
                 : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                  : ldexpf((float)(fraction + 1024), exponent - 25);
    return (half & 0x8000) != 0 ? -size : size;
}

float number_widen(Dtype dtype, const void *from, int64_t i) {
    uint16_t half;
    uint32_t bits;
    float number;
    if (dtype == DTYPE_F32) {
        memcpy(&number, (const char *)from + 4 * i, 4);
        return number;
    }
    memcpy(&half, (const char *)from + 2 * i, 2);
    if (dtype == DTYPE_F16) return widen_f16(half);
    bits = (uint32_t)half << 16; // bf16 is the upper half of an f32
    memcpy(&number, &bits, 4);
    return number;
}
