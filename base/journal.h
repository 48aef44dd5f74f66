// What this process is doing: its phases, and its waits for other ranks. Whoever watches a process
// is told of them (launch/watch/recorder.h); without a watch nobody is. The main thread alone calls
// these.
#pragma once

#include <stdint.h>

//    name, word, what a rank in it does
#define PHASE_LIST(X)                                                                              \
    X(START, "start", "starting")                                                                  \
    X(LOAD, "load", "loading a checkpoint")                                                        \
    X(DATA, "data", "reading data")                                                                \
    X(COMPUTE, "compute", "computing gradients")                                                   \
    X(REDUCE, "reduce", "summing gradients")                                                       \
    X(UPDATE, "update", "updating weights")                                                        \
    X(LOG, "log", "writing the log")                                                               \
    X(SAVE, "save", "saving")                                                                      \
    X(EVALUATE, "evaluate", "evaluating")                                                          \
    X(SAMPLE, "sample", "drawing samples")                                                         \
    X(END, "end", "ending")

typedef enum {
#define PHASE_ENUM(name, word, text) PHASE_##name,
    PHASE_LIST(PHASE_ENUM)
#undef PHASE_ENUM
        PHASE_COUNT
} Phase;

typedef struct {
    void (*enter)(Phase phase, int64_t step);
    void (*wait)(const char *what);
    void (*proceed)(void);
} JournalSink;
void journal_set_sink(const JournalSink *sink); // lent for good; NULL: nobody is told

void journal_enter(Phase phase, int64_t step);
// Around the wait for a collective or exchange, which all ranks enter in the same order.
void journal_wait(const char *what);
void journal_proceed(void); // also: long work has come one piece further
