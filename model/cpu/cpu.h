// The backend "cpu": worker threads, one for each stream, that execute kernels compiled for three
// x86-64 levels (v2, v3, v4; the best that the processor has is used) and oneDNN for products of
// matrices. Its results are a function of the instruction set of oneDNN only, which
// Device.description names.
//
// Errors of open: BAD_CONFIG (more streams than can be, a core outside the process's set, an
// instruction set that the processor lacks), NO_MEMORY.
#ifndef MODEL_CPU_CPU_H
#define MODEL_CPU_CPU_H

#include "model/backend.h"

extern const Backend cpu_backend;

#endif
