// Memory of a rank before anything is taken: what the trainer plans with, for a configuration, a
// number of ranks, and a device that need not be here.
#pragma once

#include "trainer/trainer.h"

typedef struct {
    RunSettings settings; // train.grains is what forecast_rank looks at
    Dataset *data;        // the index of the training split is all that is read
    Engine model;         // described, without a device
    int world, streams;   // streams of a device, a rank
    int group;            // ranks of a host, where there are several hosts; else `world`
    bool on_host;         // the device is the CPU
} Forecast;

// Outside the plan, bytes of a GPU: what cuBLASLt is given to work in on each stream; what the
// driver's context and the program's kernels take, which is assumed, not measured.
enum { FORECAST_CONTEXT_BYTES = 600 * 1000 * 1000 };
size_t forecast_outside(const Forecast *forecast);

// `settings` are read, streams 0: device.threads, else one of a GPU or this machine's cores. What
// the trainer refuses is refused: BAD_CONFIG, NOT_FOUND, BAD_DATA. forecast_close after a failure
// too.
Status forecast_open(const RunSettings *settings, int world, int group, bool on_host,
                     Forecast *out);
void forecast_close(Forecast *forecast);

typedef struct {
    Plan plan;
    int rank, grains, streams;
} ForecastRank;
// With grains of so many samples, of which train.batch is a multiple and each rank has one. rank
// -1: the one that takes most.
void forecast_rank(const Forecast *forecast, int64_t grain, int rank, ForecastRank *out);

// What one sample more in a grain takes on a rank's streams.
size_t forecast_sample_bytes(const Forecast *forecast);

// The next smaller grain that divides train.batch and leaves each rank one; 0: there is none.
// grain 0: the largest.
int64_t forecast_next_grain(const Forecast *forecast, int64_t grain);
// The largest grain whose plan, with what is outside it, fits into so many bytes; 0: none does.
int64_t forecast_largest_grain(const Forecast *forecast, size_t bytes);

// The fewest leading blocks to be computed again (device.recompute) with which a plan of this grain
// that does not fit into so many bytes does; 0: none do.
Status forecast_recompute(const Forecast *forecast, int rank, size_t bytes, int *out);

size_t plan_item_bytes(const Plan *plan, int item, bool host); // of the device, or of the host
size_t plan_device_bytes(const Plan *plan);                    // in all
size_t plan_host_bytes(const Plan *plan);
// "weights 12.1 + exchange 4.0 = 16.1 MB" of the device, or of the host; false: nothing is there.
bool forecast_text(const Plan *plan, bool host, char *text, size_t bytes);
