// One writer per run folder, on any file system with hard links, NFS among them (where flock
// fails): RUN/lock.json is linked into place, which exactly one of several can do, holds job, host,
// pid and its start time, and is renewed (its time of change) every 10 s by a thread.
#pragma once

#include "base/status.h"

typedef struct RunLock RunLock;

// Takes the lock. BUSY names the holder (job, host, pid, since when, last renewed). A lock whose
// process is dead on this host, or that was not renewed for 60 s elsewhere, is taken over and
// `notice` is told (NULL: nobody). Ages are told by the clock of the file system, not of the hosts.
Status run_lock_take(const char *run_dir, void (*notice)(const char *message), RunLock **out);
// BUSY if another process has taken the lock over: this one was stopped for too long, or cut off.
// IO if that cannot be told now: the run folder is away. A renewal that the disk refuses is no
// failure.
Status run_lock_check(const RunLock *lock);
void run_lock_release(RunLock *lock); // removes its own lock only; NULL is fine

// The one lock of a process, for RunContext: taken and checked as above, with console_warn.
Status process_lock_take(const char *run_dir);
Status process_lock_check(void);
void process_lock_release(void); // fine without a lock
