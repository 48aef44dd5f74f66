// Images to rows of patches and back.
#include "model/cpu/cpu_impl.h"
#include "model/math/input.h"

static void patches_copy(const Patches *args, bool to_tokens) {
    int64_t width = args->width;
    for (int64_t row = 0; row < args->samples * args->channels * args->height; ++row)
        for (int64_t x = 0; x < width; ++x) {
            int64_t at = patch_place(args, row, x), pixel = row * width + x;
            args->to[to_tokens ? at : pixel] = args->from[to_tokens ? pixel : at];
        }
}

void CPU_KERNEL(patch_forward)(Stream *stream, const Patches *args) {
    (void)stream;
    patches_copy(args, true);
}

void CPU_KERNEL(patch_back)(Stream *stream, const Patches *args) {
    (void)stream;
    patches_copy(args, false);
}
