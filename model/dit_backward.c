// Gradient of a DiT, from the last layer to the first.
#include "model/dit_impl.h"

static void norm_step_grad(const Run *run, const Dit *dit, ResidualNormGrad args) {
    args.samples = run->input->samples;
    args.tokens = dit->tokens;
    args.width = dit->width;
    args.gate_stride = MODULATIONS * dit->width;
    residual_norm_grad(run->stream, args);
}

// Begins the gradient of the residual stream, in memory->dsum, and that of the last MLP's branch.
static void final_backward(const Run *run, const Dit *dit, const DitMemory *memory,
                           const float *dout) {
    const NetworkShape *shape = &dit->base.shape;
    int64_t samples = run->input->samples, rows = samples * dit->tokens, width = dit->width;
    int depth = dit->base.config.depth;
    const float *dtokens = dout;
    if (!shape->tokens) {
        patch_forward(run->stream, (PatchForward){.x = dout,
                                                  .y = memory->dpatches,
                                                  .samples = samples,
                                                  .channels = shape->out_channels,
                                                  .height = shape->height,
                                                  .width = shape->width,
                                                  .patch = dit->base.config.patch,
                                                  .channel_last = true});
        dtokens = memory->dpatches;
    }
    run_linear_grad(run, &dit->final, dtokens, memory->final_norm, rows, memory->dnorm);
    // Zeros: no later layer reads the residual stream.
    axpby(run->stream, (Axpby){.x = memory->dnorm, .y = memory->dsum, .n = rows * width});

    DitBlockMemory last = dit_block_memory(dit, memory, depth - 1);
    float *dmodulation = memory->dfinal_modulation;
    norm_step_grad(
        run, dit,
        (ResidualNormGrad){.sum = memory->final_sum,
                           .stats = memory->final_stats,
                           .scale = memory->final_modulation + SCALE_1 * width,
                           .branch = last.branch_2,
                           .gate = last.modulation + GATE_2 * width,
                           .dy = memory->dnorm,
                           .dsum = memory->dsum,
                           .dbranch = memory->dbranch,
                           .dgate = memory->dmodulation[(depth - 1) % 2] + GATE_2 * width,
                           .dshift = dmodulation + SHIFT_1 * width,
                           .dscale = dmodulation + SCALE_1 * width,
                           .mod_stride = 2 * width});
    condition_layer_grad(run, &memory->condition, &dit->final_modulation, dmodulation, true);
}

// From the gradient of the branch in dbranch to that of the norm's output in dnorm.
static void mlp_branch_backward(const Run *run, const Dit *dit, const DitMemory *memory,
                                const DitBlockMemory *m, int i) {
    const DitBlock *block = &dit->block[i];
    int64_t rows = run->input->samples * dit->tokens;
    run_dropout(run, 2 * i + 1, memory->dbranch, dit->tokens * dit->width);
    run_linear_grad(run, &block->fc_2, memory->dbranch, m->hidden, rows, memory->dwide);
    activation_grad(run->stream, (ActivationGrad){.x = m->pre,
                                                  .dy = memory->dwide,
                                                  .dx = memory->dwide,
                                                  .n = rows * dit->hidden,
                                                  .act = ACT_GELU});
    run_linear_grad(run, &block->fc_1, memory->dwide, m->norm_2, rows, memory->dnorm);
}

static void attention_branch_backward(const Run *run, const Dit *dit, const DitMemory *memory,
                                      const DitBlockMemory *m, int i) {
    const DitBlock *block = &dit->block[i];
    int64_t samples = run->input->samples, rows = samples * dit->tokens;
    run_dropout(run, 2 * i, memory->dbranch, dit->tokens * dit->width);
    run_linear_grad(run, &block->projection, memory->dbranch, m->attention, rows, memory->dnorm);
    attention_grad(run->stream, (AttentionGrad){.qkv = m->qkv,
                                                .out = m->attention,
                                                .lse = m->lse,
                                                .dout = memory->dnorm,
                                                .dqkv = memory->dwide,
                                                .samples = samples,
                                                .tokens = dit->tokens,
                                                .heads = dit->heads,
                                                .head_dim = dit->width / dit->heads});
    run_linear_grad(run, &block->qkv, memory->dwide, m->norm_1, rows, memory->dnorm);
}

static void block_backward(const Run *run, const Dit *dit, const DitMemory *memory, int i) {
    DitBlockMemory m = dit_block_memory(dit, memory, i);
    float *dmodulation = memory->dmodulation[i % 2];
    int64_t width = dit->width, stride = MODULATIONS * width;
    mlp_branch_backward(run, dit, memory, &m, i);
    norm_step_grad(run, dit,
                   (ResidualNormGrad){.sum = m.sum_2,
                                      .stats = m.stats_2,
                                      .scale = m.modulation + SCALE_2 * width,
                                      .branch = m.branch_1,
                                      .gate = m.modulation + GATE_1 * width,
                                      .dy = memory->dnorm,
                                      .dsum = memory->dsum,
                                      .dbranch = memory->dbranch,
                                      .dgate = dmodulation + GATE_1 * width,
                                      .dshift = dmodulation + SHIFT_2 * width,
                                      .dscale = dmodulation + SCALE_2 * width,
                                      .mod_stride = stride});
    attention_branch_backward(run, dit, memory, &m, i);
    ResidualNormGrad args = {.sum = m.sum_1,
                             .stats = m.stats_1,
                             .scale = m.modulation + SCALE_1 * width,
                             .dy = memory->dnorm,
                             .dsum = memory->dsum,
                             .dshift = dmodulation + SHIFT_1 * width,
                             .dscale = dmodulation + SCALE_1 * width,
                             .mod_stride = stride};
    if (i > 0) {
        DitBlockMemory before = dit_block_memory(dit, memory, i - 1);
        args.branch = before.branch_2;
        args.gate = before.modulation + GATE_2 * width;
        args.dbranch = memory->dbranch;
        args.dgate = memory->dmodulation[(i - 1) % 2] + GATE_2 * width;
    }
    norm_step_grad(run, dit, args);
    condition_layer_grad(run, &memory->condition, &dit->block[i].modulation, dmodulation, false);
}

static void embed_backward(const Run *run, const Dit *dit, const DitMemory *memory, float *dx) {
    const NetworkShape *shape = &dit->base.shape;
    int64_t samples = run->input->samples, rows = samples * dit->tokens;
    if (shape->tokens) {
        embed_grad(run->stream, (EmbedGrad){.ids = run->input->ids,
                                            .dy = memory->dsum,
                                            .dtable = run->grads + dit->token_table,
                                            .rows = rows,
                                            .width = dit->width,
                                            .entries = shape->vocabulary,
                                            .accumulate = run->accumulate});
        return;
    }
    run_linear_grad(run, &dit->patch_embedding, memory->dsum, memory->patches, rows,
                    dx == NULL ? NULL : memory->dpatches);
    if (dx == NULL) return;
    patch_back(run->stream, (PatchBack){.y = memory->dpatches,
                                        .x = dx,
                                        .samples = samples,
                                        .channels = shape->channels,
                                        .height = shape->height,
                                        .width = shape->width,
                                        .patch = dit->base.config.patch});
}

void dit_backward(const Run *run, float *dout, float *dx) {
    const Dit *dit = (const Dit *)run->network;
    DitMemory memory;
    dit_place(dit, run->memory->activations, run->input->samples, true, &memory);
    final_backward(run, dit, &memory, dout);
    for (int i = dit->base.config.depth - 1; i >= 0; --i) block_backward(run, dit, &memory, i);
    embed_backward(run, dit, &memory, dx);
    condition_backward(run, &memory.condition);
}
