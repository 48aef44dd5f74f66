// The operations of a grain as a training step queues them, recorded from a real step and executed
// again one by one.
//
// What a grain reads stays in the device's memory between steps, and it writes nothing that is not
// written again: executing it again is harmless and takes as long as in the step.
#pragma once

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

// From here on all that is queued on the engine's streams is kept too, until recording_end, before
// the step's update; it cuts what it has to the first grain of each stream. One recording at a
// time; the streams must be at rest at both ends.
Status recording_begin(Recording *recording, const Engine *engine);
Status recording_end(Recording *recording);

// Every stream has the same operations, with pointers of its own.
int recording_count(const Recording *recording);
const Recorded *recording_at(const Recording *recording, int stream, int i);

// Which precisions its products have: [0] fp32, [1] bf16.
void recording_precisions(const Recording *recording, bool out[2]);

void recorded_queue(Stream *stream, const Recorded *recorded);
const char *op_name(int op);

// Multiplications and additions of an operation's matrix products; 0: it has none. The product that
// attention's gradient repeats is not counted: the limit is what must be done.
double recorded_flops(const Recorded *recorded);
bool recorded_is_half(const Recorded *recorded); // of a product: its operands are bf16
