// Filters of a group: differences of rows (images), byte planes (fp32).
#include "data/filter.h"

#include <string.h>

#include "base/codec.h"

int64_t column_item_bytes(const Column *column) {
    int64_t bytes = column->dtype == DTYPE_F32 ? 4 : 1;
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

void filter_apply(const Column *column, const void *in, int64_t items, void *out) {
    int64_t bytes = items * column_item_bytes(column);
    if (column->filter == FILTER_PLANES) {
        codec_split_planes(in, (size_t)(bytes / 4), out);
    } else if (column->filter == FILTER_ROW_DELTA) {
        int64_t rows = column->dim[column->dims - 2], width = column->dim[column->dims - 1];
        rows_subtract(in, bytes / (rows * width), rows, width, out);
    } else {
        memcpy(out, in, (size_t)bytes);
    }
}

void filter_undo(const Column *column, const void *in, int64_t items, void *out) {
    int64_t bytes = items * column_item_bytes(column);
    if (column->filter == FILTER_PLANES) {
        codec_join_planes(in, (size_t)(bytes / 4), out);
    } else if (column->filter == FILTER_ROW_DELTA) {
        int64_t rows = column->dim[column->dims - 2], width = column->dim[column->dims - 1];
        rows_add(in, bytes / (rows * width), rows, width, out);
    } else {
        memcpy(out, in, (size_t)bytes);
    }
}
