// The plan of a run that is not started, behind launch/forecast.h.
#include "launch/forecast.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "comm/reduce.h"
#include "data/loader.h"
#include "model/backend.h"

// A stream of a GPU executes a whole operation at once: one keeps it busy.
static int usual_streams(bool on_host) {
    cpu_set_t allowed;
    if (!on_host || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
    return CPU_COUNT(&allowed);
}

// Opens `model` for the settings.
static Status describe(Forecast *forecast) {
    return engine_open(&(EngineConfig){.network = &forecast->settings.model,
                                       .process = &forecast->settings.process,
                                       .data = dataset_info(forecast->data),
                                       .length = forecast->settings.data.length,
                                       .capacity = 1,
                                       .backward = true},
                       &forecast->model);
}

Status forecast_open(const RunSettings *settings, int world, int group, bool on_host,
                     Forecast *out) {
    const DataConfig *data = &settings->data;
    *out = (Forecast){.settings = *settings, .world = world, .group = group, .on_host = on_host};
    out->streams = settings->device.threads;
    if (out->streams == 0) out->streams = usual_streams(on_host);
    FAIL_IF(world > settings->train.grains, BAD_CONFIG,
            "%d ranks are more than train.grains = %d can feed: take at most %d, or raise"
            " train.grains",
            world, settings->train.grains, settings->train.grains);
    TRY(dataset_open(&(DatasetConfig){.path = data->path, .split = "train"}, &out->data));
    const DatasetInfo *info = dataset_info(out->data);
    FAIL_IF(info->kind == KIND_TEXT && data->length < 1, BAD_CONFIG,
            "data.length must be given for the text %s", data->path);
    return describe(out);
}

void forecast_close(Forecast *forecast) {
    engine_close(&forecast->model);
    dataset_close(forecast->data);
    memset(forecast, 0, sizeof *forecast);
}

size_t forecast_outside(const Forecast *forecast) {
    size_t workspace = (size_t)forecast->streams * MATMUL_WORKSPACE_BYTES;
    return forecast->on_host ? 0 : workspace + FORECAST_CONTEXT_BYTES;
}

size_t plan_item_bytes(const Plan *plan, int item, bool host) {
    size_t device = plan->item[item].device;
    return host ? plan->item[item].host + (plan->on_host ? device : 0) : plan->on_host ? 0 : device;
}

size_t plan_device_bytes(const Plan *plan) {
    size_t sum = 0;
    for (int i = 0; i < plan->items; ++i) sum += plan_item_bytes(plan, i, false);
    return sum;
}

size_t plan_host_bytes(const Plan *plan) {
    size_t sum = 0;
    for (int i = 0; i < plan->items; ++i) sum += plan_item_bytes(plan, i, true);
    return sum;
}

// Of the memory that is scarce.
static size_t main_bytes(const Plan *plan) {
    return plan->on_host ? plan_host_bytes(plan) : plan_device_bytes(plan);
}

static void plan_rank(const Forecast *forecast, int64_t grain, int rank, ForecastRank *out) {
    RunSettings settings = forecast->settings;
    int begin, end;
    settings.train.grains = (int32_t)(settings.train.batch / grain);
    grain_share(settings.train.grains, forecast->world, rank, &begin, &end);
    *out = (ForecastRank){.rank = rank, .grains = end - begin, .streams = forecast->streams};
    if (out->streams > out->grains) out->streams = out->grains;
    trainer_foresee(&settings, &forecast->model, forecast->world, forecast->group, rank,
                    out->streams, forecast->on_host, &out->plan);
}

void forecast_rank(const Forecast *forecast, int64_t grain, int rank, ForecastRank *out) {
    plan_rank(forecast, grain, rank < 0 ? 0 : rank, out);
    for (int i = 1; rank < 0 && i < forecast->world; ++i) {
        ForecastRank other;
        plan_rank(forecast, grain, i, &other);
        if (main_bytes(&other.plan) > main_bytes(&out->plan)) *out = other;
    }
}

size_t forecast_sample_bytes(const Forecast *forecast) {
    size_t bytes[2];
    for (int i = 0; i < 2; ++i) {
        Engine model = forecast->model;
        Plan plan = {.on_host = forecast->on_host};
        model.lanes = forecast->streams;
        model.capacity = 64 * (i + 1);
        engine_plan(&model, &plan);
        bytes[i] = main_bytes(&plan);
    }
    return (bytes[1] - bytes[0]) / 64;
}

int64_t forecast_next_grain(const Forecast *forecast, int64_t grain) {
    int64_t batch = forecast->settings.train.batch;
    for (int64_t grains = grain > 0 ? batch / grain + 1 : forecast->world; grains <= batch;
         ++grains)
        if (batch % grains == 0 && grains <= INT32_MAX) return batch / grains;
    return 0;
}

int64_t forecast_largest_grain(const Forecast *forecast, size_t bytes) {
    ForecastRank rank;
    for (int64_t grain = 0; (grain = forecast_next_grain(forecast, grain)) > 0;) {
        forecast_rank(forecast, grain, -1, &rank);
        if (main_bytes(&rank.plan) + forecast_outside(forecast) <= bytes) return grain;
    }
    return 0;
}

// With so many blocks computed again.
static Status fits_with(const Forecast *forecast, int blocks, int rank, size_t bytes, bool *out) {
    const TrainConfig *train = &forecast->settings.train;
    Forecast other = *forecast;
    ForecastRank plan;
    other.settings.model.recompute = blocks;
    Status status = describe(&other);
    if (status == STATUS_OK) {
        forecast_rank(&other, train->batch / train->grains, rank, &plan);
        *out = main_bytes(&plan.plan) + forecast_outside(&other) <= bytes;
    }
    engine_close(&other.model);
    return status;
}

Status forecast_recompute(const Forecast *forecast, int rank, size_t bytes, int *out) {
    const NetworkConfig *model = &forecast->settings.model;
    int too_few = model->recompute, most = model->depth;
    bool fits = false;
    *out = 0;
    if (strcmp(model->family, "mlp") == 0) return STATUS_OK;
    TRY(fits_with(forecast, most, rank, bytes, &fits));
    if (!fits) return STATUS_OK;
    for (*out = most; *out - too_few > 1;) { // each block more takes less memory, or as much
        int middle = (too_few + *out) / 2;
        TRY(fits_with(forecast, middle, rank, bytes, &fits));
        *(fits ? out : &too_few) = middle;
    }
    return STATUS_OK;
}

bool forecast_text(const Plan *plan, bool host, char *text, size_t bytes) {
    size_t used = 0, total = host ? plan_host_bytes(plan) : plan_device_bytes(plan);
    for (int i = 0; i < plan->items && used < bytes; ++i) {
        size_t item = plan_item_bytes(plan, i, host);
        if (item > 0)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s %.1f", used > 0 ? " + " : "",
                                     plan->item[i].purpose, (double)item / 1e6);
    }
    if (used < bytes) snprintf(text + used, bytes - used, " = %.1f MB", (double)total / 1e6);
    return total > 0;
}
