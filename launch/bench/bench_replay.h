// The operations of a training step as it queues them, recorded from a real one; those of a grain
// can be executed again one by one.
//
// What a grain reads stays in the device's memory between steps, and it writes nothing that is not
// written again: executing it again is harmless and takes as long as in the step.
#pragma once

#include "launch/bench/op_cost.h"
#include "trainer/engine.h"

#define RECORDED_UNION(name, Args, pointers) Args name;
typedef struct {
    int op; // OP_linear_forward...
    union {
        BACKEND_OPS(RECORDED_UNION)
    } args;
} Recorded;
#undef RECORDED_UNION

typedef struct Recording Recording;

Status recording_open(Recording **out);
void recording_close(Recording *recording); // NULL is fine

// From here on all that is queued on the engine's streams is kept too, until recording_end: for a
// whole step, from the point of one step to the same point of the next. One recording at a time;
// the streams must be at rest at both ends.
Status recording_begin(Recording *recording, const Engine *engine);
Status recording_end(Recording *recording);

// All of a stream's operations in the step.
int recording_step_count(const Recording *recording, int stream);
const Recorded *recording_step_at(const Recording *recording, int stream, int i);

// Those of its first grain. Every stream has the same, with pointers of its own.
int recording_count(const Recording *recording);
const Recorded *recording_at(const Recording *recording, int stream, int i);

// Which precisions its products have: [0] fp32, [1] bf16.
void recording_precisions(const Recording *recording, bool out[2]);

void recorded_queue(Stream *stream, const Recorded *recorded);
OpCost recorded_cost(const Recorded *recorded);
