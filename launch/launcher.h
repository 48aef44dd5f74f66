// The mpirun that started this process, when the job has to end and mpirun cannot: it waits for its
// daemon on a host that is cut off, for a quarter of an hour.
#pragma once

// Process number of the mpirun that is this process's parent; 0: there is none on this host.
int launcher_find(void);
// Leaves a process behind that outlives this one: if the launcher still runs after so many seconds,
// it says so, ends it (SIGKILL), and is gone itself.
void launcher_outlive(int launcher, int seconds);
