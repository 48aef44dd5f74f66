// Images to rows of patches and back.
#include "model/cpu/cpu_impl.h"

// Copies number by number along image rows; within a token they stand `step` apart.
static void patches_copy(const Patches *args, bool to_tokens) {
    int64_t patch = args->patch, channels = args->channels;
    int64_t across = args->width / patch, item = channels * patch * patch;
    int64_t step = args->channel_last ? channels : 1;
    const float *from = args->from;
    float *to = args->to;
    for (int64_t row = 0; row < args->samples * channels * args->height; ++row) {
        int64_t y = row % args->height, channel = row / args->height % channels;
        int64_t sample = row / args->height / channels;
        int64_t token = (sample * (args->height / patch) + y / patch) * across * item +
                        (args->channel_last ? y % patch * patch * channels + channel
                                            : (channel * patch + y % patch) * patch);
        for (int64_t x = 0; x < across * patch; ++x) {
            int64_t image_at = row * args->width + x;
            int64_t token_at = token + x / patch * item + x % patch * step;
            if (to_tokens)
                to[token_at] = from[image_at];
            else
                to[image_at] = from[token_at];
        }
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
