// dye film: dye in water. Held-out data dissolve into noise, and below that noise becomes samples.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/loader.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/generate.h"
#include "launch/options.h"
#include "launch/picture.h"
#include "launch/session.h"
#include "launch/trained.h"
#include "launch/trajectory.h"

typedef struct {
    TrainedConfig config;
    const char *out;
    int64_t rows, frames, seed;
    bool animated;
    Trained trained;
    Sampler *sampler;
    char *film; // [2, frames, rows, item]: 4-byte numbers; what dissolves, and what emerges
    int64_t item_bytes;
} FilmCommand;

static Status parse(int argc, char **argv, FilmCommand *command) {
    static const struct option options[] = {
        {"rows", required_argument, NULL, 'n'},   {"out", required_argument, NULL, 'o'},
        {"frames", required_argument, NULL, 'f'}, {"seed", required_argument, NULL, 's'},
        {"animated", no_argument, NULL, 'a'},     {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "n:o:", options, NULL)) != -1;) {
        switch (option) {
        case 'n': TRY(option_i64("-n", optarg, 1, 100000, &command->rows)); break;
        case 'o': command->out = optarg; break;
        case 'f': TRY(option_i64("--frames", optarg, 2, 100, &command->frames)); break;
        case 'a': command->animated = true; break;
        case 's': TRY(option_i64("--seed", optarg, 0, INT64_MAX, &command->seed)); break;
        default: FAIL(BAD_USAGE, "see `dye help film`");
        }
    }
    FAIL_IF(optind >= argc || command->out == NULL, BAD_USAGE,
            "which run, which file? usage: dye film RUN -o FILE [-n N] [--frames F]");
    command->config.run_dir = argv[optind];
    command->config.overrides = argv + optind + 1;
    command->config.override_count = argc - optind - 1;
    return STATUS_OK;
}

static bool is_cloud(const FilmCommand *command) {
    const NetworkShape *shape = &command->trained.engine.shape;
    return dataset_info(command->trained.data)->kind == KIND_VECTOR && shape->channels == 2;
}

static Status start(void *context, Comm *comm) {
    FilmCommand *command = context;
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    Engine *engine = &command->trained.engine;
    TRY(sampler_open(engine->process, &command->trained.settings.sampler, &command->sampler));
    if (command->rows == 0) command->rows = is_cloud(command) ? 2000 : 4;
    command->item_bytes = engine_item(engine) * 4;
    size_t items = (size_t)(2 * command->rows * command->frames);
    command->film = calloc(items, (size_t)command->item_bytes);
    FAIL_IF(command->film == NULL, NO_MEMORY, "no memory for a film of %zu frames", items);
    return STATUS_OK;
}

// Of what dissolves.
static char *frame_of(const FilmCommand *command, int64_t row, int64_t frame) {
    return command->film + (frame * command->rows + row) * command->item_bytes;
}

// ---- forward ----------------------------------------------------------------------------------

// Frame 0 is the data; the others are x_t with the same noise at even times.
static Status dissolve_batch(FilmCommand *command, const Batch *batch, double *time) {
    Engine *engine = &command->trained.engine;
    EngineLane *lane = &engine->lane[0];
    GrainBatch grain = {.seed = (uint64_t)command->seed,
                        .samples = batch->count,
                        .x_0 = batch->x,
                        .label = batch->label,
                        .sample = batch->sample};
    for (int64_t frame = 0; frame < command->frames; ++frame) {
        double point = (double)frame / (double)(command->frames - 1);
        for (int64_t i = 0; i < batch->count; ++i)
            time[i] = process_time_at(engine->process, point < 1 ? point : 1 - 1e-9);
        process_corrupt_at(engine->process, engine->network, lane->stream, &lane->pass, &grain,
                           time, 0);
        for (int64_t i = 0; i < batch->count; ++i)
            stream_download(lane->stream, frame_of(command, (int64_t)batch->sample[i], frame),
                            (const char *)lane->pass.x_t + i * command->item_bytes,
                            (size_t)command->item_bytes);
        TRY(stream_wait(lane->stream));
    }
    for (int64_t i = 0; i < batch->count; ++i)
        memcpy(frame_of(command, (int64_t)batch->sample[i], 0),
               (const char *)batch->x + i * command->item_bytes, (size_t)command->item_bytes);
    return STATUS_OK;
}

static Status dissolve(FilmCommand *command) {
    const Trained *trained = &command->trained;
    int64_t most = command->config.capacity;
    double time[64];
    REQUIRE(most <= 64);
    Loader *loader;
    LoaderConfig config = {.dataset = trained->data,
                           .length = trained->settings.data.length,
                           .batch = most,
                           .share_end = most,
                           .depth = 2,
                           .in_order = true};
    TRY(loader_open(&config, &loader));
    Status status = STATUS_OK;
    for (int64_t done = 0; done < command->rows && status == STATUS_OK; done += most) {
        Batch batch;
        TRY_OR(end, status, loader_next(loader, &batch));
        if (batch.count == 0)
            FAIL_OR(end, status, BAD_USAGE, "-n %lld: the split %s has %lld samples",
                    (long long)command->rows, command->config.split, (long long)done);
        if (batch.count > command->rows - done) batch.count = command->rows - done;
        status = dissolve_batch(command, &batch, time);
    }
end:
    loader_close(loader);
    return status;
}

// ---- backward ---------------------------------------------------------------------------------

static Status emerge(FilmCommand *command, Comm *comm) {
    const Trained *trained = &command->trained;
    GenerateRequest request = {.sampler = command->sampler,
                               .weights = trained->weights,
                               .seed = (uint64_t)command->seed,
                               .count = command->rows,
                               .label = LABEL_CYCLE,
                               .frames = (int)command->frames};
    void *samples;
    TRY(generate(&command->trained.engine, comm, &request, &samples));
    size_t bytes = (size_t)(command->frames * command->rows * command->item_bytes);
    memcpy(command->film + bytes, samples, bytes);
    free(samples);
    return STATUS_OK;
}

// ---- the picture ------------------------------------------------------------------------------

// [2 rows, frames, item], malloc'ed: each sample's way in a row.
static char *by_rows(const FilmCommand *command) {
    int64_t rows = command->rows, frames = command->frames, bytes = command->item_bytes;
    char *out = malloc((size_t)(2 * rows * frames * bytes));
    for (int64_t i = 0; i < 2 * rows * frames && out != NULL; ++i) {
        int64_t half = i / (rows * frames), frame = i / rows % frames, row = half * rows + i % rows;
        memcpy(out + (row * frames + frame) * bytes, command->film + i * bytes, (size_t)bytes);
    }
    return out;
}

// A cloud holds the points of all rows.
static Status draw(const FilmCommand *command) {
    const DatasetInfo *info = dataset_info(command->trained.data);
    const NetworkShape *shape = &command->trained.engine.shape;
    int64_t rows = command->rows, frames = command->frames;
    FAIL_IF(command->animated && !is_cloud(command) && !dataset_is_drawn(info), BAD_USAGE,
            "--animated is for pictures and points in the plane");
    if (command->animated)
        return trajectory_write(&command->trained, command->film, NULL, (int)(2 * frames), rows,
                                command->out);
    if (is_cloud(command))
        return picture_write_clouds((const float *)(const void *)command->film, 2 * frames, rows,
                                    (int32_t)frames, command->out);
    char *sorted = by_rows(command);
    FAIL_IF(sorted == NULL, NO_MEMORY, "no memory for a film of %lld frames", (long long)frames);
    Status status =
        picture_write_rows(info, shape, sorted, 2 * rows * frames, (int32_t)frames, command->out);
    free(sorted);
    return status;
}

static Status run(void *context, Comm *comm) {
    FilmCommand *command = context;
    const Trained *trained = &command->trained;
    if (comm_rank(comm) == 0) console_task("drawing");
    TRY(engine_use(&command->trained.engine, trained->weights));
    TRY(dissolve(command));
    TRY(emerge(command, comm));
    console_task(NULL);
    if (comm_rank(comm) != 0) return STATUS_OK;
    float *dissolving = (float *)(void *)command->film;
    int64_t half = command->frames * command->rows * command->item_bytes / 4;
    trajectory_restore(&trained->engine, dissolving, (int)command->frames, command->rows, 0);
    trajectory_restore(&trained->engine, dissolving + half, (int)command->frames, command->rows,
                       (int)command->frames - 1);
    TRY(draw(command));
    printf("%lld samples dissolve, %lld emerge, in %lld frames each: %s\n",
           (long long)command->rows, (long long)command->rows, (long long)command->frames,
           command->out);
    return STATUS_OK;
}

static void finish(void *context) {
    FilmCommand *command = context;
    free(command->film);
    sampler_close(command->sampler);
    trained_close(&command->trained);
}

Status cmd_film(int argc, char **argv) {
    FilmCommand command = {.config = {.split = "test", .capacity = 16}, .frames = 9};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
