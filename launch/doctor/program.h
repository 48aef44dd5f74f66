// This program as bytes: a stale copy on one host computes something else, or speaks otherwise.
#pragma once

#include "comm/comm.h"

enum { PROGRAM_TEXT_BYTES = 320 };

typedef struct {
    uint64_t hash;                 // XXH3-64 of the file that runs; 0: it cannot be read
    char text[PROGRAM_TEXT_BYTES]; // "1f3a0c4411de9a02, /usr/bin/dye of 2026-11-25 10:50 UTC"
} Program;
void program_describe(Program *out);

// Do all ranks run the same file? BAD_CONFIG on all of them names the odd ranks by host. Called
// before ranks send each other anything whose size a version may change.
Status program_check(Comm *comm);
