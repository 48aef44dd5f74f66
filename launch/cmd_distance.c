// dye distance: how far what a run draws is from held-out data. Points are compared as they are;
// pictures would need features, which nothing here gives yet.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "data/loader.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/distance.h"
#include "launch/options.h"
#include "launch/session.h"
#include "launch/trained.h"
#include "trainer/generate.h"

typedef struct {
    TrainedConfig config;
    int64_t count, seed;
    bool json;
    Trained trained;
    Sampler *sampler;
    float *real; // [2 count, item]: two halves of held-out data
} DistanceCommand;

// Of a set to the first half of the held-out data.
typedef struct {
    double frechet, precision, recall;
} Distance;

static Status parse(int argc, char **argv, DistanceCommand *command) {
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"split", required_argument, NULL, 'p'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "n:", options, NULL)) != -1;) {
        switch (option) {
        case 'n': TRY(option_i64("-n", optarg, 4, 100000, &command->count)); break;
        case 's': TRY(option_i64("--seed", optarg, 0, INT64_MAX, &command->seed)); break;
        case 'p': command->config.split = optarg; break;
        case 'j': command->json = true; break;
        default: FAIL(BAD_USAGE, "see `dye help distance`");
        }
    }
    FAIL_IF(optind >= argc, BAD_USAGE, "which run? usage: dye distance RUN [-n N] [--json]");
    command->config.run_dir = argv[optind];
    command->config.overrides = argv + optind + 1;
    command->config.override_count = argc - optind - 1;
    return STATUS_OK;
}

static Status read_batches(DistanceCommand *command, Loader *loader, int64_t count) {
    int64_t item = engine_item(&command->trained.engine);
    for (int64_t done = 0; done < count;) {
        Batch batch;
        TRY(loader_next(loader, &batch));
        FAIL_IF(batch.count == 0, BAD_USAGE,
                "-n %lld takes twice as many held-out samples, but the split %s has %lld",
                (long long)command->count, command->config.split, (long long)done);
        const float *x = batch.x;
        for (int64_t i = 0; i < batch.count && done < count; ++i, ++done)
            for (int64_t k = 0; k < item; ++k) command->real[done * item + k] = x[i * item + k];
    }
    return STATUS_OK;
}

static Status read_real(DistanceCommand *command) {
    enum { BATCH = 256 };
    LoaderConfig config = {.dataset = command->trained.data,
                           .batch = BATCH,
                           .share_end = BATCH,
                           .depth = 2,
                           .in_order = true};
    int64_t count = 2 * command->count;
    command->real = calloc((size_t)(count * engine_item(&command->trained.engine)), sizeof(float));
    FAIL_IF(command->real == NULL, NO_MEMORY, "no memory for %lld samples", (long long)count);
    Loader *loader;
    TRY(loader_open(&config, &loader));
    Status status = read_batches(command, loader, count);
    loader_close(loader);
    return status;
}

static Status start(void *context, Comm *comm) {
    DistanceCommand *command = context;
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    Trained *trained = &command->trained;
    FAIL_IF(dataset_info(trained->data)->kind != KIND_VECTOR, BAD_USAGE,
            "dye distance compares points; %s draws something else", command->config.run_dir);
    TRY(sampler_open(trained->engine.process, &trained->settings.sampler, &command->sampler));
    return read_real(command);
}

static Status measure(const DistanceCommand *command, const float *set, Distance *out) {
    int width = (int)engine_item(&command->trained.engine);
    int64_t n = command->count;
    TRY(distance_frechet(command->real, n, set, n, width, &out->frechet));
    return distance_precision_recall(command->real, n, set, n, width, &out->precision,
                                     &out->recall);
}

static void print(const DistanceCommand *command, const Distance *drawn, const Distance *floor,
                  double seconds) {
    const Trained *trained = &command->trained;
    long long n = (long long)command->count, step = (long long)trained->step;
    int steps = sampler_steps(command->sampler);
    double each = seconds / (double)command->count;
    if (command->json)
        printf("{\"frechet\": %.9g, \"precision\": %.9g, \"recall\": %.9g, \"floor\": {\"frechet\":"
               " %.9g, \"precision\": %.9g, \"recall\": %.9g}, \"count\": %lld, \"evaluations\":"
               " %d, \"step\": %lld, \"split\": \"%s\", \"sample_s\": %.6g}\n",
               drawn->frechet, drawn->precision, drawn->recall, floor->frechet, floor->precision,
               floor->recall, n, steps, step, command->config.split, each);
    else
        printf("Frechet distance %.5f, precision %.4f, recall %.4f of %lld samples in %d"
               " evaluations each, step %lld, %.3g ms each\n"
               "two halves of split %s, %lld each, are %.5f, %.4f, %.4f apart\n",
               drawn->frechet, drawn->precision, drawn->recall, n, steps, step, 1e3 * each,
               command->config.split, n, floor->frechet, floor->precision, floor->recall);
}

static Status run(void *context, Comm *comm) {
    DistanceCommand *command = context;
    Trained *trained = &command->trained;
    GenerateRequest request = {.sampler = command->sampler,
                               .weights = trained->weights,
                               .seed = (uint64_t)command->seed,
                               .count = command->count,
                               .label = LABEL_CYCLE,
                               .guidance = trained->settings.sampler.guidance};
    void *samples;
    double started = clock_now();
    TRY(generate(&trained->engine, comm, &request, &samples));
    double seconds = clock_now() - started;
    Distance drawn, floor;
    const float *other = command->real + command->count * engine_item(&trained->engine);
    Status status = measure(command, samples, &drawn);
    if (status == STATUS_OK) status = measure(command, other, &floor);
    free(samples);
    if (status == STATUS_OK && comm_rank(comm) == 0) print(command, &drawn, &floor, seconds);
    return status;
}

static void finish(void *context) {
    DistanceCommand *command = context;
    free(command->real);
    sampler_close(command->sampler);
    trained_close(&command->trained);
}

Status cmd_distance(int argc, char **argv) {
    DistanceCommand command = {.config = {.split = "test", .capacity = 64}, .count = 2000};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
