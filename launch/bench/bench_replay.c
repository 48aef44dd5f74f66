// Recording by a backend table that is put in front of the streams' own.
#include "launch/bench/bench_replay.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    Recorded *list;
    int count, room;
    int grain, grain_count; // its first grain: where it begins, how long it is
} Tape;

struct Recording {
    const Engine *engine;
    Tape *tape; // [streams]
    int tapes;
    bool failed; // no memory
};

static Recording *active;
static const Backend *behind;

static void tape_add(const Stream *stream, const Recorded *recorded) {
    Tape *tape = &active->tape[stream->index];
    if (tape->count == tape->room) {
        int room = tape->room > 0 ? 2 * tape->room : 256;
        Recorded *list = realloc(tape->list, (size_t)room * sizeof *list);
        active->failed = active->failed || list == NULL;
        if (list == NULL) return;
        tape->list = list;
        tape->room = room;
    }
    tape->list[tape->count++] = *recorded;
}

#define RECORD(name, Args, pointers)                                                               \
    static void record_##name(Stream *stream, const Args *args) {                                  \
        Recorded recorded = {.op = OP_##name, .args.name = *args};                                 \
        tape_add(stream, &recorded);                                                               \
        behind->name(stream, args);                                                                \
    }
BACKEND_OPS(RECORD)
#undef RECORD

static Backend recorder;

Status recording_open(Recording **out) {
    *out = calloc(1, sizeof **out);
    FAIL_IF(*out == NULL, NO_MEMORY, "no memory for a recording");
    return STATUS_OK;
}

static void tapes_free(Recording *recording) {
    for (int i = 0; i < recording->tapes; ++i) free(recording->tape[i].list);
    free(recording->tape);
    recording->tape = NULL;
    recording->tapes = 0;
}

void recording_close(Recording *recording) {
    if (recording == NULL) return;
    tapes_free(recording);
    free(recording);
}

Status recording_begin(Recording *recording, const Engine *engine) {
    REQUIRE(active == NULL);
    tapes_free(recording);
    recording->engine = engine;
    recording->tape = calloc((size_t)engine->lanes, sizeof *recording->tape);
    FAIL_IF(recording->tape == NULL, NO_MEMORY, "no memory for a recording");
    recording->tapes = engine->lanes;
    active = recording;
    behind = engine->lane[0].stream->backend;
    recorder = *behind;
#define RECORDER(name, Args, pointers) recorder.name = record_##name;
    BACKEND_OPS(RECORDER)
#undef RECORDER
    for (int i = 0; i < engine->lanes; ++i) engine->lane[i].stream->backend = &recorder;
    return STATUS_OK;
}

// A second corruption in a grain has no target of its own.
static bool begins_grain(const Recorded *recorded) {
    return (recorded->op == OP_gaussian_corrupt &&
            recorded->args.gaussian_corrupt.target != NULL) ||
           recorded->op == OP_categorical_corrupt;
}

// By the sum of its losses.
static bool ends_grain(const Recorded *recorded) {
    return recorded->op == OP_add_up && !recorded->args.add_up.wide;
}

static void tape_find_grain(Tape *tape) {
    int begin = 0, end;
    while (begin < tape->count && !begins_grain(&tape->list[begin])) ++begin;
    for (end = begin + 1; end < tape->count && !ends_grain(&tape->list[end]);) ++end;
    if (end > tape->count) end = begin;
    tape->grain = begin;
    tape->grain_count = end - begin;
}

Status recording_end(Recording *recording) {
    const Engine *engine = recording->engine;
    active = NULL;
    for (int i = 0; i < engine->lanes; ++i) engine->lane[i].stream->backend = behind;
    FAIL_IF(recording->failed, NO_MEMORY, "no memory to record a step's operations");
    for (int i = 0; i < recording->tapes; ++i) tape_find_grain(&recording->tape[i]);
    for (int i = 0; i < recording->tapes; ++i)
        REQUIRE(recording->tape[i].grain_count == recording->tape[0].grain_count);
    return STATUS_OK;
}

int recording_step_count(const Recording *recording, int stream) {
    return recording->tape[stream].count;
}

const Recorded *recording_step_at(const Recording *recording, int stream, int i) {
    return &recording->tape[stream].list[i];
}

int recording_count(const Recording *recording) {
    return recording->tape[0].grain_count;
}

const Recorded *recording_at(const Recording *recording, int stream, int i) {
    const Tape *tape = &recording->tape[stream];
    return &tape->list[tape->grain + i];
}

void recorded_queue(Stream *stream, const Recorded *recorded) {
    switch (recorded->op) {
#define QUEUE(name, Args, pointers)                                                                \
    case OP_##name: name(stream, recorded->args.name); break;
        BACKEND_OPS(QUEUE)
#undef QUEUE
    }
}

OpCost recorded_cost(const Recorded *recorded) {
    return op_cost(recorded->op, &recorded->args);
}

void recording_precisions(const Recording *recording, bool out[2]) {
    out[0] = out[1] = false;
    for (int i = 0; i < recording_count(recording); ++i) {
        OpCost cost = recorded_cost(recording_at(recording, 0, i));
        if (cost.flops > 0) out[cost.half] = true;
    }
}
