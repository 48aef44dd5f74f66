// dye encode: a data set of images becomes one of the codes that an autoencoder gives them.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "data/dataset_index.h"
#include "data/loader.h"
#include "data/pack/pack.h"
#include "data/pack/source.h"
#include "launch/code.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/options.h"
#include "launch/session.h"
#include "launch/trained.h"

typedef struct {
    TrainedConfig config;
    PackInput input; // the data set
    PackConfig pack;
    Trained trained;
    Dataset *data; // the split under way, and its loader
    Loader *loader;
    int split;
    Batch batch;   // of which the ids are
    int64_t first; // sample of the split that it begins with
    int32_t *ids;
} EncodeCommand;

static Status parse(int argc, char **argv, EncodeCommand *command) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"average", required_argument, NULL, 'a'},
                                            {"force", no_argument, NULL, 'F'},
                                            {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "o:", options, NULL)) != -1;) {
        switch (option) {
        case 'o': command->pack.out = optarg; break;
        case 'n': command->pack.name = optarg; break;
        case 'a': TRY(option_f64("--average", optarg, 0, 1, &command->config.average)); break;
        case 'F': command->pack.force = true; break;
        default: FAIL(BAD_USAGE, "see `dye help encode`");
        }
    }
    FAIL_IF(argc - optind < 2 || command->pack.out == NULL, BAD_USAGE,
            "which run, which data set, and where to? usage: dye encode RUN DATASET -o DIR");
    command->config.run_dir = argv[optind];
    command->input.path = argv[optind + 1];
    command->config.overrides = argv + optind + 2;
    command->config.override_count = argc - optind - 2;
    return STATUS_OK;
}

// ---- what is packed ---------------------------------------------------------------------------

static Status open_split(EncodeCommand *command, const char *name, int split) {
    const Engine *engine = &command->trained.engine;
    int64_t batch = engine->capacity * engine->lanes;
    TRY(dataset_open(&(DatasetConfig){.path = command->input.path,
                                      .split = name,
                                      .cache_bytes = (size_t)1 << 26},
                     &command->data));
    LoaderConfig loader = {
        .dataset = command->data, .batch = batch, .share_end = batch, .depth = 2, .in_order = true};
    TRY(loader_open(&loader, &command->loader));
    command->split = split;
    command->first = 0;
    command->batch.count = 0;
    return STATUS_OK;
}

static void close_split(EncodeCommand *command) {
    loader_close(command->loader);
    dataset_close(command->data);
    command->loader = NULL;
    command->data = NULL;
}

// Encodes the next batch; those that an earlier pack has done already are not looked at.
static Status next_batch(EncodeCommand *command, int64_t wanted) {
    command->first += command->batch.count;
    TRY(loader_next(command->loader, &command->batch));
    FAIL_IF(command->batch.count == 0, BAD_DATA, "%s: ends early", command->input.path);
    if (wanted >= command->first + command->batch.count) return STATUS_OK;
    return code_encode(&command->trained.engine, command->batch.x, command->batch.count,
                       command->ids);
}

// Numbers as a column of bytes or of u16 holds them.
static void put_numbers(const Column *column, const int32_t *number, int64_t count, uint8_t *out) {
    for (int64_t i = 0; i < count; ++i) {
        uint16_t wide = (uint16_t)number[i];
        if (column->dtype == DTYPE_U16)
            memcpy(out + 2 * i, &wide, sizeof wide);
        else
            out[i] = (uint8_t)wide;
    }
}

static Status read_codes(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                         uint8_t *const out[DATASET_COLUMNS_MOST]) {
    EncodeCommand *command = source->state;
    int64_t places = network_code_places(command->trained.engine.network);
    if (command->loader == NULL || split != command->split || first < command->first) {
        close_split(command);
        TRY(open_split(command, source->split[split].name, split));
    }
    while (first >= command->first + command->batch.count) TRY(next_batch(command, first));
    int64_t row = first - command->first, left = command->batch.count - row;
    *got = most < left ? most : left;
    put_numbers(&source->info.column[0], command->ids + row * places, *got * places, out[0]);
    if (source->info.columns > 1)
        put_numbers(&source->info.column[1], command->batch.label + row, *got, out[1]);
    return STATUS_OK;
}

static Status check_source(const EncodeCommand *command, const DatasetInfo *info) {
    const NetworkShape *shape = &command->trained.engine.shape;
    const int64_t *dim = info->column[0].dim;
    FAIL_IF(info->kind != KIND_IMAGE || dim[0] != shape->channels || dim[1] != shape->height ||
                dim[2] != shape->width,
            BAD_DATA, "%s: holds no images of %d x %d x %d, which %s has learned",
            command->input.path, shape->channels, shape->height, shape->width,
            command->config.run_dir);
    return STATUS_OK;
}

static Status open_codes(Source *source, const SourceOptions *options) {
    const EncodeCommand *command = source->state;
    const NetworkConfig *model = &command->trained.settings.model;
    const NetworkShape *shape = &command->trained.engine.shape;
    const int64_t grid[2] = {shape->height / model->patch, shape->width / model->patch};
    DatasetIndex index;
    (void)options;
    TRY(dataset_index_load(command->input.path, &index));
    Status status = check_source(command, &index.info);
    source->info.kind = KIND_TOKENS;
    source->info.symbols = model->codes;
    source->info.classes = index.info.classes;
    source->sequential = true;
    source_add_column(source, "tokens", model->codes > 256 ? DTYPE_U16 : DTYPE_U8, 2, grid);
    if (index.info.classes > 0)
        source_add_column(source, "label", index.info.column[1].dtype, 0, NULL);
    for (int s = 0; s < index.splits; ++s)
        source_add_split(source, index.split[s].name, index.split[s].items);
    dataset_index_close(&index);
    return status;
}

static void close_codes(Source *source) {
    close_split(source->state);
}

static const SourceType source_codes = {.name = "codes",
                                        .what = "what an autoencoder makes of images",
                                        .open = open_codes,
                                        .read = read_codes,
                                        .close = close_codes};

// ---- command ----------------------------------------------------------------------------------

static Status start(void *context, Comm *comm) {
    EncodeCommand *command = context;
    FAIL_IF(comm_world(comm) > 1, BAD_USAGE, "dye encode runs alone, without mpirun");
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    Engine *engine = &command->trained.engine;
    FAIL_IF(!engine->shape.autoencoder, BAD_USAGE,
            "%s is no autoencoder: its process.name must be autoencoder", command->config.run_dir);
    size_t most = (size_t)(engine->capacity * engine->lanes);
    size_t codes = most * (size_t)network_code_places(engine->network);
    command->ids = calloc(codes, sizeof *command->ids);
    FAIL_IF(command->ids == NULL, NO_MEMORY, "no memory for the codes of %zu images", most);
    return STATUS_OK;
}

static Status run(void *context, Comm *comm) {
    EncodeCommand *command = context;
    (void)comm;
    double started = clock_now();
    TRY(engine_use(&command->trained.engine, command->trained.weights));
    command->pack.input = &command->input;
    command->pack.inputs = 1;
    command->pack.made = &source_codes;
    command->pack.made_state = command;
    command->pack.progress = console_task_progress;
    TRY(pack(&command->pack));
    console_task(NULL);
    printf("encoded %s into %s by step %lld of %s in %.1f s\n", command->input.path,
           command->pack.out, (long long)command->trained.step, command->config.run_dir,
           clock_now() - started);
    return STATUS_OK;
}

static void finish(void *context) {
    EncodeCommand *command = context;
    close_split(command);
    trained_close(&command->trained);
    free(command->ids);
}

Status cmd_encode(int argc, char **argv) {
    EncodeCommand command = {.config = {.split = "train", .capacity = 64}};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
