// What tests of the operations on symbols share: data, and definitions in long double.
#pragma once

#include <math.h>

#include "tests/model/support_ops.h"
#include "tests/test.h"

// Odd sizes, and sample numbers that need more than 32 bits.
enum { SAMPLES = 3, ITEM = 333, CLASSES_REFERENCE = 1024 };
enum { TOKEN_LEVEL_WORDS = SAMPLES * sizeof(CategoricalLevel) / 4 };
extern uint64_t sample_numbers[SAMPLES];
extern double *base; // of the operations and of the references; NULL: uniform

typedef struct {
    int64_t item;
    int32_t classes;
    RngKey key;
    CategoricalLevel level;
} TokenShape;

void set_base(int32_t classes); // a distribution where class 1 never comes
// Matrices of which none is like another; those of a level are those of sample `at`.
void set_dense(int32_t classes);
OpBuffer base_buffer(int32_t classes);
int32_t base_reference(uint32_t bits, int32_t classes); // a draw from it
int32_t *some_tokens(int64_t n, int32_t classes, uint64_t seed);

extern CategoricalLevel token_levels[SAMPLES]; // early, middle and first step of a process
typedef struct {
    float *logits, *dlogits;
    int32_t *x_0, *x_t;
    float loss[SAMPLES];
    double error[SAMPLES];
} TokenCase;
TokenCase token_case(int64_t item, int32_t classes);
void token_case_free(TokenCase *c);

void softmax_reference(const double *logits, int classes, long double *p);
// theta(x_t, p) by its definition.
void theta_reference(const CategoricalLevel *level, int x_t, const long double *p, int classes,
                     long double *theta);
// The numbers of a step from {A, U, C} by {a, u, c}.
CategoricalLevel mixed_level(double keep, double spread, double step_keep, double step_spread,
                             double weight, double aux);
// sum over j of p(j) q(x_s = k|x_t, x_0 = j), by Bayes' rule; k = 0..classes. An x_t that no noise
// can have made is x_0.
void mixture_reference(const CategoricalLevel *l, int x_t, const long double *p, int classes,
                       long double *theta);
// Whether the network is asked of x_t: not of what is seen beside masks.
bool is_told(const CategoricalLevel *level, int x_t, int classes);
