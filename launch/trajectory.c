// Frames as files behind launch/trajectory.h.
#include "launch/trajectory.h"

#include <stdlib.h>
#include <string.h>

#include "launch/picture.h"
#include "launch/sample_file.h"

void trajectory_restore(const Engine *engine, float *x, int frames, int64_t count, int ends) {
    int64_t each = count * engine_item(engine);
    for (int frame = 0; frame < frames && !engine->shape.tokens; ++frame)
        if (frame != ends) process_restore(engine->process, x + frame * each, each);
}

static bool ends_in(const char *path, const char *end) {
    size_t length = strlen(path), most = strlen(end);
    return length > most && strcmp(path + length - most, end) == 0;
}

// The frames of a sample below each other.
static Status write_lines(const Trained *trained, const char *x, int frames, int64_t count,
                          const char *path) {
    size_t bytes = (size_t)engine_item(&trained->engine) * 4;
    char *sorted = malloc(bytes * (size_t)(frames * count));
    FAIL_IF(sorted == NULL, NO_MEMORY, "no memory for %d frames", frames);
    for (int64_t i = 0; i < count; ++i)
        for (int frame = 0; frame < frames; ++frame)
            memcpy(sorted + (size_t)(i * frames + frame) * bytes,
                   x + (size_t)(frame * count + i) * bytes, bytes);
    Status status = picture_write(dataset_info(trained->data), &trained->engine.shape, sorted,
                                  frames * count, path);
    free(sorted);
    return status;
}

Status trajectory_write(const Trained *trained, const void *x, const float *time, int frames,
                        int64_t count, const char *path) {
    const DatasetInfo *info = dataset_info(trained->data);
    const NetworkShape *shape = &trained->engine.shape;
    if (ends_in(path, ".npz"))
        return sample_write_frames(info, shape, x, time, frames, count, path);
    if (info->kind == KIND_VECTOR && shape->channels == 2)
        return picture_animate_clouds(x, count, frames, path);
    if (dataset_is_drawn(info)) return picture_animate(info, shape, x, count, frames, path);
    return write_lines(trained, x, frames, count, path);
}
