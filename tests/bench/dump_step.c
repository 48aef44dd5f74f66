// dump_step CONFIG.yaml OUT.safetensors [key=value ...]: step 0 of a run as one file that another
// program can recompute: the configuration, the batch with its corruption, all weights, the
// network's output, the loss of each sample, and the gradient of the sum of these losses.
//
// The path is the trainer's: loader, process_corrupt, network_forward, process_loss and
// network_backward grain by grain; grains are summed in float64. Two things differ: weights are
// the initial ones plus noise, so that nothing hides behind a layer that begins at zero, and there
// is no dropout. tests/bench/peer.py lists what it reads.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/loader.h"
#include "data/safetensors.h"
#include "launch/run_config.h"
#include "trainer/engine.h"

enum { TENSORS_MOST = 4096, NAME_BYTES = PARAM_NAME_BYTES + 8 };
static const float WEIGHT_NOISE = 0.05f;

typedef struct {
    SafetensorsEntry entry[TENSORS_MOST];
    const void *data[TENSORS_MOST];
    int count;
} Tensors;

// All of a batch on the host, and the sum of the gradients.
typedef struct {
    RunSettings settings;
    Dataset *data;
    Loader *loader;
    Batch batch;
    Engine engine;
    int64_t in, out, samples, grain;
    float *weights; // device
    float *host_weights;
    float *grain_gradient;       // in the end the rounded sum
    double *gradient;            // [params.size]
    double *time, *levels;       // [samples], [level][samples]
    float *features;             // [samples, TIME_FEATURES]
    void *x_t;                   // float or int32, as x_0
    float *target, *out_, *loss; // target: gaussian
    int32_t *label;
    json_t *facts;
} Step;

static const char *const gaussian_levels[] = {"keep", "noise", "target_x0", "target_eps", "weight"};
static const char *const categorical_levels[] = {"keep", "step_keep", "keep_before", "weight"};
enum { LEVELS_MOST = 5 };

// ---- opening ----------------------------------------------------------------------------------

static Status open_data(Step *step) {
    const RunSettings *s = &step->settings;
    TRY(dataset_open(&(DatasetConfig){.path = s->data.path,
                                      .split = "train",
                                      .cache_bytes = (size_t)s->data.cache},
                     &step->data));
    LoaderConfig config = {.dataset = step->data,
                           .seed = s->train.seed,
                           .length = s->data.length,
                           .batch = s->train.batch,
                           .share_end = s->train.batch,
                           .depth = 1};
    TRY(loader_open(&config, &step->loader));
    return loader_next(step->loader, &step->batch);
}

static Status open_engine(Step *step) {
    const RunSettings *s = &step->settings;
    EngineConfig config = {.network = &s->model,
                           .process = &s->process,
                           .data = dataset_info(step->data),
                           .length = s->data.length,
                           .device = {.backend = s->device.backend, .streams = 1},
                           .capacity = s->train.batch / s->train.grains,
                           .backward = true};
    TRY(engine_open(&config, &step->engine));
    step->samples = s->train.batch;
    step->grain = config.capacity;
    step->in = engine_item(&step->engine);
    step->out = network_out_item(step->engine.network);
    return STATUS_OK;
}

static void *zeros(int64_t count, size_t bytes_each) {
    void *memory = calloc((size_t)count, bytes_each);
    REQUIRE(memory != NULL);
    return memory;
}

static void take_memory(Step *step) {
    int64_t n = step->samples, size = step->engine.params.size;
    step->host_weights = zeros(size, sizeof(float));
    step->grain_gradient = zeros(size, sizeof(float));
    step->gradient = zeros(size, sizeof(double));
    step->time = zeros(n, sizeof(double));
    step->levels = zeros(LEVELS_MOST * n, sizeof(double));
    step->features = zeros(n * TIME_FEATURES, sizeof(float));
    step->x_t = zeros(n * step->in, 4);
    step->target = zeros(n * step->in, sizeof(float));
    step->out_ = zeros(n * step->out, sizeof(float));
    step->loss = zeros(n, sizeof(float));
    step->label = zeros(n, sizeof(int32_t));
}

static Status draw_weights(Step *step) {
    const Params *params = &step->engine.params;
    Stream *stream = step->engine.lane[0].stream;
    size_t bytes = (size_t)params->size * sizeof(float);
    params_draw(params, step->settings.train.seed, 0, params->size, step->host_weights);
    RngKey key = rng_key(step->settings.train.seed, RNG_INIT, 1);
    for (int64_t i = 0; i < params->size; ++i) {
        uint32_t bits[4];
        rng_block(key, 0, (uint32_t)i, bits);
        step->host_weights[i] += WEIGHT_NOISE * rng_normal(bits[0]);
    }
    void *memory;
    TRY(device_alloc(step->engine.device, bytes, &memory));
    step->weights = memory;
    stream_upload(stream, step->weights, step->host_weights, bytes);
    TRY(stream_wait(stream));
    return engine_use(&step->engine, step->weights);
}

// ---- the step ---------------------------------------------------------------------------------

static void keep_levels(Step *step, const Pass *pass, int64_t first) {
    int64_t n = step->samples;
    for (int64_t i = 0; i < step->grain; ++i) {
        double row[LEVELS_MOST] = {0};
        if (process_is_tokens(step->engine.process)) {
            const CategoricalLevel *level = (const CategoricalLevel *)pass->host_level + i;
            memcpy(row,
                   (double[]){level->keep, level->step_keep, level->keep_before, level->weight},
                   4 * sizeof *row);
        } else {
            const GaussianLevel *level = (const GaussianLevel *)pass->host_level + i;
            memcpy(row,
                   (double[]){(double)level->keep, (double)level->noise, (double)level->target_x0,
                              (double)level->target_eps, (double)level->weight},
                   sizeof row);
        }
        for (int k = 0; k < LEVELS_MOST; ++k) step->levels[k * n + first + i] = row[k];
    }
}

static Status run_grain(Step *step, int64_t first) {
    const Engine *engine = &step->engine;
    Stream *stream = engine->lane[0].stream;
    Pass *pass = &engine->lane[0].pass;
    size_t n = (size_t)step->grain, in = (size_t)step->in, out = (size_t)step->out;
    GrainBatch batch = {.seed = step->settings.train.seed,
                        .samples = step->grain,
                        .x_0 = (const float *)step->batch.x + first * step->in,
                        .label = step->batch.label + first,
                        .sample = step->batch.sample + first};
    NetworkInput input;
    process_corrupt(engine->process, engine->network, stream, pass, &batch);
    process_network_input(engine->process, pass, &batch, false, &input);
    NetworkMemory memory = engine_memory(engine, 0);
    network_forward(engine->network, stream, &memory, &input, pass->out);
    process_loss(engine->process, stream, pass, step->grain, true);
    stream_download(stream, step->out_ + first * step->out, pass->out, n * out * sizeof(float));
    stream_download(stream, step->loss + first, pass->loss, n * sizeof(float));
    stream_download(stream, (float *)step->x_t + first * step->in, pass->x_t, n * in * 4);
    if (pass->target != NULL)
        stream_download(stream, step->target + first * step->in, pass->target, n * in * 4);
    void *grads;
    TRY(device_alloc(engine->device, (size_t)engine->params.size * sizeof(float), &grads));
    network_backward(engine->network, stream, &memory, &input, pass->dout, grads, false, NULL);
    stream_download(stream, step->grain_gradient, grads,
                    (size_t)engine->params.size * sizeof(float));
    Status status = stream_wait(stream);
    device_release(engine->device, grads);
    TRY(status);

    for (int64_t i = 0; i < engine->params.size; ++i)
        step->gradient[i] += (double)step->grain_gradient[i];
    for (int64_t i = 0; i < step->grain; ++i)
        step->time[first + i] = process_draw_time(engine->process, batch.seed, 0, batch.sample[i]);
    memcpy(step->label + first, pass->host_label, n * sizeof *step->label);
    memcpy(step->features + first * TIME_FEATURES, pass->host_time,
           n * TIME_FEATURES * sizeof(float));
    keep_levels(step, pass, first);
    return STATUS_OK;
}

// ---- the file ---------------------------------------------------------------------------------

static void add(Tensors *tensors, const char *group, const char *name, const char *dtype, int dims,
                const int64_t *dim, const void *data) {
    REQUIRE(tensors->count < TENSORS_MOST);
    char text[NAME_BYTES];
    snprintf(text, sizeof text, "%s%s", group, name);
    SafetensorsEntry *entry = &tensors->entry[tensors->count];
    *entry = (SafetensorsEntry){.name = strdup(text), .dtype = dtype, .dims = dims};
    REQUIRE(entry->name != NULL);
    memcpy(entry->dim, dim, (size_t)dims * sizeof *dim);
    tensors->data[tensors->count++] = data;
}

static void add_params(const Step *step, Tensors *tensors, bool gradients) {
    for (int i = 0; i < step->engine.params.count; ++i) {
        const Param *param = &step->engine.params.list[i];
        if (gradients)
            add(tensors, "grad/", param->name, "F32", param->dims, param->dim,
                step->grain_gradient + param->offset);
        else
            add(tensors, "param/", param->name, "F32", param->dims, param->dim,
                step->host_weights + param->offset);
    }
}

// float64 first, so that every tensor is aligned.
static void list_tensors(const Step *step, Tensors *tensors) {
    const NetworkShape *shape = &step->engine.shape;
    int64_t n = step->samples;
    int dims = shape->tokens ? 2 : 4;
    int64_t in[4] = {n, shape->channels, shape->height, shape->width};
    int64_t out[4] = {n, shape->out_channels, shape->height, shape->width};
    if (shape->tokens) {
        memcpy(in, (int64_t[]){n, shape->length}, 2 * sizeof *in);
        memcpy(out, (int64_t[]){n, shape->length, shape->out_channels}, 3 * sizeof *out);
    }
    const char *x = shape->tokens ? "I32" : "F32";
    const char *const *level = shape->tokens ? categorical_levels : gaussian_levels;
    int levels = LEVELS_MOST - (shape->tokens ? 1 : 0);
    add(tensors, "", "time", "F64", 1, &n, step->time);
    for (int i = 0; i < levels; ++i)
        add(tensors, "level/", level[i], "F64", 1, &n, step->levels + i * n);
    add_params(step, tensors, false);
    add_params(step, tensors, true);
    add(tensors, "", "features", "F32", 2, (int64_t[]){n, TIME_FEATURES}, step->features);
    add(tensors, "", "x_0", x, dims, in, step->batch.x);
    add(tensors, "", "x_t", x, dims, in, step->x_t);
    if (!shape->tokens) add(tensors, "", "target", "F32", dims, in, step->target);
    add(tensors, "", "out", "F32", shape->tokens ? 3 : 4, out, step->out_);
    add(tensors, "", "loss", "F32", 1, &n, step->loss);
    add(tensors, "", "label", "I32", 1, &n, step->label);
}

// The configuration as JSON within the metadata, whose values are texts.
static Status facts_make(Step *step) {
    const RunSettings *s = &step->settings;
    const NetworkShape *shape = &step->engine.shape;
    json_t *facts = json_pack(
        "{s:{s:s, s:i, s:i, s:i, s:i, s:i, s:s, s:s}, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i},"
        " s:{s:s, s:i, s:s, s:s, s:f}, s:{s:f, s:f, s:f, s:f, s:f, s:f}, s:i, s:i}",
        "model", "family", s->model.family, "width", s->model.width, "depth", s->model.depth,
        "heads", s->model.heads, "patch", s->model.patch, "mlp_ratio", s->model.mlp_ratio,
        "precision", s->model.precision, "timestep_freq", s->model.timestep_freq, "shape", "tokens",
        (int)shape->tokens, "channels", shape->channels, "height", shape->height, "width",
        shape->width, "length", shape->length, "vocabulary", shape->vocabulary, "out_channels",
        shape->out_channels, "classes", shape->classes, "process", "name", s->process.name, "steps",
        s->process.steps, "schedule", s->process.schedule, "head", s->process.head, "label_drop",
        (double)s->process.label_drop, "optim", "lr", s->optim.lr, "beta1", s->optim.beta1, "beta2",
        s->optim.beta2, "eps", s->optim.eps, "decay", s->optim.decay, "clip", s->optim.clip,
        "batch", (int)s->train.batch, "grains", s->train.grains);
    FAIL_IF(facts == NULL, NO_MEMORY, "no memory for the facts");
    char *text = json_dumps(facts, 0);
    json_decref(facts);
    step->facts =
        json_pack("{s:s, s:s}", "facts", text, "device", step->engine.device->description);
    free(text);
    FAIL_IF(step->facts == NULL, NO_MEMORY, "no memory for the facts");
    return STATUS_OK;
}

static Status write_file(Step *step, const char *path) {
    static Tensors tensors;
    TRY(facts_make(step));
    list_tensors(step, &tensors);
    char *header;
    size_t bytes;
    TRY(safetensors_build(tensors.entry, tensors.count, step->facts, &header, &bytes));
    FILE *file = fopen(path, "wb");
    FAIL_IF(file == NULL, IO, "cannot write %s", path);
    bool fine = fwrite(header, 1, bytes, file) == bytes;
    for (int i = 0; i < tensors.count; ++i) {
        size_t size = (size_t)(tensors.entry[i].end - tensors.entry[i].begin);
        fine = fine && fwrite(tensors.data[i], 1, size, file) == size;
        free((char *)tensors.entry[i].name);
    }
    free(header);
    fine = fclose(file) == 0 && fine;
    FAIL_IF(!fine, IO, "cannot write %s", path);
    return STATUS_OK;
}

static void step_close(Step *step) {
    if (step->engine.device != NULL) device_release(step->engine.device, step->weights);
    engine_close(&step->engine);
    loader_close(step->loader);
    dataset_close(step->data);
    void *memory[] = {step->host_weights, step->grain_gradient, step->gradient, step->time,
                      step->levels,       step->features,       step->x_t,      step->target,
                      step->out_,         step->loss,           step->label};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; ++i) free(memory[i]);
    json_decref(step->facts);
}

static Status dump(Step *step, int count, char **argument) {
    TRY(run_config_read(argument[1], argument + 3, count - 3, &step->settings));
    TRY(open_data(step));
    TRY(open_engine(step));
    take_memory(step);
    TRY(draw_weights(step));
    for (int64_t first = 0; first < step->samples; first += step->grain)
        TRY(run_grain(step, first));
    for (int64_t i = 0; i < step->engine.params.size; ++i)
        step->grain_gradient[i] = (float)step->gradient[i];
    return write_file(step, argument[2]);
}

int main(int argc, char **argv) {
    static Step step;
    if (argc < 3) {
        fprintf(stderr, "usage: dump_step CONFIG.yaml OUT.safetensors [key=value ...]\n");
        return 2;
    }
    Status status = dump(&step, argc, argv);
    if (status != STATUS_OK) fprintf(stderr, "dump_step: %s\n", error_get()->text);
    step_close(&step);
    return status_info(status)->exit_code;
}
