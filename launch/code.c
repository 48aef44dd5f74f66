// The passes behind launch/code.h.
#include "launch/code.h"

#include <stdlib.h>

#include "launch/console.h"

// Samples of lane i; the first of them is i * capacity.
static int64_t group_of(const Engine *engine, int64_t count, int lane) {
    int64_t left = count - lane * engine->capacity;
    return left < engine->capacity ? left : engine->capacity;
}

// An image has at least as many numbers as codes, so that these have room in its place.
Status code_encode(Engine *engine, const float *x, int64_t count, int32_t *ids) {
    int64_t item = engine_item(engine), places = network_code_places(engine->network);
    REQUIRE(count <= engine->capacity * engine->lanes);
    for (int i = 0; group_of(engine, count, i) > 0 && i < engine->lanes; ++i) {
        EngineLane *lane = &engine->lane[i];
        int64_t first = i * engine->capacity, samples = group_of(engine, count, i);
        NetworkMemory memory = engine_memory(engine, i);
        NetworkInput input = {.samples = samples, .x = lane->pass.x_0};
        stream_upload(lane->stream, lane->pass.x_0, x + first * item,
                      (size_t)(samples * item) * sizeof *x);
        network_encode(engine->network, lane->stream, &memory, &input, lane->pass.x_t);
        stream_download(lane->stream, ids + first * places, lane->pass.x_t,
                        (size_t)(samples * places) * sizeof *ids);
    }
    return engine_wait(engine);
}

Status code_decode(Engine *engine, const int32_t *ids, int64_t count, float *x) {
    int64_t item = engine_item(engine), places = network_code_places(engine->network);
    int64_t out_item = network_out_item(engine->network); // the means, then variances
    REQUIRE(count <= engine->capacity * engine->lanes);
    for (int i = 0; group_of(engine, count, i) > 0 && i < engine->lanes; ++i) {
        EngineLane *lane = &engine->lane[i];
        int64_t first = i * engine->capacity, samples = group_of(engine, count, i);
        NetworkMemory memory = engine_memory(engine, i);
        NetworkInput input = {.samples = samples, .ids = lane->pass.x_t};
        stream_upload(lane->stream, lane->pass.x_t, ids + first * places,
                      (size_t)(samples * places) * sizeof *ids);
        network_decode(engine->network, lane->stream, &memory, &input, lane->pass.out);
        for (int64_t s = 0; s < samples; ++s)
            stream_download(lane->stream, x + (first + s) * item, lane->pass.out + s * out_item,
                            (size_t)item * sizeof *x);
    }
    return engine_wait(engine);
}

// ---- autoencoders beside the runs that draw their codes -----------------------------------------

Status decoder_open(const TrainedConfig *config, Comm *comm, const Trained *drawn, Trained *out) {
    TRY(trained_open(config, comm, console_warn, out));
    const NetworkShape *shape = &drawn->engine.shape;
    FAIL_IF(!out->engine.shape.autoencoder, BAD_USAGE, "--decode: %s is no autoencoder",
            config->run_dir);
    int64_t places = network_code_places(out->engine.network);
    int32_t codes = out->settings.model.codes;
    int32_t symbols = dataset_info(drawn->data)->symbols; // no mask among them
    FAIL_IF(!shape->tokens || shape->length != places || symbols != codes, BAD_USAGE,
            "--decode: %s reads %lld tokens of %d symbols, which is not what %s draws",
            config->run_dir, (long long)places, codes, drawn->settings.run.dir);
    return STATUS_OK;
}

// In whole rounds of the decoder's streams.
Status decoder_run(Trained *decoder, int64_t count, void **samples) {
    Engine *engine = &decoder->engine;
    int64_t item = engine_item(engine), places = network_code_places(engine->network);
    int64_t most = engine->capacity * engine->lanes;
    const int32_t *ids = *samples;
    TRY(engine_use(engine, decoder->weights));
    float *x = calloc((size_t)(count * item), sizeof *x);
    FAIL_IF(x == NULL, NO_MEMORY, "no memory for %lld pictures", (long long)count);
    Status status = STATUS_OK;
    for (int64_t at = 0; at < count && status == STATUS_OK; at += most) {
        int64_t left = count - at;
        status = code_decode(engine, ids + at * places, left < most ? left : most, x + at * item);
    }
    free(*samples);
    *samples = x;
    return status;
}
