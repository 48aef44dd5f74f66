// A unit of a pack: so many samples of one split, a shard of every column, and a record of them.
#pragma once

#include "data/dataset_index.h"
#include "data/pack/pack_plan.h"

// A pack under way on one rank.
typedef struct {
    const PackConfig *config;
    SourceOptions options;
    Source *source; // [config->inputs]
    PackPlan plan;
    char folder[PATH_BYTES];  // OUT.packing: shards
    char records[PATH_BYTES]; // OUT.packing/records: of units, and the plan; below it the stage
    uint8_t *buffer[DATASET_COLUMNS_MOST];
    int64_t room;        // samples that each of them holds
    int64_t done, total; // of this rank's samples
} Pack;

typedef struct {
    int64_t samples; // good ones; 0: there are no files
    struct {
        char name[INDEX_FILE_BYTES];
        BlockFileInfo info;
    } file[DATASET_COLUMNS_MOST];
    json_t *bad; // texts, owned
} UnitRecord;

// Reads the record of a unit; *found false: it is not done, or its files are not there any more.
Status pack_unit_read(const Pack *pack, int split, int64_t unit, bool *found, UnitRecord *out);
void pack_unit_forget(UnitRecord *record);
// Writes shards and record. Samples that cannot be read enter the record.
Status pack_unit_write(Pack *pack, int split, int64_t unit);
// Tells the caller of the pack.
void pack_progress(Pack *pack, int64_t more, const char *what);
