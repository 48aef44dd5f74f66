// The configurations behind launch/diffusers.h.
#include "launch/diffusers.h"

#include <string.h>

static const char weights_name[] = "diffusion_pytorch_model.safetensors";

static Status put(const char *folder, const char *name, json_t *value) {
    char path[PATH_BYTES];
    Status status = value == NULL ? STATUS_NO_MEMORY : path_format(path, "%s/%s", folder, name);
    if (status == STATUS_OK) status = folder_make(folder);
    if (status == STATUS_OK) status = json_write(path, value);
    json_decref(value);
    return status;
}

// "auto" is the first choice of a system.
static bool word_is_first(const char *word, const char *first) {
    return strcmp(word, first) == 0 || strcmp(word, "auto") == 0;
}

// Whether a predicted x_0 is limited to the range of pixels, which numbers that were scaled lack.
static bool clips(const RunSettings *settings, const NetworkShape *shape) {
    const ProcessConfig *process = &settings->process;
    bool scaled = process->data_mean != 0 || (process->data_std != 0 && process->data_std != 1);
    return settings->sampler.clip && !shape->latent && !scaled && !process->dequantise;
}

// All keys that change a number are there, at their usual values too: those changed with releases.
static json_t *transformer(const RunSettings *settings, const NetworkShape *shape) {
    const NetworkConfig *model = &settings->model;
    return json_pack(
        "{s:s, s:s, s:s, s:b, s:i, s:f, s:i, s:b, s:f, s:s, s:i, s:i, s:i, s:i, s:i, s:i}",
        "_class_name", "DiTTransformer2DModel", "_diffusers_version", "0.30.0", "activation_fn",
        "gelu-approximate", "attention_bias", 1, "attention_head_dim", model->width / model->heads,
        "dropout", 0.0, "in_channels", shape->channels, "norm_elementwise_affine", 0, "norm_eps",
        1e-6, "norm_type", "ada_norm_zero", "num_attention_heads", model->heads,
        "num_embeds_ada_norm", shape->classes, "num_layers", model->depth, "out_channels",
        shape->out_channels, "patch_size", model->patch, "sample_size", shape->width);
}

// With T = 1000 Dye's two schedules are two of theirs, and DDIM's 1, 1 + T/n, ... is "leading".
static Status ddim(const RunSettings *settings, const NetworkShape *shape, json_t **out) {
    const ProcessConfig *process = &settings->process;
    bool cosine = word_is_first(process->schedule, "cosine"), v = strcmp(process->head, "v") == 0;
    *out = json_pack("{s:s, s:s, s:f, s:f, s:s, s:b, s:f, s:i, s:s, s:b, s:i, s:b, s:s}",
                     "_class_name", "DDIMScheduler", "_diffusers_version", "0.30.0", "beta_start",
                     1e-4, "beta_end", 0.02, "beta_schedule",
                     cosine ? "squaredcos_cap_v2" : "linear", "clip_sample", clips(settings, shape),
                     "clip_sample_range", 1.0, "num_train_timesteps", 1000, "prediction_type",
                     v                                  ? "v_prediction"
                     : strcmp(process->head, "x0") == 0 ? "sample"
                                                        : "epsilon",
                     "set_alpha_to_one", 1, "steps_offset", 0, "thresholding", 0,
                     "timestep_spacing", "leading");
    return *out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static Status scheduler(const RunSettings *settings, const NetworkShape *shape, json_t **out) {
    const ProcessConfig *process = &settings->process;
    if (strcmp(process->name, "ddpm") == 0) return ddim(settings, shape, out);
    bool straight = strcmp(process->name, "flow") == 0 &&
                    word_is_first(process->schedule, "linear") &&
                    word_is_first(process->head, "velocity");
    FAIL_IF(!straight, BAD_CONFIG,
            "process.name %s (schedule %s, head %s): diffusers has a scheduler for ddpm, and for"
            " flow with schedule linear and head velocity",
            process->name, process->schedule, process->head);
    *out = json_pack("{s:s, s:s, s:i, s:f, s:b}", "_class_name", "FlowMatchEulerDiscreteScheduler",
                     "_diffusers_version", "0.30.0", "num_train_timesteps", 1000, "shift", 1.0,
                     "use_dynamic_shifting", 0);
    return *out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

Status diffusers_write(const char *folder, const RunSettings *settings, const Engine *engine,
                       char weights[PATH_BYTES]) {
    char inner[PATH_BYTES];
    json_t *choice = NULL;
    TRY(scheduler(settings, &engine->shape, &choice));
    Status status = path_format(inner, "%s/scheduler", folder);
    if (status != STATUS_OK) json_decref(choice);
    TRY(status);
    TRY(put(inner, "scheduler_config.json", choice));
    TRY(path_format(inner, "%s/transformer", folder));
    TRY(put(inner, "config.json", transformer(settings, &engine->shape)));
    return path_format(weights, "%s/%s", inner, weights_name);
}

Status diffusers_find(const char *folder, char weights[PATH_BYTES]) {
    static const char *const places[] = {"transformer/", ""};
    for (int i = 0; i < 2; ++i) {
        TRY(path_format(weights, "%s/%s%s", folder, places[i], weights_name));
        if (file_exists(weights)) return STATUS_OK;
    }
    FAIL(NOT_FOUND,
         "%s: neither transformer/%s nor %s is there (of several files, join them to one"
         " first)",
         folder, weights_name, weights_name);
}
