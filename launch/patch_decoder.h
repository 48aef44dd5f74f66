// A linear decoder of latents, given with them in an NPZ: float32 `decoder` [channels, n] and
// `mean` [n], n = colours x side x side. Each place of a latent becomes a patch of the picture,
// mean + z decoder, by colour, row, column; numbers are in [-1,1].
#pragma once

#include "model/network.h"

typedef struct {
    int64_t channels, colours, side; // of a latent, of the picture, of a patch
    float *numbers;                  // decoder, then mean
} PatchDecoder;

bool patch_decoder_is(const char *path); // its name ends in .npz: no run
// For latents of this shape. Errors: NOT_FOUND, BAD_DATA (arrays that are missing, or of another
// type or shape), BAD_USAGE (nothing that draws latents), those of reading an NPZ.
Status patch_decoder_open(const char *path, const NetworkShape *latents, PatchDecoder *out);
void patch_decoder_close(PatchDecoder *decoder); // fine if it was never opened
// Latents z [count, channels, height, width] as a grid of pictures. Errors: IO, NO_MEMORY.
Status patch_decoder_draw(const PatchDecoder *decoder, const NetworkShape *latents, const float *z,
                          int64_t count, const char *path);
