// An independent forward pass of both families in float64: plain loops over one sample at a time,
// written from the formulas. Parameters are found by name in a flat vector.
#pragma once

#include "model/network.h"

typedef struct {
    const NetworkConfig *config;
    const NetworkShape *shape;
    const Params *params;
    const double *weights; // [params.size]
    int64_t samples;
    const double *x;        // [samples, channels, height, width]
    const int32_t *ids;     // [samples, length]
    const int32_t *context; // the same, with shape->block
    const double *time;     // [samples], the times themselves
    const int32_t *label;   // [samples]
    const uint64_t *sample; // [samples], with dropout
    RngKey dropout;
    bool dropout_on;
    double *stream; // [samples, tokens, width] of dit: receives network_stream; or NULL
} Reference;

// out [samples, out_item]
void reference_forward(const Reference *reference, double *out);
