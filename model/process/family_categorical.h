// The categorical family: a token keeps its class with probability A_t, else it is drawn from a
// base distribution. Private to model/process/ and its tests.
#pragma once

#include "model/process/process_impl.h"

// What tells one system from another.
typedef struct {
    CategoricalForm form, first_form;              // of steps t >= 2, and of t = 1
    double (*base)(const Process *process, int k); // probability of class k; NULL: uniform
} CategoricalSystem;

// The kernel from s to t > s, composed: step_keep = A_t / A_s, keep_before = A_s.
CategoricalLevel categorical_numbers(const Process *process, int t, int s);
// The base distribution to where the operations of a pass read it.
void categorical_upload_base(const Process *process, Stream *stream, Pass *pass);
