// The network on a lane of an engine, for whoever trains nothing.
#pragma once

#include "trainer/engine.h"

// Queues one time for all samples of a lane's pass; its host rows are untouched until stream_wait.
void inference_upload_time(const Engine *engine, int lane, int64_t samples, double time);
// Queues the network, without dropout, on what lane i's pass holds.
void inference_forward(const Engine *engine, int lane, int64_t samples, float *out);
