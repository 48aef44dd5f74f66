// dye bench: every phase of a training run against its limit, as ratios in one run.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "launch/bench/bench.h"
#include "launch/bench/bench_read.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/doctor/doctor.h"
#include "launch/options.h"
#include "launch/run_config.h"
#include "launch/session.h"
#include "launch/signals.h"
#include "launch/wall_clock.h"

#define USAGE                                                                                       \
    "usage: dye bench CONFIG.yaml [key=value ...] [--only PHASE,...] [--seconds S] [--json FILE], " \
    "or with the folder of a data set instead of CONFIG.yaml"

static const BenchPhase phases[] = {
    // First, before other phases take memory of their own.
    {"memory", bench_memory, false, "the plan against what is resident, of rank 0"},
    {"startup", bench_startup, false, "the parts of the time until the first step is done"},
    {"step", bench_step, false,
     "a step by families of operations, against the roofline of this device"},
    {"products", bench_products, true,
     "matrix products of a grain, at their shapes, against the peak"},
    {"loader", bench_loader, false,
     "what one reading thread delivers against what training consumes"},
    {"reduce", bench_reduce, false, "the ordered sum over ranks and the gathering of weights"},
    {"checkpoint", bench_checkpoint, false,
     "what a save holds up; its rate and a load's against files"},
};
enum { PHASES = sizeof phases / sizeof *phases };

typedef struct {
    const char *config_path, *json_path;
    char **overrides;
    int override_count;
    char **words; // the whole command line
    int word_count;
    bool chosen[PHASES];
    double seconds;
    bool only;
    Bench bench;
} BenchCommand;

static Status choose(const char *name, size_t length, BenchCommand *command) {
    char names[256] = "";
    size_t used = 0;
    for (int i = 0; i < PHASES; ++i) {
        if (strlen(phases[i].name) == length && strncmp(phases[i].name, name, length) == 0) {
            command->chosen[i] = true;
            return STATUS_OK;
        }
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                                 phases[i].name);
    }
    FAIL(BAD_USAGE, "there is no phase '%.*s'; choose among: %s", (int)length, name, names);
}

static Status choose_list(const char *list, BenchCommand *command) {
    for (const char *at = list;; ++at) {
        size_t length = strcspn(at, ",");
        TRY(choose(at, length, command));
        at += length;
        if (*at == '\0') return STATUS_OK;
    }
}

static Status parse(int argc, char **argv, BenchCommand *command) {
    static const struct option options[] = {{"only", required_argument, NULL, 'o'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"json", required_argument, NULL, 'j'},
                                            {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'o':
            command->only = true;
            TRY(choose_list(optarg, command));
            break;
        case 's': TRY(option_f64("--seconds", optarg, 0, 86400, &command->seconds)); break;
        case 'j': command->json_path = optarg; break;
        default: FAIL(BAD_USAGE, USAGE);
        }
    }
    FAIL_IF(optind >= argc, BAD_USAGE, "which configuration? " USAGE);
    for (int i = 0; i < PHASES && !command->only; ++i) command->chosen[i] = true;
    command->config_path = argv[optind];
    command->overrides = argv + optind + 1;
    command->override_count = argc - optind - 1;
    return STATUS_OK;
}

static Status start(void *context, Comm *comm) {
    BenchCommand *command = context;
    Bench *bench = &command->bench;
    int count = 0, speaker;
    Status status = STATUS_OK;
    for (int i = 0; i < PHASES; ++i) count += command->chosen[i];
    bench->comm = comm;
    bench->seconds = command->seconds / count;
    if (comm_rank(comm) == 0)
        status = run_config_read(command->config_path, command->overrides, command->override_count,
                                 &bench->settings);
    if (status == STATUS_OK) status = report_open(bench, command->json_path);
    TRY(comm_agree(comm, status, &speaker));
    TRY(comm_broadcast(comm, &bench->settings, sizeof bench->settings, 0));
    TRY(cores_choose(comm, &bench->settings.device, &bench->cores));
    TRY(doctor_admit(&(Setup){.comm = comm,
                              .settings = &bench->settings,
                              .cores = &bench->cores,
                              .words = command->words,
                              .word_count = command->word_count}));
    TRY(signals_open(false)); // there is no checkpoint to name
    return bench_open(bench);
}

static Status run_phases(BenchCommand *command) {
    Bench *bench = &command->bench;
    if (comm_rank(bench->comm) == 0) console_task("first steps");
    TRY(bench_warm(bench));
    console_task(NULL);
    for (int i = 0; i < PHASES; ++i) {
        if (!command->chosen[i]) continue;
        TRY(bench_meet(bench));
        if (!bench->interrupted) TRY(bench_time_operations(bench, phases[i].timed));
        FAIL_IF(bench->interrupted, UNFINISHED, "stopped before the phase %s", phases[i].name);
        TRY(report_begin(bench, &phases[i]));
        TRY(phases[i].run(bench));
        FAIL_IF(bench->interrupted, UNFINISHED, "stopped in the phase %s", phases[i].name);
        TRY(report_end(bench));
    }
    return STATUS_OK;
}

static Status run(void *context, Comm *comm) {
    (void)comm;
    BenchCommand *command = context;
    Status status = run_phases(command);
    // The session ends a job that failed without finish().
    if (status != STATUS_OK && status != STATUS_UNFINISHED) bench_clean(&command->bench);
    return status;
}

static void finish(void *context) {
    BenchCommand *command = context;
    report_close(&command->bench);
    bench_close(&command->bench);
}

Status cmd_bench(int argc, char **argv) {
    BenchCommand command = {.seconds = 35,
                            .words = argv,
                            .word_count = argc,
                            .bench = {.started = clock_process_start()}};
    TRY(parse(argc, argv, &command));
    if (bench_is_dataset(command.config_path)) {
        FAIL_IF(command.only, BAD_USAGE, "%s is a data set: it has no phases to choose with --only",
                command.config_path);
        return bench_read(&(ReadRequest){.path = command.config_path,
                                         .overrides = command.overrides,
                                         .override_count = command.override_count,
                                         .seconds = command.seconds,
                                         .json_path = command.json_path});
    }
    return session_run("auto", &(Session){&command, start, run, finish});
}
