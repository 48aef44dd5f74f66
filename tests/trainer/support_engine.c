// Weights of tests/trainer/support_engine.h.
#include "tests/trainer/support_engine.h"

#include <stdlib.h>

#include "base/mix.h"

void *engine_draw(Engine *engine, float noise) {
    const Params *params = &engine->params;
    size_t bytes = (size_t)params->size * sizeof(float);
    void *weights;
    float *host = malloc(bytes);
    REQUIRE(host != NULL && device_alloc(engine->device, bytes, &weights) == STATUS_OK);
    params_draw(params, 0, 0, params->size, host);
    for (int64_t i = 0; i < params->size; ++i)
        host[i] += noise * ((float)(mix64((uint64_t)i) >> 40) * 0x1p-24f - 0.5f);
    stream_upload(engine->lane[0].stream, weights, host, bytes);
    REQUIRE(stream_wait(engine->lane[0].stream) == STATUS_OK);
    free(host);
    return weights;
}
