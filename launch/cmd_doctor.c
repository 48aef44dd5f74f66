// dye doctor: all checks of a set-up and how fast its ranks talk, with a verdict in words.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "launch/command.h"
#include "launch/doctor/doctor.h"
#include "launch/options.h"
#include "launch/watch/probe.h"
#include "launch/run_config.h"
#include "launch/session.h"

#define USAGE "usage: dye doctor [CONFIG.yaml [key=value ...]] [--json] [--seconds S]"

typedef struct {
    const char *config_path; // NULL: none
    char **overrides;
    int override_count;
    char **words; // the whole command line
    int word_count;
    bool json;
    double seconds; // of the probe
    RunSettings settings;
    Cores cores;
    Share *share; // NULL: no configuration
    Examination seen;
    Findings findings;
    Probe probe;
} DoctorCommand;

static Status parse(int argc, char **argv, DoctorCommand *command) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"seconds", required_argument, NULL, 's'}, {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'j': command->json = true; break;
        case 's': TRY(option_f64("--seconds", optarg, 0, 3600, &command->seconds)); break;
        default: FAIL(BAD_USAGE, USAGE);
        }
    }
    if (optind == argc) return STATUS_OK;
    command->config_path = argv[optind];
    command->overrides = argv + optind + 1;
    command->override_count = argc - optind - 1;
    return STATUS_OK;
}

// ---- the probe in words -----------------------------------------------------------------------

// The fastest InfiniBand port that every host has, Gbit/s.
static double infiniband_of_all(const Examination *seen) {
    double least = seen->rank[0].infiniband;
    for (int i = 1; i < seen->world; ++i)
        if (seen->rank[i].infiniband < least) least = seen->rank[i].infiniband;
    return least;
}

static void tell_link(DoctorCommand *command, const ProbeLink *link, const char *check) {
    const RankFacts *rank = command->seen.rank;
    char pair[2 * FACT_BYTES + 64], advice[200] = "";
    bool between = link == &command->probe.between;
    const char *network = between ? probe_name_rate(link->rate) : NULL;
    double gigabits = 8 * link->rate / 1e9, infiniband = infiniband_of_all(&command->seen);
    bool unused = between && infiniband > 0 && gigabits < infiniband / 3;
    if (link->pairs == 0) return;
    snprintf(pair, sizeof pair, "rank %d on %s, rank %d on %s", link->a, rank[link->a].host,
             link->b, rank[link->b].host);
    if (network != NULL) snprintf(advice, sizeof advice, ": that is %s", network);
    if (unused)
        snprintf(advice + strlen(advice), sizeof advice - strlen(advice),
                 "%s InfiniBand of %.0f Gbit/s is there and not in use: see `ompi_info` for UCX",
                 network != NULL ? ";" : ":", infiniband);
    finding_add(&command->findings, unused || network != NULL ? FINDING_WARN : FINDING_OK, check,
                "%.2f GB/s, %.0f us (the slowest of %d pair%s: %s)%s", link->rate / 1e9,
                1e6 * link->seconds, link->pairs, link->pairs == 1 ? "" : "s", pair, advice);
}

// Gradients are summed and weights gathered: each rank sends nearly all of them twice. What the
// arithmetic takes is a guess, good enough to tell a network that fits from one that does not.
static void tell_exchange(DoctorCommand *command) {
    enum { FLOPS_OF_THREAD = 50 };
    const Examination *seen = &command->seen;
    const Probe *probe = &command->probe;
    const RankFacts *rank = seen->rank;
    if (rank->parameters == 0) {
        finding_add(&command->findings, FINDING_OK, "all at once", "%.2f GB/s a rank, both ways",
                    probe->ring / 1e9);
        return;
    }
    double bytes = 2 * sizeof(float) * (double)rank->parameters * (seen->world - 1) / seen->world;
    double seconds = bytes / probe->ring, threads = 0;
    for (int i = 0; i < seen->world; ++i) threads += rank[i].threads;
    double step = rank->step_flops / (threads * FLOPS_OF_THREAD * 1e9);
    bool fine = seconds < step;
    finding_add(&command->findings, fine ? FINDING_OK : FINDING_WARN, "all at once",
                "%.2f GB/s a rank, both ways: a step's exchange of %.3g MB takes %.3g ms, its"
                " arithmetic about %.3g ms (at %d GFLOP/s a thread): %s",
                probe->ring / 1e9, bytes / 1e6, 1e3 * seconds, 1e3 * step, FLOPS_OF_THREAD,
                fine ? "fine for this model"
                     : "too slow for this model: take fewer ranks, or a larger train.batch");
}

static Status probe(DoctorCommand *command, Comm *comm) {
    if (command->seconds == 0 || findings_count(&command->findings, FINDING_FAIL) > 0)
        return STATUS_OK;
    TRY(probe_run(comm, command->seconds, &command->probe));
    if (comm_world(comm) == 1) return STATUS_OK;
    tell_link(command, &command->probe.within, "within hosts");
    tell_link(command, &command->probe.between, "between hosts");
    tell_exchange(command);
    return STATUS_OK;
}

// ---- output -----------------------------------------------------------------------------------

static void format_verdict(const DoctorCommand *command, char *out, size_t bytes) {
    int fails = findings_count(&command->findings, FINDING_FAIL);
    int warns = findings_count(&command->findings, FINDING_WARN);
    const char *what = command->config_path != NULL ? command->config_path : "training";
    if (fails > 0)
        snprintf(out, bytes, "not ready for %s: %d of %d checks failed", what, fails,
                 command->findings.count);
    else if (warns > 0)
        snprintf(out, bytes, "ready for %s, with %d warning%s", what, warns, warns == 1 ? "" : "s");
    else
        snprintf(out, bytes, "ready for %s: all %d checks passed", what, command->findings.count);
}

static json_t *link_json(const ProbeLink *link) {
    if (link->pairs == 0) return json_null();
    return json_pack("{s:f,s:f,s:i,s:[i,i]}", "gb_per_s", link->rate / 1e9, "us",
                     1e6 * link->seconds, "pairs", link->pairs, "slowest", link->a, link->b);
}

static void print_json(const DoctorCommand *command, const char *verdict) {
    json_t *checks = json_array();
    for (int i = 0; i < command->findings.count; ++i) {
        const Finding *finding = &command->findings.list[i];
        const char *level =
            finding->level == FINDING_FAIL ? "fail" : finding_level_name(finding->level);
        json_array_append_new(checks, json_pack("{s:s,s:s,s:s}", "check", finding->check, "level",
                                                level, "text", finding->text));
    }
    json_t *root = json_pack("{s:i,s:o,s:{s:o,s:o,s:f},s:s}", "ranks", command->seen.world,
                             "checks", checks, "probe", "within", link_json(&command->probe.within),
                             "between", link_json(&command->probe.between), "ring_gb_per_s",
                             command->probe.ring / 1e9, "verdict", verdict);
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

static void print(const DoctorCommand *command, const char *verdict) {
    if (command->json) {
        print_json(command, verdict);
        return;
    }
    for (int i = 0; i < command->findings.count; ++i) {
        const Finding *finding = &command->findings.list[i];
        printf("%-4s  %-15s %s\n", finding_level_name(finding->level), finding->check,
               finding->text);
    }
    printf("%s\n", verdict);
}

// ---- the visit --------------------------------------------------------------------------------

static Status read_config(DoctorCommand *command, Comm *comm) {
    Status status = STATUS_OK;
    int speaker;
    if (command->config_path == NULL) return STATUS_OK;
    if (comm_rank(comm) == 0)
        status = run_config_read(command->config_path, command->overrides, command->override_count,
                                 &command->settings);
    TRY(comm_agree(comm, status, &speaker));
    return comm_broadcast(comm, &command->settings, sizeof command->settings, 0);
}

// All of it happens here, where ranks agree on how they end.
static Status start(void *context, Comm *comm) {
    DoctorCommand *command = context;
    char verdict[512];
    TRY(read_config(command, comm));
    TRY(cores_choose(comm, &command->settings.device, &command->cores));
    if (command->config_path != NULL) TRY(share_survey(comm, &command->settings, &command->share));
    TRY(doctor_examine(
        &(Setup){.comm = comm,
                 .settings = command->config_path == NULL ? NULL : &command->settings,
                 .share = command->share,
                 .cores = &command->cores,
                 .words = command->words,
                 .word_count = command->word_count},
        &command->seen));
    doctor_judge(&command->seen, true, &command->findings);
    TRY(probe(command, comm));
    format_verdict(command, verdict, sizeof verdict);
    if (comm_rank(comm) == 0) print(command, verdict);
    fflush(stdout);
    FAIL_IF(findings_count(&command->findings, FINDING_FAIL) > 0, BAD_CONFIG, "%s", verdict);
    return STATUS_OK;
}

static Status run(void *context, Comm *comm) {
    (void)context, (void)comm;
    return STATUS_OK;
}

static void finish(void *context) {
    DoctorCommand *command = context;
    doctor_close(&command->seen);
    share_close(command->share);
}

Status cmd_doctor(int argc, char **argv) {
    DoctorCommand command = {.seconds = 2, .words = argv, .word_count = argc};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
