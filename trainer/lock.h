// One writer per run folder, on any file system: RUN/lock.json made with O_EXCL, holding job, host,
// pid and its start time, and renewed by a thread. flock is not used: it fails on NFS.
#ifndef TRAINER_LOCK_H
#define TRAINER_LOCK_H

#include "base/status.h"

typedef struct RunLock RunLock;

// Takes the lock. BUSY names the holder (job, host, pid, since when, last renewed). A lock whose
// process is dead on this host, or that was not renewed for 60 s elsewhere, is taken over and
// `notice` is told.
Status run_lock_take(const char *run_dir, void (*notice)(const char *message), RunLock **out);
void run_lock_release(RunLock *lock); // NULL is fine

#endif
