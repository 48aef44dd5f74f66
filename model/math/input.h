// Inputs of a network: ids of embedded rows, places of patches, Fourier features, levels of codes.
#pragma once

#include "model/math/f32.h"
#include "model/ops.h"

KERNEL_FN int64_t embed_id(const Embed *a, int64_t r) {
    if (a->ids == NULL) return r;
    if (a->each == 0) return a->ids[r];
    int64_t run = r / a->each, at = r % a->each, turns = a->other != NULL ? 2 : 1;
    const int32_t *ids = run % turns == 1 ? a->other : a->ids;
    return ids[run / turns * a->stride + at];
}

// Where number x of row `row` of all images stands among the tokens.
KERNEL_FN int64_t patch_place(const Patches *a, int64_t row, int64_t x) {
    int64_t patch = a->patch, channels = a->channels, y = row % a->height;
    int64_t channel = row / a->height % channels, image = row / a->height / channels;
    int64_t token = (image * (a->height / patch) + y / patch) * (a->width / patch) + x / patch;
    int64_t within = a->channel_last ? (y % patch * patch + x % patch) * channels + channel
                                     : (channel * patch + y % patch) * patch + x % patch;
    return token * channels * patch * patch + within;
}

typedef struct {
    double sine, cosine;
} Turn;

// Of u turns: half a turn is a sign; what is left, within a quarter, by Taylor's polynomials.
KERNEL_FN Turn turn(double u) {
    const double two_pi = 6.283185307179586;
    double half = nearbyint(2.0 * u), odd = half - 2.0 * nearbyint(0.5 * half);
    double a = two_pi * fma(-0.5, half, u), b = -a * a, sine = 1.0, cosine = 1.0;
    for (int k = 8; k >= 1; --k) {
        sine = fma(sine, b / (2 * k * (2 * k + 1)), 1.0);
        cosine = fma(cosine, b / (2 * k * (2 * k - 1)), 1.0);
    }
    double sign = 1.0 - 2.0 * odd * odd;
    return (Turn){sign * a * sine, sign * cosine};
}

// Of number i of images of n numbers: where its planes begin, what is in them, and its gradient.
KERNEL_FN int64_t fourier_place(int64_t i, int64_t n) {
    return i / n * FOURIER_PLANES * n + i % n;
}

KERNEL_FN void fourier_planes(float x, float *y, int64_t n) {
    Turn low = turn(64.0 * (double)x), high = turn(128.0 * (double)x);
    y[0] = x;
    y[n] = (float)low.sine, y[2 * n] = (float)low.cosine;
    y[3 * n] = (float)high.sine, y[4 * n] = (float)high.cosine;
}

KERNEL_FN float fourier_slope(float x, const float *dy, int64_t n) {
    const double rate = 64.0 * 6.283185307179586;
    Turn low = turn(64.0 * (double)x), high = turn(128.0 * (double)x);
    double by_low = (double)dy[n] * low.cosine - (double)dy[2 * n] * low.sine;
    double by_high = (double)dy[3 * n] * high.cosine - (double)dy[4 * n] * high.sine;
    return (float)((double)dy[0] + rate * (by_low + 2.0 * by_high));
}

KERNEL_FN float code_value(int32_t level) {
    return (float)(2 * level + 1) / (float)CODE_LEVELS - 1;
}

// All digits of place i of all samples' places.
KERNEL_FN void quantise_place(const Quantise *a, int64_t i) {
    int64_t first = i / a->places * a->digits * a->places + i % a->places;
    int32_t id = 0;
    for (int64_t d = a->digits - 1; d >= 0; --d) {
        int64_t at = first + d * a->places;
        float share = sigmoid_f32(a->x[at]);
        int32_t level = 0;
        for (int k = 1; k < CODE_LEVELS; ++k) level += share >= (float)k / (float)CODE_LEVELS;
        a->y[at] = code_value(level);
        a->slope[at] = 2 * share * (1 - share);
        id = id * CODE_LEVELS + level;
    }
    if (a->ids != NULL) a->ids[i] = id;
}

KERNEL_FN void code_place(const CodeValues *a, int64_t i) {
    int32_t id = a->ids[i];
    float *y = a->y + i / a->places * a->digits * a->places + i % a->places;
    for (int64_t d = 0; d < a->digits; ++d, id /= CODE_LEVELS)
        y[d * a->places] = code_value(id % CODE_LEVELS);
}
