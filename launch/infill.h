// Text with gaps, for systems whose samplers fill masked symbols alone.
#pragma once

#include "data/dataset.h"
#include "model/process.h"

// `text`, `_` where a symbol is to be drawn, as symbols of the alphabet of `data`; what is behind
// its end is to be drawn, too. `count` rows alike, [count, length]; malloc'ed, the caller frees.
// Errors: BAD_USAGE (a character that the alphabet lacks, too long, data that are no text, a
// process without masks), NO_MEMORY.
Status infill_read(const DatasetInfo *data, const Process *process, int64_t length,
                   const char *text, int64_t count, int32_t **out);
