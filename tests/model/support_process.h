// A process on a device with the smallest network that fits it, for tests. Everything ends the
// program on failure.
#pragma once

#include "model/process.h"

typedef struct {
    Device *device;
    Stream *stream; // the last of two
    NetworkShape shape;
    Params params;
    Network *network;
    Process *process;
    Pass pass;
    void *device_memory, *host_memory;
    int64_t in_bytes, out_bytes; // of one sample
} ProcessCase;

// backend: "cpu" or "late". `shape` as the data give it.
void process_case_open(ProcessCase *c, const char *backend, const ProcessConfig *config,
                       NetworkShape shape, int64_t capacity);
void process_case_close(ProcessCase *c);

NetworkShape shape_vector(int32_t dims);
NetworkShape shape_image(int32_t side); // one channel
NetworkShape shape_tokens(int32_t length, int32_t vocabulary);

ProcessConfig config_gaussian(const char *schedule, const char *head, const char *variance);
ProcessConfig config_multinomial(int32_t steps);

// Copies that are complete on return.
void case_upload(const ProcessCase *c, void *device, const void *host, int64_t bytes);
void case_download(const ProcessCase *c, void *host, const void *device, int64_t bytes);
// Sample numbers first, first + 1, ... into pass.sample.
void case_number_samples(const ProcessCase *c, uint64_t first, int64_t samples);
