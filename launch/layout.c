// The pieces behind launch/layout.h. The map of names is that of diffusers' own conversion of DiT.
#include "launch/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"safetensors", "dit", "diffusers"};

const char *layout_name(Layout layout) {
    return names[layout];
}

Status layout_read(const char *name, Layout *out) {
    for (int i = 0; i < 3; ++i)
        if (strcmp(name, names[i]) == 0) {
            *out = (Layout)i;
            return STATUS_OK;
        }
    FAIL(BAD_USAGE, "--format %s: choose safetensors, dit or diffusers", name);
}

// ---- names ------------------------------------------------------------------------------------

// Of diffusers: rows [part/parts, (part + 1)/parts) of a tensor, in each block (blocks) or once.
typedef struct {
    const char *ours, *theirs;
    int part, parts;
} Name;
static const Name outer[] = {
    {"x_embedder.proj", "pos_embed.proj", 0, 1},
    {"final_layer.adaLN_modulation.1", "proj_out_1", 0, 1},
    {"final_layer.linear", "proj_out_2", 0, 1},
};
static const Name shared[] = {
    // by all blocks here, a copy in each there
    {"t_embedder.mlp.0", "norm1.emb.timestep_embedder.linear_1", 0, 1},
    {"t_embedder.mlp.2", "norm1.emb.timestep_embedder.linear_2", 0, 1},
    {"y_embedder.embedding_table", "norm1.emb.class_embedder.embedding_table", 0, 1},
};
static const Name inner[] = {
    {"adaLN_modulation.1", "norm1.linear", 0, 1},
    {"attn.qkv", "attn1.to_q", 0, 3},
    {"attn.qkv", "attn1.to_k", 1, 3},
    {"attn.qkv", "attn1.to_v", 2, 3},
    {"attn.proj", "attn1.to_out.0", 0, 1},
    {"mlp.fc1", "ff.net.0.proj", 0, 1},
    {"mlp.fc2", "ff.net.2", 0, 1},
};

static LayoutPiece piece_of(const Param *param, const char *name) {
    LayoutPiece piece = {.dims = param->dims, .offset = param->offset, .size = param->size};
    memcpy(piece.dim, param->dim, sizeof piece.dim);
    snprintf(piece.name, sizeof piece.name, "%s", name);
    return piece;
}

// Weight and bias, if there is one, of `ours` (block -1: of no block) as a part of them is called.
static void add_pair(const Params *params, int block, const char *ours, int named_in,
                     const Name *name, LayoutPieces *out) {
    static const char *const kinds[] = {"weight", "bias"};
    char own[PARAM_NAME_BYTES], theirs[128];
    for (int i = 0; i < 2; ++i) {
        if (block < 0)
            snprintf(own, sizeof own, "%s.%s", ours, kinds[i]);
        else
            snprintf(own, sizeof own, "blocks.%d.%s.%s", block, ours, kinds[i]);
        if (named_in < 0)
            snprintf(theirs, sizeof theirs, "%s.%s", name->theirs, kinds[i]);
        else
            snprintf(theirs, sizeof theirs, "transformer_blocks.%d.%s.%s", named_in, name->theirs,
                     kinds[i]);
        const Param *param = params_find(params, own);
        if (param == NULL) continue; // a table has no bias
        LayoutPiece piece = piece_of(param, theirs);
        piece.size /= name->parts;
        piece.dim[0] /= name->parts;
        piece.offset += name->part * piece.size;
        out->list[out->count++] = piece;
    }
}

static Status list_diffusers(const RunSettings *settings, const Params *params, LayoutPieces *out) {
    enum { OUTER = sizeof outer / sizeof *outer, SHARED = 3, INNER = sizeof inner / sizeof *inner };
    int depth = settings->model.depth;
    out->list = calloc((size_t)(2 * OUTER + 2 * (SHARED + INNER) * depth), sizeof *out->list);
    FAIL_IF(out->list == NULL, NO_MEMORY, "no memory for a list of tensors");
    for (int i = 0; i < OUTER; ++i) add_pair(params, -1, outer[i].ours, -1, &outer[i], out);
    for (int block = 0; block < depth; ++block) {
        for (int i = 0; i < SHARED; ++i)
            add_pair(params, -1, shared[i].ours, block, &shared[i], out);
        for (int i = 0; i < INNER; ++i)
            add_pair(params, block, inner[i].ours, block, &inner[i], out);
    }
    return STATUS_OK;
}

static Status list_own(const RunSettings *settings, const Engine *engine, bool positions,
                       LayoutPieces *out) {
    const Params *params = &engine->params;
    int64_t width = settings->model.width;
    int64_t size = positions ? (int64_t)(network_table_bytes(engine->network) / sizeof(float)) : 0;
    out->list = calloc((size_t)params->count + 1, sizeof *out->list);
    FAIL_IF(out->list == NULL, NO_MEMORY, "no memory for a list of tensors");
    if (positions)
        out->list[out->count++] =
            (LayoutPiece){"pos_embed", 3, {1, size / width, width}, LAYOUT_POSITIONS, size};
    for (int i = 0; i < params->count; ++i)
        out->list[out->count++] = piece_of(&params->list[i], params->list[i].name);
    return STATUS_OK;
}

// ---- what has a place there -------------------------------------------------------------------

static Status check_model(const char *layout, const RunSettings *settings, const Engine *engine) {
    const NetworkConfig *model = &settings->model;
    FAIL_IF(strcmp(model->family, "dit") != 0 || engine->shape.tokens || model->fourier, BAD_CONFIG,
            "%s is for model.family: dit on images without model.fourier, whose tensors that has"
            " too",
            layout);
    FAIL_IF(settings->process.logit > 0, BAD_CONFIG,
            "%s knows no process.logit, whose pictures lie on another scale", layout);
    return STATUS_OK;
}

static Status check_diffusers(const RunSettings *settings, const Engine *engine) {
    const NetworkConfig *model = &settings->model;
    FAIL_IF(model->mlp_ratio != 4, BAD_CONFIG,
            "model.mlp_ratio is %d; diffusers has 4 and no other", model->mlp_ratio);
    FAIL_IF(engine->shape.height != engine->shape.width, BAD_CONFIG,
            "images of %d x %d: diffusers' DiT has square ones", engine->shape.height,
            engine->shape.width);
    FAIL_IF(
        strcmp(model->timestep_freq, "div-127") != 0, BAD_CONFIG,
        "model.timestep_freq is %s; diffusers has div-127 built in, and another would give other"
        " pictures",
        model->timestep_freq);
    bool steps = process_has_steps(settings->process.name);
    FAIL_IF(steps && settings->process.steps != 1000, BAD_CONFIG,
            "process.steps is %d; diffusers tells its network of step numbers, which mean the same"
            " for 1000 alone",
            settings->process.steps);
    return STATUS_OK;
}

Status layout_open(Layout layout, const RunSettings *settings, const Engine *engine,
                   LayoutPieces *out) {
    *out = (LayoutPieces){0};
    if (layout != LAYOUT_DYE) TRY(check_model(layout_name(layout), settings, engine));
    if (layout != LAYOUT_DIFFUSERS) return list_own(settings, engine, layout == LAYOUT_DIT, out);
    TRY(check_diffusers(settings, engine));
    return list_diffusers(settings, &engine->params, out);
}

void layout_close(LayoutPieces *pieces) {
    free(pieces->list);
    *pieces = (LayoutPieces){0};
}

// ---- times ------------------------------------------------------------------------------------

void layout_turn_time(Layout towards, const RunSettings *settings, const Engine *engine,
                      float *weights) {
    enum { HALF = TIME_FEATURES / 2 };
    const Param *param = params_find(&engine->params, "t_embedder.mlp.0.weight");
    float features[TIME_FEATURES];
    if (param == NULL || !process_has_steps(settings->process.name)) return;
    network_time_features(engine->network, process_time_label(engine->process, 1), features);
    for (int64_t row = 0; row < param->size / TIME_FEATURES; ++row) {
        float *by_cos = weights + param->offset + row * TIME_FEATURES, *by_sin = by_cos + HALF;
        for (int k = 0; k < HALF; ++k) {
            double c = (double)features[k], s = (double)features[HALF + k];
            double was_cos = (double)by_cos[k], was_sin = (double)by_sin[k];
            if (towards == LAYOUT_DYE) s = -s;
            by_cos[k] = (float)(c * was_cos + s * was_sin);
            by_sin[k] = (float)(c * was_sin - s * was_cos);
        }
    }
}
