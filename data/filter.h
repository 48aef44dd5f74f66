// Reversible rearrangements of a group that make it compress better.
#pragma once

#include "data/dataset.h"

// From `in` to `out`, both [items * column_item_bytes], which must not overlap.
void filter_apply(const Column *column, const void *in, int64_t items, void *out);
void filter_undo(const Column *column, const void *in, int64_t items, void *out);

// Number i of an array of f32, f16 or bf16.
float number_widen(Dtype dtype, const void *from, int64_t i);
