// A residual multilayer perceptron for vectors. With s = SiLU(c), c the conditioning of time and
// label, and h_0 = W_in x:
//   h_{i+1} = h_i + W_i SiLU(h_i + V_i s),   out = W_out SiLU(h_depth)
#include <string.h>

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
    float *stream;         // h_i, in the end h_depth
    float *branch;         // of the layer under way
    float *slope, *active; // `slots` pieces each: of SiLU, and its value
    float *features, *dfeatures;
    float *final_active;     // SiLU(h_depth); its slope takes the place of `stream`
    float *dstream, *dlayer; // backward only; dbranch is needed with dropout
    float *dbranch;
    int slots;
} MlpMemory;

static Status mlp_check(const NetworkConfig *config, const NetworkShape *shape) {
    FAIL_IF(strcmp(config->precision, "bf16") == 0, BAD_CONFIG,
            "model.precision is bf16; the mlp family computes in fp32 only");
    FAIL_IF(shape->tokens || shape->height != 1 || shape->width != 1, BAD_CONFIG,
            "model.family is mlp, which takes vectors; the data has %s: choose dit",
            shape->tokens ? "tokens" : "images");
    return STATUS_OK;
}

static Status mlp_plan(Network *network, Params *params) {
    Mlp *mlp = (Mlp *)network;
    int64_t width = mlp->width = network->config.width;
    mlp->input = linear_add(network, params, 1, channels_in(network), width, INIT_UNIFORM,
                            "x_embedder.proj");
    conditioner_add(network, params);
    for (int i = 0; i < network->config.depth; ++i) {
        mlp->layer[i].modulation =
            linear_add(network, params, 1, width, width, INIT_UNIFORM, "layers.%d.modulation", i);
        mlp->layer[i].linear =
            linear_add(network, params, 1, width, width, INIT_UNIFORM, "layers.%d.linear", i);
    }
    mlp->final = linear_add(network, params, 1, width, network->shape.out_channels, INIT_ZERO,
                            "final_layer.linear");
    return STATUS_OK;
}

// ---- plan of memory ---------------------------------------------------------------------------

static size_t mlp_place(const Mlp *mlp, void *base, int64_t samples, bool backward,
                        MlpMemory *out) {
    Bump bump = {.base = base};
    int64_t n = samples * mlp->width;
    *out = (MlpMemory){.slots = backward ? mlp->base.config.depth : 1};
    condition_place(&mlp->base, &bump, samples, backward, &out->condition);
    out->stream = bump_floats(&bump, n);
    out->branch = bump_floats(&bump, n);
    out->slope = bump_floats(&bump, out->slots * n);
    out->active = bump_floats(&bump, out->slots * n);
    out->final_active = bump_floats(&bump, n);
    out->features = bump_floats(&bump, features_size(&mlp->base, samples));
    if (backward) {
        out->dfeatures = bump_floats(&bump, features_size(&mlp->base, samples));
        out->dstream = bump_floats(&bump, n);
        out->dlayer = bump_floats(&bump, n);
        out->dbranch = bump_floats(&bump, n);
    }
    return bump.used;
}

static size_t mlp_activation_bytes(const Network *network, int64_t samples, bool backward) {
    MlpMemory memory;
    return mlp_place((const Mlp *)network, NULL, samples, backward, &memory);
}

// ---- passes -----------------------------------------------------------------------------------

static void layer_forward(const Run *run, const Mlp *mlp, const MlpMemory *memory, int i) {
    int64_t n = run->input->samples * mlp->width;
    float *slope = memory->slope + (i % memory->slots) * n;
    float *active = memory->active + (i % memory->slots) * n;
    run_linear(run, &mlp->layer[i].modulation, memory->condition.active, slope);
    run_add(run, memory->stream, slope, n);
    run_silu(run, slope, active, n);
    run_linear(run, &mlp->layer[i].linear, active, memory->branch);
    run_dropout(run, i, memory->branch, mlp->width, false);
    run_add(run, memory->branch, memory->stream, n);
}

static void mlp_forward(const Run *run, float *out) {
    const Mlp *mlp = (const Mlp *)run->network;
    int64_t samples = run->input->samples;
    MlpMemory memory;
    mlp_place(mlp, run->memory->activations, samples, run->memory->backward, &memory);
    run_reads(run, INT64_MAX);
    condition_forward(run, &memory.condition);
    run_linear(run, &mlp->input, run_features(run, memory.features), memory.stream);
    for (int i = 0; i < mlp->base.config.depth; ++i) layer_forward(run, mlp, &memory, i);
    run_silu(run, memory.stream, memory.final_active, samples * mlp->width);
    run_linear(run, &mlp->final, memory.final_active, out);
}

static void layer_backward(const Run *run, const Mlp *mlp, const MlpMemory *memory, int i) {
    int64_t n = run->input->samples * mlp->width;
    float *slope = memory->slope + i * n, *active = memory->active + i * n;
    axpby(run->stream,
          (Elementwise){.x = memory->dstream, .y = memory->dbranch, .n = n, .a = 1.0f});
    run_dropout(run, i, memory->dbranch, mlp->width, false);
    run_linear_grad(run, &mlp->layer[i].linear, memory->dbranch, active, slope, memory->dlayer);
    bool first = i == mlp->base.config.depth - 1;
    condition_layer_grad(run, &memory->condition, &mlp->layer[i].modulation, memory->dlayer, first);
    run_add(run, memory->dlayer, memory->dstream, n);
}

static void mlp_backward(const Run *run, float *dout, float *dx) {
    const Mlp *mlp = (const Mlp *)run->network;
    MlpMemory memory;
    mlp_place(mlp, run->memory->activations, run->input->samples, true, &memory);
    run_linear_grad(run, &mlp->final, dout, memory.final_active, memory.stream, memory.dstream);
    for (int i = mlp->base.config.depth - 1; i >= 0; --i) layer_backward(run, mlp, &memory, i);
    bool fourier = mlp->base.config.fourier;
    run_linear_grad(run, &mlp->input, memory.dstream, fourier ? memory.features : run->input->x,
                    NULL, fourier && dx != NULL ? memory.dfeatures : dx);
    if (fourier && dx != NULL) run_features_grad(run, memory.dfeatures, dx);
    condition_backward(run, &memory.condition);
}

const NetworkFamily network_mlp = {
    .name = "mlp",
    .check = mlp_check,
    .bytes = sizeof(Mlp),
    .block_bytes = sizeof(MlpLayer),
    .plan = mlp_plan,
    .activation_bytes = mlp_activation_bytes,
    .forward = mlp_forward,
    .backward = mlp_backward,
};
