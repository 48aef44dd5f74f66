// A residual multilayer perceptron for vectors. With s = SiLU(c), c the conditioning of time and
// label, and h_0 = W_in x:
//   h_{i+1} = h_i + W_i SiLU(h_i + V_i s),   out = W_out SiLU(h_depth)
#include <stdio.h>

#include "model/network_impl.h"

typedef struct {
    Linear modulation, linear; // V_i, W_i
} MlpLayer;

typedef struct {
    Network base;
    int64_t width;
    Linear input, final;
    MlpLayer layer[]; // [depth]
} Mlp;

// All [g, width].
typedef struct {
    Condition condition;
    float *stream;           // h_i, in the end h_depth
    float *branch;           // of the layer under way
    float *pre, *active;     // `slots` pieces each: the argument of SiLU and its value
    float *final_active;     // SiLU(h_depth)
    float *dstream, *dlayer; // backward only; dbranch is needed with dropout
    float *dbranch;
    int slots;
    size_t bytes;
} MlpMemory;

static Status mlp_check(const NetworkConfig *config, const NetworkShape *shape) {
    (void)config;
    FAIL_IF(shape->tokens || shape->height != 1 || shape->width != 1, BAD_CONFIG,
            "model.family is mlp, which takes vectors; the data has %s: choose dit",
            shape->tokens ? "tokens" : "images");
    return STATUS_OK;
}

static size_t mlp_bytes(const NetworkConfig *config) {
    return sizeof(Mlp) + (size_t)config->depth * sizeof(MlpLayer);
}

static void mlp_add_params(Network *network, Params *params) {
    Mlp *mlp = (Mlp *)network;
    int64_t width = mlp->width = network->config.width;
    int64_t in = network->shape.channels;
    LinearSpec spec = {
        .in = in, .out = width, .init = INIT_UNIFORM, .scale = xavier_bound(in, width)};
    mlp->input = linear_add(params, spec, "x_embedder.proj");
    conditioner_add(network, params);
    spec.in = width;
    spec.scale = xavier_bound(width, width);
    for (int i = 0; i < network->config.depth; ++i) {
        char name[PARAM_NAME_BYTES];
        snprintf(name, sizeof name, "layers.%d.modulation", i);
        mlp->layer[i].modulation = linear_add(params, spec, name);
        snprintf(name, sizeof name, "layers.%d.linear", i);
        mlp->layer[i].linear = linear_add(params, spec, name);
    }
    spec = (LinearSpec){.in = width, .out = network->shape.out_channels, .init = INIT_ZERO};
    mlp->final = linear_add(params, spec, "final_layer.linear");
}

static double mlp_forward_flops(const Network *network) {
    double width = network->config.width, depth = network->config.depth;
    double ends = (double)network->shape.channels + (double)network->shape.out_channels;
    return conditioner_flops(network) + 4.0 * depth * width * width + 2.0 * width * ends;
}

// ---- plan of memory ---------------------------------------------------------------------------

static void mlp_place(const Mlp *mlp, void *base, int64_t samples, bool backward, MlpMemory *out) {
    Bump bump = {.base = base};
    int64_t n = samples * mlp->width;
    *out = (MlpMemory){.slots = backward ? mlp->base.config.depth : 1};
    condition_place(&mlp->base, &bump, samples, backward, &out->condition);
    out->stream = bump_floats(&bump, n);
    out->branch = bump_floats(&bump, n);
    out->pre = bump_floats(&bump, out->slots * n);
    out->active = bump_floats(&bump, out->slots * n);
    out->final_active = bump_floats(&bump, n);
    if (backward) {
        out->dstream = bump_floats(&bump, n);
        out->dlayer = bump_floats(&bump, n);
        out->dbranch = bump_floats(&bump, n);
    }
    out->bytes = bump.used;
}

static size_t mlp_activation_bytes(const Network *network, int64_t samples, bool backward) {
    MlpMemory memory;
    mlp_place((const Mlp *)network, NULL, samples, backward, &memory);
    return memory.bytes;
}

static size_t mlp_scratch_bytes(const Network *network) {
    (void)network;
    return 0;
}

static size_t mlp_table_bytes(const Network *network) {
    (void)network;
    return 0;
}

static void mlp_table_fill(const Network *network, float *table) {
    (void)network;
    (void)table;
}

// ---- passes -----------------------------------------------------------------------------------

static void layer_forward(const Run *run, const Mlp *mlp, const MlpMemory *memory, int i) {
    int64_t samples = run->input->samples, width = mlp->width, n = samples * width;
    float *pre = memory->pre + (i % memory->slots) * n;
    float *active = memory->active + (i % memory->slots) * n;
    run_linear(run, &mlp->layer[i].modulation,
               (LinearForward){.x = memory->condition.active, .y = pre, .rows = samples});
    AddRows add = {.rows = samples, .width = width, .add_rows = samples};
    add.x = pre, add.add = memory->stream, add.y = pre;
    add_rows(run->stream, add);
    activation_forward(run->stream,
                       (ActivationForward){.x = pre, .y = active, .n = n, .act = ACT_SILU});
    run_linear(run, &mlp->layer[i].linear,
               (LinearForward){.x = active, .y = memory->branch, .rows = samples});
    run_dropout(run, i, memory->branch, width);
    add.x = memory->stream, add.add = memory->branch, add.y = memory->stream;
    add_rows(run->stream, add);
}

static void mlp_forward(const Run *run, float *out) {
    const Mlp *mlp = (const Mlp *)run->network;
    int64_t samples = run->input->samples;
    MlpMemory memory;
    mlp_place(mlp, run->memory->activations, samples, run->memory->backward, &memory);
    condition_forward(run, &memory.condition);
    run_linear(run, &mlp->input,
               (LinearForward){.x = run->input->x, .y = memory.stream, .rows = samples});
    for (int i = 0; i < mlp->base.config.depth; ++i) layer_forward(run, mlp, &memory, i);
    activation_forward(run->stream, (ActivationForward){.x = memory.stream,
                                                        .y = memory.final_active,
                                                        .n = samples * mlp->width,
                                                        .act = ACT_SILU});
    run_linear(run, &mlp->final,
               (LinearForward){.x = memory.final_active, .y = out, .rows = samples});
}

static void layer_backward(const Run *run, const Mlp *mlp, const MlpMemory *memory, int i) {
    int64_t samples = run->input->samples, n = samples * mlp->width;
    const float *pre = memory->pre + i * n, *active = memory->active + i * n;
    Axpby add = {.n = n, .a = 1.0f};
    add.x = memory->dstream, add.y = memory->dbranch;
    axpby(run->stream, add);
    run_dropout(run, i, memory->dbranch, mlp->width);
    run_linear_grad(run, &mlp->layer[i].linear, memory->dbranch, active, samples, memory->dlayer);
    activation_grad(
        run->stream,
        (ActivationGrad){
            .x = pre, .dy = memory->dlayer, .dx = memory->dlayer, .n = n, .act = ACT_SILU});
    bool first = i == mlp->base.config.depth - 1;
    condition_layer_grad(run, &memory->condition, &mlp->layer[i].modulation, memory->dlayer, first);
    add.x = memory->dlayer, add.y = memory->dstream, add.b = 1.0f;
    axpby(run->stream, add);
}

static void mlp_backward(const Run *run, float *dout, float *dx) {
    const Mlp *mlp = (const Mlp *)run->network;
    int64_t samples = run->input->samples;
    MlpMemory memory;
    mlp_place(mlp, run->memory->activations, samples, true, &memory);
    run_linear_grad(run, &mlp->final, dout, memory.final_active, samples, memory.dstream);
    activation_grad(run->stream, (ActivationGrad){.x = memory.stream,
                                                  .dy = memory.dstream,
                                                  .dx = memory.dstream,
                                                  .n = samples * mlp->width,
                                                  .act = ACT_SILU});
    for (int i = mlp->base.config.depth - 1; i >= 0; --i) layer_backward(run, mlp, &memory, i);
    run_linear_grad(run, &mlp->input, memory.dstream, run->input->x, samples, dx);
    condition_backward(run, &memory.condition);
}

const NetworkFamily network_mlp = {
    .name = "mlp",
    .check = mlp_check,
    .bytes = mlp_bytes,
    .add_params = mlp_add_params,
    .forward_flops = mlp_forward_flops,
    .activation_bytes = mlp_activation_bytes,
    .scratch_bytes = mlp_scratch_bytes,
    .table_bytes = mlp_table_bytes,
    .table_fill = mlp_table_fill,
    .forward = mlp_forward,
    .backward = mlp_backward,
};
