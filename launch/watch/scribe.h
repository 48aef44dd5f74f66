// Writes what the control thread has to say into the run folder, on a thread of its own: a file
// system that hangs then hangs neither the training nor the watch over it.
//
//   RUN/status.json            every 2 s, by whoever speaks: the newest state of the run
//   RUN/forensics/causes.log   verdicts
//   RUN/forensics/*.journal    on request
#pragma once

#include "base/json.h"

typedef struct Scribe Scribe;

// `status` is called by the thread of the scribe and returns what status.json is to hold, or NULL
// for nothing. Errors: NO_MEMORY.
Status scribe_open(const char *run_dir, json_t *(*status)(void *context), void *context,
                   Scribe **out);
// Writes what is left and waits a second at most. False: the file system hangs, and the thread with
// it, which still needs `context`. NULL is fine.
bool scribe_close(Scribe *scribe);
void scribe_cause(Scribe *scribe, const char *text); // one more paragraph
// Copies the journals of this host; waits until it is done, or for so many seconds.
void scribe_collect(Scribe *scribe, double seconds);
