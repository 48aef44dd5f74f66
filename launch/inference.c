// Queued calls of launch/inference.h.
#include "launch/inference.h"

void inference_upload_time(const Engine *engine, int lane, int64_t samples, double time) {
    if (!engine->shape.time_input) return;
    Pass *pass = &engine->lane[lane].pass;
    double label = process_time_label(engine->process, time);
    for (int64_t i = 0; i < samples; ++i)
        network_time_features(engine->network, label, pass->host_time + i * TIME_FEATURES);
    stream_upload(engine->lane[lane].stream, pass->time, pass->host_time,
                  (size_t)samples * TIME_FEATURES * sizeof *pass->time);
}

void inference_forward(const Engine *engine, int lane, int64_t samples, float *out) {
    NetworkInput input;
    NetworkMemory memory = engine_memory(engine, lane);
    process_network_input(engine->process, &engine->lane[lane].pass,
                          &(GrainBatch){.samples = samples}, false, &input);
    network_forward(engine->network, engine->lane[lane].stream, &memory, &input, out);
}
