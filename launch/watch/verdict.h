// A verdict in words: who, where, since when, what the others wait for, why probably, what to do.
#pragma once

#include "launch/watch/watch.h"

enum { VERDICT_TEXT_BYTES = 2048 };

typedef struct {
    const char *host; // of the rank
    int pid;
    int world;
    const char *by_itself, *by_neighbour; // what /proc tells of it; "": nothing
} VerdictFacts;

// One sentence, then indented lines. Returns `out`.
const char *verdict_text(const Verdict *verdict, const VerdictFacts *facts,
                         char out[VERDICT_TEXT_BYTES]);
// "rank 3 on n2 goes on after 14 s".
const char *verdict_over_text(const Verdict *verdict, const VerdictFacts *facts, double seconds,
                              char out[VERDICT_TEXT_BYTES]);
