// Faults on demand, for tests and for trying out what one would see: the environment variable
// DYE_DRILL holds words separated by ';'.
//
//   stop=RANK@PHASE:STEP   the rank stops itself (SIGSTOP) when it enters the phase at that step or
//                          later, once; PHASE as in base/journal.h: data, compute, save ...
//   hang=RANK@PHASE:STEP   it sleeps there for ever, though its control thread lives
//   spin=RANK@PHASE:STEP   it computes there for 28 s, once
//   slow=RANK@PHASE:MS     it sleeps so long each time it enters the phase
//   gpu=UUID               a rank believes to have this GPU (launch/doctor/doctor.h)
//   nan=SAMPLE             the gradient of this sample's output is not finite, whenever it is
//   trained
//                          on
//   nan-step=STEP          once that of the first sample of the step
//   flip=RANK@STEP         once a bit of a weight that this rank does not own is flipped, just
//   before
//                          the fingerprint of the step; flips=RANK@STEP: of every step from then on
#pragma once

#include "trainer/trainer.h"

// What stands behind NAME= in DYE_DRILL, "" for a word without '='; NULL: no such word. Valid until
// this thread's next call.
const char *drill_word(const char *name);
// Sets up the drills of phases for this rank.
void drill_open(int rank);
// Those of numbers, for RunContext.drill; NULL where DYE_DRILL names none of them.
void (*drill_choose(void))(const DrillPlace *place);
