// The journals of ranks as files: in memory of their node while they run, where SIGKILL does not
// take them away; in RUN/forensics/ once a job has ended badly or starts again.
//
//   /dev/shm/dye-UID-HASH-RANK-PID.journal    HASH: of the run folder's real path
//   RUN/forensics/rank-00003.journal          the last one of each rank
//   RUN/forensics/causes.log                  what the controller found, one paragraph a verdict
#pragma once

#include "base/file.h"
#include "launch/watch/recorder.h"

// Moves this process's journal into its file; journals that dead ranks of the same run have left on
// this host are collected first, and those of other runs that are weeks old are removed. A host
// without such memory is no reason to stop: the journal then stays where it is.
Status blackbox_open(const char *run_dir, int rank, int world, const char *host);
void blackbox_close(void); // the end was polite: the file is removed
// What a rank of the same run on this host, alive or dead, did last; false: that cannot be told.
bool blackbox_last(const char *run_dir, int rank, int pid, JournalEntry *out);
// Copies the journal files of this host that belong to the run to RUN/forensics/.
Status blackbox_collect(const char *run_dir);

typedef struct {
    Journal **journal; // [count] by rank, each checked; free with blackbox_free
    int count;
} Blackboxes;
// RUN/forensics/, and files of this host that are newer. Damaged ones are told by `warn` and left
// out. Errors: NO_MEMORY, IO.
Status blackbox_read(const char *run_dir, void (*warn)(const char *line), Blackboxes *out);
void blackbox_free(Blackboxes *boxes);
