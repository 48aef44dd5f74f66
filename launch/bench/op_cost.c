// The least work of each operation, from the shapes in its arguments.
#include "launch/bench/op_cost.h"

static const double fp32 = 4, fp64 = 8, id = 4, number = 8; // bytes; number: of a sample

static double width_of(bool half) {
    return half ? 2 : fp32;
}

// Bytes of an array that may be left out.
static double given(const void *array, double bytes) {
    return array != NULL ? bytes : 0;
}

// Bytes of a result that is written, or added to what is there.
static double sum_bytes(const void *array, double bytes, bool accumulate) {
    return given(array, accumulate ? 2 * bytes : bytes);
}

// ---- dense layers -----------------------------------------------------------------------------

static OpCost cost_linear_forward(const LinearLayer *a) {
    double rows = (double)a->rows, in = (double)a->in, out = (double)a->out, e = width_of(a->half);
    return (OpCost){.flops = 2 * rows * in * out,
                    .bytes = e * (rows * in + in * out + rows * out) +
                             given(a->slope, e * rows * out) + given(a->bias, fp32 * out),
                    .half = a->half};
}

static OpCost cost_linear_grad(const LinearLayer *a) {
    double rows = (double)a->rows, in = (double)a->in, out = (double)a->out, e = width_of(a->half);
    double product = 2 * rows * in * out;
    return (OpCost){.flops = a->dx != NULL ? 2 * product : product,
                    .bytes = e * (rows * in + rows * out) +
                             sum_bytes(a->dw, fp32 * in * out, a->accumulate) +
                             sum_bytes(a->dbias, fp32 * out, a->accumulate) +
                             given(a->dx, e * (in * out + rows * in)) +
                             given(a->dx != NULL ? a->slope : NULL, e * rows * in),
                    .half = a->half};
}

static OpCost cost_activation_forward(const Elementwise *a) {
    double n = (double)a->n;
    return (OpCost){.bytes = 2 * fp32 * n + given(a->slope, fp32 * n)};
}

static OpCost cost_multiply(const Elementwise *a) {
    return (OpCost){.bytes = 3 * fp32 * (double)a->n};
}

static OpCost cost_halve(const Elementwise *a) {
    return (OpCost){.bytes = (fp32 + 2) * (double)a->n};
}

static OpCost cost_logit(const Elementwise *a) {
    return (OpCost){.bytes = 2 * fp32 * (double)a->n};
}

static OpCost cost_axpby(const Elementwise *a) {
    return (OpCost){.bytes = (a->b != 0 ? 3 : 2) * fp32 * (double)a->n};
}

// ---- transformer ------------------------------------------------------------------------------

static OpCost cost_residual_norm_forward(const ResidualNorm *a) {
    double rows = (double)a->samples * (double)a->tokens, n = rows * (double)a->width;
    double row = fp32 * (double)a->samples * (double)a->width; // of a modulation
    return (OpCost){.bytes = fp32 * n + width_of(a->half) * n + 2 * fp32 * rows + 2 * row +
                             given(a->branch, (width_of(a->branch_half) + fp32) * n + row)};
}

// dsum is read and written.
static OpCost cost_residual_norm_grad(const ResidualNorm *a) {
    double rows = (double)a->samples * (double)a->tokens, n = rows * (double)a->width;
    double row = fp32 * (double)a->samples * (double)a->width;
    return (OpCost){.bytes = 3 * fp32 * n + width_of(a->half) * n + 2 * fp32 * rows + 3 * row +
                             given(a->branch, 2 * width_of(a->branch_half) * n + 2 * row)};
}

// Pairs of tokens of which one reads the other, of one sample and head (attention_reads).
static double attended_pairs(const Attention *a) {
    double tokens = (double)a->tokens, block = (double)a->block;
    if (a->block == 0) return tokens * tokens;
    if (a->cached) return block * ((double)a->from + block);
    return tokens / 2 * (tokens / 2 + block);
}

static OpCost cost_attention_forward(const Attention *a) {
    double queries = (double)(a->cached ? a->block : a->tokens);
    double keys = a->cached ? (double)(a->from + a->block) : queries;
    double heads = (double)a->samples * (double)a->heads, dim = (double)a->head_dim;
    return (OpCost){.flops = 4 * heads * dim * attended_pairs(a),
                    .bytes = width_of(a->half) * heads * dim * (2 * queries + 2 * keys) +
                             given(a->lse, fp32 * heads * queries),
                    .half = a->half};
}

// Reads qkv, out, dout; writes dqkv.
static OpCost cost_attention_grad(const Attention *a) {
    double heads = (double)a->samples * (double)a->heads, dim = (double)a->head_dim;
    double rows = heads * (double)a->tokens;
    return (OpCost){.flops = 8 * heads * dim * attended_pairs(a),
                    .bytes = width_of(a->half) * rows * dim * 8 + fp32 * rows,
                    .half = a->half};
}

static OpCost cost_dropout(const Dropout *a) {
    double samples = (double)a->samples;
    return (OpCost){.bytes = 2 * width_of(a->half) * samples * (double)a->item + number * samples};
}

// ---- inputs and outputs of a network ----------------------------------------------------------

// Rows of the table that so many ids can name.
static double table_bytes(const Embed *a) {
    int64_t rows = a->ids != NULL && a->entries < a->rows ? a->entries : a->rows;
    return fp32 * (double)rows * (double)a->width;
}

static OpCost cost_embed_forward(const Embed *a) {
    double rows = (double)a->rows, width = (double)a->width;
    return (OpCost){.bytes = table_bytes(a) + fp32 * rows * width + given(a->ids, id * rows) +
                             given(a->add, fp32 * (double)a->add_rows * width)};
}

// Without `accumulate` all of the table is written.
static OpCost cost_embed_grad(const Embed *a) {
    double rows = (double)a->rows, width = (double)a->width;
    double table = a->accumulate ? 2 * table_bytes(a) : fp32 * (double)a->entries * width;
    return (OpCost){.bytes = fp32 * rows * width + id * rows + table};
}

static OpCost cost_fourier_forward(const Fourier *a) {
    return (OpCost){.bytes = (1 + FOURIER_PLANES) * fp32 * (double)a->samples * (double)a->item};
}

static OpCost cost_fourier_grad(const Fourier *a) {
    return (OpCost){.bytes = (2 + FOURIER_PLANES) * fp32 * (double)a->samples * (double)a->item};
}

static OpCost cost_patch_forward(const Patches *a) {
    return (OpCost){.bytes = 2 * fp32 * (double)a->samples * (double)a->channels *
                             (double)a->height * (double)a->width};
}

static OpCost cost_patch_back(const Patches *a) {
    return cost_patch_forward(a);
}

static OpCost cost_quantise(const Quantise *a) {
    double places = (double)a->samples * (double)a->places, n = places * (double)a->digits;
    return (OpCost){.bytes = 2 * fp32 * n + given(a->slope, fp32 * n) + given(a->ids, id * places)};
}

static OpCost cost_code_values(const CodeValues *a) {
    double places = (double)a->samples * (double)a->places;
    return (OpCost){.bytes = id * places + fp32 * places * (double)a->digits};
}

// ---- Gaussian diffusion -----------------------------------------------------------------------

static OpCost cost_rescale(const Rescale *a) {
    double samples = (double)a->samples;
    return (OpCost){.bytes = 2 * fp32 * samples * (double)a->item +
                             given(a->width != 0 ? a->sample : NULL, number * samples)};
}

// Of one sample: its number and level, where they are given.
static double gaussian_facts(const Gaussian *a) {
    return given(a->sample, number) + given(a->level, sizeof *a->level);
}

static OpCost cost_gaussian_corrupt(const Gaussian *a) {
    double item = fp32 * (double)a->item;
    return (OpCost){.bytes = (double)a->samples *
                             (2 * item + given(a->target, item) + gaussian_facts(a))};
}

// All that it may be given: x_0, x_t, target and `out` are read, dout, loss and error written.
static OpCost cost_of_terms(const Gaussian *a) {
    double item = fp32 * (double)a->item, out = a->has_variance ? 2 * item : item;
    return (OpCost){.bytes = (double)a->samples *
                             (given(a->x_0, item) + given(a->x_t, item) + given(a->target, item) +
                              given(a->out, out) + given(a->dout, out) + given(a->loss, fp32) +
                              given(a->error, fp64) + given(a->level, sizeof *a->level))};
}

static OpCost cost_gaussian_loss(const Gaussian *a) {
    Gaussian read = *a;
    read.x_0 = read.x_t = NULL, read.error = NULL;
    return cost_of_terms(&read);
}

static OpCost cost_gaussian_terms(const Gaussian *a) {
    return cost_of_terms(a);
}

// Writes target.
static OpCost cost_gaussian_hat(const Gaussian *a) {
    Gaussian read = *a;
    read.x_0 = read.dout = read.loss = NULL, read.error = NULL;
    return cost_of_terms(&read);
}

static OpCost cost_gaussian_huber(const Gaussian *a) {
    Gaussian read = *a;
    read.x_0 = NULL, read.error = NULL;
    return cost_of_terms(&read);
}

static OpCost cost_schedule_grad(const ScheduleGrad *a) {
    double samples = (double)a->samples, parameters = (double)a->parameters;
    double features = (double)a->features;
    return (OpCost){.bytes = samples * (5 * fp32 * (double)a->item + fp32 * features + fp32 +
                                        fp64 * (3 * parameters + features) + sizeof *a->level) +
                             sum_bytes(a->grads, fp32 * parameters, a->accumulate)};
}

static OpCost cost_gaussian_advance(const GaussianAdvance *a) {
    double samples = (double)a->samples;
    return (OpCost){.bytes = fp32 * samples * (double)(2 * a->item + a->out_item) +
                             given(a->sample, number * samples)};
}

static OpCost cost_gaussian_prior(const Gaussian *a) {
    return (OpCost){.bytes =
                        (double)a->samples * (fp32 * (double)a->item + given(a->sample, number))};
}

// ---- categorical diffusion --------------------------------------------------------------------

// Numbers and levels of the samples, and the base; of dense levels, which only the device knows to
// be such, one row of it.
static double categorical_facts(const Categorical *a) {
    return (double)a->samples * (given(a->sample, number) + given(a->level, sizeof *a->level)) +
           given(a->base, fp64 * (double)a->classes);
}

static double symbols(const Categorical *a) {
    return (double)a->samples * (double)a->item;
}

static OpCost cost_categorical_corrupt(const Categorical *a) {
    return (OpCost){.bytes = 2 * id * symbols(a) + categorical_facts(a)};
}

static OpCost cost_categorical_loss(const Categorical *a) {
    double samples = (double)a->samples, logits = fp32 * symbols(a) * (double)a->classes;
    return (OpCost){.bytes = logits + 2 * id * symbols(a) + given(a->dlogits, logits) +
                             sum_bytes(a->loss, fp32 * samples, a->accumulate) +
                             given(a->error, fp64 * samples) + categorical_facts(a)};
}

// Samplers: logits and x_t of the tokens that are drawn are read, x_t is written.
static OpCost cost_categorical_advance(const Categorical *a) {
    double drawn = (double)a->samples * (double)(a->end - a->begin);
    return (OpCost){.bytes = drawn * (fp32 * (double)a->classes + 2 * id) + categorical_facts(a)};
}

static OpCost cost_categorical_refresh(const Categorical *a) {
    return cost_categorical_advance(a);
}

static OpCost cost_categorical_reveal(const Categorical *a) {
    return cost_categorical_advance(a);
}

static OpCost cost_categorical_prior(const Categorical *a) {
    return (OpCost){.bytes = id * symbols(a) + categorical_facts(a)};
}

static OpCost cost_class_loss(const ClassLoss *a) {
    double samples = (double)a->samples;
    double out = fp32 * samples * (double)a->classes * (double)a->places;
    return (OpCost){.bytes = out + given(a->dout, out) + samples * (id + fp32 + fp64)};
}

// ---- vectors, optimizer -----------------------------------------------------------------------

static OpCost cost_sum_squares(const SumSquares *a) {
    return (OpCost){.bytes =
                        fp32 * (double)a->n + fp64 * (double)((a->n + a->chunk - 1) / a->chunk)};
}

static OpCost cost_add_up(const AddUp *a) {
    double chunks = (double)((a->n + a->chunk - 1) / a->chunk);
    return (OpCost){.bytes = (a->wide ? fp64 : fp32) * (double)a->n + fp64 * chunks};
}

static OpCost cost_fingerprint(const Fingerprint *a) {
    return (OpCost){.bytes = fp32 * (double)a->n + number};
}

static OpCost cost_grad_scale(const GradScale *a) {
    return (OpCost){.bytes = fp64 * (double)(a->losses + a->squares + a->ranks + GRAD_RESULTS)};
}

static OpCost cost_adamw_ema(const AdamwEma *a) {
    double half = a->half != NULL ? 2 : 0;
    return (OpCost){.bytes = ((1 + 2 * 5) * fp32 + half) * (double)a->n}; // all but grad: both ways
}

OpCost op_cost(int op, const void *args) {
    switch (op) {
#define COST(name, Args, pointers)                                                                 \
    case OP_##name: return cost_##name((const Args *)args);
        BACKEND_OPS(COST)
#undef COST
    default: return (OpCost){0};
    }
}

// ---- families ---------------------------------------------------------------------------------

// An operation that is not here does not compile below.
enum {
    FAMILY_OF_linear_forward = FAMILY_PRODUCTS,
    FAMILY_OF_linear_grad = FAMILY_PRODUCTS,
    FAMILY_OF_attention_forward = FAMILY_ATTENTION,
    FAMILY_OF_attention_grad = FAMILY_ATTENTION,
    FAMILY_OF_activation_forward = FAMILY_NORMS,
    FAMILY_OF_multiply = FAMILY_NORMS,
    FAMILY_OF_residual_norm_forward = FAMILY_NORMS,
    FAMILY_OF_residual_norm_grad = FAMILY_NORMS,
    FAMILY_OF_dropout = FAMILY_NORMS,
    FAMILY_OF_rescale = FAMILY_LOSS,
    FAMILY_OF_logit = FAMILY_LOSS,
    FAMILY_OF_gaussian_corrupt = FAMILY_LOSS,
    FAMILY_OF_gaussian_loss = FAMILY_LOSS,
    FAMILY_OF_gaussian_hat = FAMILY_LOSS,
    FAMILY_OF_gaussian_huber = FAMILY_LOSS,
    FAMILY_OF_gaussian_terms = FAMILY_LOSS,
    FAMILY_OF_schedule_grad = FAMILY_LOSS,
    FAMILY_OF_gaussian_advance = FAMILY_LOSS,
    FAMILY_OF_gaussian_prior = FAMILY_LOSS,
    FAMILY_OF_categorical_corrupt = FAMILY_LOSS,
    FAMILY_OF_categorical_loss = FAMILY_LOSS,
    FAMILY_OF_categorical_advance = FAMILY_LOSS,
    FAMILY_OF_categorical_prior = FAMILY_LOSS,
    FAMILY_OF_categorical_refresh = FAMILY_LOSS,
    FAMILY_OF_categorical_reveal = FAMILY_LOSS,
    FAMILY_OF_class_loss = FAMILY_LOSS,
    FAMILY_OF_embed_forward = FAMILY_EMBEDDING,
    FAMILY_OF_embed_grad = FAMILY_EMBEDDING,
    FAMILY_OF_fourier_forward = FAMILY_EMBEDDING,
    FAMILY_OF_fourier_grad = FAMILY_EMBEDDING,
    FAMILY_OF_patch_forward = FAMILY_EMBEDDING,
    FAMILY_OF_patch_back = FAMILY_EMBEDDING,
    FAMILY_OF_quantise = FAMILY_EMBEDDING,
    FAMILY_OF_code_values = FAMILY_EMBEDDING,
    FAMILY_OF_adamw_ema = FAMILY_OPTIMIZER,
    FAMILY_OF_halve = FAMILY_OPTIMIZER, // the weights, once a step
    FAMILY_OF_axpby = FAMILY_SUMS,
    FAMILY_OF_sum_squares = FAMILY_SUMS,
    FAMILY_OF_add_up = FAMILY_SUMS,
    FAMILY_OF_grad_scale = FAMILY_SUMS,
    FAMILY_OF_fingerprint = FAMILY_SUMS
};

OpFamily op_family(int op) {
#define FAMILY(name, Args, pointers) [OP_##name] = (OpFamily)FAMILY_OF_##name,
    static const OpFamily family[OPS] = {BACKEND_OPS(FAMILY)};
#undef FAMILY
    return family[op];
}

const char *op_family_name(OpFamily family) {
    static const char *const names[FAMILIES] = {[FAMILY_PRODUCTS] = "products",
                                                [FAMILY_ATTENTION] = "attention",
                                                [FAMILY_NORMS] = "norms, activations",
                                                [FAMILY_LOSS] = "corruption, loss",
                                                [FAMILY_EMBEDDING] = "embedding, patches",
                                                [FAMILY_OPTIMIZER] = "optimizer, averages",
                                                [FAMILY_SUMS] = "sums, norm, copies"};
    return names[family];
}

const char *op_name(int op) {
#define NAME(name, Args, pointers) #name,
    static const char *const names[OPS] = {BACKEND_OPS(NAME)};
#undef NAME
    return names[op];
}
