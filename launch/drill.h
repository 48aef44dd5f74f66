// Faults on demand, for tests and for trying out what one would see: the environment variable
// DYE_DRILL holds words separated by ';'.
//
//   stop=RANK@PHASE:STEP   the rank stops itself (SIGSTOP) when it enters the phase at that step or
//                          later, once; PHASE as in base/journal.h: data, compute, save ...
//   hang=RANK@PHASE:STEP   it sleeps there for ever, though its control thread lives
//   slow=RANK@PHASE:MS     it sleeps so long each time it enters the phase
//   gpu=UUID               a rank believes to have this GPU (launch/doctor.h)
#pragma once

// The text behind "NAME=" in DYE_DRILL, up to its ';'; NULL: there is no such word. Valid until the
// next call.
const char *drill_word(const char *name);
// Sets up the drills of phases for this rank.
void drill_open(int rank);
