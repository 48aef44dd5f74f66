// Images to codes and back, by the network of an autoencoder (model.family fsq).
#pragma once

#include "launch/trained.h"

// `count` images [count, engine_item], at most capacity * lanes, to ids [count, places], and back
// to the mean of each pixel. They go in groups of `capacity` that follow each other, so that the
// bits do not depend on the number of streams. engine_use has been called.
Status code_encode(Engine *engine, const float *x, int64_t count, int32_t *ids);
Status code_decode(Engine *engine, const int32_t *ids, int64_t count, float *x);

// Opens an autoencoder whose codes `drawn` draws. Errors: BAD_USAGE, and those of trained_open.
Status decoder_open(const TrainedConfig *config, Comm *comm, const Trained *drawn, Trained *out);
// Puts pictures [count, item] in the place of ids [count, places]; both malloc'ed. Errors:
// NO_MEMORY; *samples is to be freed then, too.
Status decoder_run(Trained *decoder, int64_t count, void **samples);
