// The part of a backbone that does not depend on the family: opening, time features, linear layers
// and conditioning.
#include "model/network.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/network_impl.h"

static const NetworkFamily *const families[] = {&network_dit, &network_mlp, &network_fsq};
enum { FAMILIES = sizeof families / sizeof families[0] };

// ---- opening ----------------------------------------------------------------------------------

static Status family_find(const char *name, const NetworkFamily **out) {
    for (int i = 0; i < FAMILIES; ++i) {
        *out = families[i];
        if (strcmp(families[i]->name, name) == 0) return STATUS_OK;
    }
    FAIL(BAD_CONFIG, "model.family is '%s'; it must be dit, mlp or fsq", name);
}

// What data sets, processes and the ranges of a run's keys have seen to.
static void check_inputs(const NetworkConfig *config, const NetworkShape *shape) {
    REQUIRE(config->depth >= 1 && config->depth <= NETWORK_DEPTH_MOST);
    REQUIRE(config->recompute >= 0 && config->recompute <= config->depth);
    REQUIRE(shape->out_channels >= 1 && shape->classes >= 0);
    REQUIRE(shape->tokens ? shape->vocabulary >= 2 && shape->length >= 1
                          : shape->channels >= 1 && shape->height >= 1 && shape->width >= 1);
}

Status network_open(const NetworkConfig *config, const NetworkShape *shape, Params *params,
                    Network **out) {
    const NetworkFamily *family;
    TRY(family_find(config->family, &family));
    check_inputs(config, shape);
    FAIL_IF(config->width < 4 || config->width % 4 != 0, BAD_CONFIG,
            "model.width is %d; it must be a multiple of 4", config->width);
    FAIL_IF(shape->autoencoder != (family->encode != NULL), BAD_CONFIG,
            "model.family is %s and process.name is %s: fsq and autoencoder go together, and with"
            " nothing else",
            config->family, shape->autoencoder ? "autoencoder" : "another");
    FAIL_IF(config->fourier && shape->tokens, BAD_CONFIG,
            "model.fourier is on, which is for numbers, but the data are tokens; leave it away");
    TRY(family->check(config, shape));
    Network *network = calloc(1, family->bytes + (size_t)config->depth * family->block_bytes);
    FAIL_IF(network == NULL, NO_MEMORY, "no memory for the plan of the network");
    network->family = family;
    network->config = *config;
    network->shape = *shape;
    network->half = strcmp(config->precision, "bf16") == 0;
    double divisor = strcmp(config->timestep_freq, "div-127") == 0 ? 127 : 128;
    for (int k = 0; k < TIME_FEATURES / 2; ++k)
        network->frequency[k] = exp(-log(10000.0) * k / divisor);
    Status status = family->plan(network, params);
    if (status != STATUS_OK) {
        network_close(network);
        return status;
    }
    for (int i = 0; i < params->count; ++i) {
        size_t bytes = grad_scratch_bytes(params->list[i].size);
        if (bytes > network->scratch_bytes) network->scratch_bytes = bytes;
    }
    *out = network;
    return STATUS_OK;
}

void network_close(Network *network) {
    if (network != NULL && network->family->close != NULL) network->family->close(network);
    free(network);
}

// ---- what a plan tells ------------------------------------------------------------------------

static int64_t places_of(const NetworkShape *shape) {
    return shape->tokens ? shape->length : (int64_t)shape->height * shape->width;
}

int64_t network_in_item(const Network *network) {
    return places_of(&network->shape) * (network->shape.tokens ? 1 : network->shape.channels);
}

int64_t network_out_item(const Network *network) {
    return places_of(&network->shape) * network->shape.out_channels;
}

double network_forward_flops(const Network *network) {
    return network->forward_flops;
}

bool network_is_half(const Network *network) {
    return network->half;
}

size_t network_activation_bytes(const Network *network, int64_t samples, bool backward) {
    return network->family->activation_bytes(network, samples, backward);
}

size_t network_scratch_bytes(const Network *network) {
    return network->scratch_bytes;
}

size_t network_wide_bytes(const Network *network, int64_t samples) {
    size_t sums = ((size_t)64 << 20) + (size_t)samples * norm_scratch_bytes(network->config.width);
    size_t heads = attention_wide_bytes(samples, network->attended, network->config.heads);
    return network->scratch_bytes + (heads > sums ? heads : sums);
}

size_t network_table_bytes(const Network *network) {
    return network->table_bytes;
}

void network_table_fill(const Network *network, float *table) {
    if (network->table_bytes > 0) network->family->table_fill(network, table);
}

void network_time_features(const Network *network, double time, float features[TIME_FEATURES]) {
    for (int k = 0; k < TIME_FEATURES / 2; ++k) {
        features[k] = (float)cos(time * network->frequency[k]);
        features[TIME_FEATURES / 2 + k] = (float)sin(time * network->frequency[k]);
    }
}

void network_time_slope(const Network *network, double time, float slope[TIME_FEATURES]) {
    for (int k = 0; k < TIME_FEATURES / 2; ++k) {
        double frequency = network->frequency[k];
        slope[k] = (float)(-frequency * sin(time * frequency));
        slope[TIME_FEATURES / 2 + k] = (float)(frequency * cos(time * frequency));
    }
}

// ---- passes -----------------------------------------------------------------------------------

void network_forward(const Network *network, Stream *stream, const NetworkMemory *memory,
                     const NetworkInput *input, float *out) {
    REQUIRE(input->samples >= 1);
    Run run = {.network = network, .stream = stream, .memory = memory, .input = input};
    network->family->forward(&run, out);
}

const float *network_stream(const Network *network, const NetworkMemory *memory,
                            const NetworkInput *input, int64_t *tokens) {
    Run run = {.network = network, .memory = memory, .input = input};
    return network->family->stream != NULL ? network->family->stream(&run, tokens) : NULL;
}

void run_reads(const Run *run, int64_t to) {
    if (run->memory->reads != NULL) run->memory->reads(run->memory->context, to);
}

void run_written(const Run *run, int64_t from) {
    if (run->memory->written != NULL) run->memory->written(run->memory->context, from);
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

int64_t network_code_places(const Network *network) {
    return network->code_places;
}

void network_encode(const Network *network, Stream *stream, const NetworkMemory *memory,
                    const NetworkInput *input, int32_t *ids) {
    Run run = {.network = network, .stream = stream, .memory = memory, .input = input};
    network->family->encode(&run, ids);
}

void network_decode(const Network *network, Stream *stream, const NetworkMemory *memory,
                    const NetworkInput *input, float *out) {
    Run run = {.network = network, .stream = stream, .memory = memory, .input = input};
    network->family->decode(&run, out);
}

// ---- layers -----------------------------------------------------------------------------------

Linear linear_add(Network *network, Params *params, int64_t rows, int64_t in, int64_t out,
                  InitKind init, const char *name_format, ...) {
    char name[PARAM_NAME_BYTES];
    va_list list;
    va_start(list, name_format);
    vsnprintf(name, sizeof name, name_format, list);
    va_end(list);
    float xavier_bound = (float)sqrt(6.0 / (double)(in + out)); // keeps the variance
    Param weight = {.dims = 2,
                    .dim = {out, in},
                    .init = init,
                    .scale = init == INIT_UNIFORM ? xavier_bound : 0.02f,
                    .decay = true};
    Param bias = {.dims = 1, .dim = {out}, .init = INIT_ZERO};
    Linear linear = {.in = in, .out = out, .rows = rows};
    linear.weight = params_add(params, weight, "%s.weight", name);
    linear.bias = params_add(params, bias, "%s.bias", name);
    network->forward_flops += 2.0 * (double)rows * (double)in * (double)out;
    return linear;
}

static const void *linear_weight(const Run *run, const Linear *linear) {
    if (!linear->half) return run->memory->weights + linear->weight;
    return (const uint16_t *)run->memory->half_weights + linear->weight;
}

void run_linear_act(const Run *run, const Linear *linear, const void *x, Activation act,
                    void *slope, void *y) {
    linear_forward(run->stream, (LinearLayer){.x = x,
                                              .w = linear_weight(run, linear),
                                              .bias = run->memory->weights + linear->bias,
                                              .slope = slope,
                                              .y = y,
                                              .rows = run->input->samples * linear->rows,
                                              .in = linear->in,
                                              .out = linear->out,
                                              .act = act,
                                              .half = linear->half});
}

void run_linear(const Run *run, const Linear *linear, const void *x, void *y) {
    run_linear_act(run, linear, x, ACT_NONE, NULL, y);
}

void run_linear_grad(const Run *run, const Linear *linear, const void *dy, const void *x,
                     void *slope, void *dx) {
    linear_grad(run->stream, (LinearLayer){.dy = dy,
                                           .x = x,
                                           .w = linear_weight(run, linear),
                                           .slope = slope,
                                           .dw = run->grads + linear->weight,
                                           .dbias = run->grads + linear->bias,
                                           .dx = dx,
                                           .rows = run->input->samples * linear->rows,
                                           .in = linear->in,
                                           .out = linear->out,
                                           .act = linear->before,
                                           .accumulate = run->accumulate,
                                           .half = linear->half});
}

int64_t channels_in(const Network *network) {
    return (int64_t)network->shape.channels * (network->config.fourier ? FOURIER_PLANES : 1);
}

int64_t features_size(const Network *network, int64_t samples) {
    return network->config.fourier ? samples * FOURIER_PLANES * network_in_item(network) : 0;
}

const float *run_features(const Run *run, float *room) {
    if (!run->network->config.fourier) return run->input->x;
    fourier_forward(run->stream, (Fourier){.x = run->input->x,
                                           .y = room,
                                           .samples = run->input->samples,
                                           .item = network_in_item(run->network)});
    return room;
}

void run_features_grad(const Run *run, const float *dfeatures, float *dx) {
    fourier_grad(run->stream, (Fourier){.x = run->input->x,
                                        .dy = dfeatures,
                                        .dx = dx,
                                        .samples = run->input->samples,
                                        .item = network_in_item(run->network)});
}

void run_silu(const Run *run, float *x, float *y, int64_t n) {
    activation_forward(run->stream,
                       (Elementwise){.x = x, .slope = x, .y = y, .n = n, .act = ACT_SILU});
}

void run_add(const Run *run, const float *x, float *y, int64_t n) {
    axpby(run->stream, (Elementwise){.x = x, .y = y, .n = n, .a = 1.0f, .b = 1.0f});
}

void run_dropout(const Run *run, int site, void *x, int64_t item, bool half) {
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
                                   .half = half,
                                   .key = key});
}

// ---- conditioning -----------------------------------------------------------------------------

void conditioner_add(Network *network, Params *params) {
    int64_t width = network->config.width;
    Conditioner *conditioner = &network->conditioner;
    if (network->shape.time_input) {
        conditioner->time_1 =
            linear_add(network, params, 1, TIME_FEATURES, width, INIT_NORMAL, "t_embedder.mlp.0");
        conditioner->time_2 =
            linear_add(network, params, 1, width, width, INIT_NORMAL, "t_embedder.mlp.2");
    }
    Param table = {.dims = 2,
                   .dim = {network->shape.classes + 1, width},
                   .init = INIT_NORMAL,
                   .scale = 0.02f,
                   .decay = true};
    conditioner->label_table = params_add(params, table, "y_embedder.embedding_table.weight");
}

void condition_place(const Network *network, Bump *bump, int64_t samples, bool backward,
                     Condition *out) {
    int64_t n = samples * network->config.width;
    *out = (Condition){0};
    if (network->shape.time_input) {
        out->time_slope = bump_floats(bump, n);
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
        run_linear_act(run, &conditioner->time_1, input->time, ACT_SILU, condition->time_slope,
                       condition->time_hidden);
        run_linear(run, &conditioner->time_2, condition->time_hidden, condition->time_out);
    }
    embed_forward(run->stream, (Embed){.ids = input->label,
                                       .table = run->memory->weights + conditioner->label_table,
                                       .add = condition->time_out,
                                       .y = condition->sum,
                                       .rows = input->samples,
                                       .width = width,
                                       .add_rows = input->samples});
    run_silu(run, condition->sum, condition->active, input->samples * width);
}

void condition_layer_grad(const Run *run, const Condition *condition, const Linear *linear,
                          const float *dy, bool first) {
    int64_t n = run->input->samples * run->network->config.width;
    float *dx = first ? condition->dactive : condition->dpartial;
    run_linear_grad(run, linear, dy, condition->active, NULL, dx);
    if (!first) run_add(run, dx, condition->dactive, n);
}

void condition_backward(const Run *run, const Condition *condition) {
    const Conditioner *conditioner = &run->network->conditioner;
    const NetworkInput *input = run->input;
    int64_t width = run->network->config.width, n = input->samples * width;
    float *dsum = condition->dactive, *dhidden = condition->dpartial;
    multiply(run->stream, (Elementwise){.x = condition->sum, .y = dsum, .n = n});
    embed_grad(run->stream, (Embed){.ids = input->label,
                                    .dy = dsum,
                                    .dtable = run->grads + conditioner->label_table,
                                    .rows = input->samples,
                                    .width = width,
                                    .entries = run->network->shape.classes + 1,
                                    .accumulate = run->accumulate});
    if (!run->network->shape.time_input) return;
    run_linear_grad(run, &conditioner->time_2, dsum, condition->time_hidden, condition->time_slope,
                    dhidden);
    run_linear_grad(run, &conditioner->time_1, dhidden, input->time, NULL, input->dtime);
}
