// Inputs of a network: tables looked up by id, images to rows of patches and back, Fourier
// features, numbers to codes of a few levels and codes to numbers.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/simd.h"
#include "model/math/input.h"

void CPU_KERNEL(embed_forward)(UNUSED Stream *stream, const Embed *args) {
    int64_t width = args->width;
    for (int64_t r = 0; r < args->rows; ++r) {
        const float *row = args->table + embed_id(args, r) * width;
        if (args->add != NULL)
            row_add(row, args->add + r % args->add_rows * width, args->y + r * width, width);
        else
            memcpy(args->y + r * width, row, (size_t)width * sizeof *row);
    }
}

void CPU_KERNEL(embed_grad)(Stream *stream, const Embed *args) {
    int64_t width = args->width, size = args->entries * width;
    float *sum = args->accumulate ? cpu_scratch(stream, grad_scratch_bytes(size)) : args->dtable;
    memset(sum, 0, (size_t)size * sizeof *sum);
    for (int64_t r = 0; r < args->rows; ++r) {
        int64_t id = embed_id(args, r);
        REQUIRE(id >= 0 && id < args->entries);
        float *row = sum + id * width;
        row_add(row, args->dy + r * width, row, width);
    }
    if (args->accumulate) row_add(args->dtable, sum, args->dtable, size);
}

static void patches_copy(const Patches *args, bool to_tokens) {
    int64_t width = args->width;
    for (int64_t row = 0; row < args->samples * args->channels * args->height; ++row)
        for (int64_t x = 0; x < width; ++x) {
            int64_t at = patch_place(args, row, x), pixel = row * width + x;
            args->to[to_tokens ? at : pixel] = args->from[to_tokens ? pixel : at];
        }
}

void CPU_KERNEL(patch_forward)(UNUSED Stream *stream, const Patches *args) {
    patches_copy(args, true);
}

void CPU_KERNEL(patch_back)(UNUSED Stream *stream, const Patches *args) {
    patches_copy(args, false);
}

void CPU_KERNEL(fourier_forward)(UNUSED Stream *stream, const Fourier *args) {
    int64_t n = args->item;
    for (int64_t i = 0; i < args->samples * n; ++i)
        fourier_planes(args->x[i], args->y + fourier_place(i, n), n);
}

void CPU_KERNEL(fourier_grad)(UNUSED Stream *stream, const Fourier *args) {
    int64_t n = args->item;
    for (int64_t i = 0; i < args->samples * n; ++i)
        args->dx[i] = fourier_slope(args->x[i], args->dy + fourier_place(i, n), n);
}

void CPU_KERNEL(quantise)(UNUSED Stream *stream, const Quantise *args) {
    for (int64_t i = 0; i < args->samples * args->places; ++i) quantise_place(args, i);
}

void CPU_KERNEL(code_values)(UNUSED Stream *stream, const CodeValues *args) {
    for (int64_t i = 0; i < args->samples * args->places; ++i) code_place(args, i);
}
