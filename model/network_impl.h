// What the families behind network.h share: the plan, layers, conditioning.
#pragma once

#include "model/bump.h"
#include "model/network.h"

// A dense layer: offsets in the flat vector, sizes, rows of a pass for each sample.
typedef struct {
    int64_t weight, bias;
    int64_t in, out, rows;
    bool half;         // its product is one of bf16
    Activation before; // what gave its x, where its gradient is told a slope
} Linear;

// The vector that conditions every layer: c = embedding(label) + mlp(time features).
typedef struct {
    Linear time_1, time_2; // unused without time input
    int64_t label_table;
} Conditioner;

// A forward or backward pass under way.
typedef struct {
    const Network *network;
    Stream *stream;
    const NetworkMemory *memory;
    const NetworkInput *input;
    float *grads; // backward only, as the next
    bool accumulate;
} Run;

typedef struct {
    const char *name;
    // Errors: BAD_CONFIG. Nothing has been allocated yet.
    Status (*check)(const NetworkConfig *config, const NetworkShape *shape);
    // Bytes of the family's struct, which begins with Network and ends with a row for each block.
    size_t bytes, block_bytes;
    // Adds the parameters in the order in which forward uses them, and completes the plan.
    Status (*plan)(Network *network, Params *params);
    void (*close)(Network *network); // what plan has opened; NULL: nothing
    size_t (*activation_bytes)(const Network *network, int64_t samples, bool backward);
    void (*table_fill)(const Network *network, float *table); // NULL: there is no table
    void (*forward)(const Run *run, float *out);
    void (*backward)(const Run *run, float *dout, float *dx);
    const float *(*stream)(const Run *run, int64_t *tokens); // NULL: there is none
    // Autoencoders alone: ids [samples, code_places] of input->x; out of input->ids.
    void (*encode)(const Run *run, int32_t *ids);
    void (*decode)(const Run *run, float *out);
} NetworkFamily;

extern const NetworkFamily network_dit, network_mlp, network_fsq;

enum { NETWORK_DEPTH_MOST = 127 };

struct Network {
    const NetworkFamily *family;
    NetworkConfig config;
    NetworkShape shape;
    double frequency[TIME_FEATURES / 2];
    Conditioner conditioner;
    bool half;            // model.precision is bf16
    double forward_flops; // of one sample; linear_add counts its layer
    int64_t code_places;  // codes between encoder and decoder; 0: there is none
    int64_t attended;     // tokens that attention reads at once; 0: there is none
    size_t scratch_bytes, table_bytes;
};

// ---- layers -----------------------------------------------------------------------------------

// Adds NAME.weight [out,in] and NAME.bias, zero. Initial weights: INIT_UNIFORM within Xavier's
// bound, INIT_NORMAL with a standard deviation of 0.02.
Linear linear_add(Network *network, Params *params, int64_t rows, int64_t in, int64_t out,
                  InitKind init, const char *name_format, ...)
    __attribute__((format(printf, 7, 8)));

// Arrays declared void are bf16 where the layer is `half`.
// y = linear(x); y = act(linear(x)) and the slope of act there.
void run_linear(const Run *run, const Linear *linear, const void *x, void *y);
void run_linear_act(const Run *run, const Linear *linear, const void *x, Activation act,
                    void *slope, void *y);
// Gradients of weight and bias; then dx if not NULL, times the slope at x if not NULL, which
// run_linear_act or run_silu have left there.
void run_linear_grad(const Run *run, const Linear *linear, const void *dy, const void *x,
                     void *slope, void *dx);
// What the first layer reads, channels_in of them: x, or its Fourier features in `room`
// [samples, FOURIER_PLANES, in_item]. And from their gradient to dx.
int64_t channels_in(const Network *network);
int64_t features_size(const Network *network, int64_t samples); // of `room`; 0: it is x
const float *run_features(const Run *run, float *room);
void run_features_grad(const Run *run, const float *dfeatures, float *dx);
// y = SiLU(x), and its slope in place of x.
void run_silu(const Run *run, float *x, float *y, int64_t n);
void run_add(const Run *run, const float *x, float *y, int64_t n); // y += x
// Dropout of x [samples,item] in place, or nothing where it is off; also its gradient.
void run_dropout(const Run *run, int site, void *x, int64_t item, bool half);

// NetworkMemory.reads: parameters before `to` are read from here on. NetworkMemory.written: the
// gradients of those from `from` on are queued.
void run_reads(const Run *run, int64_t to);
void run_written(const Run *run, int64_t from);

// ---- conditioning -----------------------------------------------------------------------------

// All [samples, width].
typedef struct {
    float *time_slope, *time_hidden, *time_out;
    float *sum, *active;       // c, later its slope; SiLU(c), which modulates every layer
    float *dactive, *dpartial; // gradient of `active`, collected layer by layer; backward only
} Condition;

void conditioner_add(Network *network, Params *params);
void condition_place(const Network *network, Bump *bump, int64_t samples, bool backward,
                     Condition *out);
void condition_forward(const Run *run, const Condition *condition);
// The gradient of a layer y = linear(active): its weights, and its share of dactive, which the
// `first` call begins.
void condition_layer_grad(const Run *run, const Condition *condition, const Linear *linear,
                          const float *dy, bool first);
void condition_backward(const Run *run, const Condition *condition);
