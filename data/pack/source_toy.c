// Made-up sets, by name: points in the plane and sequences of bits.
#include "data/pack/source.h"
#include "data/pack/toys.h"

#include <stdlib.h>
#include <string.h>

enum { TOY_ITEMS = 50000 };

typedef struct {
    int toy;
    uint64_t seed;
    int64_t first[3]; // samples before each split
} ToySource;

static bool toy_knows(const char *path) {
    int toy;
    return !file_exists(path) && toy_find(path, &toy);
}

static Status toy_open(Source *source, const SourceOptions *options) {
    static const int64_t point_shape[1] = {2}, bits_shape[1] = {HEARTBEAT_BITS};
    int64_t train = options->toy_items > 0 ? options->toy_items : TOY_ITEMS;
    int64_t held_out = train < 10 ? 1 : train / 10;
    ToySource *state = source->state = calloc(1, sizeof *state);
    FAIL_IF(state == NULL, NO_MEMORY, "no memory for %s", source->path);
    REQUIRE(toy_find(source->path, &state->toy));
    state->seed = options->toy_seed;
    if (toy_is_bits(state->toy)) {
        source->info.kind = KIND_TOKENS;
        source->info.symbols = 2;
        source_add_column(source, "tokens", DTYPE_U8, 1, bits_shape);
    } else {
        source->info.kind = KIND_VECTOR;
        source_add_column(source, "vector", DTYPE_F32, 1, point_shape);
    }
    state->first[1] = train;
    state->first[2] = train + held_out;
    source_add_split(source, "train", train);
    source_add_split(source, "valid", held_out);
    source_add_split(source, "test", held_out);
    return STATUS_OK;
}

static Status toy_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                       uint8_t *const out[DATASET_COLUMNS_MOST]) {
    const ToySource *state = source->state;
    for (int64_t i = 0; i < most; ++i) {
        uint64_t sample = (uint64_t)(state->first[split] + first + i);
        if (toy_is_bits(state->toy)) {
            toy_bits(state->seed, sample, out[0] + i * HEARTBEAT_BITS);
        } else {
            float point[2];
            toy_point(state->toy, state->seed, sample, point);
            memcpy(out[0] + i * (int64_t)sizeof point, point, sizeof point);
        }
    }
    *got = most;
    return STATUS_OK;
}

static void toy_close(Source *source) {
    free(source->state);
    source->state = NULL;
}

const SourceType source_toy = {.name = "toy",
                               .what = "the name of a made-up set",
                               .knows = toy_knows,
                               .open = toy_open,
                               .read = toy_read,
                               .close = toy_close};
