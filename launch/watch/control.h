// The control thread of a rank, which uses neither MPI nor a device: it tells rank 0 what the main
// thread is doing, and on rank 0 it watches all ranks, names the one that holds the others up, and
// ends the job if that does not pass. If rank 0 is the victim its deputy does so: the lowest rank
// on another host, or rank 1.
//
// There is one a process, opened by the main thread; its words go through launch/console.h. A job
// that it ends has the exit code of STALLED.
#pragma once

#include "comm/comm.h"
#include "trainer/trainer.h"

// All ranks together, after the configuration is known. Errors are agreed. BUSY: control.port is
// taken. Where no rank can be reached, training goes on and a warning tells so.
Status control_open(Comm *comm, const RunSettings *settings);
// A polite end, after the last collective and MPI itself, whose hangs it names too; fine if it was
// not opened.
void control_close(void);
// From here on the run folder is this job's: status.json is written.
void control_own_run(void);
// Whether this rank is being watched: somebody will name a hang.
bool control_is_watched(void);
// For the status: the latest progress line, the last good checkpoint.
void control_progress(const char *line);
void control_good_checkpoint(const char *path);
