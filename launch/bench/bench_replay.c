// Recording by a backend table that is put in front of the streams' own.
#include "launch/bench/bench_replay.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    Recorded *list;
    int count, room;
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

// By the next grain, a sum of gradients, or the norms that follow the last one.
static bool ends_grain(const Recorded *recorded, int64_t params) {
    return begins_grain(recorded) || recorded->op == OP_sum_squares ||
           (recorded->op == OP_axpby && recorded->args.axpby.n == params);
}

static void tape_cut(Tape *tape, int64_t params) {
    int begin = 0, end;
    while (begin < tape->count && !begins_grain(&tape->list[begin])) ++begin;
    for (end = begin + 1; end < tape->count && !ends_grain(&tape->list[end], params);) ++end;
    if (end > tape->count) end = begin = 0;
    tape->count = end - begin;
    if (begin > 0) memmove(tape->list, tape->list + begin, (size_t)tape->count * sizeof(Recorded));
}

Status recording_end(Recording *recording) {
    const Engine *engine = recording->engine;
    active = NULL;
    for (int i = 0; i < engine->lanes; ++i) engine->lane[i].stream->backend = behind;
    FAIL_IF(recording->failed, NO_MEMORY, "no memory to record a step's operations");
    for (int i = 0; i < recording->tapes; ++i) tape_cut(&recording->tape[i], engine->params.size);
    for (int i = 0; i < recording->tapes; ++i)
        REQUIRE(recording->tape[i].count == recording->tape[0].count);
    return STATUS_OK;
}

int recording_count(const Recording *recording) {
    return recording->tape[0].count;
}

const Recorded *recording_at(const Recording *recording, int stream, int i) {
    return &recording->tape[stream].list[i];
}

void recorded_queue(Stream *stream, const Recorded *recorded) {
    switch (recorded->op) {
#define QUEUE(name, Args, pointers)                                                                \
    case OP_##name: name(stream, recorded->args.name); break;
        BACKEND_OPS(QUEUE)
#undef QUEUE
    }
}

const char *op_name(int op) {
#define NAME(name, Args, pointers) #name,
    static const char *const names[] = {BACKEND_OPS(NAME)};
#undef NAME
    return names[op];
}

double recorded_flops(const Recorded *recorded) {
    const LinearLayer *forward = &recorded->args.linear_forward;
    const LinearLayer *grad = &recorded->args.linear_grad;
    const Attention *attend = &recorded->args.attention_forward;
    const Attention *attend_grad = &recorded->args.attention_grad;
    switch (recorded->op) {
    case OP_linear_forward:
        return 2.0 * (double)forward->rows * (double)forward->in * (double)forward->out;
    case OP_linear_grad:
        return (grad->dx != NULL ? 4.0 : 2.0) * (double)grad->rows * (double)grad->in *
               (double)grad->out;
    case OP_attention_forward:
        return 4.0 * (double)attend->samples * (double)attend->heads * (double)attend->head_dim *
               (double)attend->tokens * (double)attend->tokens;
    case OP_attention_grad:
        return 8.0 * (double)attend_grad->samples * (double)attend_grad->heads *
               (double)attend_grad->head_dim * (double)attend_grad->tokens *
               (double)attend_grad->tokens;
    default: return 0;
    }
}

bool recorded_is_half(const Recorded *recorded) {
    switch (recorded->op) {
    case OP_linear_forward: return recorded->args.linear_forward.half;
    case OP_linear_grad: return recorded->args.linear_grad.half;
    case OP_attention_forward: return recorded->args.attention_forward.half;
    case OP_attention_grad: return recorded->args.attention_grad.half;
    default: return false;
    }
}

void recording_precisions(const Recording *recording, bool out[2]) {
    out[0] = out[1] = false;
    for (int i = 0; i < recording_count(recording); ++i) {
        const Recorded *recorded = recording_at(recording, 0, i);
        if (recorded_flops(recorded) > 0) out[recorded_is_half(recorded)] = true;
    }
}
