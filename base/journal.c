// Tells the sink of base/journal.h.
#include "base/journal.h"

#include <stddef.h>

static const JournalSink *told;

void journal_set_sink(const JournalSink *sink) {
    told = sink;
}

void journal_enter(Phase phase, int64_t step) {
    if (told != NULL) told->enter(phase, step);
}

void journal_wait(const char *what) {
    if (told != NULL) told->wait(what);
}

void journal_proceed(void) {
    if (told != NULL) told->proceed();
}
