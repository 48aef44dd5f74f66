// The source S4 seen through masks: x_t is one of 256 states, two bits a token, 3 is the mask.
#pragma once

#include "model/process/family_categorical.h"
#include "tests/model/support_process.h"
#include "tests/model/support_source.h"

enum { MASK = K, SEEN = 256, COUPLES = STATES * SEEN };

int seen_token(int x_t, int i);
int seen_state(const int32_t token[LENGTH]);
int seen_of(int state);   // the same tokens, none masked
int masks_among(int x_t); // masked tokens

// q(to|from) of one token.
double mass_kernel(CategoricalMass mass, int from, int to);
// p(x_0) q(x_t|x_0).
double couple_probability(CategoricalMass mass, int x_0, int x_t);
// p(x_0i = k | x_t), 1/K where x_t cannot be.
void best_answer(CategoricalMass mass, int x_t, double p[LENGTH][K]);

// What a network says at x_t: logits.
typedef void MaskAnswer(const void *context, int x_t, float logits[LENGTH][K]);
// Errors in nats [COUPLES], couple x_0 * SEEN + x_t, of these answers at one level.
void couple_errors(const ProcessCase *c, const CategoricalLevel *level, MaskAnswer *answer,
                   const void *context, double *error);
// Logarithms of best_answer; context: CategoricalMass.
MaskAnswer answer_best;

// Samples of a sampler run, counted by x_t, whose network gives these answers; context: `mass` at
// the step's time. known: what all begin at, NULL: the sampler's own.
void draw_states(const ProcessCase *c, const SamplerConfig *config, int64_t samples,
                 const int32_t known[LENGTH], MaskAnswer *answer,
                 CategoricalMass (*mass)(const Process *process, double t), double count[SEEN]);
CategoricalMass half_masked(const Process *process, double t); // at any t: answers do not depend
void source_law(double law[SEEN]);
// Sum of (count - expected)^2 / expected, and half the sum of |count - expected| over n.
double chi_square(const double count[SEEN], const double law[SEEN]);
double variation(const double a[SEEN], const double b[SEEN]);
