// The source S4: four tokens of three symbols, a Markov chain of 1.332958 bits a token; 81 states,
// so that every expectation is a finite sum. State s holds its tokens as digits of base 3.
#pragma once

#include <stdint.h>

enum { LENGTH = 4, K = 3, STATES = 81, PAIRS = STATES * STATES };

int token_of(int state, int i);
double source_probability(int state);
void draw_source(int round, int samples, int32_t x[][LENGTH]); // other ones in each round
// q(x_t | x_0) of one token that keeps its class with probability `keep`, else is uniform.
double uniform_kernel(double keep, int x_0, int x_t, int classes);
// p(x_0i = k | all tokens of x_t but i): what the plug-in form wants of the network.
void leave_one_out(double keep, int x_t, double p[LENGTH][K]);
