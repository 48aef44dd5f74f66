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
