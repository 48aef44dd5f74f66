// The end of a pack: records of all units become the index.
#pragma once

#include "data/pack/pack_unit.h"

// This rank's share of reading the columns back, which proves the shards and gives content hashes.
Status pack_read_back(Pack *pack);
// By the lead, behind that: the whole index. Errors: BAD_DATA, samples were bad and may not be
// skipped (config->bad has heard of each).
Status pack_join(Pack *pack, DatasetIndex *out);
// By the lead, before that: tells of bad samples, and refuses them where they may not be skipped.
Status pack_check_bad(Pack *pack);
