// The keyed permutation: round keys, the Feistel network, the walk back into [0, n).
#include "data/order.h"

#include "base/mix.h"
#include "base/status.h"

enum { ORDER_ROUNDS = 8, ORDER_HALF_LEAST = 4 }; // below 4 bits no number of rounds mixes well

void order_init(Order *order, uint64_t n, uint64_t seed, uint64_t epoch) {
    REQUIRE(n >= 1 && n <= (uint64_t)1 << 62);
    int bits = n == 1 ? 0 : 64 - __builtin_clzll(n - 1);
    int half = (bits + 1) / 2;
    order->n = n;
    order->half_bits = half < ORDER_HALF_LEAST ? ORDER_HALF_LEAST : half;
    uint64_t base = mix64(mix64(seed + MIX_GOLDEN) + epoch);
    for (int i = 0; i < ORDER_ROUNDS; ++i) {
        order->key[i] = mix64(base + (uint64_t)(i + 1) * MIX_GOLDEN);
    }
}

uint64_t order_at(const Order *order, uint64_t position) {
    REQUIRE(position < order->n);
    int half = order->half_bits;
    uint64_t x = position;
    do {
        uint64_t left = x >> half, right = x & (((uint64_t)1 << half) - 1);
        for (int i = 0; i < ORDER_ROUNDS; ++i) {
            uint64_t next = left ^ mix64(right + order->key[i]) >> (64 - half);
            left = right;
            right = next;
        }
        x = left << half | right;
    } while (x >= order->n);
    return x;
}

uint64_t order_where(const Order *order, uint64_t sample) {
    REQUIRE(sample < order->n);
    int half = order->half_bits;
    uint64_t x = sample;
    do {
        uint64_t left = x >> half, right = x & (((uint64_t)1 << half) - 1);
        for (int i = ORDER_ROUNDS - 1; i >= 0; --i) {
            uint64_t previous = right ^ mix64(left + order->key[i]) >> (64 - half);
            right = left;
            left = previous;
        }
        x = left << half | right;
    } while (x >= order->n);
    return x;
}

// ---- windows ------------------------------------------------------------------------------------

void window_order_init(WindowOrder *order, uint64_t n, uint64_t group, uint64_t window,
                       uint64_t seed, uint64_t epoch) {
    REQUIRE(group >= 1 && window >= 1);
    *order = (WindowOrder){.n = n,
                           .group = group,
                           .window = window,
                           .seed = seed,
                           .epoch = epoch,
                           .groups = (n - 1) / group + 1,
                           .inner_window = UINT64_MAX};
    order->tail = n - (order->groups - 1) * group;
    order_init(&order->order, order->groups, seed, 2 * epoch);
    order->short_slot = order_where(&order->order, order->groups - 1);
}

// The position at which a slot begins; that of the number of slots is the end.
static uint64_t slot_start(const WindowOrder *order, uint64_t slot) {
    uint64_t missing = slot > order->short_slot ? order->group - order->tail : 0;
    return slot * order->group - missing;
}

// The slot of a position before the windows' permutation: the short group shifts it by one at most.
static uint64_t slot_of(const WindowOrder *order, uint64_t position) {
    uint64_t slot = position / order->group;
    return slot + 1 <= order->groups - 1 && slot_start(order, slot + 1) <= position ? slot + 1
                                                                                    : slot;
}

// The permutation of a window, and where it begins.
static uint64_t use_window(WindowOrder *order, uint64_t window) {
    uint64_t first = window * order->window, last = first + order->window;
    uint64_t start = slot_start(order, first);
    if (order->inner_window == window) return start;
    if (last > order->groups) last = order->groups;
    order_init(&order->inner, slot_start(order, last) - start, mix64(order->seed + window + 1),
               2 * order->epoch + 1);
    order->inner_window = window;
    return start;
}

uint64_t window_order_at(WindowOrder *order, uint64_t position) {
    REQUIRE(position < order->n);
    uint64_t start = use_window(order, slot_of(order, position) / order->window);
    uint64_t place = start + order_at(&order->inner, position - start);
    uint64_t slot = slot_of(order, place);
    return order_at(&order->order, slot) * order->group + place - slot_start(order, slot);
}

uint64_t window_order_where(WindowOrder *order, uint64_t sample) {
    REQUIRE(sample < order->n);
    uint64_t slot = order_where(&order->order, sample / order->group);
    uint64_t start = use_window(order, slot / order->window);
    uint64_t place = slot_start(order, slot) + sample % order->group;
    return start + order_where(&order->inner, place - start);
}
