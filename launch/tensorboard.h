// What a run tells in TensorBoard's event files, RUN/tensorboard/: curves, held-out loss by noise
// level, samples, the configuration, and the keys that may not change, by which runs are compared.
// Of this process, for RunContext; rank 0. A run that goes on opens a new file whose points take
// the place of those that it repeats. A disk that takes nothing costs points here and nothing else:
// metrics.jsonl has them.
#pragma once

#include "launch/metrics.h"

// From now on tensorboard_open opens something; both are lent for good.
void tensorboard_enable(const RunSettings *settings, const char *config_text);
// From the step behind `step` on; what the disk refuses is told, and nothing is open then.
void tensorboard_open(const char *run_dir, int64_t step);
void tensorboard_record(const MetricsRecord *record);
void tensorboard_held_out(int64_t step, const HeldOutLoss *result);
// A picture or text that was drawn, by its path.
void tensorboard_samples(int64_t step, const char *path);
void tensorboard_close(void); // fine if none is open; all of the above do nothing then
