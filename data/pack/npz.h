// NPZ: arrays of NumPy in a ZIP archive, each a member NAME.npy. They are decoded once into a
// folder of NPY files, so that they can be read anywhere: that takes the arrays' size on disk, and
// little memory.
#pragma once

#include <stddef.h>

#include "base/status.h"

bool npz_begins(const void *start, size_t bytes); // a ZIP archive, which may be an empty one

// Decodes all members that are arrays to `folder`, which is made anew. Errors: NOT_FOUND, IO,
// NO_MEMORY, BAD_DATA: a member is encrypted, damaged, of another length than told, twice there, or
// named like a path.
Status npz_unfold(const char *path, const char *folder);
