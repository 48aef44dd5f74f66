// The source of tests/model/support_source.h.
#include "tests/model/support_source.h"

#include <string.h>

#include "base/rng.h"

int token_of(int state, int i) {
    static const int power[LENGTH] = {27, 9, 3, 1};
    return state / power[i] % K;
}

double source_probability(int state) {
    static const double first[K] = {.5, .3, .2};
    static const double next[K][K] = {{.7, .2, .1}, {.1, .6, .3}, {.25, .25, .5}};
    double p = first[token_of(state, 0)];
    for (int i = 1; i < LENGTH; ++i) p *= next[token_of(state, i - 1)][token_of(state, i)];
    return p;
}

void draw_source(int round, int samples, int32_t x[][LENGTH]) {
    for (int s = 0; s < samples; ++s) {
        uint32_t bits[4];
        rng_block(rng_key(9, RNG_DATA, (uint64_t)round), (uint64_t)s, 0, bits);
        double goal = rng_uniform_f64(bits[0], bits[1]), sum = 0;
        int state = 0;
        while (state < STATES - 1 && (sum += source_probability(state)) <= goal) ++state;
        for (int i = 0; i < LENGTH; ++i) x[s][i] = token_of(state, i);
    }
}

double uniform_kernel(double keep, int x_0, int x_t, int classes) {
    return keep * (x_0 == x_t) + (1 - keep) / classes;
}

void leave_one_out(double keep, int x_t, double p[LENGTH][K]) {
    memset(p, 0, sizeof(double) * LENGTH * K);
    for (int x_0 = 0; x_0 < STATES; ++x_0)
        for (int i = 0; i < LENGTH; ++i) {
            double weight = source_probability(x_0);
            for (int j = 0; j < LENGTH; ++j)
                if (j != i) weight *= uniform_kernel(keep, token_of(x_0, j), token_of(x_t, j), K);
            p[i][token_of(x_0, i)] += weight;
        }
    for (int i = 0; i < LENGTH; ++i) {
        double total = p[i][0] + p[i][1] + p[i][2];
        for (int k = 0; k < K; ++k) p[i][k] /= total;
    }
}
