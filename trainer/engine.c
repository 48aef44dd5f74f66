// The model on its device behind trainer/engine.h.
#include "trainer/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/loader.h"

static NetworkShape shape_of(const EngineConfig *config) {
    const DatasetInfo *data = config->data;
    const int64_t *dim = data->column[0].dim;
    NetworkShape shape = {.classes = data->classes, .channels = 1, .height = 1, .width = 1};
    shape.latent = data->kind == KIND_LATENT;
    shape.tokens = data->kind == KIND_TEXT || data->kind == KIND_TOKENS;
    if (shape.tokens) {
        shape.length = (int32_t)loader_item(data, config->length);
        shape.vocabulary = data->symbols;
    }
    if (!shape.tokens) shape.channels = (int32_t)dim[0];
    if (data->kind == KIND_IMAGE || shape.latent) {
        shape.height = (int32_t)dim[1];
        shape.width = (int32_t)dim[2];
    }
    return shape;
}

static Status open_lane(Engine *engine, EngineLane *lane) {
    const Network *network = engine->network;
    int64_t capacity = engine->capacity;
    TRY(device_alloc(engine->device, network_activation_bytes(network, capacity, engine->backward),
                     &lane->activations));
    TRY(device_alloc(engine->device, process_pass_bytes(engine->process, network, capacity),
                     &lane->pass_memory));
    lane->pass_host = calloc(1, process_pass_host_bytes(engine->process, capacity));
    FAIL_IF(lane->pass_host == NULL, NO_MEMORY, "no memory for a grain's host rows");
    process_pass_place(engine->process, network, capacity, lane->pass_memory, lane->pass_host,
                       &lane->pass);
    lane->null_label = malloc((size_t)capacity * sizeof *lane->null_label);
    FAIL_IF(lane->null_label == NULL, NO_MEMORY, "no memory for a grain's labels");
    for (int64_t i = 0; i < capacity; ++i) lane->null_label[i] = engine->shape.classes;
    return STATUS_OK;
}

static Status upload_table(Engine *engine) {
    size_t bytes = network_table_bytes(engine->network);
    if (bytes == 0) return STATUS_OK;
    void *memory;
    TRY(device_alloc(engine->device, bytes, &memory));
    engine->table = memory;
    float *host = malloc(bytes);
    FAIL_IF(host == NULL, NO_MEMORY, "no memory for the position table");
    network_table_fill(engine->network, host);
    stream_upload(engine->lane[0].stream, engine->table, host, bytes);
    Status status = stream_wait(engine->lane[0].stream);
    free(host);
    return status;
}

static size_t half_bytes(const Engine *engine) {
    return network_is_half(engine->network) ? (size_t)engine->params.size * sizeof(uint16_t) : 0;
}

Status engine_open(const EngineConfig *config, Engine *engine) {
    *engine = (Engine){
        .shape = shape_of(config), .capacity = config->capacity, .backward = config->backward};
    params_init(&engine->params);
    TRY(process_open(config->process, &engine->shape, &engine->process));
    TRY(network_open(config->network, &engine->shape, &engine->params, &engine->network));
    process_add_params(engine->process, &engine->params);
    params_finish(&engine->params);
    if (engine->shape.autoencoder)
        process_set_code(engine->process, network_code_places(engine->network),
                         config->network->codes);
    if (config->device.backend == NULL) return STATUS_OK;

    DeviceConfig device = config->device;
    device.scratch_bytes = network_scratch_bytes(engine->network);
    device.wide_bytes = network_wide_bytes(engine->network, engine->capacity);
    TRY(device_open(&device, &engine->device));
    FAIL_IF(
        network_is_half(engine->network) && !engine->device->has_half, BAD_CONFIG,
        "model.precision is bf16, which %s cannot multiply (it takes AVX-512); choose fp32 for a"
        " new run",
        engine->device->description);
    engine->lane = calloc((size_t)device.streams, sizeof *engine->lane);
    FAIL_IF(engine->lane == NULL, NO_MEMORY, "no memory for %d streams", device.streams);
    engine->lanes = device.streams;
    for (int i = 0; i < engine->lanes; ++i)
        engine->lane[i].stream = device_stream(engine->device, i);
    for (int i = 0; i < engine->lanes; ++i) TRY(open_lane(engine, &engine->lane[i]));
    if (network_is_half(engine->network))
        TRY(device_alloc(engine->device, half_bytes(engine), &engine->half_weights));
    return upload_table(engine);
}

void engine_close(Engine *engine) {
    if (engine->device != NULL) {
        (void)!engine_wait(engine);
        for (int i = 0; i < engine->lanes; ++i) {
            device_release(engine->device, engine->lane[i].activations);
            device_release(engine->device, engine->lane[i].pass_memory);
            free(engine->lane[i].pass_host);
            free(engine->lane[i].null_label);
        }
        device_release(engine->device, engine->half_weights);
        device_release(engine->device, engine->table);
        device_close(engine->device);
    }
    free(engine->lane);
    network_close(engine->network);
    process_close(engine->process);
    params_close(&engine->params);
    memset(engine, 0, sizeof *engine);
}

void plan_add(Plan *plan, const char *purpose, size_t device, size_t host) {
    REQUIRE(plan->items < PLAN_ITEMS_MOST);
    plan->item[plan->items++] = (PlanItem){purpose, device, host};
}

void engine_plan(const Engine *engine, Plan *plan) {
    const Network *network = engine->network;
    int64_t capacity = engine->capacity;
    size_t n = (size_t)engine->lanes, scratch = network_scratch_bytes(network);
    if (!plan->on_host) scratch = network_wide_bytes(network, capacity);
    plan_add(plan, "activations", n * network_activation_bytes(network, capacity, engine->backward),
             0);
    plan_add(plan, "batches", n * process_pass_bytes(engine->process, network, capacity),
             n * process_pass_host_bytes(engine->process, capacity));
    plan_add(plan, "scratch", n * scratch, 0);
    plan_add(plan, "positions", network_table_bytes(network), 0);
    plan_add(plan, "bf16 weights", half_bytes(engine), 0);
}

Status engine_wait(const Engine *engine) {
    Status first = STATUS_OK;
    for (int i = 0; i < engine->lanes; ++i) {
        Status status = stream_wait(engine->lane[i].stream);
        if (first == STATUS_OK) first = status;
    }
    return first;
}

Status engine_use(Engine *engine, const float *weights) {
    bool rounded = engine->rounded && engine->weights == weights;
    engine->weights = weights;
    engine->rounded = false;
    TRY(process_use(engine->process, engine->lane[0].stream, weights));
    if (engine->half_weights == NULL || rounded) return STATUS_OK;
    int64_t size = engine->params.size, lanes = engine->lanes;
    for (int64_t i = 0; i < lanes; ++i) {
        int64_t begin = size * i / lanes, end = size * (i + 1) / lanes;
        halve(engine->lane[i].stream, (Elementwise){.x = weights + begin,
                                                    .y = (uint16_t *)engine->half_weights + begin,
                                                    .n = end - begin});
    }
    return lanes > 1 ? engine_wait(engine) : STATUS_OK; // one stream has its own order
}

NetworkMemory engine_memory(const Engine *engine, int lane) {
    return (NetworkMemory){.weights = engine->weights,
                           .half_weights = engine->half_weights,
                           .table = engine->table,
                           .activations = engine->lane[lane].activations,
                           .backward = engine->backward};
}
