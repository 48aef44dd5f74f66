// dye train: configuration, ranks, cores, signals; then the trainer.
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/loader.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/watch/control.h"
#include "launch/cores.h"
#include "launch/drill.h"
#include "launch/doctor/doctor.h"
#include "launch/forecast.h"
#include "launch/lock.h"
#include "launch/metrics.h"
#include "launch/products.h"
#include "launch/view.h"
#include "launch/run_config.h"
#include "launch/session.h"
#include "launch/share/share.h"
#include "launch/signals.h"
#include "launch/tensorboard.h"
#include "launch/version.h"
#include "launch/wall_clock.h"
#include "trainer/trainer.h"

typedef struct {
    const char *config_path;
    char **overrides;
    int override_count;
    char **words; // the whole command line
    int word_count;
    bool fresh;
    double started;
    RunSettings settings;
    char *config_text;
    Cores cores;
    Share *share;
    Comm *comm;
    const Device *device;
    const char *exchange; // its description
    Trainer *trainer;
} TrainCommand;
static TrainCommand *shown; // for what the trainer calls

static Status parse(int argc, char **argv, TrainCommand *command) {
    static const struct option options[] = {{"fresh", no_argument, NULL, 'f'}, {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        FAIL_IF(option != 'f', BAD_USAGE, "usage: dye train CONFIG.yaml [key=value ...] [--fresh]");
        command->fresh = true;
    }
    FAIL_IF(optind >= argc, BAD_USAGE,
            "which configuration? usage: dye train CONFIG.yaml [key=value ...] [--fresh]");
    command->config_path = argv[optind];
    command->overrides = argv + optind + 1;
    command->override_count = argc - optind - 1;
    return STATUS_OK;
}

// Rank 0 reads the file; everybody gets the values, so that all ranks see the same text.
static Status read_config(TrainCommand *command, Comm *comm) {
    Status status = STATUS_OK;
    if (comm_rank(comm) == 0)
        status = run_config_read(command->config_path, command->overrides, command->override_count,
                                 &command->settings);
    if (comm_rank(comm) == 0 && status == STATUS_OK && !command->fresh)
        status = run_config_keep_order(&command->settings);
    int speaker;
    TRY(comm_agree(comm, status, &speaker));
    return comm_broadcast(comm, &command->settings, sizeof command->settings, 0);
}

static void show_progress(const StepReport *report) {
    char line[512];
    MetricsRecord record = metrics_sum_up(report);
    metrics_format(&record, line, sizeof line);
    control_progress(line);
    console_progress(line);
    if (report->logged) process_metrics_record(&record, report->params);
}

static void note_checkpoint(const char *path) {
    control_good_checkpoint(path);
    signals_good_checkpoint(path);
}

// What the run is made of: of all that is in its folder, only the configuration is needed to go on.
static Status write_records(const TrainCommand *command) {
    const char *run_dir = command->settings.run.dir;
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/config.yaml", run_dir));
    TRY(file_write_atomic(path, command->config_text, strlen(command->config_text)));
    TRY(path_format(path, "%s/run.json", run_dir));
    json_t *facts = version_facts();
    char products[64];
    json_object_set_new(facts, "device", json_string(command->device->description));
    if (products_describe(command->device, products, sizeof products))
        json_object_set_new(facts, "products", json_string(products));
    json_object_set_new(facts, "exchange", json_string(command->exchange));
    Status status = json_write(path, facts);
    json_decref(facts);
    if (status == STATUS_OK) status = products_keep(command->device, run_dir);
    if (status != STATUS_IO && status != STATUS_NOT_FOUND) return status;
    console_warn(error_get()->text); // a disk that is full now may not be later
    error_clear();
    return STATUS_OK;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    console_say(line);
}

static void show_hosts(const Comm *comm) {
    if (strcmp(shown->settings.device.exchange, "nccl-sum") == 0 && comm_world(comm) > 1)
        return say("device.exchange is nccl-sum: another number of ranks gives other bits; nccl"
                   " gives the same");
    int world = comm_world(comm), group = comm_group(comm), here = 0;
    for (int rank = 0; rank < world; ++rank)
        here += strcmp(comm_host_of(comm, rank), comm_host(comm)) == 0;
    if (group < world)
        say("gradients are summed by the %d ranks of each host first, then between the %d hosts",
            group, world / group);
    else if (here > 1 && here < world)
        say("each rank sends gradients to each other: were all hosts given as many ranks, one host"
            " after the other (mpirun --map-by slot, srun --distribution=block), fewer bytes would"
            " travel between them");
}

static void show_start(const RunStart *start) {
    const RunSettings *s = &shown->settings;
    const Params *params = &start->engine->params;
    const DatasetInfo *info = dataset_info(start->data);
    bool full = loader_order(s->data.order, info) == ORDER_FULL;
    char text[512];
    shown->device = start->engine->device;
    shown->exchange = start->exchange;
    if (comm_rank(shown->comm) != 0) return;
    bool alone = comm_world(shown->comm) == 1;
    if (start->engine->device->identity[0] != '\0')
        say("computes on %s%s%s", shown->device->description, alone ? "" : "; gradients travel by ",
            alone ? "" : start->exchange);
    if (products_describe(shown->device, text, sizeof text)) say("products: %s", text);
    if (!alone) show_hosts(shown->comm);
    say("model: %s, %.2f M parameters in %d parts; %.2f GFLOP a training sample", s->model.family,
        (double)params->size / 1e6, params->parts,
        3 * network_forward_flops(start->engine->network) / 1e9);
    say("data: %s, %" PRId64 " samples, order %s", info->name,
        loader_samples(start->data, s->data.length), full ? "full" : "in windows");
    for (int host = 0; host < 2; ++host)
        if (forecast_text(start->plan, host, text, sizeof text))
            say("memory of a rank%s: %s", host ? "" : "'s GPU", text);
    if (start->resumed)
        say("resumed from %s/step-%09" PRId64 " (fingerprint %016" PRIx64 ")", s->run.dir,
            start->step, start->fingerprint);
    double mpi = comm_init_seconds(shown->comm);
    say("start-up %.2f s = MPI_Init %.2f + program, data and model %.2f + %s %.2f",
        clock_now() - shown->started, mpi, start->opened - shown->started - mpi,
        start->resumed ? "checkpoint" : "initial weights", start->loaded - start->opened);
}

// So that samples can be drawn where the data are not. A disk that is full now may not be later.
static void keep_indexes(const TrainCommand *command) {
    char folder[PATH_BYTES];
    Status status = path_format(folder, "%s/data", command->settings.run.dir);
    if (status == STATUS_OK) status = share_keep_indexes(command->share, folder);
    if (status != STATUS_OK) console_warn(error_get()->text);
    error_clear();
}

static Status start(void *context, Comm *comm) {
    TrainCommand *command = context;
    // First: srun ends the other ranks when one has left, and they should leave with its exit code.
    TRY(signals_open(comm_rank(comm) == 0));
    TRY(read_config(command, comm));
    const RunSettings *settings = &command->settings;
    shown = command;
    command->comm = comm;
    console_set_plain_seconds(settings->log.plain_seconds);
    if (!command->fresh) {
        Status status = STATUS_OK;
        if (comm_rank(comm) == 0) status = run_config_check_resume(settings);
        int speaker;
        TRY(comm_agree(comm, status, &speaker));
    }
    TRY(cores_choose(comm, &settings->device, &command->cores));
    TRY(share_survey(comm, settings, &command->share));
    TRY(doctor_admit(&(Setup){.comm = comm,
                              .settings = settings,
                              .share = command->share,
                              .cores = &command->cores,
                              .words = command->words,
                              .word_count = command->word_count}));
    TRY(share_choose_order(command->share, command->settings.data.order));
    TRY(run_config_format(&command->settings, &command->config_text));
    TRY(control_open(comm, settings));
    TRY(share_start(command->share));
    drill_open(comm_rank(comm));
    if (comm_rank(comm) == 0) {
        char line[512];
        snprintf(line, sizeof line, "dye %s, %s; %s", version_text(), comm_description(comm),
                 command->cores.description);
        console_say(line);
    }
    if (settings->log.tensorboard) tensorboard_enable(&command->settings, command->config_text);
    RunContext run = {
        .comm = comm,
        .fetch = share_fetch(command->share),
        .device = cores_device(&command->cores, &settings->device),
        .fixed_hash = run_config_fixed_hash(settings),
        .fresh = command->fresh,
        .prepare = products_settle,
        .started = show_start,
        .say = console_say,
        .warn = console_warn,
        .progress = show_progress,
        .signals = signals_pending,
        .folder_take = process_lock_take,
        .folder_check = process_lock_check,
        .good_checkpoint = note_checkpoint,
        .records_open = process_metrics_open,
        .evaluate = view_evaluate,
        .preview = view_draw,
        .drill = drill_choose(),
    };
    TRY(trainer_open(settings, &run, &command->trainer));
    if (comm_rank(comm) == 0) {
        TRY(write_records(command));
        keep_indexes(command);
    }
    control_own_run();
    return STATUS_OK;
}

static Status run(void *context, Comm *comm) {
    TrainCommand *command = context;
    ShareTotals totals;
    char line[512], where[400];
    Status status = trainer_run(command->trainer);
    if (status != STATUS_OK && status != STATUS_UNFINISHED) return status;
    share_describe(command->share, where, sizeof where);
    TRY(share_end(command->share, &totals));
    snprintf(line, sizeof line, "share: served %llu blocks, %.3f MB",
             (unsigned long long)totals.blocks, (double)totals.bytes / 1e6);
    if (where[0] != '\0' && comm_rank(comm) == 0) console_say(line);
    return status;
}

static void finish(void *context) {
    TrainCommand *command = context;
    share_stop(command->share); // a reader that waits for data holds up the end
    trainer_close(command->trainer);
    share_close(command->share);
    process_metrics_close();
    process_lock_release();
    free(command->config_text);
    shown = NULL;
}

Status cmd_train(int argc, char **argv) {
    TrainCommand command = {.started = clock_process_start(), .words = argv, .word_count = argc};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
