// Which ranks differ from the others, and how to say so.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Sets odd[rank] where key[rank] is not the most frequent key, and returns how many there are. Of
// keys that are equally frequent the one of the lowest rank stands, so two ranks that differ are
// told from rank 0's side. *usual is the lowest rank with the key that stands.
int odd_ranks_find(const uint64_t *key, int world, bool *odd, int *usual);

// The marked ranks by host: "rank 3 on n1", "ranks 0-3, 7 on n1, rank 9 on n2"; of many hosts the
// first few, and how many ranks more. Cut to fit.
void odd_ranks_text(const char *const *host, const bool *odd, int world, char *out, size_t bytes);
