// A model on a device: network, process and parameter table made from settings and data, and the
// memory of each stream to run one grain. Training, evaluation and sampling all stand on it.
#pragma once

#include "data/dataset.h"
#include "model/network.h"
#include "model/process.h"

// All memory of a rank by purpose (a literal), in bytes. Where the device is on_host all of it is
// the host's.
enum { PLAN_ITEMS_MOST = 32 };
typedef struct {
    const char *purpose;
    size_t device, host;
} PlanItem;
typedef struct {
    PlanItem item[PLAN_ITEMS_MOST];
    int items;
    bool on_host;
} Plan;
void plan_add(Plan *plan, const char *purpose, size_t device, size_t host);

typedef struct {
    const NetworkConfig *network;
    const ProcessConfig *process;
    const DatasetInfo *data;
    int32_t length;      // text: symbols of a sample
    DeviceConfig device; // scratch_bytes is filled in
    int64_t capacity;    // most samples in flight on one stream
    bool backward;       // room for gradients of activations
} EngineConfig;

typedef struct {
    Stream *stream;
    void *activations, *pass_memory; // device
    void *pass_host;
    Pass pass;
    int32_t *null_label; // host [capacity], all the null class: guidance's second pass
} EngineLane;

typedef struct {
    Device *device;
    NetworkShape shape;
    Network *network;
    Process *process;
    Params params;
    float *table;         // device: positions
    const float *weights; // device, as engine_use was told
    void *half_weights;   // device: the same as bf16, where the network wants them
    bool rounded;         // the optimizer has kept half_weights up with `weights`
    int64_t capacity;
    bool backward; // what activations were planned for
    EngineLane *lane;
    int lanes;
} Engine;

// Opens everything but parameters' memory; without config->device.backend what can be told of a
// model alone: shape, network, process and parameters. Errors: BAD_CONFIG, NO_MEMORY. On failure,
// and for a zeroed Engine, engine_close is fine.
Status engine_open(const EngineConfig *config, Engine *engine);
void engine_close(Engine *engine);

// Adds what engine_open takes for `capacity`, `backward` and `lanes`; no device needs to be open.
void engine_plan(const Engine *engine, Plan *plan);
Status engine_wait(const Engine *engine); // all streams
// Makes device memory the weights of the passes to come; called again whenever its numbers have
// changed. All streams must be at rest.
Status engine_use(Engine *engine, const float *weights);
// What a pass on lane i reads.
NetworkMemory engine_memory(const Engine *engine, int lane);

// Host size of one sample's x: numbers of 4 bytes (float or int32).
static inline int64_t engine_item(const Engine *engine) {
    return network_in_item(engine->network);
}
