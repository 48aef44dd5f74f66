// The plan of a DiT: parameters, sizes and the memory of a pass. Shared by its forward and
// backward.
//
// Shapes: g samples, T tokens, D width, r = g T rows. One norm step serves two neighbours: it adds
// the gated branch of the layer before to the residual stream and normalizes for the layer behind.
//
//   embedded --norm--> [attention] --norm--> [MLP] --norm--> [attention] ... --norm--> [final]
#ifndef MODEL_DIT_IMPL_H
#define MODEL_DIT_IMPL_H

#include "model/network_impl.h"

typedef struct {
    Linear modulation, qkv, projection, fc_1, fc_2;
} DitBlock;

typedef struct {
    Network base;
    int64_t width, heads, tokens, hidden;
    int64_t patch_in, patch_out; // numbers of a token before the first and behind the last layer
    Linear patch_embedding;      // images
    int64_t token_table;         // tokens
    Linear final_modulation, final;
    DitBlock block[]; // [depth]
} Dit;

// Where the vectors of a modulation [g, 6 D] stand, in units of D; the final one [g, 2 D] has the
// first two.
enum { SHIFT_1, SCALE_1, GATE_1, SHIFT_2, SCALE_2, GATE_2, MODULATIONS };

typedef struct {
    float *modulation;                 // [g, 6 D]
    float *sum_1, *stats_1, *norm_1;   // [r,D] residual stream, [r,2], [r,D] before attention
    float *qkv, *attention, *branch_1; // [r,3D], [r,D], [r,D]
    float *lse;                        // [g,heads,T]
    float *sum_2, *stats_2, *norm_2;   // before the MLP
    float *pre, *hidden, *branch_2;    // [r,mlp], [r,mlp], [r,D]
} DitBlockMemory;

typedef struct {
    int64_t samples;
    Condition condition;
    float *patches;  // [r, patch_in], images
    float *embedded; // [r, D]
    void *blocks;    // `slots` times block_bytes
    size_t block_bytes;
    int slots;
    float *final_modulation, *final_sum, *final_stats, *final_norm;
    float *final_patches; // [r, patch_out], images
    // Gradients, backward only: of the residual stream, of a norm's output, of a branch, of the
    // widest arrays, of patches; of the modulations of a block and its successor.
    float *dsum, *dnorm, *dbranch, *dwide, *dpatches, *dmodulation[2], *dfinal_modulation;
    size_t bytes;
} DitMemory;

// Lays out a pass in `base`; NULL only measures. Without backward two slots take turns, because a
// block reads the gate and the branch of the one before it.
void dit_place(const Dit *dit, void *base, int64_t samples, bool backward, DitMemory *out);
DitBlockMemory dit_block_memory(const Dit *dit, const DitMemory *memory, int block);

void dit_backward(const Run *run, float *dout, float *dx);

#endif
