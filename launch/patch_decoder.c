// Patches behind launch/patch_decoder.h.
#include "launch/patch_decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/pack/npy.h"
#include "data/pack/npz.h"
#include "data/png.h"

enum { ARRAY_BYTES_MOST = 1 << 26 };

bool patch_decoder_is(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".npz") == 0;
}

// An array of `folder`, float32 of these sizes; rows 0: of one size.
static Status read_array(const char *folder, const char *name, int64_t rows, int64_t *columns,
                         bool *fortran, char **text, const float **out) {
    char path[PATH_BYTES];
    size_t bytes;
    NpyHeader header;
    TRY(path_format(path, "%s/%s.npy", folder, name));
    FAIL_IF(!file_exists(path), BAD_DATA, "the NPZ holds no array '%s'", name);
    TRY(file_read(path, ARRAY_BYTES_MOST, text, &bytes));
    TRY(npy_parse_any_order(*text, bytes, name, &header));
    int64_t first = header.dims > 0 ? header.dim[0] : 0;
    bool shape = header.dims == (rows > 0 ? 2 : 1) && (rows == 0 || first == rows);
    bool type = header.type.kind == 'f' && header.type.bytes == 4 && !header.type.big;
    size_t wanted = header.header_bytes + (size_t)header.numbers * sizeof(float);
    bool bad = !shape || !type || wanted > bytes;
    FAIL_IF(bad && rows > 0, BAD_DATA,
            "the array '%s' must be little-endian float32 [channels = %lld, n]", name,
            (long long)rows);
    FAIL_IF(bad, BAD_DATA, "the array '%s' must be little-endian float32 [n]", name);
    *columns = header.dim[header.dims - 1];
    *fortran = header.fortran;
    *out = (const float *)(const void *)(*text + header.header_bytes);
    return STATUS_OK;
}

// Colours and side of patches of n numbers: three colours where that makes a square.
static Status find_patch(int64_t n, PatchDecoder *out) {
    for (out->colours = 3; out->colours > 0; out->colours -= 2) {
        out->side = (int64_t)lround(sqrt((double)n / (double)out->colours));
        if (out->side > 0 && out->side * out->side * out->colours == n) return STATUS_OK;
    }
    FAIL(BAD_DATA, "%lld numbers are no square patch of one colour or three", (long long)n);
}

static Status read_decoder(const char *folder, int64_t channels, PatchDecoder *out) {
    char *text[2] = {NULL, NULL};
    const float *decoder, *mean;
    int64_t n, of_mean;
    bool turned, unused; // the decoder's columns stand one behind the other
    Status status = STATUS_OK;
    TRY_OR(end, status, read_array(folder, "decoder", channels, &n, &turned, &text[0], &decoder));
    TRY_OR(end, status, read_array(folder, "mean", 0, &of_mean, &unused, &text[1], &mean));
    if (n != of_mean)
        FAIL_OR(end, status, BAD_DATA, "'decoder' gives %lld numbers a patch, 'mean' has %lld",
                (long long)n, (long long)of_mean);
    TRY_OR(end, status, find_patch(n, out));
    out->channels = channels;
    out->numbers = calloc((size_t)((channels + 1) * n), sizeof *out->numbers);
    if (out->numbers == NULL) FAIL_OR(end, status, NO_MEMORY, "no memory for a decoder");
    for (int64_t i = 0; i < channels * n; ++i)
        out->numbers[i] = turned ? decoder[i % n * channels + i / n] : decoder[i];
    memcpy(out->numbers + channels * n, mean, (size_t)n * sizeof *mean);
end:
    free(text[0]), free(text[1]);
    return status;
}

Status patch_decoder_open(const char *path, const NetworkShape *latents, PatchDecoder *out) {
    *out = (PatchDecoder){0};
    FAIL_IF(latents->tokens || latents->height * latents->width < 2, BAD_USAGE,
            "--decode %s: a decoder of latents, but the run draws none", path);
    FAIL_IF(!file_exists(path), NOT_FOUND, "--decode %s: there is no such file", path);
    char folder[] = "/tmp/dye-decoder-XXXXXX";
    FAIL_IF(mkdtemp(folder) == NULL, IO, "no folder in /tmp for the arrays of %s", path);
    Status status = npz_unfold(path, folder);
    if (status == STATUS_OK) status = read_decoder(folder, latents->channels, out);
    (void)!folder_remove(folder);
    return status;
}

void patch_decoder_close(PatchDecoder *decoder) {
    free(decoder->numbers);
    *decoder = (PatchDecoder){0};
}

// One picture, planar.
static void decode(const PatchDecoder *d, const NetworkShape *latents, const float *z,
                   uint8_t *pixels) {
    int64_t height = latents->height, width = latents->width, side = d->side;
    int64_t n = d->colours * side * side, places = height * width;
    for (int64_t place = 0; place < places; ++place)
        for (int64_t i = 0; i < n; ++i) {
            double x = (double)d->numbers[d->channels * n + i];
            for (int64_t c = 0; c < d->channels; ++c)
                x += (double)z[c * places + place] * (double)d->numbers[c * n + i];
            int64_t colour = i / (side * side), row = i / side % side, column = i % side;
            int64_t y = place / width * side + row, at = place % width * side + column;
            double level = rint((fmin(fmax(x, -1), 1) + 1) * 127.5);
            pixels[(colour * height * side + y) * width * side + at] = (uint8_t)level;
        }
}

Status patch_decoder_draw(const PatchDecoder *decoder, const NetworkShape *latents, const float *z,
                          int64_t count, const char *path) {
    int64_t height = latents->height * decoder->side, width = latents->width * decoder->side;
    int64_t item = (int64_t)latents->channels * latents->height * latents->width;
    int64_t picture = decoder->colours * height * width;
    uint8_t *pixels = malloc((size_t)(count * picture));
    FAIL_IF(pixels == NULL, NO_MEMORY, "no memory for %lld pictures", (long long)count);
    for (int64_t i = 0; i < count; ++i)
        decode(decoder, latents, z + i * item, pixels + i * picture);
    Status status = png_write_grid(path, &(PngGrid){.images = pixels,
                                                    .n = count,
                                                    .channels = (int32_t)decoder->colours,
                                                    .height = (int32_t)height,
                                                    .width = (int32_t)width,
                                                    .scale = width <= 32 ? 2 : 1,
                                                    .gap = PNG_GAP,
                                                    .ground = 128});
    free(pixels);
    return status;
}
