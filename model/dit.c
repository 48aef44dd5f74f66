// DiT: a bidirectional transformer with adaLN-zero (arXiv 2212.09748), for images and tokens.
// Parameter names and arithmetic are those of the original code.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/dit_impl.h"

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
    FAIL_IF(config->mlp_ratio < 1 || config->mlp_ratio > 16, BAD_CONFIG,
            "model.mlp_ratio is %d; it must be 1 to 16", config->mlp_ratio);
    if (shape->tokens) {
        FAIL_IF(config->patch != 1, BAD_CONFIG, "model.patch is %d; it must be 1 for tokens",
                config->patch);
        return STATUS_OK;
    }
    FAIL_IF(config->patch < 1 || shape->height % config->patch != 0 ||
                shape->width % config->patch != 0,
            BAD_CONFIG, "model.patch is %d; it must divide the image's %d x %d: %s", config->patch,
            shape->height, shape->width,
            divisors_list(shape->height, shape->width, list, sizeof list));
    return STATUS_OK;
}

static size_t dit_bytes(const NetworkConfig *config) {
    return sizeof(Dit) + (size_t)config->depth * sizeof(DitBlock);
}

static void sizes_fill(Dit *dit) {
    const NetworkConfig *config = &dit->base.config;
    const NetworkShape *shape = &dit->base.shape;
    int64_t patch = config->patch;
    dit->width = config->width;
    dit->heads = config->heads;
    dit->hidden = dit->width * config->mlp_ratio;
    dit->tokens = shape->tokens ? shape->length : (shape->height / patch) * (shape->width / patch);
    dit->patch_in = shape->channels * patch * patch;
    dit->patch_out = shape->out_channels * patch * patch;
}

static void input_add(Dit *dit, Params *params) {
    int64_t width = dit->width, patch = dit->base.config.patch;
    if (dit->base.shape.tokens) {
        ParamSpec table = {.dims = 2,
                           .dim = {dit->base.shape.vocabulary, width},
                           .init = INIT_NORMAL,
                           .scale = (float)(1.0 / sqrt((double)width)),
                           .decay = true};
        dit->token_table = params_add(params, table, "x_embedder.table.weight");
        return;
    }
    ParamSpec weight = {.dims = 4,
                        .dim = {width, dit->base.shape.channels, patch, patch},
                        .init = INIT_UNIFORM,
                        .scale = xavier_bound(dit->patch_in, width),
                        .decay = true};
    ParamSpec bias = {.dims = 1, .dim = {width}, .init = INIT_ZERO};
    dit->patch_embedding = (Linear){.in = dit->patch_in, .out = width};
    dit->patch_embedding.weight = params_add(params, weight, "x_embedder.proj.weight");
    dit->patch_embedding.bias = params_add(params, bias, "x_embedder.proj.bias");
}

static Linear block_linear_add(Params *params, int block, int64_t in, int64_t out,
                               const char *name) {
    char full[PARAM_NAME_BYTES];
    snprintf(full, sizeof full, "blocks.%d.%s", block, name);
    bool zero = strcmp(name, "adaLN_modulation.1") == 0;
    LinearSpec spec = {.in = in,
                       .out = out,
                       .init = zero ? INIT_ZERO : INIT_UNIFORM,
                       .scale = zero ? 0.0f : xavier_bound(in, out)};
    return linear_add(params, spec, full);
}

// In the order in which forward uses them, so that gradients are complete from the end on.
static void dit_add_params(Network *network, Params *params) {
    Dit *dit = (Dit *)network;
    sizes_fill(dit);
    input_add(dit, params);
    conditioner_add(network, params);
    int64_t width = dit->width;
    for (int i = 0; i < network->config.depth; ++i) {
        DitBlock *block = &dit->block[i];
        block->modulation =
            block_linear_add(params, i, width, MODULATIONS * width, "adaLN_modulation.1");
        block->qkv = block_linear_add(params, i, width, 3 * width, "attn.qkv");
        block->projection = block_linear_add(params, i, width, width, "attn.proj");
        block->fc_1 = block_linear_add(params, i, width, dit->hidden, "mlp.fc1");
        block->fc_2 = block_linear_add(params, i, dit->hidden, width, "mlp.fc2");
    }
    LinearSpec spec = {.in = width, .out = 2 * width, .init = INIT_ZERO};
    dit->final_modulation = linear_add(params, spec, "final_layer.adaLN_modulation.1");
    spec.out = dit->patch_out;
    dit->final = linear_add(params, spec, "final_layer.linear");
}

static double dit_forward_flops(const Network *network) {
    const Dit *dit = (const Dit *)network;
    double width = (double)dit->width, tokens = (double)dit->tokens;
    double block = 2.0 * tokens * width * (4.0 * width + 2.0 * (double)dit->hidden) +
                   4.0 * tokens * tokens * width + 2.0 * MODULATIONS * width * width;
    double input = network->shape.tokens ? 0.0 : 2.0 * tokens * width * (double)dit->patch_in;
    double output = 2.0 * tokens * width * (double)dit->patch_out + 4.0 * width * width;
    return conditioner_flops(network) + input + block * network->config.depth + output;
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

static size_t dit_table_bytes(const Network *network) {
    const Dit *dit = (const Dit *)network;
    return (size_t)(dit->tokens * dit->width) * sizeof(float);
}

static void dit_table_fill(const Network *network, float *table) {
    const Dit *dit = (const Dit *)network;
    int64_t width = dit->width;
    for (int64_t t = 0; t < dit->tokens; ++t) {
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

static size_t block_place(const Dit *dit, void *base, int64_t samples, DitBlockMemory *out) {
    Bump bump = {.base = base};
    int64_t rows = samples * dit->tokens, n = rows * dit->width;
    out->modulation = bump_floats(&bump, samples * MODULATIONS * dit->width);
    out->sum_1 = bump_floats(&bump, n);
    out->stats_1 = bump_floats(&bump, 2 * rows);
    out->norm_1 = bump_floats(&bump, n);
    out->qkv = bump_floats(&bump, 3 * n);
    out->attention = bump_floats(&bump, n);
    out->lse = bump_floats(&bump, rows * dit->heads);
    out->branch_1 = bump_floats(&bump, n);
    out->sum_2 = bump_floats(&bump, n);
    out->stats_2 = bump_floats(&bump, 2 * rows);
    out->norm_2 = bump_floats(&bump, n);
    out->pre = bump_floats(&bump, rows * dit->hidden);
    out->hidden = bump_floats(&bump, rows * dit->hidden);
    out->branch_2 = bump_floats(&bump, n);
    return bump.used;
}

static void gradients_place(const Dit *dit, Bump *bump, int64_t samples, DitMemory *out) {
    int64_t rows = samples * dit->tokens, n = rows * dit->width;
    int64_t wide = dit->hidden > 3 * dit->width ? dit->hidden : 3 * dit->width;
    out->dsum = bump_floats(bump, n);
    out->dnorm = bump_floats(bump, n);
    out->dbranch = bump_floats(bump, n);
    out->dwide = bump_floats(bump, rows * wide);
    for (int i = 0; i < 2; ++i)
        out->dmodulation[i] = bump_floats(bump, samples * MODULATIONS * dit->width);
    out->dfinal_modulation = bump_floats(bump, samples * 2 * dit->width);
    if (dit->base.shape.tokens) return;
    int64_t patch = dit->patch_in > dit->patch_out ? dit->patch_in : dit->patch_out;
    out->dpatches = bump_floats(bump, rows * patch);
}

void dit_place(const Dit *dit, void *base, int64_t samples, bool backward, DitMemory *out) {
    Bump bump = {.base = base};
    int64_t rows = samples * dit->tokens, n = rows * dit->width;
    bool images = !dit->base.shape.tokens;
    int depth = dit->base.config.depth;
    *out = (DitMemory){.samples = samples};
    condition_place(&dit->base, &bump, samples, backward, &out->condition);
    if (images) out->patches = bump_floats(&bump, rows * dit->patch_in);
    out->embedded = bump_floats(&bump, n);
    out->slots = backward || depth < 2 ? depth : 2;
    DitBlockMemory measured;
    out->block_bytes = block_place(dit, NULL, samples, &measured);
    out->blocks = bump_bytes(&bump, (size_t)out->slots * out->block_bytes);
    out->final_modulation = bump_floats(&bump, samples * 2 * dit->width);
    out->final_sum = bump_floats(&bump, n);
    out->final_stats = bump_floats(&bump, 2 * rows);
    out->final_norm = bump_floats(&bump, n);
    if (images) out->final_patches = bump_floats(&bump, rows * dit->patch_out);
    if (backward) gradients_place(dit, &bump, samples, out);
    out->bytes = bump.used;
}

DitBlockMemory dit_block_memory(const Dit *dit, const DitMemory *memory, int block) {
    DitBlockMemory out;
    char *base = memory->blocks;
    block_place(dit, base + (size_t)(block % memory->slots) * memory->block_bytes, memory->samples,
                &out);
    // Nothing is added before the first block: its residual stream is the embedding itself.
    if (block == 0) out.sum_1 = memory->embedded;
    return out;
}

static size_t dit_activation_bytes(const Network *network, int64_t samples, bool backward) {
    DitMemory memory;
    dit_place((const Dit *)network, NULL, samples, backward, &memory);
    return memory.bytes;
}

static size_t dit_scratch_bytes(const Network *network) {
    const Dit *dit = (const Dit *)network;
    return attention_scratch_bytes(dit->tokens);
}

// ---- forward ----------------------------------------------------------------------------------

static void embed(const Run *run, const Dit *dit, const DitMemory *memory) {
    const NetworkInput *input = run->input;
    const NetworkShape *shape = &dit->base.shape;
    int64_t rows = input->samples * dit->tokens;
    if (shape->tokens) {
        embed_forward(run->stream, (EmbedForward){.ids = input->ids,
                                                  .table = run->memory->weights + dit->token_table,
                                                  .add = run->memory->table,
                                                  .y = memory->embedded,
                                                  .rows = rows,
                                                  .width = dit->width,
                                                  .add_rows = dit->tokens});
        return;
    }
    patch_forward(run->stream, (PatchForward){.x = input->x,
                                              .y = memory->patches,
                                              .samples = input->samples,
                                              .channels = shape->channels,
                                              .height = shape->height,
                                              .width = shape->width,
                                              .patch = dit->base.config.patch});
    run_linear(run, &dit->patch_embedding,
               (LinearForward){.x = memory->patches, .y = memory->embedded, .rows = rows});
    add_rows(run->stream, (AddRows){.x = memory->embedded,
                                    .add = run->memory->table,
                                    .y = memory->embedded,
                                    .rows = rows,
                                    .width = dit->width,
                                    .add_rows = dit->tokens});
}

// Fills in what all norm steps of a pass have in common.
static void norm_step(const Run *run, const Dit *dit, ResidualNormForward args) {
    args.samples = run->input->samples;
    args.tokens = dit->tokens;
    args.width = dit->width;
    args.gate_stride = MODULATIONS * dit->width;
    residual_norm_forward(run->stream, args);
}

static void attention_branch(const Run *run, const Dit *dit, const DitBlockMemory *m, int i) {
    const DitBlock *block = &dit->block[i];
    int64_t samples = run->input->samples, rows = samples * dit->tokens;
    run_linear(run, &block->qkv, (LinearForward){.x = m->norm_1, .y = m->qkv, .rows = rows});
    attention_forward(run->stream, (AttentionForward){.qkv = m->qkv,
                                                      .out = m->attention,
                                                      .lse = m->lse,
                                                      .samples = samples,
                                                      .tokens = dit->tokens,
                                                      .heads = dit->heads,
                                                      .head_dim = dit->width / dit->heads});
    run_linear(run, &block->projection,
               (LinearForward){.x = m->attention, .y = m->branch_1, .rows = rows});
    run_dropout(run, 2 * i, m->branch_1, dit->tokens * dit->width);
}

static void mlp_branch(const Run *run, const Dit *dit, const DitBlockMemory *m, int i) {
    const DitBlock *block = &dit->block[i];
    int64_t rows = run->input->samples * dit->tokens;
    run_linear(run, &block->fc_1,
               (LinearForward){
                   .x = m->norm_2, .pre = m->pre, .y = m->hidden, .rows = rows, .act = ACT_GELU});
    run_linear(run, &block->fc_2, (LinearForward){.x = m->hidden, .y = m->branch_2, .rows = rows});
    run_dropout(run, 2 * i + 1, m->branch_2, dit->tokens * dit->width);
}

// `before` is the block before, NULL for the first.
static void block_forward(const Run *run, const Dit *dit, const DitMemory *memory, int i,
                          const DitBlockMemory *before) {
    DitBlockMemory m = dit_block_memory(dit, memory, i);
    int64_t width = dit->width;
    run_linear(run, &dit->block[i].modulation,
               (LinearForward){
                   .x = memory->condition.active, .y = m.modulation, .rows = run->input->samples});
    norm_step(
        run, dit,
        (ResidualNormForward){.x = before == NULL ? memory->embedded : before->sum_2,
                              .branch = before == NULL ? NULL : before->branch_2,
                              .gate = before == NULL ? NULL : before->modulation + GATE_2 * width,
                              .shift = m.modulation + SHIFT_1 * width,
                              .scale = m.modulation + SCALE_1 * width,
                              .sum = m.sum_1,
                              .y = m.norm_1,
                              .stats = m.stats_1,
                              .mod_stride = MODULATIONS * width});
    attention_branch(run, dit, &m, i);
    norm_step(run, dit,
              (ResidualNormForward){.x = m.sum_1,
                                    .branch = m.branch_1,
                                    .gate = m.modulation + GATE_1 * width,
                                    .shift = m.modulation + SHIFT_2 * width,
                                    .scale = m.modulation + SCALE_2 * width,
                                    .sum = m.sum_2,
                                    .y = m.norm_2,
                                    .stats = m.stats_2,
                                    .mod_stride = MODULATIONS * width});
    mlp_branch(run, dit, &m, i);
}

static void final_forward(const Run *run, const Dit *dit, const DitMemory *memory, float *out) {
    const NetworkShape *shape = &dit->base.shape;
    int64_t samples = run->input->samples, width = dit->width;
    DitBlockMemory last = dit_block_memory(dit, memory, dit->base.config.depth - 1);
    run_linear(run, &dit->final_modulation,
               (LinearForward){
                   .x = memory->condition.active, .y = memory->final_modulation, .rows = samples});
    norm_step(run, dit,
              (ResidualNormForward){.x = last.sum_2,
                                    .branch = last.branch_2,
                                    .gate = last.modulation + GATE_2 * width,
                                    .shift = memory->final_modulation + SHIFT_1 * width,
                                    .scale = memory->final_modulation + SCALE_1 * width,
                                    .sum = memory->final_sum,
                                    .y = memory->final_norm,
                                    .stats = memory->final_stats,
                                    .mod_stride = 2 * width});
    run_linear(run, &dit->final,
               (LinearForward){.x = memory->final_norm,
                               .y = shape->tokens ? out : memory->final_patches,
                               .rows = samples * dit->tokens});
    if (shape->tokens) return;
    patch_back(run->stream, (PatchBack){.y = memory->final_patches,
                                        .x = out,
                                        .samples = samples,
                                        .channels = shape->out_channels,
                                        .height = shape->height,
                                        .width = shape->width,
                                        .patch = dit->base.config.patch,
                                        .channel_last = true});
}

static void dit_forward(const Run *run, float *out) {
    const Dit *dit = (const Dit *)run->network;
    DitMemory memory;
    dit_place(dit, run->memory->activations, run->input->samples, run->memory->backward, &memory);
    condition_forward(run, &memory.condition);
    embed(run, dit, &memory);
    for (int i = 0; i < dit->base.config.depth; ++i) {
        DitBlockMemory before;
        if (i > 0) before = dit_block_memory(dit, &memory, i - 1);
        block_forward(run, dit, &memory, i, i > 0 ? &before : NULL);
    }
    final_forward(run, dit, &memory, out);
}

const NetworkFamily network_dit = {
    .name = "dit",
    .check = dit_check,
    .bytes = dit_bytes,
    .add_params = dit_add_params,
    .forward_flops = dit_forward_flops,
    .activation_bytes = dit_activation_bytes,
    .scratch_bytes = dit_scratch_bytes,
    .table_bytes = dit_table_bytes,
    .table_fill = dit_table_fill,
    .forward = dit_forward,
    .backward = dit_backward,
};
