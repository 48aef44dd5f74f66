// The source of tests/model/support_source.h.
#include "tests/model/support_source.h"

#include <string.h>

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
