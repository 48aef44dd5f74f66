// dye import: weights of another program, or run, as the start of a run.
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mix.h"
#include "data/safetensors.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/diffusers.h"
#include "launch/layout.h"
#include "launch/lock.h"
#include "launch/run_config.h"
#include "launch/session.h"
#include "launch/trained.h"

static const char usage[] = "usage: dye import FILE.safetensors|FOLDER CONFIG.yaml [key=value ...]"
                            " [--format safetensors|dit|diffusers]";

typedef struct {
    TrainedConfig config;
    const char *from; // as named
    char path[PATH_BYTES];
    Layout layout;
    bool told; // --format
    Trained trained;
    Safetensors file;
    LayoutPieces pieces;
    float *weights, *zero; // [params.size], [part_size]
} ImportCommand;

static Status parse(int argc, char **argv, ImportCommand *command) {
    static const struct option options[] = {{"format", required_argument, NULL, 'f'}, {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        FAIL_IF(option != 'f', BAD_USAGE, "%s", usage);
        TRY(layout_read(optarg, &command->layout));
        command->told = true;
    }
    FAIL_IF(argc - optind < 2, BAD_USAGE, "%s", usage);
    command->from = argv[optind];
    command->config.config_path = argv[optind + 1];
    command->config.overrides = argv + optind + 2;
    command->config.override_count = argc - optind - 2;
    return STATUS_OK;
}

// ---- reading ----------------------------------------------------------------------------------

static Status find_file(ImportCommand *command) {
    struct stat info;
    if (stat(command->from, &info) == 0 && S_ISDIR(info.st_mode))
        return diffusers_find(command->from, command->path);
    const char *end = strrchr(command->from, '.');
    FAIL_IF(
        end != NULL && (strcmp(end, ".pt") == 0 || strcmp(end, ".pth") == 0), BAD_USAGE,
        "%s is a pickle, which can run any program; make it a safetensors file in Python:"
        " safetensors.torch.save_file(torch.load(\"%s\", weights_only=True), \"x.safetensors\")",
        command->from, command->from);
    return path_format(command->path, "%s", command->from);
}

// What Dye wrote says so; of others the names tell.
static Status find_layout(ImportCommand *command) {
    const json_t *metadata = command->file.metadata;
    const char *layout = json_string_value(json_object_get(metadata, "layout"));
    if (command->told) return STATUS_OK;
    if (layout != NULL) return layout_read(layout, &command->layout);
    command->layout = json_object_get(metadata, "dye") != NULL ? LAYOUT_DYE : LAYOUT_DIT;
    for (int i = 0; i < command->file.count; ++i)
        if (strncmp(command->file.list[i].name, "transformer_blocks.", 19) == 0)
            command->layout = LAYOUT_DIFFUSERS;
    return STATUS_OK;
}

static void dims_text(const int64_t *dim, int dims, char out[96]) {
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < dims && used < 64; ++i)
        used += (size_t)snprintf(out + used, 96 - used, "%s%" PRId64, i > 0 ? ", " : "", dim[i]);
}

static Status check_piece(const ImportCommand *command, const LayoutPiece *piece,
                          const SafetensorsEntry **out) {
    const SafetensorsEntry *entry = safetensors_find(&command->file, piece->name);
    char theirs[96], ours[96];
    FAIL_IF(entry == NULL, BAD_DATA,
            "%s has no %s: is it of layout %s (--format), and as deep as model.depth %d?",
            command->path, piece->name, layout_name(command->layout),
            command->trained.settings.model.depth);
    dims_text(entry->dim, entry->dims, theirs);
    dims_text(piece->dim, piece->dims, ours);
    FAIL_IF(strcmp(theirs, ours) != 0, BAD_DATA,
            "%s: %s is [%s], and this configuration makes it [%s]: see model.width, model.patch,"
            " the classes and channels of the data, and process.variance",
            command->path, piece->name, theirs, ours);
    bool known = strcmp(entry->dtype, "F32") == 0 || strcmp(entry->dtype, "BF16") == 0;
    FAIL_IF(!known, BAD_DATA, "%s: %s is %s; F32 and BF16 can be read", command->path, piece->name,
            entry->dtype);
    *out = entry;
    return STATUS_OK;
}

static Status read_numbers(int file, const ImportCommand *command, const SafetensorsEntry *entry,
                           float *out, int64_t count) {
    bool half = entry->dtype[0] == 'B';
    size_t bytes = (size_t)count * (half ? 2 : 4);
    // Two bytes each are read into the upper half, and widened from its beginning.
    char *to = half ? (char *)out + bytes : (char *)out;
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(file, to + done, bytes - done,
                            (off_t)(command->file.header_bytes + entry->begin + done));
        FAIL_IF(got <= 0, IO, "%s: cannot be read at %s", command->path, entry->name);
        done += (size_t)got;
    }
    for (int64_t i = 0; i < count && half; ++i) {
        uint16_t upper;
        memcpy(&upper, to + 2 * i, sizeof upper);
        uint32_t bits = (uint32_t)upper << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
    return STATUS_OK;
}

// Copies of numbers that are already there must be equal to them. Positions are not trained.
static Status read_piece(int file, const ImportCommand *command, const LayoutPiece *piece,
                         bool *filled) {
    const SafetensorsEntry *entry = NULL;
    if (piece->offset == LAYOUT_POSITIONS) return STATUS_OK;
    TRY(check_piece(command, piece, &entry));
    float *to = command->weights + piece->offset;
    if (!filled[piece->offset]) {
        memset(filled + piece->offset, 1, (size_t)piece->size * sizeof *filled);
        return read_numbers(file, command, entry, to, piece->size);
    }
    float *copy = malloc((size_t)piece->size * sizeof *copy);
    FAIL_IF(copy == NULL, NO_MEMORY, "no memory for %s", piece->name);
    Status status = read_numbers(file, command, entry, copy, piece->size);
    bool differs = status == STATUS_OK && memcmp(copy, to, (size_t)piece->size * sizeof *copy) != 0;
    free(copy);
    FAIL_IF(differs, BAD_DATA,
            "%s: %s is another one than that of block 0, and all blocks of a DiT share it: it was"
            " trained further in diffusers, and is a DiT no more",
            command->path, piece->name);
    return status;
}

// Each tensor of the file is one of ours.
static Status check_names(const ImportCommand *command) {
    for (int i = 0; i < command->file.count; ++i) {
        bool known = strcmp(command->file.list[i].name, "pos_embed") == 0;
        for (int k = 0; k < command->pieces.count && !known; ++k)
            known = strcmp(command->file.list[i].name, command->pieces.list[k].name) == 0;
        FAIL_IF(!known, BAD_DATA, "%s holds %s, which this configuration's network has not",
                command->path, command->file.list[i].name);
    }
    return STATUS_OK;
}

static Status read_weights(ImportCommand *command) {
    const Params *params = &command->trained.engine.params;
    bool *filled = calloc((size_t)params->size, sizeof *filled);
    command->weights = calloc((size_t)params->size, sizeof *command->weights);
    int file = open(command->path, O_RDONLY | O_CLOEXEC);
    Status status = STATUS_OK;
    if (filled == NULL || command->weights == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory for %" PRId64 " weights", params->size);
    if (file < 0) FAIL_OR(done, status, IO, "%s cannot be opened", command->path);
    TRY_OR(done, status, check_names(command));
    for (int i = 0; i < command->pieces.count && status == STATUS_OK; ++i)
        status = read_piece(file, command, &command->pieces.list[i], filled);
    if (command->layout != LAYOUT_DYE && status == STATUS_OK)
        layout_turn_time(LAYOUT_DYE, &command->trained.settings, &command->trained.engine,
                         command->weights);
done:
    if (file >= 0) close(file);
    free(filled);
    return status;
}

static Status check_freq(const ImportCommand *command) {
    const char *here = command->trained.settings.model.timestep_freq;
    FAIL_IF(command->layout == LAYOUT_DIT && strcmp(here, "div-128") != 0, BAD_CONFIG,
            "the original DiT tells times as model.timestep_freq: div-128, and this configuration"
            " has %s",
            here);
    return STATUS_OK;
}

static Status read_all(ImportCommand *command) {
    const RunSettings *settings = &command->trained.settings;
    char **names;
    int count = 0;
    if (file_exists(settings->run.dir)) {
        TRY(checkpoint_list(settings->run.dir, &names, &count));
        folder_names_free(names, count);
    }
    FAIL_IF(count > 0, BAD_USAGE,
            "%s holds checkpoints already; choose another run.dir, or remove it",
            settings->run.dir);
    TRY(find_file(command));
    TRY(safetensors_read(command->path, &command->file));
    TRY(find_layout(command));
    TRY(check_freq(command));
    TRY(layout_open(command->layout, settings, &command->trained.engine, &command->pieces));
    return read_weights(command);
}

// ---- writing ----------------------------------------------------------------------------------

// The averages begin at the weights; AdamW has seen nothing.
static Status get(void *context, StateKind kind, int part, const float **numbers) {
    const ImportCommand *command = context;
    int64_t begin, end;
    params_part(&command->trained.engine.params, part, &begin, &end);
    bool moment = kind == STATE_ADAM_M || kind == STATE_ADAM_V;
    *numbers = moment ? command->zero : command->weights + begin;
    return STATUS_OK;
}

static json_t *make_facts(const ImportCommand *command) {
    int64_t count;
    const double *times = process_times(command->trained.engine.process, &count);
    return json_pack("{s:o, s:o, s:i, s:s, s:o*}", "config",
                     json_hex64(run_config_fixed_hash(&command->trained.settings)), "data",
                     json_hex64(dataset_info(command->trained.data)->identity), "skipped", 0,
                     "imported", command->path, "times",
                     count > 0 ? json_numbers(times, count) : NULL);
}

// The checkpoint of step 0, from which `dye train` goes on.
static Status save(ImportCommand *command, Comm *comm) {
    RunSettings *settings = &command->trained.settings;
    const Params *params = &command->trained.engine.params;
    Ownership ownership;
    CheckpointSave *saving;
    ownership_init(&ownership, params, comm_world(comm), comm_group(comm),
                   (size_t)settings->optim.bucket);
    CheckpointRun run = {comm, settings->run.dir, params, &ownership, {command, get, NULL}};
    CheckpointMeta meta = {.facts = make_facts(command)};
    for (int64_t i = 0; i < params->size; ++i) {
        uint32_t bits;
        memcpy(&bits, command->weights + i, sizeof bits);
        meta.fingerprint += mix_element((uint64_t)i, bits);
    }
    Status status = checkpoint_save_start(&run, &meta, 1, &saving);
    json_decref(meta.facts);
    TRY(status);
    TRY(checkpoint_save_finish(saving));
    if (comm_rank(comm) == 0)
        printf("%d tensors of %s (%s), %" PRId64 " numbers, fingerprint %016" PRIx64
               ": step 0 of %s; dye train %s goes on from it\n",
               command->file.count, command->path, layout_name(command->layout), params->size,
               meta.fingerprint, settings->run.dir, command->config.config_path);
    return STATUS_OK;
}

static Status prepare_folder(ImportCommand *command) {
    RunSettings *settings = &command->trained.settings;
    char path[PATH_BYTES], *text = NULL;
    TRY(folder_make(settings->run.dir));
    TRY(process_lock_take(settings->run.dir));
    TRY(path_format(path, "%s/config.yaml", settings->run.dir));
    TRY(run_config_format(settings, &text));
    Status status = file_write_atomic(path, text, strlen(text));
    free(text);
    TRY(status);
    TRY(path_format(path, "%s/data", settings->run.dir));
    return share_keep_indexes(command->trained.share, path);
}

// ---- command ----------------------------------------------------------------------------------

static Status start(void *context, Comm *comm) {
    ImportCommand *command = context;
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    TRY(share_choose_order(command->trained.share, command->trained.settings.data.order));
    command->zero = calloc((size_t)command->trained.engine.params.part_size, sizeof *command->zero);
    FAIL_IF(command->zero == NULL, NO_MEMORY, "no memory for a part");
    TRY(comm_share_status(comm, read_all(command)));
    return comm_share_status(comm, comm_rank(comm) == 0 ? prepare_folder(command) : STATUS_OK);
}

static Status run(void *context, Comm *comm) {
    return save(context, comm);
}

static void finish(void *context) {
    ImportCommand *command = context;
    process_lock_release();
    free(command->weights);
    free(command->zero);
    layout_close(&command->pieces);
    safetensors_close(&command->file);
    trained_close(&command->trained);
}

Status cmd_import(int argc, char **argv) {
    ImportCommand command = {.config = {.split = "train", .capacity = 1}};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
