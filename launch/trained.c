// Opening a run for sampling and evaluation, behind launch/trained.h.
#include "launch/trained.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/loader.h"
#include "launch/average.h"
#include "launch/run_config.h"

static Status load_weights(const TrainedConfig *config, void (*warn)(const char *line),
                           Trained *out) {
    const Params *params = &out->engine.params;
    size_t bytes = (size_t)params->size * sizeof(float);
    void *memory;
    TRY(device_alloc(out->engine.device, bytes, &memory));
    out->weights = memory;
    float *host = malloc(bytes);
    FAIL_IF(host == NULL, NO_MEMORY, "no memory for %zu bytes of weights", bytes);
    Status status = STATUS_OK;
    if (config->config_path != NULL)
        params_draw(params, out->settings.train.seed, 0, params->size, host);
    else
        status = average_read(config->run_dir, &out->settings.optim, params, config->average, warn,
                              host, &out->step);
    if (status == STATUS_OK) {
        Stream *stream = out->engine.lane[0].stream;
        stream_upload(stream, out->weights, host, bytes);
        status = stream_wait(stream);
    }
    free(host);
    return status;
}

Status trained_settings(const TrainedConfig *config, RunSettings *out) {
    char path[PATH_BYTES];
    if (config->config_path != NULL)
        return run_config_read(config->config_path, config->overrides, config->override_count, out);
    TRY(path_format(path, "%s/config.yaml", config->run_dir));
    FAIL_IF(!file_exists(path), NOT_FOUND, "%s is not there: is %s a run folder?", path,
            config->run_dir);
    TRY(run_config_read(path, config->overrides, config->override_count, out));
    out->control.port = 0; // several runs may be open at a time: each of them serves from any port
    return STATUS_OK;
}

// The indexes that training has left in RUN/data, as a path of data sets. False: there are none.
static bool find_kept(const TrainedConfig *config, char *path, size_t bytes) {
    char index[PATH_BYTES], all[sizeof((DataConfig *)0)->path];
    size_t used = 0;
    if (!config->described || config->run_dir == NULL) return false;
    if (strchr(config->run_dir, ',') != NULL) return false; // it would be two paths
    for (int p = 0; used < sizeof all; ++p) {
        if (path_format(index, "%s/data/%d/index.json", config->run_dir, p) != STATUS_OK ||
            !file_exists(index)) {
            if (p > 0) snprintf(path, bytes, "%s", all);
            return p > 0;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s/data/%d", p > 0 ? ", " : "",
                                 config->run_dir, p);
    }
    return false; // too long
}

static Status open_model(const TrainedConfig *config, void (*warn)(const char *line),
                         Trained *out) {
    const RunSettings *settings = &out->settings;
    TRY(dataset_open(&(DatasetConfig){.path = settings->data.path,
                                      .split = config->split,
                                      .cache_bytes = (size_t)settings->data.cache,
                                      .lost_later = out->share == NULL,
                                      .fetch = out->share != NULL ? share_fetch(out->share) : NULL,
                                      .tries = 3,
                                      .wait = 0.2,
                                      .warn = warn},
                     &out->data));
    EngineConfig engine = {.network = &settings->model,
                           .process = &settings->process,
                           .data = dataset_info(out->data),
                           .length = settings->data.length,
                           .device = cores_device(&out->cores, &settings->device),
                           .capacity = config->capacity,
                           .backward = config->backward};
    TRY(engine_open(&engine, &out->engine));
    return load_weights(config, warn, out);
}

// What is computed of shares of different data means nothing.
static Status compare_data(Comm *comm, const Trained *trained) {
    const DatasetInfo *info = dataset_info(trained->data);
    uint64_t theirs = info->identity;
    TRY(comm_broadcast(comm, &theirs, sizeof theirs, 0));
    Status status = STATUS_OK;
    if (theirs != info->identity)
        status = error_raise(STATUS_BAD_CONFIG, __FILE__, __LINE__, __func__,
                             "%s: this is another data set than that of rank 0 (\"%s\"): copy the"
                             " same folder to all hosts",
                             trained->settings.data.path, info->name);
    return comm_share_status(comm, status);
}

Status trained_open(const TrainedConfig *config, Comm *comm, void (*warn)(const char *line),
                    Trained *out) {
    memset(out, 0, sizeof *out);
    TRY(comm_share_status(comm, trained_settings(config, &out->settings)));
    TRY(cores_choose(comm, &out->settings.device, &out->cores));
    if (!find_kept(config, out->settings.data.path, sizeof out->settings.data.path)) {
        TRY(share_survey(comm, &out->settings, &out->share));
        TRY(share_start(out->share));
    }
    TRY(comm_share_status(comm, open_model(config, warn, out)));
    return compare_data(comm, out);
}

void trained_close(Trained *trained) {
    if (trained->engine.device != NULL) device_release(trained->engine.device, trained->weights);
    engine_close(&trained->engine);
    share_stop(trained->share); // a reader that waits for data holds up the end
    dataset_close(trained->data);
    share_close(trained->share);
}

static Status read_batches(Loader *loader, int64_t item, int64_t count, float *x, int32_t *label) {
    for (int64_t done = 0; done < count;) {
        Batch batch;
        TRY(loader_next(loader, &batch));
        FAIL_IF(batch.count == 0, BAD_USAGE, "the split has %lld samples, and %lld are wanted (-n)",
                (long long)done, (long long)count);
        int64_t n = batch.count < count - done ? batch.count : count - done;
        memcpy(x + done * item, batch.x, (size_t)(n * item) * sizeof *x);
        if (label != NULL) memcpy(label + done, batch.label, (size_t)n * sizeof *label);
        done += n;
    }
    return STATUS_OK;
}

Status trained_read(const Trained *trained, int64_t count, float *x, int32_t *label) {
    enum { BATCH = 256 };
    LoaderConfig config = {
        .dataset = trained->data, .batch = BATCH, .share_end = BATCH, .depth = 2, .in_order = true};
    Loader *loader;
    TRY(loader_open(&config, &loader));
    Status status = read_batches(loader, engine_item(&trained->engine), count, x, label);
    loader_close(loader);
    return status;
}
