// Files of samples behind launch/sample_file.h.
#include "launch/sample_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/pack/container.h"
#include "launch/picture.h"

// ---- NPY --------------------------------------------------------------------------------------

typedef struct {
    const char *descr; // "|u1", "<i4", "<f4", "<i8"
    int64_t dim[5];
    int dims;
    const void *data;
    size_t bytes;
} Array;

enum { HEADER_BYTES = 128 };

static void fill_header(const Array *array, char out[HEADER_BYTES]) {
    char shape[96] = "";
    for (int i = 0; i < array->dims; ++i)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%lld%s",
                 (long long)array->dim[i],
                 i + 1 < array->dims ? ", "
                 : i == 0            ? ","
                                     : "");
    memset(out, ' ', HEADER_BYTES);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = HEADER_BYTES - 10, out[9] = 0; // of what follows
    int length =
        snprintf(out + 10, HEADER_BYTES - 10,
                 "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", array->descr, shape);
    out[10 + length] = ' ';
    out[HEADER_BYTES - 1] = '\n';
}

static Status write_npz(const char *path, const Array *array, int arrays) {
    static const char *const names[2] = {"arr_0.npy", "arr_1.npy"};
    char header[2][HEADER_BYTES];
    StoredMember member[2];
    for (int i = 0; i < arrays; ++i) {
        fill_header(&array[i], header[i]);
        member[i] =
            (StoredMember){names[i], {header[i], array[i].data}, {HEADER_BYTES, array[i].bytes}};
    }
    return container_store(path, member, arrays);
}

// ---- pictures ---------------------------------------------------------------------------------

static unsigned char level_of(float x) {
    return (unsigned char)lrintf(fminf(fmaxf((x + 1) * 127.5f, 0), 255));
}

// [count, height, width, 3]; grey ones thrice.
static Status make_pixels(const NetworkShape *shape, const float *x, int64_t count,
                          unsigned char **out) {
    int64_t pixels = (int64_t)shape->height * shape->width, channels = shape->channels;
    FAIL_IF(channels != 1 && channels != 3, BAD_DATA, "images of %lld channels are no pictures",
            (long long)channels);
    *out = malloc((size_t)(count * pixels * 3));
    FAIL_IF(*out == NULL, NO_MEMORY, "no memory for %lld pictures", (long long)count);
    for (int64_t i = 0; i < count * pixels * 3; ++i) {
        int64_t sample = i / (pixels * 3), place = i / 3 % pixels, c = i % 3;
        (*out)[i] = level_of(x[(sample * channels + (channels == 3 ? c : 0)) * pixels + place]);
    }
    return STATUS_OK;
}

static Array array_of(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                      int64_t count) {
    Array array = {.descr = shape->tokens ? "<i4" : "<f4", .dim = {count}, .data = samples};
    const Column *column = &data->column[0];
    if (shape->tokens && !dataset_is_drawn(data)) { // whose length may be another than the data's
        array.dim[1] = shape->length;
        array.dims = 2;
    } else {
        for (int i = 0; i < column->dims && i < 3; ++i) array.dim[1 + i] = column->dim[i];
        array.dims = 1 + (column->dims < 3 ? column->dims : 3);
    }
    array.bytes = 4;
    for (int i = 0; i < array.dims; ++i) array.bytes *= (size_t)array.dim[i];
    return array;
}

static Status write_arrays(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                           const int32_t *label, int64_t count, const char *path) {
    unsigned char *pixels = NULL;
    int64_t *labels = NULL;
    Array array[2] = {array_of(data, shape, samples, count)};
    if (data->kind == KIND_IMAGE) {
        TRY(make_pixels(shape, samples, count, &pixels));
        array[0] = (Array){"|u1",
                           {count, shape->height, shape->width, 3},
                           4,
                           pixels,
                           (size_t)(count * shape->height * shape->width * 3)};
    }
    if (label != NULL) labels = calloc((size_t)count, sizeof *labels);
    for (int64_t i = 0; i < count && labels != NULL; ++i) labels[i] = label[i];
    array[1] = (Array){"<i8", {count}, 1, labels, (size_t)count * sizeof *labels};
    Status status = write_npz(path, array, labels != NULL ? 2 : 1);
    free(pixels);
    free(labels);
    return status;
}

Status sample_write_frames(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                           const float *time, int64_t frames, int64_t count, const char *path) {
    Array array[2] = {array_of(data, shape, samples, count),
                      {"<f4", {frames}, 1, time, (size_t)frames * sizeof *time}};
    memmove(array->dim + 1, array->dim, (size_t)array->dims * sizeof *array->dim);
    array->dim[0] = frames;
    array->dims += 1;
    array->bytes *= (size_t)frames;
    return write_npz(path, array, time != NULL ? 2 : 1);
}

static Status write_folder(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                           int64_t first, int64_t count, const char *folder) {
    int64_t item =
        shape->tokens ? shape->length : (int64_t)shape->channels * shape->height * shape->width;
    char path[PATH_BYTES];
    FAIL_IF(!dataset_is_drawn(data), BAD_USAGE,
            "%s is a folder, which is for pictures; name a file", folder);
    TRY(folder_make(folder));
    for (int64_t i = 0; i < count; ++i) {
        TRY(path_format(path, "%s%06lld.png", folder, (long long)(first + i)));
        TRY(picture_write_one(data, shape, (const char *)samples + 4 * i * item, path));
    }
    return STATUS_OK;
}

Status sample_write(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                    const int32_t *label, int64_t first, int64_t count, const char *path) {
    size_t length = strlen(path);
    if (length > 1 && path[length - 1] == '/')
        return write_folder(data, shape, samples, first, count, path);
    if (length > 4 && strcmp(path + length - 4, ".npz") == 0)
        return write_arrays(data, shape, samples, label, count, path);
    return picture_write(data, shape, samples, count, path);
}
