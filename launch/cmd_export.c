// dye export: the weights of a run for other programs.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/safetensors.h"
#include "launch/average.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/options.h"
#include "launch/session.h"
#include "launch/trained.h"
#include "launch/version.h"

static const char usage[] = "usage: dye export RUN -o FILE.safetensors [--format safetensors|dit]"
                            " [--average 0|1|WIDTH|raw] [--bf16]";

typedef struct {
    TrainedConfig config;
    const char *out;
    bool dit, half;
    Trained trained;
} ExportCommand;

static Status parse(int argc, char **argv, ExportCommand *command) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"average", required_argument, NULL, 'a'},
                                            {"bf16", no_argument, NULL, 'b'},
                                            {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "o:", options, NULL)) != -1;) {
        switch (option) {
        case 'o': command->out = optarg; break;
        case 'f':
            command->dit = strcmp(optarg, "dit") == 0;
            FAIL_IF(!command->dit && strcmp(optarg, "safetensors") != 0, BAD_USAGE, "%s", usage);
            break;
        case 'a':
            if (strcmp(optarg, "raw") == 0)
                command->config.average = AVERAGE_RAW;
            else
                TRY(option_f64("--average", optarg, 0, 1, &command->config.average));
            break;
        case 'b': command->half = true; break;
        default: FAIL(BAD_USAGE, "%s", usage);
        }
    }
    FAIL_IF(optind >= argc || command->out == NULL, BAD_USAGE, "%s", usage);
    command->config.run_dir = argv[optind];
    command->config.overrides = argv + optind + 1;
    command->config.override_count = argc - optind - 1;
    return STATUS_OK;
}

// ---- tensors ----------------------------------------------------------------------------------

// All numbers to be written, tensor behind tensor, and their names.
typedef struct {
    float *number;
    int64_t size;
    SafetensorsEntry *entry;
    int count;
} Tensors;

// DiT keeps its table of positions among its weights: pos_embed [1, tokens, width].
static int64_t position_count(const ExportCommand *command) {
    return command->dit ? (int64_t)(network_table_bytes(command->trained.engine.network) / 4) : 0;
}

static Status list_tensors(const ExportCommand *command, Tensors *out) {
    const Params *params = &command->trained.engine.params;
    int64_t positions = position_count(command), width = command->trained.settings.model.width;
    const char *dtype = command->half ? "BF16" : "F32";
    out->size = params->size + positions;
    out->number = malloc((size_t)out->size * sizeof *out->number);
    out->entry = calloc((size_t)params->count + 1, sizeof *out->entry);
    FAIL_IF(out->number == NULL || out->entry == NULL, NO_MEMORY, "no memory for %lld numbers",
            (long long)out->size);
    if (positions > 0) {
        out->entry[out->count++] = (SafetensorsEntry){
            .name = "pos_embed", .dtype = dtype, .dims = 3, .dim = {1, positions / width, width}};
        network_table_fill(command->trained.engine.network, out->number);
    }
    for (int i = 0; i < params->count; ++i) {
        const Param *param = &params->list[i];
        SafetensorsEntry *entry = &out->entry[out->count++];
        *entry = (SafetensorsEntry){.name = param->name, .dtype = dtype, .dims = param->dims};
        for (int k = 0; k < param->dims; ++k) entry->dim[k] = param->dim[k];
    }
    return STATUS_OK;
}

// The device rounds as it does for the network.
static Status halve_numbers(const Engine *engine, const float *x, void *y, int64_t n) {
    Stream *stream = engine->lane[0].stream;
    size_t bytes = (size_t)n * sizeof *x;
    void *wide = NULL, *narrow = NULL;
    Status status = device_alloc(engine->device, bytes, &wide);
    if (status == STATUS_OK) status = device_alloc(engine->device, bytes / 2, &narrow);
    if (status == STATUS_OK) {
        stream_upload(stream, wide, x, bytes);
        halve(stream, (Elementwise){.x = wide, .y = narrow, .n = n});
        stream_download(stream, y, narrow, bytes / 2);
        status = stream_wait(stream);
    }
    device_release(engine->device, wide);
    device_release(engine->device, narrow);
    return status;
}

static json_t *make_metadata(const ExportCommand *command) {
    char step[24], average[24] = "raw";
    snprintf(step, sizeof step, "%lld", (long long)command->trained.step);
    if (command->config.average >= 0)
        snprintf(average, sizeof average, "%g", command->config.average);
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "format", "pt", "dye", version_text(), "system",
                     command->trained.settings.process.name, "step", step, "average", average);
}

static Status write_tensors(const ExportCommand *command, Tensors *tensors) {
    char *header = NULL;
    size_t head, each = command->half ? sizeof(uint16_t) : sizeof(float);
    json_t *metadata = make_metadata(command);
    Status status = safetensors_build(tensors->entry, tensors->count, metadata, &header, &head);
    json_decref(metadata);
    TRY(status);
    size_t bytes = (size_t)tensors->size * each;
    char *file = malloc(head + bytes);
    if (file == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory for a file of %zu bytes", head + bytes);
    memcpy(file, header, head);
    if (command->half)
        status =
            halve_numbers(&command->trained.engine, tensors->number, file + head, tensors->size);
    else
        memcpy(file + head, tensors->number, bytes);
    if (status == STATUS_OK) status = file_write_atomic(command->out, file, head + bytes);
    if (status == STATUS_OK)
        printf("%d tensors of step %lld in %s, %.1f MB\n", tensors->count,
               (long long)command->trained.step, command->out, (double)(head + bytes) / 1e6);
done:
    free(file);
    free(header);
    return status;
}

// ---- command ----------------------------------------------------------------------------------

static Status start(void *context, Comm *comm) {
    ExportCommand *command = context;
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    const NetworkConfig *model = &command->trained.settings.model;
    FAIL_IF(
        command->dit && (strcmp(model->family, "dit") != 0 ||
                         command->trained.engine.shape.tokens || model->fourier),
        BAD_USAGE,
        "--format dit is for model.family: dit on images without model.fourier, whose tensors the"
        " original has too");
    if (command->dit && strcmp(model->timestep_freq, "div-128") != 0)
        console_warn("this run was trained with model.timestep_freq: div-127, and the original DiT"
                     " tells other times: its pictures will be wrong; train with div-128");
    return STATUS_OK;
}

static Status run(void *context, Comm *comm) {
    ExportCommand *command = context;
    const Engine *engine = &command->trained.engine;
    Tensors tensors = {0};
    if (comm_rank(comm) != 0) return STATUS_OK;
    Status status = list_tensors(command, &tensors);
    if (status == STATUS_OK) {
        stream_download(engine->lane[0].stream, tensors.number + position_count(command),
                        command->trained.weights, (size_t)engine->params.size * sizeof(float));
        status = stream_wait(engine->lane[0].stream);
    }
    if (status == STATUS_OK) status = write_tensors(command, &tensors);
    free(tensors.number);
    free(tensors.entry);
    return status;
}

static void finish(void *context) {
    ExportCommand *command = context;
    trained_close(&command->trained);
}

Status cmd_export(int argc, char **argv) {
    ExportCommand command = {.config = {.split = "train", .capacity = 1}};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
