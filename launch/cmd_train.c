// dye train: configuration, ranks, cores, signals; then the trainer.
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/watch/control.h"
#include "launch/cores.h"
#include "launch/drill.h"
#include "launch/doctor/doctor.h"
#include "launch/lock.h"
#include "launch/metrics.h"
#include "launch/view.h"
#include "launch/run_config.h"
#include "launch/session.h"
#include "launch/share/share.h"
#include "launch/signals.h"
#include "launch/tensorboard.h"
#include "launch/version.h"
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
    json_t *facts;
    Cores cores;
    Share *share;
    Trainer *trainer;
} TrainCommand;

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

static void show_progress(const MetricsRecord *record) {
    char line[512];
    metrics_format(record, line, sizeof line);
    control_progress(line);
    console_progress(line);
}

static void note_checkpoint(const char *path) {
    control_good_checkpoint(path);
    signals_good_checkpoint(path);
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
    command->facts = version_facts();
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
        .start_seconds = command->started,
        .config_text = command->config_text,
        .facts = command->facts,
        .fixed_hash = run_config_fixed_hash(settings),
        .fresh = command->fresh,
        .say = console_say,
        .warn = console_warn,
        .progress = show_progress,
        .signals = signals_pending,
        .folder_take = process_lock_take,
        .folder_check = process_lock_check,
        .good_checkpoint = note_checkpoint,
        .records_open = process_metrics_open,
        .record = process_metrics_record,
        .evaluate = view_evaluate,
        .preview = view_draw,
        .drill = drill_choose(),
    };
    TRY(trainer_open(settings, &run, &command->trainer));
    if (comm_rank(comm) == 0) keep_indexes(command);
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
    json_decref(command->facts);
    free(command->config_text);
}

Status cmd_train(int argc, char **argv) {
    TrainCommand command = {.started = clock_process_start(), .words = argv, .word_count = argc};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
