// Swiss roll, two moons, checkerboard, heartbeat.
#include "data/pack/toys.h"

#include <string.h>

#include "base/rng.h"

static const double pi = 3.14159265358979323846;

// A spiral of one and a half turns, angle 3 pi / 2 to 9 pi / 2, radius in proportion.
static void swiss_roll(const double u[3], double noise_x, double noise_y, double out[2]) {
    double angle = 1.5 * pi * (1 + 2 * u[0]);
    out[0] = angle * cos(angle) / 7 + 0.05 * noise_x;
    out[1] = angle * sin(angle) / 7 + 0.05 * noise_y;
}

static void two_moons(const double u[3], double noise_x, double noise_y, double out[2]) {
    double angle = pi * u[0];
    bool upper = u[1] < 0.5;
    double x = upper ? cos(angle) : 1 - cos(angle);
    double y = upper ? sin(angle) : 0.5 - sin(angle);
    out[0] = 1.15 * (x - 0.5) + 0.06 * noise_x;
    out[1] = 2.0 * (y - 0.25) + 0.06 * noise_y;
}

// The dark fields of a 4 x 4 board on [-2, 2]^2.
static void checkerboard(const double u[3], double noise_x, double noise_y, double out[2]) {
    (void)noise_x;
    (void)noise_y;
    int column = (int)(4 * u[0]), row = 2 * (int)(2 * u[1]) + column % 2;
    out[0] = 4 * u[0] - 2;
    out[1] = row + u[2] - 2;
}

static const struct {
    const char *name;
    void (*draw)(const double u[3], double noise_x, double noise_y, double out[2]); // NULL: bits
} toys[] = {
    {"swiss-roll", swiss_roll},
    {"two-moons", two_moons},
    {"checkerboard", checkerboard},
    {"heartbeat", NULL},
};

bool toy_find(const char *name, int *out) {
    for (int i = 0; i < (int)(sizeof toys / sizeof toys[0]); ++i) {
        if (strcmp(toys[i].name, name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

bool toy_is_bits(int toy) {
    return toys[toy].draw == NULL;
}

void toy_bits(uint64_t seed, uint64_t sample, uint8_t out[HEARTBEAT_BITS]) {
    uint32_t random[4];
    rng_block(rng_key(seed, RNG_DATA, 0), sample, 0, random);
    int phase = (int)((uint64_t)random[0] * HEARTBEAT_PERIOD >> 32);
    for (int i = 0; i < HEARTBEAT_BITS; ++i) out[i] = i % HEARTBEAT_PERIOD == phase;
}

void toy_point(int toy, uint64_t seed, uint64_t sample, float out[2]) {
    RngKey key = rng_key(seed, RNG_DATA, 0);
    uint32_t a[4], b[4];
    rng_block(key, sample, 0, a);
    rng_block(key, sample, 1, b);
    double u[3] = {rng_uniform_f64(a[0], a[1]), rng_uniform_f64(a[2], a[3]),
                   rng_uniform_f64(b[0], b[1])};
    double point[2];
    toys[toy].draw(u, (double)rng_normal(b[2]), (double)rng_normal(b[3]), point);
    out[0] = (float)point[0];
    out[1] = (float)point[1];
}
