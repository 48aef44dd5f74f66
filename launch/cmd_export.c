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
#include "launch/diffusers.h"
#include "launch/layout.h"
#include "launch/options.h"
#include "launch/session.h"
#include "launch/trained.h"
#include "launch/version.h"

static const char usage[] =
    "usage: dye export RUN -o FILE.safetensors|DIR [--format safetensors|dit|diffusers]"
    " [--average 0|1|WIDTH|raw] [--bf16]";

typedef struct {
    TrainedConfig config;
    const char *out;
    Layout layout;
    bool half;
    Trained trained;
    LayoutPieces pieces;
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
        case 'f': TRY(layout_read(optarg, &command->layout)); break;
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

static Status list_tensors(const ExportCommand *command, Tensors *out) {
    const LayoutPieces *pieces = &command->pieces;
    out->entry = calloc((size_t)pieces->count, sizeof *out->entry);
    FAIL_IF(out->entry == NULL, NO_MEMORY, "no memory for %d tensors", pieces->count);
    for (int i = 0; i < pieces->count; ++i) {
        const LayoutPiece *piece = &pieces->list[i];
        SafetensorsEntry *entry = &out->entry[out->count++];
        *entry = (SafetensorsEntry){
            .name = piece->name, .dtype = command->half ? "BF16" : "F32", .dims = piece->dims};
        memcpy(entry->dim, piece->dim, sizeof piece->dim);
        out->size += piece->size;
    }
    out->number = malloc((size_t)out->size * sizeof *out->number);
    FAIL_IF(out->number == NULL, NO_MEMORY, "no memory for %lld numbers", (long long)out->size);
    return STATUS_OK;
}

static Status fill_tensors(const ExportCommand *command, Tensors *tensors) {
    const Engine *engine = &command->trained.engine;
    float *weights = malloc((size_t)engine->params.size * sizeof *weights), *to = tensors->number;
    FAIL_IF(weights == NULL, NO_MEMORY, "no memory for %lld weights",
            (long long)engine->params.size);
    stream_download(engine->lane[0].stream, weights, command->trained.weights,
                    (size_t)engine->params.size * sizeof *weights);
    Status status = stream_wait(engine->lane[0].stream);
    if (command->layout != LAYOUT_DYE)
        layout_turn_time(command->layout, &command->trained.settings, engine, weights);
    for (int i = 0; i < command->pieces.count && status == STATUS_OK; ++i) {
        const LayoutPiece *piece = &command->pieces.list[i];
        if (piece->offset == LAYOUT_POSITIONS)
            network_table_fill(engine->network, to);
        else
            memcpy(to, weights + piece->offset, (size_t)piece->size * sizeof *to);
        to += piece->size;
    }
    free(weights);
    return status;
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
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "format", "pt", "dye", version_text(),
                     "layout", layout_name(command->layout), "system",
                     command->trained.settings.process.name, "step", step, "average", average);
}

static Status write_tensors(const ExportCommand *command, Tensors *tensors, const char *path) {
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
    if (status == STATUS_OK) status = file_write_atomic(path, file, head + bytes);
    if (status == STATUS_OK)
        printf("%d tensors of step %lld in %s, %.1f MB\n", tensors->count,
               (long long)command->trained.step, path, (double)(head + bytes) / 1e6);
done:
    free(file);
    free(header);
    return status;
}

// ---- command ----------------------------------------------------------------------------------

// What the other program cannot know from the weights.
static void warn_of_numbers(const ExportCommand *command) {
    const RunSettings *settings = &command->trained.settings;
    const ProcessConfig *process = &settings->process;
    char line[256];
    if (command->layout == LAYOUT_DYE) return;
    if (command->layout == LAYOUT_DIT && strcmp(settings->model.timestep_freq, "div-128") != 0)
        console_warn("this run was trained with model.timestep_freq: div-127, and the original DiT"
                     " tells other times: its pictures will be wrong; train with div-128");
    if (process_has_steps(process->name) && process->steps != 1000) {
        snprintf(line, sizeof line, "step i of %d is told as i * %g here", process->steps,
                 1000.0 / process->steps);
        console_warn(line);
    }
    if (process->data_mean == 0 && (process->data_std == 0 || process->data_std == 1)) return;
    snprintf(line, sizeof line,
             "this run knows its data as (x - %g) / %g: what is drawn elsewhere is to be multiplied"
             " by %g, and %g added",
             (double)process->data_mean, (double)process->data_std, (double)process->data_std,
             (double)process->data_mean);
    console_warn(line);
}

static Status start(void *context, Comm *comm) {
    ExportCommand *command = context;
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    warn_of_numbers(command);
    return layout_open(command->layout, &command->trained.settings, &command->trained.engine,
                       &command->pieces);
}

static Status run(void *context, Comm *comm) {
    ExportCommand *command = context;
    Tensors tensors = {0};
    char path[PATH_BYTES];
    if (comm_rank(comm) != 0) return STATUS_OK;
    if (command->layout == LAYOUT_DIFFUSERS)
        TRY(diffusers_write(command->out, &command->trained.settings, &command->trained.engine,
                            path));
    else
        TRY(path_format(path, "%s", command->out));
    Status status = list_tensors(command, &tensors);
    if (status == STATUS_OK) status = fill_tensors(command, &tensors);
    if (status == STATUS_OK) status = write_tensors(command, &tensors, path);
    free(tensors.number);
    free(tensors.entry);
    return status;
}

static void finish(void *context) {
    ExportCommand *command = context;
    layout_close(&command->pieces);
    trained_close(&command->trained);
}

Status cmd_export(int argc, char **argv) {
    ExportCommand command = {.config = {.split = "train", .capacity = 1, .described = true}};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
