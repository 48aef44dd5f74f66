// A data set read alone, as a training of one rank would read it.
#include "launch/bench/bench_read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "data/loader.h"
#include "launch/bench/bench_resident.h"
#include "launch/run_config.h"

enum { OVERRIDES_MOST = 64 };

typedef struct {
    RunSettings settings;
    Dataset *data;
    Loader *loader;
    int64_t samples, sample_bytes; // of an epoch; as they lie decoded in the shards, with labels
    double open_seconds, epoch_seconds, steady_rate;
} Reading;

bool bench_is_dataset(const char *path) {
    char index[PATH_BYTES];
    return path_format(index, "%s/index.json", path) == STATUS_OK && file_exists(index);
}

// The defaults of a run of this data; there is no file of a configuration.
static Status read_settings(const ReadRequest *request, RunSettings *out) {
    char data_path[PATH_BYTES];
    char *overrides[OVERRIDES_MOST] = {data_path};
    FAIL_IF(request->override_count >= OVERRIDES_MOST, BAD_USAGE, "at most %d keys can be given",
            OVERRIDES_MOST - 1);
    TRY(path_format(data_path, "data.path=%s", request->path));
    for (int i = 0; i < request->override_count; ++i) overrides[1 + i] = request->overrides[i];
    return run_config_read("/dev/null", overrides, 1 + request->override_count, out);
}

static Status open_reading(Reading *reading) {
    const RunSettings *s = &reading->settings;
    double began = clock_now();
    TRY(dataset_open(&(DatasetConfig){.path = s->data.path,
                                      .split = "train",
                                      .cache_bytes = (size_t)s->data.cache},
                     &reading->data));
    const DatasetInfo *info = dataset_info(reading->data);
    LoaderConfig config = {.dataset = reading->data,
                           .seed = s->train.seed,
                           .length = s->data.length,
                           .batch = s->train.batch,
                           .share_end = s->train.batch,
                           .depth = s->data.read_ahead,
                           .threads = s->data.threads,
                           .order = loader_order(s->data.order, info),
                           .window = s->data.window,
                           .weights = s->data.weights,
                           .augment = {s->data.flip, s->data.crop}};
    TRY(loader_open(&config, &reading->loader));
    reading->open_seconds = clock_now() - began;
    reading->samples = loader_samples(reading->data, s->data.length);
    for (int c = 0; c < info->columns; ++c) {
        int64_t items = info->kind == KIND_TEXT && c == 0 ? s->data.length : 1;
        reading->sample_bytes += items * column_item_bytes(&info->column[c]);
    }
    return STATUS_OK;
}

// Samples delivered until an epoch is over and `seconds` have passed since.
static Status read_on(Reading *reading, double seconds) {
    Batch batch;
    int64_t samples = 0, steady = 0;
    double began = clock_now(), now = began, epoch_end = 0;
    while (samples < reading->samples || now < epoch_end + seconds) {
        TRY(loader_next(reading->loader, &batch));
        now = clock_now();
        if (samples >= reading->samples) steady += batch.count;
        samples += batch.count;
        if (epoch_end == 0 && samples >= reading->samples) epoch_end = now;
    }
    reading->epoch_seconds = epoch_end - began + reading->open_seconds;
    reading->steady_rate = steady > 0 ? (double)steady / (now - epoch_end) : 0;
    return STATUS_OK;
}

static Status write_record(const ReadRequest *request, const Reading *reading, double first) {
    FILE *file = fopen(request->json_path, "a");
    FAIL_IF(file == NULL, IO, "%s: cannot be opened: %s", request->json_path, strerror(errno));
    json_t *record =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:I}", "phase", "read", "data",
                  request->path, "samples", (json_int_t)reading->samples, "sample_bytes",
                  (json_int_t)reading->sample_bytes, "batch",
                  (json_int_t)reading->settings.train.batch, "open_s", reading->open_seconds,
                  "first_epoch_s", reading->epoch_seconds, "first_samples_per_s", first,
                  "samples_per_s", reading->steady_rate, "peak_bytes", (json_int_t)resident_most());
    bool good = record != NULL && json_dumpf(record, file, JSON_COMPACT) == 0;
    json_decref(record);
    if (good) good = fputc('\n', file) != EOF;
    if (fclose(file) != 0) good = false;
    FAIL_IF(!good, IO, "%s: cannot be written: %s", request->json_path, strerror(errno));
    return STATUS_OK;
}

static Status report(const ReadRequest *request, const Reading *reading) {
    double first = (double)reading->samples / reading->epoch_seconds;
    double megabytes = 1e-6 * (double)reading->sample_bytes;
    printf("read: %lld samples of %lld bytes, batches of %lld\n", (long long)reading->samples,
           (long long)reading->sample_bytes, (long long)reading->settings.train.batch);
    printf("  first epoch   %10.0f samples/s, %7.1f MB/s, in %.2f s with the opening\n", first,
           first * megabytes, reading->epoch_seconds);
    if (request->seconds > 0)
        printf("  then          %10.0f samples/s, %7.1f MB/s\n", reading->steady_rate,
               reading->steady_rate * megabytes);
    printf("  resident      %10.0f MB at most\n", 1e-6 * (double)resident_most());
    if (request->json_path != NULL) TRY(write_record(request, reading, first));
    return STATUS_OK;
}

Status bench_read(const ReadRequest *request) {
    Reading reading = {0};
    TRY(read_settings(request, &reading.settings));
    Status status = open_reading(&reading);
    if (status == STATUS_OK) status = read_on(&reading, request->seconds);
    if (status == STATUS_OK) status = report(request, &reading);
    loader_close(reading.loader);
    dataset_close(reading.data);
    return status;
}
