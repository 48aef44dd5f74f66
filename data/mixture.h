// Which sample of which data set stands at a position of the whole training: a pure function of the
// seeds and the position, computed and never stored.
//
// One set: epoch p / N, and the epoch's permutation at p mod N. Several: positions come in blocks
// of MIXTURE_BLOCK, of which each set has a fixed number by its weight; a keyed permutation of the
// block deals them out. What a set gets is its own stream, with its own epochs, as if it were
// alone.
#pragma once

#include "base/status.h"
#include "data/order.h"

enum { MIXTURE_SETS_MOST = 64, MIXTURE_BLOCK = 1024 };

typedef enum { ORDER_FULL, ORDER_WINDOW } OrderKind;

typedef struct {
    int64_t samples; // of the set
    int64_t group;   // its samples in a group, for ORDER_WINDOW
    uint64_t seed;
    int64_t first; // sum of samples of the sets before it
    int64_t share; // positions of a block
    int64_t slot;  // of a block, at which its share begins
} MixtureSet;

typedef struct {
    MixtureSet set[MIXTURE_SETS_MOST];
    int sets;
    OrderKind kind;
    int64_t window; // groups
    uint64_t seed;
} Mixture;

// One thread's memory of permutations.
typedef struct {
    const Mixture *mixture;
    uint64_t epoch[MIXTURE_SETS_MOST]; // of which `order` is; UINT64_MAX: none
    union {
        Order full;
        WindowOrder window;
    } order[MIXTURE_SETS_MOST];
    uint64_t block;
    Order dealt;
} MixtureCursor;

// Fills first, share and slot; samples, group and seed of each set, sets, kind, window and seed are
// given. weight[sets]: NULL: in proportion to samples. Shares are the largest remainders. Errors:
// BAD_CONFIG, a weight below 0, or so small that its set would get no position.
Status mixture_init(Mixture *mixture, const double *weight);
// "0.7, 0.2, 0.1": one for each set. Errors: BAD_CONFIG.
Status mixture_parse_weights(const char *text, int sets, double *out);

void mixture_cursor_init(MixtureCursor *cursor, const Mixture *mixture);
// The sample at a position, counted over all sets one behind the other; *set: whose it is.
int64_t mixture_at(MixtureCursor *cursor, uint64_t position, int *set);
