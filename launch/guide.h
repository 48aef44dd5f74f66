// Autoguidance (arXiv 2406.02507): another model of the same process, smaller or less trained, in
// the place of the null label: out = guide + guidance (out - guide).
#pragma once

#include "launch/trained.h"

typedef struct Guide Guide;

// The run that `config` names, on the engine's device and for its passes. All ranks; its data are
// not read. Errors, the same on all ranks: NOT_FOUND, BAD_DATA, BAD_CONFIG (another process, or a
// network that the engine has no room for), NO_MEMORY.
Status guide_open(const TrainedConfig *config, Comm *comm, void (*warn)(const char *line),
                  const Trained *main, Guide **out);
void guide_close(Guide *guide); // NULL is fine
// Queues its network on what lane i's pass holds, as engine_forward does.
void guide_forward(const Guide *guide, const Engine *engine, int lane, int64_t samples, float *out);
