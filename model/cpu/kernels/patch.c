// Images to rows of patches and back.
#include "model/cpu/cpu_impl.h"

typedef struct {
    int64_t samples, channels, height, width, patch;
    bool channel_last;
} PatchShape;

// Copies in runs of `patch` numbers of an image row; within a token they stand `step` apart.
static void runs_copy(const PatchShape *shape, const float *from, float *to, bool to_tokens) {
    int64_t patch = shape->patch, channels = shape->channels;
    int64_t across = shape->width / patch, item = channels * patch * patch;
    int64_t step = shape->channel_last ? channels : 1;
    for (int64_t row = 0; row < shape->samples * channels * shape->height; ++row) {
        int64_t y = row % shape->height, channel = row / shape->height % channels;
        int64_t sample = row / shape->height / channels;
        int64_t token = (sample * (shape->height / patch) + y / patch) * across * item +
                        (shape->channel_last ? y % patch * patch * channels + channel
                                             : (channel * patch + y % patch) * patch);
        for (int64_t x = 0; x < across * patch; ++x) {
            int64_t image_at = row * shape->width + x;
            int64_t token_at = token + x / patch * item + x % patch * step;
            if (to_tokens)
                to[token_at] = from[image_at];
            else
                to[image_at] = from[token_at];
        }
    }
}

void CPU_KERNEL(patch_forward)(Stream *stream, const PatchForward *args) {
    (void)stream;
    PatchShape shape = {args->samples, args->channels, args->height,
                        args->width,   args->patch,    args->channel_last};
    runs_copy(&shape, args->x, args->y, true);
}

void CPU_KERNEL(patch_back)(Stream *stream, const PatchBack *args) {
    (void)stream;
    PatchShape shape = {args->samples, args->channels, args->height,
                        args->width,   args->patch,    args->channel_last};
    runs_copy(&shape, args->y, args->x, false);
}
