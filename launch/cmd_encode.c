// dye encode: a data set of images becomes one of the codes that an autoencoder gives them.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "data/dataset_index.h"
#include "data/loader.h"
#include "data/pack.h"
#include "launch/code.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/options.h"
#include "launch/session.h"
#include "launch/trained.h"

typedef struct {
    TrainedConfig config;
    const char *source;
    PackConfig pack;
    PackTokens made;
    Trained trained;
    Dataset *data; // the split under way, and its loader
    Loader *loader;
    int32_t *ids; // of a batch
    uint8_t *tokens, *labels;
} EncodeCommand;

static Status parse(int argc, char **argv, EncodeCommand *command) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"average", required_argument, NULL, 'a'},
                                            {"force", no_argument, NULL, 'F'},
                                            {0}};
    int64_t average = 0;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "o:", options, NULL)) != -1;) {
        switch (option) {
        case 'o': command->pack.out = optarg; break;
        case 'n': command->pack.name = optarg; break;
        case 'a': TRY(option_i64("--average", optarg, 0, 1, &average)); break;
        case 'F': command->pack.force = true; break;
        default: FAIL(BAD_USAGE, "see `dye help encode`");
        }
    }
    FAIL_IF(argc - optind < 2 || command->pack.out == NULL, BAD_USAGE,
            "which run, which data set, and where to? usage: dye encode RUN DATASET -o DIR");
    command->config.run_dir = argv[optind];
    command->source = command->pack.source = argv[optind + 1];
    command->config.overrides = argv + optind + 2;
    command->config.override_count = argc - optind - 2;
    command->config.average = (int)average;
    return STATUS_OK;
}

// ---- what is packed ---------------------------------------------------------------------------

static Status open_split(EncodeCommand *command, int split) {
    const Engine *engine = &command->trained.engine;
    int64_t batch = engine->capacity * engine->lanes;
    TRY(dataset_open(command->source, command->made.split[split].name, (size_t)1 << 26,
                     &command->data));
    LoaderConfig loader = {
        .dataset = command->data, .batch = batch, .share_end = batch, .depth = 2, .in_order = true};
    TRY(loader_open(&loader, &command->loader));
    return STATUS_OK;
}

static void close_split(EncodeCommand *command) {
    loader_close(command->loader);
    dataset_close(command->data);
    command->loader = NULL;
    command->data = NULL;
}

static Status next(void *context, int split, const uint8_t **tokens, const uint8_t **labels,
                   int64_t *count) {
    EncodeCommand *command = context;
    Engine *engine = &command->trained.engine;
    Batch batch;
    if (command->loader == NULL) TRY(open_split(command, split));
    TRY(loader_next(command->loader, &batch));
    *count = batch.count;
    if (batch.count == 0) {
        close_split(command);
        return STATUS_OK;
    }
    TRY(code_encode(engine, batch.x, batch.count, command->ids));
    int64_t places = network_code_places(engine->network);
    for (int64_t i = 0; i < batch.count * places; ++i)
        command->tokens[i] = (uint8_t)command->ids[i];
    for (int64_t i = 0; i < batch.count; ++i) command->labels[i] = (uint8_t)batch.label[i];
    *tokens = command->tokens;
    *labels = command->labels;
    return STATUS_OK;
}

static Status check_source(EncodeCommand *command, const DatasetInfo *info) {
    const NetworkShape *shape = &command->trained.engine.shape;
    const int64_t *dim = info->column[0].dim;
    FAIL_IF(info->kind != KIND_IMAGE || dim[0] != shape->channels || dim[1] != shape->height ||
                dim[2] != shape->width,
            BAD_DATA, "%s: holds no images of %d x %d x %d, which %s has learned", command->source,
            shape->channels, shape->height, shape->width, command->config.run_dir);
    return STATUS_OK;
}

static Status describe(EncodeCommand *command) {
    const NetworkConfig *model = &command->trained.settings.model;
    const NetworkShape *shape = &command->trained.engine.shape;
    DatasetIndex index;
    TRY(dataset_index_load(command->source, &index));
    Status status = check_source(command, &index.info);
    command->made = (PackTokens){.symbols = model->codes,
                                 .classes = index.info.classes,
                                 .height = shape->height / model->patch,
                                 .width = shape->width / model->patch,
                                 .splits = index.splits,
                                 .next = next,
                                 .context = command};
    for (int s = 0; s < index.splits; ++s) {
        PackSplit *split = &command->made.split[s];
        snprintf(split->name, sizeof split->name, "%s", index.split[s].name);
        split->items = index.split[s].items;
    }
    dataset_index_close(&index);
    return status;
}

// ---- command ----------------------------------------------------------------------------------

static Status start(void *context, Comm *comm) {
    EncodeCommand *command = context;
    FAIL_IF(comm_world(comm) > 1, BAD_USAGE, "dye encode runs alone, without mpirun");
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    Engine *engine = &command->trained.engine;
    FAIL_IF(!engine->shape.autoencoder, BAD_USAGE,
            "%s is no autoencoder: its process.name must be autoencoder", command->config.run_dir);
    FAIL_IF(command->trained.settings.model.codes > 256, BAD_CONFIG,
            "model.codes is %d; a data set's tokens have at most 256 symbols",
            command->trained.settings.model.codes);
    TRY(describe(command));
    size_t most = (size_t)(engine->capacity * engine->lanes);
    size_t codes = most * (size_t)network_code_places(engine->network);
    command->ids = calloc(codes, sizeof *command->ids);
    command->tokens = malloc(codes);
    command->labels = malloc(most);
    FAIL_IF(command->ids == NULL || command->tokens == NULL || command->labels == NULL, NO_MEMORY,
            "no memory for the codes of %zu images", most);
    return STATUS_OK;
}

static Status run(void *context, Comm *comm) {
    EncodeCommand *command = context;
    (void)comm;
    double started = clock_now();
    TRY(engine_use(&command->trained.engine, command->trained.weights));
    command->pack.tokens = &command->made;
    TRY(pack(&command->pack));
    printf("encoded %s into %s by step %lld of %s in %.1f s\n", command->source, command->pack.out,
           (long long)command->trained.step, command->config.run_dir, clock_now() - started);
    return STATUS_OK;
}

static void finish(void *context) {
    EncodeCommand *command = context;
    close_split(command);
    trained_close(&command->trained);
    free(command->ids);
    free(command->tokens);
    free(command->labels);
}

Status cmd_encode(int argc, char **argv) {
    EncodeCommand command = {.config = {.split = "train", .capacity = 64}};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
