// Choosing among what was drawn, for systems without a likelihood: the paper of SUNDAE
// (arXiv 2112.06749) ranks candidates by the model's own cross entropy.
#pragma once

#include "trainer/engine.h"

Status candidates_check(const Process *process); // BAD_USAGE: of a system that has a likelihood

// Of `count` samples that each have `candidates` following rows in `drawn`, [count * candidates,
// item], the row of lowest cross entropy between what goes into the network and what it says, moved
// to the front: drawn[count, item]. Equal ones: the first. nats [count], of a token, or NULL. Rows
// go in groups of `capacity` that follow each other, so that bits do not depend on the number of
// streams. engine_use has been called.
Status candidates_choose(Engine *engine, int32_t *drawn, int64_t count, int candidates,
                         double *nats);
