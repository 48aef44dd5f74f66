// Grids of images through libpng, which reports errors by longjmp.
#include "data/png.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "base/file.h"

typedef struct {
    uint8_t *data;
    size_t bytes, room;
} Buffer;

static void buffer_append(png_structp png, png_bytep data, size_t bytes) {
    Buffer *buffer = png_get_io_ptr(png);
    if (buffer->room - buffer->bytes < bytes) {
        size_t room = 2 * buffer->room + bytes;
        uint8_t *larger = realloc(buffer->data, room);
        if (larger == NULL) png_error(png, "no memory");
        buffer->data = larger;
        buffer->room = room;
    }
    memcpy(buffer->data + buffer->bytes, data, bytes);
    buffer->bytes += bytes;
}

static void buffer_flush(png_structp png) {
    (void)png;
}

static void refuse(png_structp png, png_const_charp reason) {
    (void)reason; // sizes are checked before: only memory can be missing
    png_longjmp(png, 1);
}

static void ignore(png_structp png, png_const_charp reason) {
    (void)png;
    (void)reason;
}

typedef struct {
    const PngGrid *grid;
    int64_t columns, rows;  // images
    int64_t cell_w, cell_h; // an image and the gap before it, in pixels
    int64_t width, height;  // pixels
} Layout;

static Status layout_init(const PngGrid *grid, Layout *out) {
    FAIL_IF(grid->channels != 1 && grid->channels != 3, BAD_USAGE,
            "a picture has 1 or 3 channels, not %d", grid->channels);
    FAIL_IF(grid->n < 1 || grid->height < 1 || grid->width < 1 || grid->scale < 1 ||
                grid->columns < 0 || grid->gap < 0,
            BAD_USAGE, "a grid of %lld images of %d x %d, scale %d, columns %d, cannot be drawn",
            (long long)grid->n, grid->height, grid->width, grid->scale, grid->columns);
    Layout layout = {.grid = grid, .columns = grid->columns};
    if (layout.columns == 0)
        for (layout.columns = 1;
             layout.columns * layout.columns < grid->n && layout.columns < PNG_SIDE_MOST;)
            ++layout.columns;
    if (layout.columns > grid->n) layout.columns = grid->n;
    layout.rows = (grid->n - 1) / layout.columns + 1;
    layout.cell_w = (int64_t)grid->width * grid->scale + grid->gap;
    layout.cell_h = (int64_t)grid->height * grid->scale + grid->gap;
    bool small = layout.cell_w <= PNG_SIDE_MOST && layout.cell_h <= PNG_SIDE_MOST &&
                 layout.columns <= PNG_SIDE_MOST / layout.cell_w &&
                 layout.rows <= PNG_SIDE_MOST / layout.cell_h;
    FAIL_IF(!small, BAD_USAGE, "a grid of %lld x %lld images of %d x %d at scale %d is too large",
            (long long)layout.columns, (long long)layout.rows, grid->width, grid->height,
            grid->scale);
    layout.width = layout.columns * layout.cell_w + grid->gap;
    layout.height = layout.rows * layout.cell_h + grid->gap;
    *out = layout;
    return STATUS_OK;
}

// Line y of the picture, interleaved.
static void line_draw(const Layout *layout, int64_t y, uint8_t *line) {
    const PngGrid *grid = layout->grid;
    int64_t channels = grid->channels, plane = (int64_t)grid->height * grid->width;
    memset(line, grid->ground, (size_t)(layout->width * channels));
    int64_t row = y / layout->cell_h, inside = y % layout->cell_h - grid->gap;
    if (inside < 0 || row >= layout->rows) return;
    for (int64_t column = 0; column < layout->columns; ++column) {
        int64_t image = row * layout->columns + column;
        if (image >= grid->n) return;
        const uint8_t *from =
            grid->images + image * channels * plane + inside / grid->scale * grid->width;
        uint8_t *to = line + (column * layout->cell_w + grid->gap) * channels;
        for (int64_t x = 0; x < (int64_t)grid->width * grid->scale; ++x)
            for (int64_t c = 0; c < channels; ++c) *to++ = from[c * plane + x / grid->scale];
    }
}

// Returns here on an error inside libpng. No local variable changes after setjmp.
static bool encode(png_structp png, png_infop info, const Layout *layout, uint8_t *line,
                   Buffer *buffer) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_set_write_fn(png, buffer, buffer_append, buffer_flush);
    png_set_IHDR(png, info, (png_uint_32)layout->width, (png_uint_32)layout->height, 8,
                 layout->grid->channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int64_t y = 0; y < layout->height; ++y) {
        line_draw(layout, y, line);
        png_write_row(png, line);
    }
    png_write_end(png, info);
    return true;
}

static bool encode_grid(const Layout *layout, Buffer *buffer) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, refuse, ignore);
    png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
    uint8_t *line = malloc((size_t)(layout->width * layout->grid->channels));
    bool done = info != NULL && line != NULL && encode(png, info, layout, line, buffer);
    free(line);
    png_destroy_write_struct(&png, &info);
    return done;
}

Status png_encode_grid(const PngGrid *grid, uint8_t **out, size_t *bytes) {
    Layout layout = {0};
    TRY(layout_init(grid, &layout));
    Buffer buffer = {0};
    bool done = encode_grid(&layout, &buffer);
    if (!done) free(buffer.data);
    FAIL_IF(!done, NO_MEMORY, "no memory to draw %lld images", (long long)grid->n);
    *out = buffer.data;
    *bytes = buffer.bytes;
    return STATUS_OK;
}

Status png_write_grid(const char *path, const PngGrid *grid) {
    uint8_t *data;
    size_t bytes;
    TRY(png_encode_grid(grid, &data, &bytes));
    Status status = file_write_atomic(path, data, bytes);
    free(data);
    return status;
}

// ---- animation --------------------------------------------------------------------------------

// A frame that has been encoded by itself.
typedef struct {
    uint8_t *data;
    size_t bytes;
} Still;

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_big_endian(uint8_t *at, uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

// What of a frame stands before its pixels: number, size, place, time, ways to be put down.
static void put_control(png_structp png, uint32_t number, const Still *still, int milliseconds) {
    uint8_t control[26] = {0};
    put_big_endian(control, number, 4);
    memcpy(control + 4, still->data + 16, 8); // width and height out of IHDR
    put_big_endian(control + 20, (uint32_t)milliseconds, 2);
    put_big_endian(control + 22, 1000, 2);
    png_write_chunk(png, (png_const_bytep) "fcTL", control, sizeof control);
}

// Its pixels: IDAT for the first frame, else fdAT, which carries a number too.
static void put_pixels(png_structp png, uint32_t *number, const Still *still, bool first,
                       uint8_t *room) {
    for (size_t at = 8; at + 12 <= still->bytes; at += 12 + big_endian(still->data + at)) {
        uint32_t bytes = big_endian(still->data + at);
        const uint8_t *data = still->data + at + 8;
        if (memcmp(still->data + at + 4, "IDAT", 4) != 0) continue;
        if (first) {
            png_write_chunk(png, (png_const_bytep) "IDAT", data, bytes);
            continue;
        }
        put_big_endian(room, (*number)++, 4);
        memcpy(room + 4, data, bytes);
        png_write_chunk(png, (png_const_bytep) "fdAT", room, bytes + 4);
    }
}

// Returns here on an error inside libpng. No local variable changes after setjmp but `number`.
static bool encode_frames(png_structp png, const PngFrame *frame, const Still *still, int frames,
                          uint8_t *room, Buffer *buffer) {
    volatile uint32_t next = 0;
    uint8_t count[8] = {0};
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_set_write_fn(png, buffer, buffer_append, buffer_flush);
    png_write_sig(png);
    png_write_chunk(png, (png_const_bytep) "IHDR", still[0].data + 16, 13);
    put_big_endian(count, (uint32_t)frames, 4);
    png_write_chunk(png, (png_const_bytep) "acTL", count, sizeof count);
    for (int i = 0; i < frames; ++i) {
        uint32_t number = next;
        put_control(png, number++, &still[i], frame[i].milliseconds);
        put_pixels(png, &number, &still[i], i == 0, room);
        next = number;
    }
    png_write_chunk(png, (png_const_bytep) "IEND", NULL, 0);
    return true;
}

static Status write_frames(const char *path, const PngFrame *frame, const Still *still,
                           int frames) {
    size_t most = 0;
    for (int i = 0; i < frames; ++i) most = still[i].bytes > most ? still[i].bytes : most;
    uint8_t *room = malloc(most + 4);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, refuse, ignore);
    Buffer buffer = {0};
    bool done =
        png != NULL && room != NULL && encode_frames(png, frame, still, frames, room, &buffer);
    png_destroy_write_struct(&png, NULL);
    free(room);
    Status status = STATUS_OK;
    if (done)
        status = file_write_atomic(path, buffer.data, buffer.bytes);
    else
        status = error_raise(STATUS_NO_MEMORY, __FILE__, __LINE__, __func__,
                             "no memory for an animation of %d frames", frames);
    free(buffer.data);
    return status;
}

Status png_write_animation(const char *path, const PngFrame *frame, int frames) {
    Still *still = calloc((size_t)frames, sizeof *still);
    FAIL_IF(still == NULL, NO_MEMORY, "no memory for an animation of %d frames", frames);
    Status status = STATUS_OK;
    for (int i = 0; i < frames && status == STATUS_OK; ++i)
        status = png_encode_grid(&frame[i].grid, &still[i].data, &still[i].bytes);
    if (status == STATUS_OK) status = write_frames(path, frame, still, frames);
    for (int i = 0; i < frames; ++i) free(still[i].data);
    free(still);
    return status;
}

const char *png_version(void) {
    return png_get_libpng_ver(NULL);
}
