// Which sample stands at which position of an epoch: a keyed permutation evaluated on the fly.
// O(1) in time and memory; the same for any number of ranks. Balanced Feistel network of 8 rounds
// over [0, 2^(2h)), h >= 4, with cycle walking.
#pragma once

#include <stdint.h>

typedef struct {
    uint64_t n, key[8];
    int half_bits;
} Order;

// The permutation of [0, n), 1 <= n <= 2^62, for one epoch.
void order_init(Order *order, uint64_t n, uint64_t seed, uint64_t epoch);
uint64_t order_at(const Order *order, uint64_t position);  // sample at a position
uint64_t order_where(const Order *order, uint64_t sample); // its inverse
