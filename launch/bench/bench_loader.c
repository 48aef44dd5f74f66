// Phase `loader`: what one reading thread delivers against what training consumes, and how long a
// step waits for its data.
#include "data/loader.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "comm/reduce.h"
#include "launch/bench/bench.h"

// Samples a second of a loader like the trainer's, of this rank's share.
static Status read_alone(Loader *loader, double seconds, double *rate) {
    Batch batch;
    double began, now;
    int64_t samples = 0;
    TRY(loader_next(loader, &batch)); // opens shards
    began = clock_now();
    do {
        TRY(loader_next(loader, &batch));
        samples += batch.count;
        now = clock_now();
    } while (now - began < seconds && !bench_asked());
    *rate = (double)samples / (now - began);
    return STATUS_OK;
}

static Status measure_alone(Bench *bench, double seconds, double *rate) {
    const RunSettings *s = &bench->settings;
    Dataset *data = NULL;
    Loader *loader = NULL;
    int begin, end;
    int64_t grain = s->train.batch / s->train.grains;
    grain_share(s->train.grains, comm_world(bench->comm), comm_rank(bench->comm), &begin, &end);
    TRY(dataset_open(&(DatasetConfig){.path = s->data.path,
                                      .split = "train",
                                      .cache_bytes = (size_t)s->data.cache},
                     &data));
    LoaderConfig config = {.dataset = data,
                           .seed = s->train.seed,
                           .length = s->data.length,
                           .batch = s->train.batch,
                           .share_begin = begin * grain,
                           .share_end = end * grain,
                           .depth = s->data.read_ahead,
                           .threads = s->data.threads,
                           .order = loader_order(s->data.order, dataset_info(data)),
                           .window = s->data.window,
                           .weights = s->data.weights,
                           .augment = {s->data.flip, s->data.crop}};
    Status status = loader_open(&config, &loader);
    if (status == STATUS_OK) status = read_alone(loader, seconds, rate);
    loader_close(loader);
    dataset_close(data);
    return status;
}

// Mean wait of the steps behind `step`, as metrics.jsonl tells it.
static Status read_waits(const Bench *bench, int64_t step, double *wait) {
    char path[PATH_BYTES], *text;
    size_t bytes;
    double sum = 0;
    int64_t last = step;
    TRY(path_format(path, "%s/metrics.jsonl", bench->settings.run.dir));
    TRY(file_read(path, (size_t)1 << 30, &text, &bytes));
    for (char *line = text; *line != '\0';) {
        char *end = line;
        while (*end != '\0' && *end != '\n') ++end;
        json_t *record = json_loadb(line, (size_t)(end - line), 0, NULL);
        int64_t at = json_integer_value(json_object_get(record, "step"));
        if (at > step) sum += json_number_value(json_object_get(record, "data_wait_s")), last = at;
        json_decref(record);
        line = *end == '\0' ? end : end + 1;
    }
    free(text);
    *wait = last > step ? sum / (double)(last - step) : 0;
    return STATUS_OK;
}

Status bench_loader(Bench *bench) {
    double rate = 0, wait = 0;
    int64_t step = trainer_step(bench->trainer);
    Stretch stretch;
    StretchRequest request = {.seconds = bench->seconds / 2, .steps = 3};
    TRY(bench_train(bench, &request, &stretch));
    if (bench->interrupted) return STATUS_OK;
    bench->step_seconds = stretch.step;
    TRY(measure_alone(bench, bench->seconds / 2, &rate));
    TRY(bench_sum(bench, &rate, 1));
    TRY(bench_meet(bench));
    if (bench->interrupted) return STATUS_OK;
    if (comm_rank(bench->comm) != 0) return STATUS_OK;
    TRY(read_waits(bench, step, &wait));
    double consumed = (double)bench->settings.train.batch / stretch.step;
    report_ratio(bench, "delivered_over_consumed", rate / consumed,
                 "samples read alone, a thread a rank, over samples trained");
    report_ratio(bench, "wait_over_step", wait / stretch.step,
                 "wait for data of a step, mean, over a step");
    report_figure(bench, "delivered_per_s", rate, "samples/s, all ranks");
    report_figure(bench, "consumed_per_s", consumed, "samples/s, all ranks");
    report_figure(bench, "wait_us", 1e6 * wait, "us");
    return STATUS_OK;
}
