// Samples on their way as files: frames of x_t.
#pragma once

#include "launch/trained.h"

// Frames as the process sees them become numbers as they were stored, which those of index `ends`
// (0 or frames - 1) are already. x [frames, count, item]; symbols stay as they are.
void trajectory_restore(const Engine *engine, float *x, int frames, int64_t count, int ends);

// [frames][count][item] of 4-byte numbers. By the name: FILE.npz has arr_0 [frames, count, ...] as
// numbers, f32 or i32, and arr_1 [frames] `time`, unless that is NULL; else images and points in
// the plane (clouds of all samples) become an animated PNG, and text and rows of numbers lines, a
// sample's frames one below the other. Errors: IO, NO_MEMORY.
Status trajectory_write(const Trained *trained, const void *x, const float *time, int frames,
                        int64_t count, const char *path);
