// Pictures and texts behind launch/picture.h.
#include "launch/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/png.h"

// Numbers of a sample.
static int64_t item_of(const NetworkShape *shape) {
    if (shape->tokens) return shape->length;
    return (int64_t)shape->channels * shape->height * shape->width;
}

// Ink on white: symbol 0 has none, the last one is black; a mask is grey.
static unsigned char token_grey(const DatasetInfo *data, int32_t id) {
    int32_t most = data->symbols > 1 ? data->symbols - 1 : 1;
    return id > most ? 128 : (unsigned char)(255 - 255 * id / most);
}

static unsigned char number_grey(float x) {
    return (unsigned char)lrintf(fminf(fmaxf((x + 1) * 127.5f, 0), 255));
}

// The pixels of `count` pictures, malloc'ed, and the grid that shows them.
static Status make_grid(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                        int64_t count, int32_t columns, unsigned char **pixels, PngGrid *out) {
    const int64_t *side = data->column[0].dim + data->column[0].dims - 2;
    FAIL_IF(shape->channels != 1 && shape->channels != 3, BAD_DATA,
            "images of %d channels cannot be drawn as a PNG", shape->channels);
    size_t n = (size_t)(count * item_of(shape));
    *pixels = malloc(n);
    FAIL_IF(*pixels == NULL, NO_MEMORY, "no memory for a grid of %lld images", (long long)count);
    for (size_t i = 0; i < n; ++i)
        (*pixels)[i] = shape->tokens ? token_grey(data, ((const int32_t *)samples)[i])
                                     : number_grey(((const float *)samples)[i]);
    *out = (PngGrid){.images = *pixels,
                     .gap = PNG_GAP,
                     .n = count,
                     .channels = shape->channels,
                     .height = (int32_t)side[0],
                     .width = (int32_t)side[1],
                     .columns = columns,
                     .scale = side[1] <= 32 ? 2 : 1,
                     .ground = 128};
    return STATUS_OK;
}

// `alone`: of one picture, as large as it is.
static Status write_grid(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                         int64_t count, int32_t columns, bool alone, const char *path) {
    unsigned char *pixels;
    PngGrid grid;
    TRY(make_grid(data, shape, samples, count, columns, &pixels, &grid));
    if (alone) grid.gap = 0, grid.scale = 1;
    Status status = png_write_grid(path, &grid);
    free(pixels);
    return status;
}

int character_bytes(const char *text) {
    int n = 1;
    while (((unsigned char)text[n] & 0xC0) == 0x80) ++n;
    return n;
}

static void print_character(FILE *file, const DatasetInfo *data, int32_t id) {
    const char *at = id < data->symbols ? data->alphabet : "_"; // a mask
    if (id >= data->symbols) id = 0;
    for (int32_t skip = id; skip > 0 && *at != '\0'; --skip) at += character_bytes(at);
    fprintf(file, "%.*s", character_bytes(at), at);
}

static void print_tokens(FILE *file, const DatasetInfo *data, const int32_t *ids, int64_t length) {
    for (int64_t i = 0; i < length; ++i) {
        if (data->kind == KIND_TEXT)
            print_character(file, data, ids[i]);
        else
            fprintf(file, data->symbols <= 10 || i == 0 ? "%d" : " %d", ids[i]);
    }
    fputc('\n', file);
}

static Status write_lines(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                          int64_t count, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    FAIL_IF(file == NULL, NO_MEMORY, "no memory for %lld samples as text", (long long)count);
    int64_t item = item_of(shape);
    for (int64_t i = 0; i < count; ++i) {
        if (shape->tokens) {
            print_tokens(file, data, (const int32_t *)samples + i * item, item);
            continue;
        }
        const float *x = (const float *)samples + i * item;
        for (int64_t k = 0; k < item; ++k)
            fprintf(file, "%.6g%c", (double)x[k], k + 1 < item ? '\t' : '\n');
    }
    fclose(file);
    Status status = file_write_atomic(path, text, bytes);
    free(text);
    return status;
}

Status picture_write_rows(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                          int64_t count, int32_t columns, const char *path) {
    if (dataset_is_drawn(data))
        return write_grid(data, shape, samples, count, columns, false, path);
    return write_lines(data, shape, samples, count, path);
}

Status picture_write(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                     int64_t count, const char *path) {
    return picture_write_rows(data, shape, samples, count, 0, path);
}

Status picture_write_one(const DatasetInfo *data, const NetworkShape *shape, const void *sample,
                         const char *path) {
    return write_grid(data, shape, sample, 1, 1, true, path);
}

enum { CLOUD_SIDE = 96, CLOUD_INK = 90 };

// [clouds, CLOUD_SIDE, CLOUD_SIDE], malloc'ed.
static Status draw_clouds(const float *points, int64_t clouds, int64_t each,
                          unsigned char **pixels) {
    size_t n = (size_t)clouds * CLOUD_SIDE * CLOUD_SIDE;
    *pixels = malloc(n);
    FAIL_IF(*pixels == NULL, NO_MEMORY, "no memory for %lld clouds", (long long)clouds);
    memset(*pixels, 255, n);
    for (int64_t i = 0; i < clouds * each; ++i) {
        float x = (points[2 * i] + 3) / 6 * CLOUD_SIDE,
              y = (3 - points[2 * i + 1]) / 6 * CLOUD_SIDE;
        if (!(x >= 0 && x < CLOUD_SIDE && y >= 0 && y < CLOUD_SIDE)) continue;
        unsigned char *dot =
            *pixels + (i / each * CLOUD_SIDE + (int64_t)y) * CLOUD_SIDE + (int64_t)x;
        *dot = *dot > CLOUD_INK ? *dot - CLOUD_INK : 0;
    }
    return STATUS_OK;
}

static PngGrid cloud_grid(const unsigned char *pixels, int64_t clouds, int32_t columns) {
    return (PngGrid){.images = pixels,
                     .gap = PNG_GAP,
                     .n = clouds,
                     .channels = 1,
                     .height = CLOUD_SIDE,
                     .width = CLOUD_SIDE,
                     .columns = columns,
                     .scale = 1,
                     .ground = 200};
}

Status picture_write_clouds(const float *points, int64_t clouds, int64_t each, int32_t columns,
                            const char *path) {
    unsigned char *pixels;
    TRY(draw_clouds(points, clouds, each, &pixels));
    PngGrid grid = cloud_grid(pixels, clouds, columns);
    Status status = png_write_grid(path, &grid);
    free(pixels);
    return status;
}

// ---- animations -------------------------------------------------------------------------------

// The data and what has become of the noise stay longer.
static int shown_for(int i, int frames) {
    return i == 0 || i == frames - 1 ? 1500 : 120;
}

Status picture_animate(const DatasetInfo *data, const NetworkShape *shape, const void *samples,
                       int64_t each, int frames, const char *path) {
    unsigned char **pixels = calloc((size_t)frames, sizeof *pixels);
    PngFrame *frame = calloc((size_t)frames, sizeof *frame);
    Status status = STATUS_OK;
    if (pixels == NULL || frame == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory for %d frames", frames);
    for (int i = 0; i < frames && status == STATUS_OK; ++i) {
        const char *at = (const char *)samples + 4 * i * each * item_of(shape);
        frame[i].milliseconds = shown_for(i, frames);
        status = make_grid(data, shape, at, each, 0, &pixels[i], &frame[i].grid);
    }
    if (status == STATUS_OK) status = png_write_animation(path, frame, frames);
done:
    for (int i = 0; i < frames && pixels != NULL; ++i) free(pixels[i]);
    free(pixels);
    free(frame);
    return status;
}

Status picture_animate_clouds(const float *points, int64_t each, int frames, const char *path) {
    unsigned char *pixels;
    PngFrame *frame = calloc((size_t)frames, sizeof *frame);
    FAIL_IF(frame == NULL, NO_MEMORY, "no memory for %d frames", frames);
    Status status = draw_clouds(points, frames, each, &pixels);
    for (int i = 0; i < frames && status == STATUS_OK; ++i) {
        frame[i] = (PngFrame){cloud_grid(pixels + (size_t)i * CLOUD_SIDE * CLOUD_SIDE, 1, 1),
                              shown_for(i, frames)};
        frame[i].grid.scale = 3;
    }
    if (status == STATUS_OK) {
        status = png_write_animation(path, frame, frames);
        free(pixels);
    }
    free(frame);
    return status;
}
