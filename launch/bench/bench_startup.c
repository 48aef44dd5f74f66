// Phase `startup`: where the time until the first step went, and parts of it measured once more.
#include <stdlib.h>

#include "base/clock.h"
#include "data/loader.h"
#include "launch/bench/bench.h"

static Status time_data(const Bench *bench, double *seconds) {
    Dataset *data;
    double began = clock_now();
    TRY(dataset_open(&(DatasetConfig){.path = bench->settings.data.path,
                                      .split = "train",
                                      .cache_bytes = (size_t)bench->settings.data.cache},
                     &data));
    *seconds = clock_now() - began;
    dataset_close(data);
    return STATUS_OK;
}

static Status time_engine(const Bench *bench, double *seconds) {
    const RunSettings *s = &bench->settings;
    Dataset *data;
    Engine engine;
    TRY(dataset_open(&(DatasetConfig){.path = s->data.path, .split = "train", .cache_bytes = 0},
                     &data));
    EngineConfig config = {.network = &s->model,
                           .process = &s->process,
                           .data = dataset_info(data),
                           .length = s->data.length,
                           .device = {.backend = s->device.backend,
                                      .streams = bench->engine->lanes,
                                      .core = bench->cores.pinned ? bench->cores.core : NULL,
                                      .gpu = bench->cores.gpu,
                                      .attention = s->device.attention},
                           .capacity = s->train.batch / s->train.grains,
                           .backward = true};
    double began = clock_now();
    Status status = engine_open(&config, &engine);
    *seconds = clock_now() - began;
    engine_close(&engine);
    dataset_close(data);
    return status;
}

static Status time_weights(const Bench *bench, double *seconds) {
    const Params *params = &bench->engine->params;
    float *weights = malloc((size_t)params->size * sizeof *weights);
    FAIL_IF(weights == NULL, NO_MEMORY, "no memory for initial weights");
    double began = clock_now();
    params_draw(params, bench->settings.train.seed, 0, params->size, weights);
    *seconds = clock_now() - began;
    free(weights);
    return STATUS_OK;
}

Status bench_startup(Bench *bench) {
    const BenchStart *start = &bench->start;
    static const BenchColumn columns[] = {{"ms", 2}, {"% of start", 1}, {"steps", 3}};
    double all = start->process + start->mpi + start->open + start->first_step;
    double data = 0, engine = 0, weights = 0, step = bench->step_seconds;
    TRY(time_data(bench, &data));
    TRY(time_engine(bench, &engine));
    TRY(time_weights(bench, &weights));
    const struct {
        const char *name;
        double seconds;
    } parts[] = {
        {"program, configuration, cores", start->process},
        {"MPI_Init", start->mpi},
        {"trainer: data, model, weights", start->open},
        {"first step", start->first_step},
        {"(again alone: data set opened)", data},
        {"(again alone: model and streams)", engine},
        {"(again alone: weights drawn)", weights},
    };
    report_table(bench, "part", columns, 3);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i)
        report_row(bench, parts[i].name,
                   (double[]){1e3 * parts[i].seconds, 100 * parts[i].seconds / all,
                              parts[i].seconds / step});
    report_ratio(bench, "start_over_step", all / step, "until the first step is done, over a step");
    report_ratio(bench, "own_over_step", (start->process + start->open) / step,
                 "without MPI_Init and the first step, over a step");
    report_ratio(bench, "first_over_step", start->first_step / step,
                 "the first step over the median one");
    report_figure(bench, "own_ms", 1e3 * (start->process + start->open), "ms");
    report_figure(bench, "mpi_init_ms", 1e3 * start->mpi, "ms");
    return STATUS_OK;
}
