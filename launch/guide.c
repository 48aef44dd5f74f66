// The second network behind launch/guide.h.
#include "launch/guide.h"

#include <stdlib.h>
#include <string.h>

#include "launch/average.h"

struct Guide {
    Device *device;
    Network *network;
    Params params;
    float *weights;                            // device, as the next
    void *half_weights, *table, **activations; // activations [lanes]
    int lanes;
};

// What its numbers mean must be what those of the main model mean.
static Status check_same(const TrainedConfig *config, const RunSettings *guide,
                         const RunSettings *main) {
    const ProcessConfig *a = &guide->process, *b = &main->process;
    bool same = strcmp(a->name, b->name) == 0 && a->steps == b->steps &&
                strcmp(a->schedule, b->schedule) == 0 && strcmp(a->head, b->head) == 0 &&
                a->data_mean == b->data_mean && a->data_std == b->data_std &&
                a->logit == b->logit && a->dequantise == b->dequantise && a->block == b->block &&
                strcmp(guide->model.timestep_freq, main->model.timestep_freq) == 0;
    FAIL_IF(!same, BAD_CONFIG,
            "--guide %s: its process.*, or model.timestep_freq, are other ones: what it says means"
            " something else",
            config->run_dir);
    FAIL_IF(strcmp(a->schedule, "scalar") == 0 || strcmp(a->schedule, "net") == 0, BAD_CONFIG,
            "--guide %s: its schedule has learned for itself, and knows other times",
            config->run_dir);
    return STATUS_OK;
}

static Status upload(const Engine *engine, const void *host, size_t bytes, void **out) {
    TRY(device_alloc(engine->device, bytes, out));
    stream_upload(engine->lane[0].stream, *out, host, bytes);
    return stream_wait(engine->lane[0].stream);
}

// Weights, their bf16 image, positions.
static Status load(const TrainedConfig *config, const RunSettings *settings,
                   void (*warn)(const char *line), const Engine *engine, Guide *guide) {
    int64_t size = guide->params.size, step;
    size_t table = network_table_bytes(guide->network);
    size_t bytes = (size_t)size * sizeof(float) > table ? (size_t)size * sizeof(float) : table;
    float *host = calloc(1, bytes);
    FAIL_IF(host == NULL, NO_MEMORY, "no memory for %zu bytes of weights", bytes);
    void *weights = NULL;
    Status status = average_read(config->run_dir, &settings->optim, &guide->params, config->average,
                                 warn, host, &step);
    if (status == STATUS_OK) status = upload(engine, host, (size_t)size * sizeof *host, &weights);
    guide->weights = weights;
    if (status == STATUS_OK && table > 0) {
        network_table_fill(guide->network, host);
        status = upload(engine, host, table, &guide->table);
    }
    free(host);
    if (status != STATUS_OK || !network_is_half(guide->network)) return status;
    TRY(device_alloc(engine->device, (size_t)size * sizeof(uint16_t), &guide->half_weights));
    halve(engine->lane[0].stream,
          (Elementwise){.x = guide->weights, .y = guide->half_weights, .n = size});
    return stream_wait(engine->lane[0].stream);
}

static Status open_guide(const TrainedConfig *config, void (*warn)(const char *line),
                         const Trained *main, Guide *guide) {
    const Engine *engine = &main->engine;
    RunSettings settings;
    TRY(trained_settings(config, &settings));
    TRY(check_same(config, &settings, &main->settings));
    params_init(&guide->params);
    TRY(network_open(&settings.model, &engine->shape, &guide->params, &guide->network));
    params_finish(&guide->params);
    FAIL_IF(network_scratch_bytes(guide->network) > network_scratch_bytes(engine->network) ||
                (network_is_half(guide->network) && !engine->device->has_half),
            BAD_CONFIG,
            "--guide %s: its network is larger than the one that it is to guide; a guide is the"
            " weaker model",
            config->run_dir);
    guide->activations = calloc((size_t)engine->lanes, sizeof *guide->activations);
    FAIL_IF(guide->activations == NULL, NO_MEMORY, "no memory for %d streams", engine->lanes);
    guide->lanes = engine->lanes;
    for (int i = 0; i < guide->lanes; ++i)
        TRY(device_alloc(engine->device,
                         network_activation_bytes(guide->network, engine->capacity, false),
                         &guide->activations[i]));
    return load(config, &settings, warn, engine, guide);
}

Status guide_open(const TrainedConfig *config, Comm *comm, void (*warn)(const char *line),
                  const Trained *main, Guide **out) {
    *out = calloc(1, sizeof **out);
    Status status = STATUS_OK;
    if (*out == NULL)
        status =
            error_raise(STATUS_NO_MEMORY, __FILE__, __LINE__, __func__, "no memory for a guide");
    if (*out != NULL) (*out)->device = main->engine.device;
    if (*out != NULL) status = open_guide(config, warn, main, *out);
    return comm_share_status(comm, status);
}

void guide_close(Guide *guide) {
    if (guide == NULL) return;
    for (int i = 0; i < guide->lanes; ++i) device_release(guide->device, guide->activations[i]);
    device_release(guide->device, guide->weights);
    device_release(guide->device, guide->half_weights);
    device_release(guide->device, guide->table);
    free(guide->activations);
    network_close(guide->network);
    params_close(&guide->params);
    free(guide);
}

void guide_forward(const Guide *guide, const Engine *engine, int lane, int64_t samples,
                   float *out) {
    NetworkMemory memory = {.weights = guide->weights,
                            .half_weights = guide->half_weights,
                            .table = guide->table,
                            .activations = guide->activations[lane]};
    NetworkInput input;
    process_network_input(engine->process, &engine->lane[lane].pass,
                          &(GrainBatch){.samples = samples}, false, &input);
    network_forward(guide->network, engine->lane[lane].stream, &memory, &input, out);
}
