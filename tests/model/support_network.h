// Runs a whole network on a backend for tests: a case holds host inputs and non-zero weights, a run
// gives host outputs and gradients.
#pragma once

#include "model/backend.h"
#include "model/network.h"
#include "tests/model/support_reference.h"

typedef struct {
    NetworkConfig config;
    NetworkShape shape;
    Params params;
    Network *network;
    int64_t samples, in_item, out_item;
    float *weights;   // [params.size], none of them zero by construction
    float *direction; // [samples, out_item]: the loss is sum(out * direction)
    float *x;         // [samples, in_item], numbers
    int32_t *ids;     // [samples, in_item], tokens
    int32_t *context; // the same
    double *time;     // [samples]
    int32_t *label;   // [samples]
    uint64_t *sample; // [samples]
    RngKey dropout;
    bool dropout_on;
} NetworkCase;

// Weights and inputs are functions of `seed`. Ends the program on failure.
void network_case_open(NetworkCase *c, const NetworkConfig *config, const NetworkShape *shape,
                       int64_t samples, uint64_t seed);
void network_case_close(NetworkCase *c);

typedef struct {
    const char *backend;
    int64_t capacity;     // samples that the activations are planned for; 0: as many as there are
    int passes;           // gradients are accumulated over so many passes; 0: forward only
    bool inference;       // activations without room for backward; passes must be 0
    const float *weights; // instead of the case's
    bool clean;           // do not fill all memory with NaN first
} NetworkRunOptions;

typedef struct {
    float *out;    // [samples, out_item]
    float *grads;  // [params.size]
    float *dx;     // [samples, in_item], numbers
    float *dtime;  // [samples, TIME_FEATURES]
    float *stream; // [samples, tokens, width] of network_stream; NULL: there is none
    int64_t tokens;
    // What NetworkMemory.written told: how often, the last offset, and the gradients from there on
    // as they were when they were said to be written.
    int told;
    int64_t told_from;
    float *told_grads; // [params.size]
} NetworkResult;

NetworkResult network_case_run(const NetworkCase *c, NetworkRunOptions options);
void network_result_close(NetworkResult *result);

// The same case for the float64 reference. Owns copies; `weights` may be changed.
typedef struct {
    Reference reference;
    double *weights, *x, *out;
} ReferenceCase;
void reference_case_open(const NetworkCase *c, ReferenceCase *out);
void reference_case_close(ReferenceCase *reference);
double reference_case_loss(const NetworkCase *c, ReferenceCase *reference);
