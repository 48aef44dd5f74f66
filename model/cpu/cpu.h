// The backend "cpu": worker threads, one for each stream, that execute kernels compiled for three
// x86-64 levels (v2, v3, v4; the best that the processor has is used), oneDNN for products of
// matrices, and tiles (AMX) for those of bf16 where there are any. Its results are a function of
// oneDNN's instruction set and the presence of tiles only, which Device.description names.
//
// Errors of open: BAD_CONFIG (more streams than can be, a core outside the process's set, an
// instruction set that the processor lacks), NO_MEMORY.
#pragma once

#include "model/backend.h"

extern const Backend cpu_backend;
