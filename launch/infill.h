// Samples of which a part is given: text with gaps, pictures with holes, points of which one
// coordinate is known.
#pragma once

#include "comm/comm.h"
#include "trainer/engine.h"

// What is given of a sample, for GenerateRequest. Where a process has masks, they stand for what is
// to be drawn, and its samplers touch nothing else: `start`. Elsewhere `known` places are held to
// what the process makes of `x_0` at each time (score SDEs, arXiv 2011.13456, app. I.2), and are
// x_0 at the end; what is drawn between fits them only so well as the network learns from them on
// the way.
typedef struct {
    int32_t *start;       // [count, item] ids; else NULL
    void *x_0;            // [item] as stored, 4-byte numbers; else NULL, as the next
    unsigned char *known; // [item]
} Infill;

// `text`, `_` where something is to be drawn: symbols of the alphabet of `data`, and what is behind
// its end is to be drawn, too; of points, numbers between spaces. Of images it is the name of a
// picture of their size, and `mask` that of another, drawn where it is lighter than half; NULL
// where there is no picture. Errors: BAD_USAGE (a character that the alphabet lacks, too long,
// another size, data or a process that this is not for), NOT_FOUND, BAD_DATA, NO_MEMORY.
Status infill_read(const DatasetInfo *data, const Engine *engine, const char *text,
                   const char *mask, int64_t count, Infill *out);
void infill_close(Infill *infill); // fine on a zeroed one
// The solver for it: "auto" becomes one that keeps to the times at which it is held. Errors:
// BAD_USAGE (this one does not).
Status infill_solver(const Infill *infill, const Engine *engine, char solver[12]);

// Memory in which `known` is corrupted, for each lane. NULL is fine for close.
typedef struct InfillHold InfillHold;
Status infill_hold_open(const Engine *engine, const Infill *infill, InfillHold **out);
void infill_hold_close(InfillHold *hold);
// Queues on a lane what the known places are at `time` (0: the data), with noise of `draw`; and
// puts it into the lane's x_t, once the stream has been waited for.
void infill_hold_queue(InfillHold *hold, int lane, uint64_t seed, double time, uint64_t draw);
void infill_hold_put(InfillHold *hold, int lane);
