// What a run shows of itself on the way, for RunContext: all ranks together, told by rank 0.
#pragma once

#include "trainer/trainer.h"

// The held-out loss, into eval.jsonl too (launch/metrics.h). Nothing where nothing is held out.
Status view_evaluate(const RunView *view);
// RUN/samples/step-000000500.png or .txt; what the disk refuses is told, and no error.
Status view_draw(const RunView *view);
