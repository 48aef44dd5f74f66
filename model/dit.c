// DiT: a bidirectional transformer with adaLN-zero (arXiv 2212.09748), for images and tokens.
// Parameter names and arithmetic are those of the original code.
//
// Shapes: g samples, T tokens, D width, r = g T rows. Layers 2 i and 2 i + 1 are the attention and
// the MLP of block i, layer 2 depth is the final one. Each begins with a norm step that serves two
// neighbours: it adds the gated branch of the layer before to the residual stream and normalizes
// for the layer behind.
//
// With model.precision bf16 the arrays declared void below are bf16, but for what the final layer
// reads; the residual stream, the conditioning, the first and the final layer stay fp32.
//
//   embedded --norm--> [attention] --norm--> [MLP] --norm--> [attention] ... --norm--> [final]
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/network_impl.h"

typedef struct {
    Linear modulation, qkv, projection, fc_1, fc_2;
} DitBlock;

typedef struct {
    Network base;
    int64_t width, hidden;
    // Of a sample: tokens that go through the layers and those of them that are of its output,
    // which differ where a context goes along; places that there are; and those of a process.block,
    // 0: there are no such blocks.
    int64_t tokens, out_tokens, places, group;
    int64_t patch_in, patch_out; // numbers of a token before the first and behind the last layer
    Linear patch_embedding;
    int64_t symbol_table; // tokens: [vocabulary, D/p]
    Linear final_modulation, final;
    DitBlock block[]; // [depth]
} Dit;

typedef struct {
    float *sum, *stats; // [r,D] residual stream, [r,2]
    void *norm;         // [r,D] what the layer reads
    void *branch;       // [r,D] what the layer gives; not the final one
    // Shift, scale and gate stand D apart from `first` on in each row of the modulation, which the
    // two layers of a block share: [g, 6 D]. The final layer has no gate: [g, 2 D].
    float *modulation, *dmodulation;
    int64_t first, stride;
    void *qkv, *attention; // attention: [r,3D], [r,D]
    float *lse;            // [g,heads,T]
    void *slope, *hidden;  // MLP: [r,mlp] each
} DitLayer;

typedef struct {
    Condition condition;
    float *features, *dfeatures;
    float *patches;       // [r, patch_in]
    float *final_patches; // [r, patch_out], images
    float *final_norm;    // [g out_tokens, D] where not all tokens are of the output
    DitLayer layer[2 * NETWORK_DEPTH_MOST + 1];
    // Gradients, backward only: of the residual stream, of a norm's output, of a branch, of the
    // widest arrays, of patches.
    float *dsum;
    void *dnorm, *dbranch, *dwide;
    float *dpatches;
} DitMemory;

// ---- configuration ----------------------------------------------------------------------------

// "1, 2, 4": the numbers that divide both a and b.
static const char *divisors_list(int32_t a, int32_t b, char *out, size_t bytes) {
    size_t used = 0;
    for (int32_t i = 1; i <= a && i <= b && used + 16 < bytes; ++i) {
        if (a % i != 0 || b % i != 0) continue;
        used += (size_t)snprintf(out + used, bytes - used, used == 0 ? "%d" : ", %d", i);
    }
    return out;
}

static Status dit_check(const NetworkConfig *config, const NetworkShape *shape) {
    char list[256] = "";
    FAIL_IF(config->heads < 1 || config->width % config->heads != 0, BAD_CONFIG,
            "model.heads is %d; it must divide model.width %d: %s", config->heads, config->width,
            divisors_list(config->width, config->width, list, sizeof list));
    int32_t a = shape->tokens ? shape->length : shape->height;
    int32_t b = shape->tokens ? config->width : shape->width;
    FAIL_IF(config->patch < 1 || a % config->patch != 0 || b % config->patch != 0, BAD_CONFIG,
            shape->tokens
                ? "model.patch is %d; it must divide data.length %d and model.width %d: %s"
                : "model.patch is %d; it must divide the image's %d x %d: %s",
            config->patch, a, b, divisors_list(a, b, list, sizeof list));
    FAIL_IF(shape->block % config->patch != 0, BAD_CONFIG,
            "process.block is %d; it must be a multiple of model.patch %d", shape->block,
            config->patch);
    return STATUS_OK;
}

// A token is a patch of the image, or of p neighbouring symbols: each is looked up in a table of
// width D/p, and the p of a token stand side by side.
static void input_add(Dit *dit, Params *params) {
    Network *network = &dit->base;
    int64_t width = dit->width, patch = network->config.patch;
    bool symbols = network->shape.tokens;
    if (symbols) {
        Param table = {.dims = 2,
                       .dim = {network->shape.vocabulary, width / patch},
                       .init = INIT_NORMAL,
                       .scale = 1, // as loud as the positions that are added
                       .decay = true};
        dit->symbol_table = params_add(params, table, "x_embedder.table.weight");
    }
    dit->patch_embedding = linear_add(network, params, dit->tokens, dit->patch_in, width,
                                      INIT_UNIFORM, "x_embedder.proj");
    if (symbols) return;
    // The original is a convolution, whose weight has four dimensions.
    Param *weight = &params->list[params->count - 2];
    weight->dims = 4;
    memcpy(weight->dim, (int64_t[]){width, channels_in(network), patch, patch}, sizeof weight->dim);
}

static void block_add(Dit *dit, Params *params, int i) {
    Network *network = &dit->base;
    DitBlock *block = &dit->block[i];
    int64_t width = dit->width, tokens = dit->tokens;
    block->modulation = linear_add(network, params, 1, width, 6 * width, INIT_ZERO,
                                   "blocks.%d.adaLN_modulation.1", i);
    block->qkv = linear_add(network, params, tokens, width, 3 * width, INIT_UNIFORM,
                            "blocks.%d.attn.qkv", i);
    block->projection =
        linear_add(network, params, tokens, width, width, INIT_UNIFORM, "blocks.%d.attn.proj", i);
    block->fc_1 = linear_add(network, params, tokens, width, dit->hidden, INIT_UNIFORM,
                             "blocks.%d.mlp.fc1", i);
    block->fc_2 = linear_add(network, params, tokens, dit->hidden, width, INIT_UNIFORM,
                             "blocks.%d.mlp.fc2", i);
    block->fc_2.before = ACT_GELU;
    block->qkv.half = block->projection.half = block->fc_1.half = block->fc_2.half = network->half;
    network->forward_flops += 4.0 * (double)(tokens * tokens * width); // attention itself
}

static Status dit_plan(Network *network, Params *params) {
    Dit *dit = (Dit *)network;
    const NetworkConfig *config = &network->config;
    const NetworkShape *shape = &network->shape;
    int64_t width = config->width, patch = config->patch;
    dit->width = width;
    dit->hidden = width * config->mlp_ratio;
    int64_t places = shape->tokens ? patch : patch * patch; // symbols or pixels of a token
    dit->places = (shape->tokens ? shape->length : (int64_t)shape->height * shape->width) / places;
    dit->group = shape->block / patch;
    dit->out_tokens = shape->cached ? dit->group : dit->places;
    dit->tokens = dit->group > 0 && !shape->cached ? 2 * dit->places : dit->out_tokens;
    dit->patch_in = shape->tokens ? width : channels_in(network) * places;
    dit->patch_out = shape->out_channels * places;
    network->attended = shape->cached ? dit->places : dit->tokens;
    size_t attention = attention_scratch_bytes(network->attended);
    size_t norm = norm_scratch_bytes(width);
    network->scratch_bytes = attention > norm ? attention : norm;
    network->table_bytes = (size_t)(dit->places * width) * sizeof(float);
    input_add(dit, params);
    conditioner_add(network, params);
    for (int i = 0; i < config->depth; ++i) block_add(dit, params, i);
    dit->final_modulation = linear_add(network, params, 1, width, 2 * width, INIT_ZERO,
                                       "final_layer.adaLN_modulation.1");
    dit->final = linear_add(network, params, dit->out_tokens, width, dit->patch_out, INIT_ZERO,
                            "final_layer.linear");
    return STATUS_OK;
}

// ---- positions --------------------------------------------------------------------------------

// sin and cos of position * 10000^(-j / (n/2)), n/2 channels each.
static void position_fill(int64_t position, int64_t n, float *row) {
    int64_t half = n / 2;
    for (int64_t j = 0; j < half; ++j) {
        double angle = (double)position * pow(10000.0, -(double)j / (double)half);
        row[j] = (float)sin(angle);
        row[half + j] = (float)cos(angle);
    }
}

static void dit_table_fill(const Network *network, float *table) {
    const Dit *dit = (const Dit *)network;
    int64_t width = dit->width;
    for (int64_t t = 0; t < dit->places; ++t) {
        float *row = table + t * width;
        if (network->shape.tokens) {
            position_fill(t, width, row);
            continue;
        }
        int64_t columns = network->shape.width / network->config.patch;
        position_fill(t % columns, width / 2, row);
        position_fill(t / columns, width / 2, row + width / 2);
    }
}

// ---- plan of memory ---------------------------------------------------------------------------

// Where a layer, and with it a block, begins: the residual stream and how it is modulated.
static void entry_place(const Dit *dit, Bump *bump, int64_t samples, DitLayer *layer) {
    int64_t rows = samples * dit->tokens;
    layer->sum = bump_floats(bump, rows * dit->width);
    layer->stats = bump_floats(bump, 2 * rows);
    layer->modulation = bump_floats(bump, samples * layer->stride);
}

// All else of a block, which can be computed from its entry.
static void block_place(const Dit *dit, Bump *bump, int64_t samples, DitLayer layer[2]) {
    int64_t width = dit->width, rows = samples * dit->tokens;
    bool half = dit->base.half;
    for (int i = 0; i < 2; ++i)
        layer[i] = (DitLayer){.norm = bump_numbers(bump, rows * width, half),
                              .branch = bump_numbers(bump, rows * width, half),
                              .first = 3 * i * width,
                              .stride = 6 * width};
    layer[1].sum = bump_floats(bump, rows * width);
    layer[1].stats = bump_floats(bump, 2 * rows);
    layer[0].qkv = bump_numbers(bump, rows * 3 * width, half);
    layer[0].attention = bump_numbers(bump, rows * width, half);
    layer[0].lse = bump_floats(bump, rows * dit->base.config.heads);
    layer[1].slope = bump_numbers(bump, rows * dit->hidden, half);
    layer[1].hidden = bump_numbers(bump, rows * dit->hidden, half);
}

static void gradients_place(const Dit *dit, Bump *bump, int64_t samples, DitMemory *out) {
    int64_t rows = samples * dit->tokens, n = rows * dit->width;
    int64_t wide = dit->hidden > 3 * dit->width ? dit->hidden : 3 * dit->width;
    int64_t patch = dit->patch_in > dit->patch_out ? dit->patch_in : dit->patch_out;
    int layers = 2 * dit->base.config.depth;
    out->dsum = bump_floats(bump, n);
    out->dnorm = bump_floats(bump, n); // fp32 behind the final layer
    out->dbranch = bump_numbers(bump, n, dit->base.half);
    out->dwide = bump_numbers(bump, rows * wide, dit->base.half);
    out->dfeatures = bump_floats(bump, features_size(&dit->base, samples));
    out->dpatches = bump_floats(bump, rows * patch);
    // A block's gradient is read before that of the block two before it is written.
    float *dmodulation[2];
    for (int i = 0; i < 2; ++i) dmodulation[i] = bump_floats(bump, samples * 6 * dit->width);
    for (int i = 0; i < layers; ++i) out->layer[i].dmodulation = dmodulation[i / 2 % 2];
    out->layer[layers].dmodulation = bump_floats(bump, samples * 2 * dit->width);
}

// Lays out a pass in `base`; NULL only measures. A layer reads nothing from further back than the
// layer before, so the memory of one block, but for its entry, serves all whose activations are not
// kept: those to be computed again, or all of them without backward, which has room for the entries
// of two neighbours only.
static size_t dit_place(const Dit *dit, void *base, int64_t samples, bool backward,
                        DitMemory *out) {
    Bump bump = {.base = base};
    int64_t rows = samples * dit->tokens;
    int depth = dit->base.config.depth;
    int passing = backward ? dit->base.config.recompute : depth; // blocks that are not kept
    DitLayer *final = &out->layer[2 * depth];
    condition_place(&dit->base, &bump, samples, backward, &out->condition);
    for (int i = 0; i < depth; ++i) {
        DitLayer *layer = &out->layer[2 * i];
        int shared = i == 0 || i >= passing ? 0 : !backward && i > 1 ? 4 : 2;
        if (shared > 0) memcpy(layer, layer - shared, 2 * sizeof *layer);
        if (shared == 0) block_place(dit, &bump, samples, layer);
        if (shared < 4) entry_place(dit, &bump, samples, layer);
        layer[1].modulation = layer[0].modulation;
    }
    for (int i = 0; i < depth && dit->base.shape.cached; ++i)
        out->layer[2 * i].qkv =
            bump_numbers(&bump, samples * dit->places * 3 * dit->width, dit->base.half);
    *final = (DitLayer){.norm = bump_floats(&bump, rows * dit->width), .stride = 2 * dit->width};
    entry_place(dit, &bump, samples, final);
    out->features = bump_floats(&bump, features_size(&dit->base, samples));
    out->patches = bump_floats(&bump, rows * dit->patch_in);
    if (!dit->base.shape.tokens) out->final_patches = bump_floats(&bump, rows * dit->patch_out);
    if (dit->tokens != dit->out_tokens)
        out->final_norm = bump_floats(&bump, samples * dit->out_tokens * dit->width);
    if (backward) gradients_place(dit, &bump, samples, out);
    return bump.used;
}

static size_t dit_activation_bytes(const Network *network, int64_t samples, bool backward) {
    DitMemory memory;
    return dit_place((const Dit *)network, NULL, samples, backward, &memory);
}

// ---- forward ----------------------------------------------------------------------------------

// Patches of the network's input (a convolution's order) or of its output (channels last).
static Patches patches_of(const Run *run, bool output, const float *from, float *to) {
    const NetworkShape *shape = &run->network->shape;
    return (Patches){.from = from,
                     .to = to,
                     .samples = run->input->samples,
                     .channels = output ? shape->out_channels : channels_in(run->network),
                     .height = shape->height,
                     .width = shape->width,
                     .patch = run->network->config.patch,
                     .channel_last = output};
}

// Symbols to be looked up: all, each sample's before its context, or those of one block.
static Embed symbols_of(const Run *run, const Dit *dit) {
    const NetworkInput *input = run->input;
    int64_t item = network_in_item(run->network), patch = dit->base.config.patch;
    return (Embed){.ids = input->ids + input->at,
                   .other = dit->base.shape.cached ? NULL : input->context,
                   .rows = input->samples * dit->tokens * patch,
                   .width = dit->width / patch,
                   .entries = dit->base.shape.vocabulary,
                   .each = dit->group > 0 ? dit->out_tokens * patch : 0,
                   .stride = item};
}

// Patches of pixels or symbols, embedded, plus positions: the residual stream of layer 0.
static void embed(const Run *run, const Dit *dit, const DitMemory *memory) {
    const NetworkShape *shape = &dit->base.shape;
    float *sum = memory->layer[0].sum;
    int64_t first = run->input->at / dit->base.config.patch;
    if (shape->tokens) {
        Embed symbols = symbols_of(run, dit);
        symbols.table = run->memory->weights + dit->symbol_table;
        symbols.y = memory->patches;
        embed_forward(run->stream, symbols);
    } else {
        patch_forward(run->stream,
                      patches_of(run, false, run_features(run, memory->features), memory->patches));
    }
    run_linear(run, &dit->patch_embedding, memory->patches, sum);
    embed_forward(run->stream, (Embed){.table = sum,
                                       .add = run->memory->table + first * dit->width,
                                       .y = sum,
                                       .rows = run->input->samples * dit->tokens,
                                       .width = dit->width,
                                       .add_rows = dit->out_tokens});
}

static const Linear *modulation_of(const Dit *dit, int i) {
    return i / 2 == dit->base.config.depth ? &dit->final_modulation : &dit->block[i / 2].modulation;
}

// Between layer i - 1 and layer i.
static ResidualNorm norm_of(const Run *run, const Dit *dit, const DitMemory *memory, int i) {
    const DitLayer *layer = &memory->layer[i], *before = layer - (i > 0);
    int64_t width = dit->width;
    ResidualNorm args = {.x = before->sum,
                         .shift = layer->modulation + layer->first,
                         .scale = layer->modulation + layer->first + width,
                         .sum = layer->sum,
                         .y = layer->norm,
                         .stats = layer->stats,
                         .samples = run->input->samples,
                         .tokens = dit->tokens,
                         .width = width,
                         .mod_stride = layer->stride,
                         .half = dit->base.half && i < 2 * dit->base.config.depth,
                         .branch_half = dit->base.half};
    if (i > 0) {
        args.branch = before->branch;
        args.gate = before->modulation + before->first + 2 * width;
        args.gate_stride = before->stride;
    }
    return args;
}

// From the residual stream and branch of layer i - 1 to what layer i reads.
static void norm_step(const Run *run, const Dit *dit, const DitMemory *memory, int i) {
    bool last = i == 2 * dit->base.config.depth;
    if (i % 2 == 0) run_reads(run, last ? INT64_MAX : modulation_of(dit, i + 2)->weight);
    if (i % 2 == 0)
        run_linear(run, modulation_of(dit, i), memory->condition.active,
                   memory->layer[i].modulation);
    residual_norm_forward(run->stream, norm_of(run, dit, memory, i));
}

static Attention attention_of(const Run *run, const Dit *dit, const DitLayer *layer) {
    return (Attention){.qkv = layer->qkv,
                       .out = layer->attention,
                       .lse = layer->lse,
                       .samples = run->input->samples,
                       .tokens = dit->base.attended,
                       .heads = dit->base.config.heads,
                       .head_dim = dit->width / dit->base.config.heads,
                       .block = dit->group,
                       .from = run->input->at / dit->base.config.patch,
                       .cached = dit->base.shape.cached,
                       .half = dit->base.half};
}

// y = linear(x); cached, each sample's block goes to its place among all of y.
static void run_linear_placed(const Run *run, const Dit *dit, const Linear *linear, const void *x,
                              void *y) {
    NetworkInput input = *run->input;
    Run part = *run;
    part.input = &input;
    if (dit->base.shape.cached) input.samples = 1;
    int64_t bytes = linear->half ? 2 : 4, at = input.at / dit->base.config.patch;
    for (int64_t s = 0; s < run->input->samples; s += input.samples)
        run_linear(&part, linear, (const char *)x + s * dit->tokens * linear->in * bytes,
                   (char *)y + (s * dit->places + at) * linear->out * bytes);
}

static void layer_forward(const Run *run, const Dit *dit, const DitLayer *layer, int i) {
    const DitBlock *block = &dit->block[i / 2];
    if (i % 2 == 0) {
        run_linear_placed(run, dit, &block->qkv, layer->norm, layer->qkv);
        attention_forward(run->stream, attention_of(run, dit, layer));
        run_linear(run, &block->projection, layer->attention, layer->branch);
    } else {
        run_linear_act(run, &block->fc_1, layer->norm, ACT_GELU, layer->slope, layer->hidden);
        run_linear(run, &block->fc_2, layer->hidden, layer->branch);
    }
    run_dropout(run, i, layer->branch, dit->tokens * dit->width, dit->base.half);
}

// The output's tokens of the final norm, or back: a sample's first ones, nothing for the others.
static const float *final_rows(const Run *run, const Dit *dit, const DitMemory *memory) {
    const float *norm = memory->layer[2 * dit->base.config.depth].norm;
    int64_t item = dit->out_tokens * dit->width;
    if (dit->tokens == dit->out_tokens) return norm;
    for (int64_t s = 0; s < run->input->samples; ++s)
        axpby(run->stream,
              (Elementwise){
                  .x = norm + 2 * s * item, .y = memory->final_norm + s * item, .n = item, .a = 1});
    return memory->final_norm;
}

static void final_grad(const Run *run, const Dit *dit, const DitMemory *memory, const float *dout) {
    bool all = dit->tokens == dit->out_tokens;
    int64_t item = dit->out_tokens * dit->width;
    float *dnorm = memory->dnorm, *drows = all ? dnorm : memory->dpatches;
    const float *rows = all ? memory->layer[2 * dit->base.config.depth].norm : memory->final_norm;
    run_linear_grad(run, &dit->final, dout, rows, NULL, drows);
    for (int64_t i = 0; i < 2 * run->input->samples && !all; ++i)
        axpby(run->stream,
              (Elementwise){
                  .x = drows + i / 2 * item, .y = dnorm + i * item, .n = item, .a = i % 2 == 0});
}

static void dit_forward(const Run *run, float *out) {
    const Dit *dit = (const Dit *)run->network;
    int layers = 2 * dit->base.config.depth;
    bool tokens = dit->base.shape.tokens;
    DitMemory memory;
    dit_place(dit, run->memory->activations, run->input->samples, run->memory->backward, &memory);
    run_reads(run, modulation_of(dit, 0)->weight); // of each block the first parameter
    condition_forward(run, &memory.condition);
    embed(run, dit, &memory);
    for (int i = 0; i < layers; ++i) {
        norm_step(run, dit, &memory, i);
        layer_forward(run, dit, &memory.layer[i], i);
    }
    norm_step(run, dit, &memory, layers);
    run_linear_placed(run, dit, &dit->final, final_rows(run, dit, &memory),
                      tokens ? out : memory.final_patches);
    if (!tokens) patch_back(run->stream, patches_of(run, true, memory.final_patches, out));
}

static const float *dit_stream(const Run *run, int64_t *tokens) {
    const Dit *dit = (const Dit *)run->network;
    DitMemory memory;
    dit_place(dit, run->memory->activations, run->input->samples, run->memory->backward, &memory);
    *tokens = dit->tokens;
    return memory.layer[2 * dit->base.config.depth].sum;
}

// ---- backward ---------------------------------------------------------------------------------

// From the gradients of the residual stream (dsum) and of what layer i reads (dnorm) to those of
// the residual stream and branch of layer i - 1.
static void norm_step_grad(const Run *run, const Dit *dit, const DitMemory *memory, int i) {
    const DitLayer *layer = &memory->layer[i], *before = layer - (i > 0);
    ResidualNorm args = norm_of(run, dit, memory, i);
    args.dy = memory->dnorm;
    args.dsum = memory->dsum;
    args.dshift = layer->dmodulation + layer->first;
    args.dscale = args.dshift + dit->width;
    if (i > 0) {
        args.dbranch = memory->dbranch;
        args.dgate = before->dmodulation + before->first + 2 * dit->width;
    }
    residual_norm_grad(run->stream, args);
    bool last = i == 2 * dit->base.config.depth;
    if (i % 2 == 0)
        condition_layer_grad(run, &memory->condition, modulation_of(dit, i), layer->dmodulation,
                             last);
    if (i % 2 == 0) run_written(run, modulation_of(dit, i)->weight); // a block's first parameter
}

// From the gradient of the branch (dbranch) to that of what the layer reads (dnorm).
static void layer_backward(const Run *run, const Dit *dit, const DitMemory *memory, int i) {
    const DitBlock *block = &dit->block[i / 2];
    const DitLayer *layer = &memory->layer[i];
    void *dbranch = memory->dbranch, *dwide = memory->dwide, *dnorm = memory->dnorm;
    run_dropout(run, i, dbranch, dit->tokens * dit->width, dit->base.half);
    if (i % 2 == 0) {
        run_linear_grad(run, &block->projection, dbranch, layer->attention, NULL, dnorm);
        Attention args = attention_of(run, dit, layer);
        args.dout = dnorm, args.dqkv = dwide;
        attention_grad(run->stream, args);
        run_linear_grad(run, &block->qkv, dwide, layer->norm, NULL, dnorm);
    } else {
        run_linear_grad(run, &block->fc_2, dbranch, layer->hidden, layer->slope, dwide);
        run_linear_grad(run, &block->fc_1, dwide, layer->norm, NULL, dnorm);
    }
}

static void embed_backward(const Run *run, const Dit *dit, const DitMemory *memory, float *dx) {
    const NetworkShape *shape = &dit->base.shape;
    run_linear_grad(run, &dit->patch_embedding, memory->dsum, memory->patches, NULL,
                    shape->tokens || dx != NULL ? memory->dpatches : NULL);
    if (shape->tokens) {
        Embed symbols = symbols_of(run, dit);
        symbols.dy = memory->dpatches;
        symbols.dtable = run->grads + dit->symbol_table;
        symbols.accumulate = run->accumulate;
        embed_grad(run->stream, symbols);
    }
    bool fourier = dit->base.config.fourier;
    if (shape->tokens || dx == NULL) return;
    patch_back(run->stream,
               patches_of(run, false, memory->dpatches, fourier ? memory->dfeatures : dx));
    if (fourier) run_features_grad(run, memory->dfeatures, dx);
}

// Once more what block i left behind in forward, from its entry, which has been kept.
static void block_again(const Run *run, const Dit *dit, const DitMemory *memory, int i) {
    ResidualNorm entry = norm_of(run, dit, memory, 2 * i);
    entry.x = entry.sum;
    entry.branch = NULL, entry.gate = NULL;
    residual_norm_forward(run->stream, entry);
    layer_forward(run, dit, &memory->layer[2 * i], 2 * i);
    norm_step(run, dit, memory, 2 * i + 1);
    layer_forward(run, dit, &memory->layer[2 * i + 1], 2 * i + 1);
}

static void dit_backward(const Run *run, float *dout, float *dx) {
    const Dit *dit = (const Dit *)run->network;
    int layers = 2 * dit->base.config.depth;
    int64_t n = run->input->samples * dit->tokens * dit->width;
    bool tokens = dit->base.shape.tokens;
    DitMemory memory;
    dit_place(dit, run->memory->activations, run->input->samples, true, &memory);
    if (!tokens) patch_forward(run->stream, patches_of(run, true, dout, memory.dpatches));
    final_grad(run, dit, &memory, tokens ? dout : memory.dpatches);
    // Zeros: no later layer reads the residual stream.
    axpby(run->stream, (Elementwise){.x = memory.dnorm, .y = memory.dsum, .n = n});
    norm_step_grad(run, dit, &memory, layers);
    for (int i = layers - 1; i >= 0; --i) {
        layer_backward(run, dit, &memory, i);
        // Of those that are not kept the last one is still there: nothing has followed it.
        if (i > 0 && i % 2 == 0 && i < 2 * dit->base.config.recompute)
            block_again(run, dit, &memory, i / 2 - 1);
        norm_step_grad(run, dit, &memory, i);
    }
    embed_backward(run, dit, &memory, dx);
    condition_backward(run, &memory.condition);
}

const NetworkFamily network_dit = {
    .name = "dit",
    .check = dit_check,
    .bytes = sizeof(Dit),
    .block_bytes = sizeof(DitBlock),
    .plan = dit_plan,
    .activation_bytes = dit_activation_bytes,
    .table_fill = dit_table_fill,
    .forward = dit_forward,
    .backward = dit_backward,
    .stream = dit_stream,
};
