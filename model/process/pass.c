// A grain on its way: memory, times, labels, uploads, and the operations of the family.
#include <math.h>
#include <string.h>

#include "model/bump.h"
#include "model/process/process_impl.h"

// ---- memory of a pass -------------------------------------------------------------------------

// Of the base distribution, or of the kernels of each sample.
static int64_t base_numbers(const Process *process, int64_t samples) {
    int64_t classes = process->vocabulary;
    return process->dense != NULL ? 3 * samples * classes * classes : classes;
}

static size_t place_device(const Process *process, const Network *network, Pass *pass,
                           void *memory) {
    Bump bump = {.base = memory};
    int64_t n = pass->capacity, in = n * network_in_item(network);
    int64_t out = n * network_out_item(network);
    pass->x_0 = bump_take(&bump, in, 4);
    pass->x_t = bump_take(&bump, in, 4);
    pass->target = process->system->classifier ? NULL : bump_take(&bump, in, 4);
    pass->out = bump_take(&bump, out, 4);
    pass->dout = bump_take(&bump, out, 4);
    pass->level = bump_take(&bump, n, process->system->family->level_bytes);
    pass->time = bump_take(&bump, n * TIME_FEATURES, sizeof *pass->time);
    pass->label = bump_take(&bump, n, sizeof *pass->label);
    pass->sample = bump_take(&bump, n, sizeof *pass->sample);
    pass->loss = bump_take(&bump, n, sizeof *pass->loss);
    pass->error = bump_take(&bump, n, sizeof *pass->error);
    pass->base = bump_take(&bump, base_numbers(process, n), sizeof *pass->base);
    if (process->own_count == 0) return bump.used;
    pass->dx = bump_take(&bump, in, sizeof *pass->dx);
    pass->dtime = bump_take(&bump, n * TIME_FEATURES, sizeof *pass->dtime);
    pass->slopes = bump_take(&bump, n * process->own_slopes, sizeof *pass->slopes);
    pass->room = bump_take(&bump, process->own_count, sizeof *pass->room);
    return bump.used;
}

static size_t place_host(const Process *process, Pass *pass, void *memory) {
    Bump bump = {.base = memory};
    int64_t n = pass->capacity * (process->system->pairs ? 2 : 1); // the upper levels behind
    pass->host_level = bump_take(&bump, n, process->system->family->level_bytes);
    pass->host_time = bump_take(&bump, n * TIME_FEATURES, sizeof *pass->host_time);
    pass->host_label = bump_take(&bump, n, sizeof *pass->host_label);
    pass->host_sample = bump_take(&bump, n, sizeof *pass->host_sample);
    pass->host_base = bump_take(&bump, base_numbers(process, n), sizeof *pass->host_base);
    pass->host_slopes = bump_take(&bump, n * process->own_slopes, sizeof *pass->host_slopes);
    return bump.used;
}

size_t process_pass_bytes(const Process *process, const Network *network, int64_t capacity) {
    Pass pass = {.capacity = capacity};
    return place_device(process, network, &pass, NULL);
}

size_t process_pass_host_bytes(const Process *process, int64_t capacity) {
    Pass pass = {.capacity = capacity};
    return place_host(process, &pass, NULL);
}

void process_pass_place(const Process *process, const Network *network, int64_t capacity,
                        void *device_memory, void *host_memory, Pass *out) {
    *out = (Pass){.capacity = capacity};
    place_device(process, network, out, device_memory);
    place_host(process, out, host_memory);
}

// ---- training ---------------------------------------------------------------------------------

static int32_t draw_label(const Process *process, const GrainBatch *batch, int64_t i) {
    uint32_t bits[4];
    rng_block(rng_key(batch->seed, RNG_LABEL_DROP, batch->step), batch->sample[i], 0, bits);
    bool dropped = rng_uniform(bits[0]) < process->config.label_drop;
    return dropped ? process->null_label : batch->label[i];
}

// Row i of the host rows, at time t.
static void fill_row(const Process *process, const Network *network, Pass *pass,
                     const GrainBatch *batch, int64_t i, double time, double scale) {
    const ProcessFamily *family = process->system->family;
    REQUIRE(is_continuous(process->system) ||
            (time >= 1 && time <= process->config.steps && time == floor(time)));
    void *level = (char *)pass->host_level + (size_t)i * family->level_bytes;
    family->level(process, time, scale, level);
    network_time_features(network, process_time_label(process, time),
                          pass->host_time + i * TIME_FEATURES);
    if (process->own_count > 0)
        learned_level(process, (const float *)batch->x_0 + i * process->items, level);
}

// Sample i of the grain at time t. Of a pair the lower level comes first, and counts nothing; the
// loss is the mean over two passes.
static void fill_rows(const Process *process, const Network *network, Pass *pass,
                      const GrainBatch *batch, int64_t i, double t, double scale, int cells) {
    double lower = t, upper;
    if (process->system->pairs) {
        scale *= 2 * consistency_cell(t, cells, &lower, &upper);
        fill_row(process, network, pass, batch, pass->capacity + i, upper, scale);
    }
    fill_row(process, network, pass, batch, i, lower, process->system->pairs ? 0 : scale);
}

// Data in device memory become what the process sees.
static void rescale_data(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                         RngKey key) {
    const ProcessConfig *config = &process->config;
    if (process_is_tokens(process)) return;
    if (process->width == 0 && config->data_mean == 0 && config->data_std == 1) return;
    rescale(stream, (Rescale){.x = pass->x_0,
                              .sample = pass->sample,
                              .y = pass->x_0,
                              .samples = samples,
                              .item = process->items,
                              .scale = 1 / config->data_std,
                              .width = process->width,
                              .shift = -config->data_mean / config->data_std,
                              .key = key});
    if (config->logit > 0)
        logit(stream, (Elementwise){.x = pass->x_0, .y = pass->x_0, .n = samples * process->items});
}

static void upload_and_corrupt(const Process *process, Stream *stream, Pass *pass,
                               const GrainBatch *batch, RngKey key, RngKey dequantise) {
    size_t n = (size_t)batch->samples;
    memcpy(pass->host_sample, batch->sample, n * sizeof *pass->host_sample);
    stream_upload(stream, pass->x_0, batch->x_0, n * (size_t)process->items * 4);
    stream_upload(stream, pass->sample, pass->host_sample, n * sizeof *pass->sample);
    stream_upload(stream, pass->label, pass->host_label, n * sizeof *pass->label);
    stream_upload(stream, pass->level, pass->host_level, n * process->system->family->level_bytes);
    stream_upload(stream, pass->time, pass->host_time, n * TIME_FEATURES * sizeof *pass->time);
    rescale_data(process, stream, pass, batch->samples, dequantise);
    pass->number = 0;
    pass->context = pass->x_0;
    pass->noise_key = key;
    process->system->family->corrupt(process, stream, pass, batch->samples, key);
}

void process_corrupt(const Process *process, const Network *network, Stream *stream, Pass *pass,
                     const GrainBatch *batch) {
    REQUIRE(batch->samples <= pass->capacity);
    for (int64_t i = 0; i < batch->samples; ++i) {
        double scale;
        double t =
            process_draw_weighted(process, batch->seed, batch->step, batch->sample[i], &scale);
        fill_rows(process, network, pass, batch, i, t, scale,
                  consistency_cells(process, batch->step));
        pass->host_label[i] = draw_label(process, batch, i);
        if (process->own_count > 0)
            learned_row(process, network, t, (const float *)batch->x_0 + i * process->items,
                        pass->host_slopes + i * process->own_slopes);
    }
    if (process->own_count > 0)
        stream_upload(stream, pass->slopes, pass->host_slopes,
                      (size_t)(batch->samples * process->own_slopes) * sizeof *pass->slopes);
    pass->unroll_key = rng_key(batch->seed, RNG_UNROLL, batch->step);
    upload_and_corrupt(process, stream, pass, batch, rng_key(batch->seed, RNG_NOISE, batch->step),
                       rng_key(batch->seed, RNG_DEQUANTISE, batch->step));
}

void process_corrupt_at(const Process *process, const Network *network, Stream *stream, Pass *pass,
                        const GrainBatch *batch, const double *time, uint64_t draw) {
    REQUIRE(batch->samples <= pass->capacity);
    for (int64_t i = 0; i < batch->samples; ++i) {
        fill_rows(process, network, pass, batch, i, time[i], 1, CONSISTENCY_CELLS_MOST);
        pass->host_label[i] = batch->label[i];
    }
    pass->unroll_key = rng_key(batch->seed, RNG_EVAL_UNROLL, draw);
    upload_and_corrupt(process, stream, pass, batch, rng_key(batch->seed, RNG_EVAL_NOISE, draw),
                       rng_key(batch->seed, RNG_EVAL_DEQUANTISE, draw));
}

void process_network_input(const Process *process, const Pass *pass, const GrainBatch *batch,
                           bool dropout_on, NetworkInput *out) {
    *out = (NetworkInput){
        .samples = batch->samples,
        .x = process_is_tokens(process) ? NULL : pass->x_t,
        .ids = process_is_tokens(process) ? pass->x_t : NULL,
        .context = pass->context,
        .time = pass->time,
        .dtime = pass->dtime,
        .label = process->system->classifier ? pass->level : pass->label,
        .sample = pass->sample,
        .dropout = rng_key(batch->seed, RNG_DROPOUT, batch->step),
        .dropout_on = dropout_on,
    };
}

void process_loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                  bool gradient) {
    process->system->family->loss(process, stream, pass, samples, gradient);
}

int process_passes(const Process *process) {
    return process->system->unrolled ? process->config.unroll : process->system->pairs ? 2 : 1;
}

bool process_has_gradient(const Process *process, int number) {
    return !process->system->pairs || number == 1;
}

void process_next_pass(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    RngKey key = pass->unroll_key;
    key.step = key.step << 3 | (uint64_t)pass->number++;
    process->system->family->next_pass(process, stream, pass, samples, key);
}

void process_leave_out(const Network *network, Stream *stream, Pass *pass, int64_t row) {
    static const float zeros[1024];
    int64_t item = network_out_item(network), most = sizeof zeros / sizeof *zeros;
    stream_upload(stream, pass->loss + row, zeros, sizeof *zeros);
    for (int64_t at = 0; at < item; at += most)
        stream_upload(stream, pass->dout + row * item + at, zeros,
                      (size_t)(item - at < most ? item - at : most) * sizeof *zeros);
}

void process_bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    const ProcessFamily *family = process->system->family;
    if (family->bound_terms != NULL)
        family->bound_terms(process, stream, pass, samples);
    else
        family->loss(process, stream, pass, samples, false);
}
