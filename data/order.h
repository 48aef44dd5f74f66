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

// The same for sets that do not fit in memory: groups of `group` neighbours in a permuted order,
// and samples permuted within windows of `window` groups. A reader holds a window's groups, no
// more.
typedef struct {
    uint64_t n, group, window, seed, epoch;
    uint64_t groups, tail, short_slot; // the last group has `tail` samples and stands in this slot
    Order order;                       // of the groups: slot -> group
    uint64_t inner_window;             // whose order `inner` is; UINT64_MAX: none
    Order inner;
} WindowOrder;

// 1 <= group, 1 <= window.
void window_order_init(WindowOrder *order, uint64_t n, uint64_t group, uint64_t window,
                       uint64_t seed, uint64_t epoch);
uint64_t window_order_at(WindowOrder *order, uint64_t position);
uint64_t window_order_where(WindowOrder *order, uint64_t sample);
