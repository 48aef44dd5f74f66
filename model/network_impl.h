// What the families behind network.h share: the plan of memory, linear layers, conditioning.
#ifndef MODEL_NETWORK_IMPL_H
#define MODEL_NETWORK_IMPL_H

#include "model/network.h"

typedef struct {
    int64_t weight, bias; // offsets in the flat vector
    int64_t in, out;
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
    size_t (*bytes)(
        const NetworkConfig *config); // of the family's struct, which begins with Network
    void (*add_params)(Network *network, Params *params);
    double (*forward_flops)(const Network *network);
    size_t (*activation_bytes)(const Network *network, int64_t samples, bool backward);
    size_t (*scratch_bytes)(const Network *network);
    size_t (*table_bytes)(const Network *network);
    void (*table_fill)(const Network *network, float *table);
    void (*forward)(const Run *run, float *out);
    void (*backward)(const Run *run, float *dout, float *dx);
} NetworkFamily;

extern const NetworkFamily network_dit, network_mlp;

struct Network {
    const NetworkFamily *family;
    NetworkConfig config;
    NetworkShape shape;
    double frequency[TIME_FEATURES / 2];
    Conditioner conditioner;
};

// ---- plan of memory ---------------------------------------------------------------------------

// Hands out pieces of one block of memory. With `base` NULL it only measures: the same function
// then tells how much is needed and, later, where everything lies.
typedef struct {
    char *base;
    size_t used;
} Bump;

void *bump_bytes(Bump *bump, size_t bytes); // aligned to 64; NULL while measuring
float *bump_floats(Bump *bump, int64_t n);

// ---- layers -----------------------------------------------------------------------------------

typedef struct {
    int64_t in, out;
    InitKind init; // of the weight [out,in]; biases start at zero
    float scale;
} LinearSpec;
float xavier_bound(int64_t in, int64_t out); // uniform in +-bound keeps the variance
// Adds NAME.weight and NAME.bias.
Linear linear_add(Params *params, LinearSpec spec, const char *name);

// args: x, y, pre, rows, act; the rest comes from `linear`.
void run_linear(const Run *run, const Linear *linear, LinearForward args);
// Gradients of weight and bias; then dx [rows,in] if not NULL.
void run_linear_grad(const Run *run, const Linear *linear, const float *dy, const float *x,
                     int64_t rows, float *dx);
// Dropout of x [samples,item] in place, or nothing where it is off; also its gradient.
void run_dropout(const Run *run, int site, float *x, int64_t item);

// ---- conditioning -----------------------------------------------------------------------------

// All [samples, width].
typedef struct {
    float *time_pre, *time_hidden, *time_out;
    float *sum, *active;       // c and SiLU(c), from which every layer takes its modulation
    float *dactive, *dpartial; // gradient of `active`, collected layer by layer; backward only
} Condition;

void conditioner_add(Network *network, Params *params);
double conditioner_flops(const Network *network);
void condition_place(const Network *network, Bump *bump, int64_t samples, bool backward,
                     Condition *out);
void condition_forward(const Run *run, const Condition *condition);
// The gradient of a layer y = linear(active): its weights, and its share of dactive, which the
// `first` call begins.
void condition_layer_grad(const Run *run, const Condition *condition, const Linear *linear,
                          const float *dy, bool first);
void condition_backward(const Run *run, const Condition *condition);

#endif
