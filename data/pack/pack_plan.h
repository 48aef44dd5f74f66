// Which samples of which sources a pack writes where: decided before anything is written, the same
// on every rank.
#pragma once

#include "data/order.h"
#include "base/json.h"
#include "data/pack/pack.h"

// Samples of sources one behind the other, perhaps permuted.
typedef struct {
    struct {
        int input, split; // which samples
        int64_t first;    // place of the first one here
    } * piece;
    int pieces;
    int64_t samples;
    bool shuffled;
    Order order;
} PlanPool;

typedef struct {
    char name[16];
    int pool;
    int64_t begin, samples; // of the pool
} PlanSplit;

typedef struct {
    DatasetInfo info;                  // all but name, items and identity
    PlanPool pool[SOURCE_SPLITS_MOST]; // of a split each, or of all whose shares are cut
    int pools;
    PlanSplit split[SOURCE_SPLITS_MOST];
    int splits;
    int64_t unit_samples;
    uint8_t (*symbol)[256]; // [inputs] text: each source's symbols in the common alphabet
} PackPlan;

// source[config->inputs] are open. Errors: BAD_USAGE (they do not fit together; what is asked for
// cannot be), BAD_DATA (too few samples). `out` is closed after a failure.
Status pack_plan_make(const PackConfig *config, const Source *source, PackPlan *out);
void pack_plan_close(PackPlan *plan);

// Where sample `position` of a split stands; *run: so many from it on stand there in a row.
typedef struct {
    int input, split;
    int64_t sample, run;
} PlanPlace;
PlanPlace pack_plan_place(const PackPlan *plan, const Source *source, int split, int64_t position);

int64_t pack_plan_units(const PackPlan *plan, int split);
// All that decides the bytes of the shards: two packs of equal texts write the same.
json_t *pack_plan_json(const PackConfig *config, const Source *source, const PackPlan *plan);
