// The part of a backbone that does not depend on the family: opening, time features, linear layers
// and conditioning.
#include "model/network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/network_impl.h"

static const NetworkFamily *const families[] = {&network_dit, &network_mlp};
enum { FAMILIES = sizeof families / sizeof families[0] };

// ---- opening ----------------------------------------------------------------------------------

static const NetworkFamily *family_find(const char *name) {
    for (int i = 0; i < FAMILIES; ++i)
        if (strcmp(families[i]->name, name) == 0) return families[i];
    return NULL;
}

static Status config_check(const NetworkConfig *config) {
    FAIL_IF(family_find(config->family) == NULL, BAD_CONFIG,
            "model.family is '%s'; it must be dit or mlp", config->family);
    FAIL_IF(config->width < 4 || config->width > 65536 || config->width % 4 != 0, BAD_CONFIG,
            "model.width is %d; it must be a multiple of 4 from 4 to 65536", config->width);
    FAIL_IF(config->depth < 1 || config->depth > 127, BAD_CONFIG,
            "model.depth is %d; it must be 1 to 127", config->depth);
    FAIL_IF(!(config->dropout >= 0.0f && config->dropout < 1.0f), BAD_CONFIG,
            "model.dropout is %g; it must be at least 0 and below 1", (double)config->dropout);
    FAIL_IF(strcmp(config->timestep_freq, "div-127") != 0 &&
                strcmp(config->timestep_freq, "div-128") != 0,
            BAD_CONFIG, "model.timestep_freq is '%s'; it must be div-127 or div-128",
            config->timestep_freq);
    return STATUS_OK;
}

static Status shape_check(const NetworkShape *shape) {
    REQUIRE(shape->out_channels >= 1);
    FAIL_IF(shape->classes < 0, BAD_CONFIG, "the data has %d classes; it must be 0 or more",
            shape->classes);
    if (shape->tokens) {
        FAIL_IF(shape->vocabulary < 2, BAD_CONFIG,
                "the data has a vocabulary of %d; it must be 2 or more", shape->vocabulary);
        FAIL_IF(shape->length < 1, BAD_CONFIG,
                "the data has sequences of %d tokens; it must be 1 or more", shape->length);
        return STATUS_OK;
    }
    FAIL_IF(shape->channels < 1 || shape->height < 1 || shape->width < 1, BAD_CONFIG,
            "the data has samples of %d x %d x %d numbers; each must be 1 or more", shape->channels,
            shape->height, shape->width);
    return STATUS_OK;
}

static void frequencies_fill(Network *network) {
    double divisor = strcmp(network->config.timestep_freq, "div-127") == 0 ? 127 : 128;
    for (int k = 0; k < TIME_FEATURES / 2; ++k)
        network->frequency[k] = exp(-log(10000.0) * k / divisor);
}

Status network_open(const NetworkConfig *config, const NetworkShape *shape, Params *params,
                    Network **out) {
    TRY(config_check(config));
    TRY(shape_check(shape));
    const NetworkFamily *family = family_find(config->family);
    TRY(family->check(config, shape));
    Network *network = calloc(1, family->bytes(config));
    FAIL_IF(network == NULL, NO_MEMORY, "no memory for the plan of the network");
    network->family = family;
    network->config = *config;
    network->shape = *shape;
    frequencies_fill(network);
    family->add_params(network, params);
    *out = network;
    return STATUS_OK;
}

void network_close(Network *network) {
    free(network);
}

// ---- what a plan tells ------------------------------------------------------------------------

const NetworkShape *network_shape(const Network *network) {
    return &network->shape;
}

int64_t network_in_item(const Network *network) {
    const NetworkShape *shape = &network->shape;
    if (shape->tokens) return shape->length;
    return (int64_t)shape->channels * shape->height * shape->width;
}

int64_t network_out_item(const Network *network) {
    const NetworkShape *shape = &network->shape;
    if (shape->tokens) return (int64_t)shape->length * shape->out_channels;
    return (int64_t)shape->out_channels * shape->height * shape->width;
}

double network_forward_flops(const Network *network) {
    return network->family->forward_flops(network);
}

size_t network_activation_bytes(const Network *network, int64_t samples, bool backward) {
    return network->family->activation_bytes(network, samples, backward);
}

size_t network_scratch_bytes(const Network *network) {
    return network->family->scratch_bytes(network);
}

size_t network_table_bytes(const Network *network) {
    return network->family->table_bytes(network);
}

void network_table_fill(const Network *network, float *table) {
    network->family->table_fill(network, table);
}

void network_time_features(const Network *network, double time, float features[TIME_FEATURES]) {
    for (int k = 0; k < TIME_FEATURES / 2; ++k) {
        features[k] = (float)cos(time * network->frequency[k]);
        features[TIME_FEATURES / 2 + k] = (float)sin(time * network->frequency[k]);
    }
}

// ---- passes -----------------------------------------------------------------------------------

void network_forward(const Network *network, Stream *stream, const NetworkMemory *memory,
                     const NetworkInput *input, float *out) {
    REQUIRE(input->samples >= 1);
    Run run = {.network = network, .stream = stream, .memory = memory, .input = input};
    network->family->forward(&run, out);
}

void network_backward(const Network *network, Stream *stream, const NetworkMemory *memory,
                      const NetworkInput *input, float *dout, float *grads, bool accumulate,
                      float *dx) {
    REQUIRE(memory->backward);
    REQUIRE(dx == NULL || !network->shape.tokens);
    Run run = {.network = network,
               .stream = stream,
               .memory = memory,
               .input = input,
               .grads = grads,
               .accumulate = accumulate};
    network->family->backward(&run, dout, dx);
}

// ---- plan of memory ---------------------------------------------------------------------------

void *bump_bytes(Bump *bump, size_t bytes) {
    size_t at = bump->used;
    bump->used += (bytes + 63) / 64 * 64;
    return bump->base == NULL ? NULL : bump->base + at;
}

float *bump_floats(Bump *bump, int64_t n) {
    return bump_bytes(bump, (size_t)n * sizeof(float));
}

// ---- layers -----------------------------------------------------------------------------------

float xavier_bound(int64_t in, int64_t out) {
    return (float)sqrt(6.0 / (double)(in + out));
}

Linear linear_add(Params *params, LinearSpec spec, const char *name) {
    ParamSpec weight = {.dims = 2,
                        .dim = {spec.out, spec.in},
                        .init = spec.init,
                        .scale = spec.scale,
                        .decay = true};
    ParamSpec bias = {.dims = 1, .dim = {spec.out}, .init = INIT_ZERO};
    Linear linear = {.in = spec.in, .out = spec.out};
    linear.weight = params_add(params, weight, "%s.weight", name);
    linear.bias = params_add(params, bias, "%s.bias", name);
    return linear;
}

void run_linear(const Run *run, const Linear *linear, LinearForward args) {
    args.w = run->memory->weights + linear->weight;
    args.bias = run->memory->weights + linear->bias;
    args.in = linear->in;
    args.out = linear->out;
    linear_forward(run->stream, args);
}

void run_linear_grad(const Run *run, const Linear *linear, const float *dy, const float *x,
                     int64_t rows, float *dx) {
    linear_weight_grad(run->stream, (LinearWeightGrad){.dy = dy,
                                                       .x = x,
                                                       .dw = run->grads + linear->weight,
                                                       .dbias = run->grads + linear->bias,
                                                       .rows = rows,
                                                       .in = linear->in,
                                                       .out = linear->out,
                                                       .accumulate = run->accumulate});
    if (dx == NULL) return;
    linear_input_grad(run->stream, (LinearInputGrad){.dy = dy,
                                                     .w = run->memory->weights + linear->weight,
                                                     .dx = dx,
                                                     .rows = rows,
                                                     .in = linear->in,
                                                     .out = linear->out});
}

void run_dropout(const Run *run, int site, float *x, int64_t item) {
    float rate = run->network->config.dropout;
    if (!run->input->dropout_on || rate == 0.0f) return;
    RngKey key = run->input->dropout;
    key.step = key.step << 8 | (uint64_t)site;
    dropout(run->stream, (Dropout){.x = x,
                                   .sample = run->input->sample,
                                   .y = x,
                                   .samples = run->input->samples,
                                   .item = item,
                                   .rate = rate,
                                   .key = key});
}

// ---- conditioning -----------------------------------------------------------------------------

void conditioner_add(Network *network, Params *params) {
    int64_t width = network->config.width;
    LinearSpec spec = {.in = TIME_FEATURES, .out = width, .init = INIT_NORMAL, .scale = 0.02f};
    if (network->shape.time_input) {
        network->conditioner.time_1 = linear_add(params, spec, "t_embedder.mlp.0");
        spec.in = width;
        network->conditioner.time_2 = linear_add(params, spec, "t_embedder.mlp.2");
    }
    ParamSpec table = {.dims = 2,
                       .dim = {network->shape.classes + 1, width},
                       .init = INIT_NORMAL,
                       .scale = 0.02f,
                       .decay = true};
    network->conditioner.label_table =
        params_add(params, table, "y_embedder.embedding_table.weight");
}

double conditioner_flops(const Network *network) {
    double width = network->config.width;
    return network->shape.time_input ? 2.0 * width * (TIME_FEATURES + width) : 0.0;
}

void condition_place(const Network *network, Bump *bump, int64_t samples, bool backward,
                     Condition *out) {
    int64_t n = samples * network->config.width;
    *out = (Condition){0};
    if (network->shape.time_input) {
        out->time_pre = bump_floats(bump, n);
        out->time_hidden = bump_floats(bump, n);
        out->time_out = bump_floats(bump, n);
    }
    out->sum = bump_floats(bump, n);
    out->active = bump_floats(bump, n);
    if (!backward) return;
    out->dactive = bump_floats(bump, n);
    out->dpartial = bump_floats(bump, n);
}

void condition_forward(const Run *run, const Condition *condition) {
    const Conditioner *conditioner = &run->network->conditioner;
    const NetworkInput *input = run->input;
    int64_t width = run->network->config.width;
    if (run->network->shape.time_input) {
        run_linear(run, &conditioner->time_1,
                   (LinearForward){.x = input->time,
                                   .pre = condition->time_pre,
                                   .y = condition->time_hidden,
                                   .rows = input->samples,
                                   .act = ACT_SILU});
        run_linear(run, &conditioner->time_2,
                   (LinearForward){.x = condition->time_hidden,
                                   .y = condition->time_out,
                                   .rows = input->samples});
    }
    embed_forward(run->stream,
                  (EmbedForward){.ids = input->label,
                                 .table = run->memory->weights + conditioner->label_table,
                                 .add = condition->time_out,
                                 .y = condition->sum,
                                 .rows = input->samples,
                                 .width = width,
                                 .add_rows = input->samples});
    activation_forward(run->stream, (ActivationForward){.x = condition->sum,
                                                        .y = condition->active,
                                                        .n = input->samples * width,
                                                        .act = ACT_SILU});
}

void condition_layer_grad(const Run *run, const Condition *condition, const Linear *linear,
                          const float *dy, bool first) {
    int64_t samples = run->input->samples;
    float *dx = first ? condition->dactive : condition->dpartial;
    run_linear_grad(run, linear, dy, condition->active, samples, dx);
    if (first) return;
    axpby(run->stream, (Axpby){.x = condition->dpartial,
                               .y = condition->dactive,
                               .n = samples * run->network->config.width,
                               .a = 1.0f,
                               .b = 1.0f});
}

void condition_backward(const Run *run, const Condition *condition) {
    const Conditioner *conditioner = &run->network->conditioner;
    const NetworkInput *input = run->input;
    int64_t width = run->network->config.width, n = input->samples * width;
    float *dsum = condition->dactive;
    activation_grad(
        run->stream,
        (ActivationGrad){.x = condition->sum, .dy = dsum, .dx = dsum, .n = n, .act = ACT_SILU});
    embed_grad(run->stream, (EmbedGrad){.ids = input->label,
                                        .dy = dsum,
                                        .dtable = run->grads + conditioner->label_table,
                                        .rows = input->samples,
                                        .width = width,
                                        .entries = run->network->shape.classes + 1,
                                        .accumulate = run->accumulate});
    if (!run->network->shape.time_input) return;
    float *dhidden = condition->dpartial;
    run_linear_grad(run, &conditioner->time_2, dsum, condition->time_hidden, input->samples,
                    dhidden);
    activation_grad(
        run->stream,
        (ActivationGrad){
            .x = condition->time_pre, .dy = dhidden, .dx = dhidden, .n = n, .act = ACT_SILU});
    run_linear_grad(run, &conditioner->time_1, dhidden, input->time, input->samples, NULL);
}
