// The categorical family: a token keeps its class with probability A_t, else it is drawn from a
// base distribution. Private to model/process/ and its tests.
#pragma once

#include "model/process/process_impl.h"

// Probabilities of a token at t: of its class, of a draw from the base, of the mask; sum 1.
typedef struct {
    double keep, spread, mask;
} CategoricalMass;

// What tells one system from another.
typedef struct {
    CategoricalForm form, first_form;              // of steps t >= 2, and of t = 1
    double (*base)(const Process *process, int k); // probability of class k; NULL: uniform
    // Systems with a mask, of the mixture form: t = 0..T, in the place of the table; keep > 0 where
    // t < T. Zeros may be exact: no mask, no spread. NULL: no mask.
    CategoricalMass (*mass)(const Process *process, int t);
    double (*aux)(const Process *process, double t); // of the loss; NULL: 0
} CategoricalSystem;

// The kernel from s to t > s, composed: step_keep = A_t / A_s, keep_before = A_s.
CategoricalLevel categorical_numbers(const Process *process, int t, int s);
// The base distribution to where the operations of a pass read it.
void categorical_upload_base(const Process *process, Stream *stream, Pass *pass);
