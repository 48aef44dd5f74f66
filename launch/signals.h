// Signals become proposals that the trainer's next board carries to all ranks.
//
//   SIGUSR1 to any rank (mpirun forwards it to all), SIGTERM or SIGINT that reaches a rank itself:
//       save and stop.
//   mpirun's own end (SIGTERM or SIGINT to mpirun): it sends SIGCONT at once, SIGTERM a second
//       later and SIGKILL a second after that. A SIGTERM within 1.5 s of a SIGCONT is taken for it:
//       rank 0 names the last good checkpoint at once, and a save is made only if it fits.
//
// The end of the job, in UNIX seconds, is DYE_END_TIME or SLURM_JOB_END_TIME, if one is set: the
// trainer saves and stops before it by itself.
#pragma once

#include "base/status.h"

Status signals_open(bool speaker); // speaker: the rank that names the last good checkpoint
// Actions (trainer.h) that signals asked for since the last call; *seconds_left until SIGKILL or
// the end of the job, 0 when there is no limit.
int signals_pending(double *seconds_left);
// What the handler names: the last good checkpoint ("": none), and why the job ends, if anybody
// knows. Each may be called by another thread.
void signals_good_checkpoint(const char *path);
void signals_cause(const char *text);
bool signals_launcher_ends(void); // mpirun has begun to end the job: a second is left
