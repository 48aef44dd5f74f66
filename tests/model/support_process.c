// Opening a process for tests.
#include "tests/model/support_process.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/model/support_late.h"

static void must(Status status) {
    if (status == STATUS_OK) return;
    fprintf(stderr, "%s: %s\n", status_info(status)->name, error_get()->text);
    abort();
}

static NetworkConfig smallest_network(const NetworkShape *shape) {
    bool vector = !shape->tokens && shape->height == 1 && shape->width == 1;
    NetworkConfig config = {.family = "dit",
                            .width = 16,
                            .depth = 1,
                            .heads = 1,
                            .patch = 1,
                            .codes = 16,
                            .mlp_ratio = 1,
                            .timestep_freq = "div-127"};
    if (vector) snprintf(config.family, sizeof config.family, "mlp");
    if (shape->autoencoder) snprintf(config.family, sizeof config.family, "fsq");
    return config;
}

void process_case_open(ProcessCase *c, const char *backend, const ProcessConfig *config,
                       NetworkShape shape, int64_t capacity) {
    late_register();
    *c = (ProcessCase){.shape = shape};
    must(process_open(config, &c->shape, &c->process));
    params_init(&c->params);
    NetworkConfig network = smallest_network(&c->shape);
    must(network_open(&network, &c->shape, &c->params, &c->network));
    process_add_params(c->process, &c->params);
    params_finish(&c->params);
    DeviceConfig device = {.backend = backend, .streams = 2, .scratch_bytes = 1 << 20};
    must(device_open(&device, &c->device));
    c->stream = device_stream(c->device, 1);
    must(device_alloc(c->device, process_pass_bytes(c->process, c->network, capacity),
                      &c->device_memory));
    c->host_memory = calloc(1, process_pass_host_bytes(c->process, capacity));
    if (c->host_memory == NULL) abort();
    process_pass_place(c->process, c->network, capacity, c->device_memory, c->host_memory,
                       &c->pass);
    c->in_bytes = network_in_item(c->network) * 4;
    c->out_bytes = network_out_item(c->network) * 4;
}

void process_case_close(ProcessCase *c) {
    must(stream_wait(c->stream));
    device_release(c->device, c->device_memory);
    device_close(c->device);
    free(c->host_memory);
    network_close(c->network);
    params_close(&c->params);
    process_close(c->process);
}

NetworkShape shape_vector(int32_t dims) {
    return (NetworkShape){.channels = dims, .height = 1, .width = 1};
}

NetworkShape shape_image(int32_t side) {
    return (NetworkShape){.channels = 1, .height = side, .width = side, .classes = 10};
}

NetworkShape shape_tokens(int32_t length, int32_t vocabulary) {
    return (NetworkShape){.tokens = true,
                          .channels = 1,
                          .height = 1,
                          .width = 1,
                          .length = length,
                          .vocabulary = vocabulary};
}

ProcessConfig config_gaussian(const char *schedule, const char *head, const char *variance) {
    ProcessConfig config = {.name = "ddpm", .steps = 1000};
    snprintf(config.schedule, sizeof config.schedule, "%s", schedule);
    snprintf(config.head, sizeof config.head, "%s", head);
    snprintf(config.variance, sizeof config.variance, "%s", variance);
    return config;
}

ProcessConfig config_multinomial(int32_t steps) {
    return (ProcessConfig){.name = "multinomial", .steps = steps, .schedule = "cosine"};
}

void case_upload(const ProcessCase *c, void *device, const void *host, int64_t bytes) {
    stream_upload(c->stream, device, host, (size_t)bytes);
    must(stream_wait(c->stream));
}

void case_download(const ProcessCase *c, void *host, const void *device, int64_t bytes) {
    stream_download(c->stream, host, device, (size_t)bytes);
    must(stream_wait(c->stream));
}

void case_number_samples(const ProcessCase *c, uint64_t first, int64_t samples) {
    for (int64_t i = 0; i < samples; ++i) c->pass.host_sample[i] = first + (uint64_t)i;
    case_upload(c, c->pass.sample, c->pass.host_sample, samples * (int64_t)sizeof(uint64_t));
}
