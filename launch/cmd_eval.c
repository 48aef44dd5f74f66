// dye eval: the variational bound of a run on held-out data.
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "data/loader.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/likelihood.h"
#include "launch/options.h"
#include "launch/session.h"
#include "launch/trained.h"

typedef struct {
    TrainedConfig config;
    int64_t limit, draws;
    int64_t flow, elbo; // steps along the probability flow, draws of the ELBO; both 0: the bound
    bool json;
    Trained trained;
} EvalCommand;

static Status parse(int argc, char **argv, EvalCommand *command) {
    static const struct option options[] = {
        {"limit", required_argument, NULL, 'l'}, {"draws", required_argument, NULL, 'd'},
        {"split", required_argument, NULL, 's'}, {"average", required_argument, NULL, 'a'},
        {"json", no_argument, NULL, 'j'},        {"flow", required_argument, NULL, 'f'},
        {"elbo", required_argument, NULL, 'e'},  {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'l': TRY(option_i64("--limit", optarg, 1, INT64_MAX, &command->limit)); break;
        case 'd': TRY(option_i64("--draws", optarg, 1, 100000, &command->draws)); break;
        case 's': command->config.split = optarg; break;
        case 'a': TRY(option_f64("--average", optarg, 0, 1, &command->config.average)); break;
        case 'j': command->json = true; break;
        case 'f': TRY(option_i64("--flow", optarg, 1, 100000, &command->flow)); break;
        case 'e': TRY(option_i64("--elbo", optarg, 1, 100000, &command->elbo)); break;
        default: FAIL(BAD_USAGE, "see `dye help eval`");
        }
    }
    FAIL_IF(optind >= argc, BAD_USAGE, "which run? usage: dye eval RUN [--limit N] [--json]");
    command->config.run_dir = argv[optind];
    command->config.overrides = argv + optind + 1;
    command->config.override_count = argc - optind - 1;
    FAIL_IF(command->flow > 0 && command->elbo > 0, BAD_USAGE,
            "--flow and --elbo are two estimates: choose one");
    command->config.backward = command->flow > 0 || command->elbo > 0;
    if (command->config.backward) command->draws = command->flow + command->elbo;
    return STATUS_OK;
}

static Status start(void *context, Comm *comm) {
    EvalCommand *command = context;
    return trained_open(&command->config, comm, console_warn, &command->trained);
}

static void print_bound(const EvalCommand *command, const Bound *bound, double seconds) {
    console_task(NULL);
    const Trained *trained = &command->trained;
    const char *unit = process_bound_unit(trained->engine.process);
    const char *draws = command->flow > 0   ? "steps of the flow"
                        : command->elbo > 0 ? "draws of the ELBO"
                                            : "draws each";
    if (command->json) {
        printf(
            "{\"%s\": %.9g, \"stderr\": %.9g, \"count\": %lld, \"split\": \"%s\", \"step\": %lld,"
            " \"average\": %g, \"%s\": %lld",
            unit, bound->bits, bound->standard_error, (long long)bound->count,
            command->config.split, (long long)trained->step, command->config.average,
            command->flow > 0   ? "flow"
            : command->elbo > 0 ? "elbo"
                                : "draws",
            (long long)command->draws);
        if (isfinite(bound->null_bits)) printf(", \"null\": %.9g", bound->null_bits);
        printf("}\n");
        return;
    }
    printf("%s %.4f +- %.4f (%lld samples of split %s, step %lld, average %g, %lld %s,"
           " %.1f s)\n",
           unit, bound->bits, bound->standard_error, (long long)bound->count, command->config.split,
           (long long)trained->step, command->config.average, (long long)command->draws, draws,
           seconds);
    if (isfinite(bound->null_bits))
        printf(
            "K %.4f, K - L_null %.4f (the bound's negative; over the null model, which needs %.4f"
            " bits)\n",
            -bound->bits, bound->null_bits - bound->bits, bound->null_bits);
}

// Of a system without a likelihood: the loss, of symbols by pass, and no word of bits.
static void print_loss(const EvalCommand *command, const HeldOutLoss *loss, double seconds) {
    console_task(NULL);
    int passes = process_passes(command->trained.engine.process);
    long long step = (long long)command->trained.step, count = (long long)loss->samples;
    bool tokens = process_is_tokens(command->trained.engine.process);
    if (!tokens) passes = 0;
    if (command->json) {
        printf("{\"%s\": %.9g, \"passes\": [", tokens ? "cross_entropy" : "loss", loss->loss);
        for (int i = 0; i < passes; ++i) printf("%s%.9g", i > 0 ? ", " : "", loss->pass_loss[i]);
        printf("], \"count\": %lld, \"split\": \"%s\", \"step\": %lld, \"average\": %g,"
               " \"draws\": %lld}\n",
               count, command->config.split, step, command->config.average,
               (long long)command->draws);
        return;
    }
    printf(tokens ? "cross entropy %.4f nats a token, by pass:" : "loss %.5g a dimension",
           loss->loss);
    for (int i = 0; i < passes; ++i) printf(" %.4f", loss->pass_loss[i]);
    printf(" (%lld samples of split %s, step %lld, average %g, %lld draws each, %.1f s)\n"
           "This system has no likelihood: the figures compare with those of its like alone.\n",
           count, command->config.split, step, command->config.average, (long long)command->draws,
           seconds);
}

static void print_classes(const EvalCommand *command, const HeldOutLoss *loss,
                          const Accuracy *accuracy, double seconds) {
    console_task(NULL);
    long long step = (long long)command->trained.step, count = (long long)accuracy->count;
    if (command->json)
        printf("{\"cross_entropy\": %.9g, \"accuracy\": %.9g, \"stderr\": %.9g, \"count\": %lld,"
               " \"split\": \"%s\", \"step\": %lld, \"average\": %g}\n",
               loss->loss, accuracy->right, accuracy->standard_error, count, command->config.split,
               step, command->config.average);
    else
        printf("cross entropy %.4f nats a sample, accuracy %.4f +- %.4f (%lld samples of split %s,"
               " step %lld, average %g, %.1f s)\n"
               "This is a classifier: it has no likelihood of the data.\n",
               loss->loss, accuracy->right, accuracy->standard_error, count, command->config.split,
               step, command->config.average, seconds);
}

static Status run_classes(EvalCommand *command, Comm *comm, EvalRequest request) {
    HeldOutLoss loss;
    Accuracy accuracy;
    double started = clock_now();
    request.draws = 1; // each would be the same
    TRY(evaluate_loss(&command->trained.engine, comm, &request, &loss));
    TRY(likelihood_accuracy(&command->trained.engine, comm, &request, &accuracy));
    if (comm_rank(comm) == 0) print_classes(command, &loss, &accuracy, clock_now() - started);
    return STATUS_OK;
}

static Status measure(void *context, Comm *comm) {
    EvalCommand *command = context;
    Trained *trained = &command->trained;
    EvalRequest request = {.data = trained->data,
                           .length = trained->settings.data.length,
                           .samples = command->limit,
                           .draws = (int)command->draws,
                           .seed = trained->settings.train.seed,
                           .weights = trained->weights};
    Bound bound;
    double started = clock_now();
    if (process_is_classifier(trained->engine.process) && !command->config.backward)
        return run_classes(command, comm, request);
    if (process_bound_unit(trained->engine.process) == NULL && !command->config.backward) {
        HeldOutLoss loss;
        TRY(evaluate_loss(&trained->engine, comm, &request, &loss));
        if (comm_rank(comm) == 0) print_loss(command, &loss, clock_now() - started);
        return STATUS_OK;
    }
    TRY((command->flow > 0   ? likelihood_flow
         : command->elbo > 0 ? likelihood_elbo
                             : likelihood_bound)(&trained->engine, comm, &request, &bound));
    if (comm_rank(comm) == 0) print_bound(command, &bound, clock_now() - started);
    return STATUS_OK;
}

static Status run(void *context, Comm *comm) {
    if (comm_rank(comm) == 0) console_task("evaluating");
    return measure(context, comm);
}

static void finish(void *context) {
    EvalCommand *command = context;
    trained_close(&command->trained);
}

Status cmd_eval(int argc, char **argv) {
    EvalCommand command = {.config = {.split = "test", .capacity = 16}, .draws = 4};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
