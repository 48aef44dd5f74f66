// Blocks, shares and streams.
#include "data/mixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"

Status mixture_parse_weights(const char *text, int sets, double *out) {
    const char *at = text;
    for (int i = 0; i < sets; ++i) {
        char *end;
        out[i] = strtod(at, &end);
        bool good = end != at && isfinite(out[i]) && out[i] > 0 && out[i] < 1e9;
        end += strspn(end, " \t");
        good = good && *end == (i + 1 < sets ? ',' : '\0');
        FAIL_IF(!good, BAD_CONFIG,
                "data.weights is \"%s\", must be %d numbers above 0 with commas between them", text,
                sets);
        at = end + 1;
    }
    return STATUS_OK;
}

// Whole positions by the largest remainders; a tie goes to the earlier set.
static void deal_shares(Mixture *mixture, const double *weight, double sum) {
    double rest[MIXTURE_SETS_MOST];
    int64_t left = MIXTURE_BLOCK;
    for (int i = 0; i < mixture->sets; ++i) {
        double share = weight[i] / sum * MIXTURE_BLOCK;
        mixture->set[i].share = (int64_t)share;
        rest[i] = share - (double)mixture->set[i].share;
        left -= mixture->set[i].share;
    }
    for (; left > 0; --left) {
        int best = 0;
        for (int i = 1; i < mixture->sets; ++i)
            if (rest[i] > rest[best]) best = i;
        ++mixture->set[best].share;
        rest[best] = -1;
    }
}

Status mixture_init(Mixture *mixture, const double *weight) {
    double samples[MIXTURE_SETS_MOST], sum = 0;
    int64_t first = 0, slot = 0;
    for (int i = 0; i < mixture->sets; ++i) samples[i] = (double)mixture->set[i].samples;
    if (weight == NULL) weight = samples;
    for (int i = 0; i < mixture->sets; ++i) sum += weight[i];
    deal_shares(mixture, weight, sum);
    for (int i = 0; i < mixture->sets; ++i) {
        MixtureSet *set = &mixture->set[i];
        FAIL_IF(
            set->share < 1, BAD_CONFIG,
            "the weight of data set number %d is %g of %g: less than one sample in %d; raise it,"
            " or leave the set out",
            i + 1, weight[i], sum, MIXTURE_BLOCK);
        set->first = first;
        set->slot = slot;
        first += set->samples;
        slot += set->share;
    }
    return STATUS_OK;
}

void mixture_cursor_init(MixtureCursor *cursor, const Mixture *mixture) {
    cursor->mixture = mixture;
    cursor->block = UINT64_MAX;
    for (int i = 0; i < MIXTURE_SETS_MOST; ++i) cursor->epoch[i] = UINT64_MAX;
}

// Sample at a position of a set's own stream.
static int64_t stream_at(MixtureCursor *cursor, int number, uint64_t position) {
    const Mixture *mixture = cursor->mixture;
    const MixtureSet *set = &mixture->set[number];
    uint64_t samples = (uint64_t)set->samples, epoch = position / samples;
    bool windows = mixture->kind == ORDER_WINDOW;
    if (cursor->epoch[number] != epoch) {
        if (windows)
            window_order_init(&cursor->order[number].window, samples, (uint64_t)set->group,
                              (uint64_t)mixture->window, set->seed, epoch);
        else
            order_init(&cursor->order[number].full, samples, set->seed, epoch);
        cursor->epoch[number] = epoch;
    }
    position %= samples;
    return (int64_t)(windows ? window_order_at(&cursor->order[number].window, position)
                             : order_at(&cursor->order[number].full, position));
}

int64_t mixture_at(MixtureCursor *cursor, uint64_t position, int *number) {
    const Mixture *mixture = cursor->mixture;
    *number = 0;
    if (mixture->sets == 1) return stream_at(cursor, 0, position);
    uint64_t block = position / MIXTURE_BLOCK;
    if (cursor->block != block) {
        order_init(&cursor->dealt, MIXTURE_BLOCK, mixture->seed, block);
        cursor->block = block;
    }
    int64_t slot = (int64_t)order_at(&cursor->dealt, position % MIXTURE_BLOCK);
    const MixtureSet *set = mixture->set;
    while (slot >= set->slot + set->share) ++set;
    *number = (int)(set - mixture->set);
    uint64_t own = block * (uint64_t)set->share + (uint64_t)(slot - set->slot);
    return set->first + stream_at(cursor, *number, own);
}
