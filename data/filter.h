// Reversible rearrangements of a group that make it compress better.
#pragma once

#include "data/dataset.h"

// From `in` to `out`, both [items * column_item_bytes], which must not overlap.
void filter_apply(const Column *column, const void *in, int64_t items, void *out);
void filter_undo(const Column *column, const void *in, int64_t items, void *out);
