// dye pack: files as people have them become a data set folder, by one rank or several; and
// dye unpack: back.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "data/pack/pack.h"
#include "data/pack/unpack.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/options.h"
#include "launch/session.h"

typedef struct {
    PackConfig pack;
    PackInput input[PACK_INPUTS_MOST];
    const char *split; // of the inputs that follow
    bool used;         // some do
    Comm *comm;
    double started;
} PackCommand;

// ---- options ------------------------------------------------------------------------------------

static Status parse_form(const char *text, TextForm *out) {
    if (strcmp(text, "letters27") == 0)
        *out = FORM_LETTERS27;
    else if (strcmp(text, "bytes") == 0)
        *out = FORM_BYTES;
    else
        FAIL(BAD_USAGE, "--form is 'letters27' or 'bytes', not '%s'; --alphabet gives others",
             text);
    return STATUS_OK;
}

static Status parse_shuffle(const char *text, PackConfig *pack) {
    int64_t seed;
    if (strcmp(text, "auto") == 0) {
        pack->shuffle = SHUFFLE_AUTO;
    } else if (strcmp(text, "none") == 0) {
        pack->shuffle = SHUFFLE_NEVER;
    } else {
        TRY(option_i64("--shuffle auto|none|SEED", text, 0, INT64_MAX, &seed));
        pack->shuffle = SHUFFLE_ALWAYS;
        pack->shuffle_seed = (uint64_t)seed;
    }
    return STATUS_OK;
}

// 90/5/5: whatever they add up to is the whole.
static Status parse_shares(const char *text, double share[3]) {
    int end = 0;
    int count = sscanf(text, "%lf/%lf/%lf%n", &share[0], &share[1], &share[2], &end);
    double sum = share[0] + share[1] + share[2];
    bool good = count == 3 && text[end] == '\0' && sum > 0 && sum < 1e9;
    for (int i = 0; i < 3; ++i) good = good && share[i] >= 0;
    FAIL_IF(!good, BAD_USAGE, "--shares is train/valid/test like 90/5/5, not '%s'", text);
    for (int i = 0; i < 3; ++i) share[i] /= sum;
    return STATUS_OK;
}

static Status parse_channels(const char *text, int32_t *out) {
    *out = strcmp(text, "rgb") == 0 ? 3 : strcmp(text, "grey") == 0 ? 1 : 0;
    FAIL_IF(*out == 0, BAD_USAGE, "--colour is 'grey' or 'rgb', not '%s'", text);
    return STATUS_OK;
}

static Status add_input(PackCommand *command, const char *path) {
    FAIL_IF(command->pack.inputs == PACK_INPUTS_MOST, BAD_USAGE, "at most %d sources at once",
            PACK_INPUTS_MOST);
    command->input[command->pack.inputs++] = (PackInput){path, command->split};
    command->used = true;
    return STATUS_OK;
}

static Status parse_option(PackCommand *command, int option, const char *text) {
    PackConfig *pack = &command->pack;
    SourceOptions *source = &pack->source;
    int64_t number = 0;
    switch (option) {
    case 1: return add_input(command, text);
    case 'o': pack->out = text; break;
    case 'n': pack->name = text; break;
    case 'p':
        command->split = text;
        command->used = false;
        break;
    case 'f': return parse_form(text, &source->form);
    case 'a':
        source->form = FORM_ALPHABET;
        source->alphabet = text;
        break;
    case 'z':
        TRY(option_i64("--size", text, 1, 8192, &number));
        source->size = (int32_t)number;
        break;
    case 'c': return parse_channels(text, &source->channels);
    case 'v':
        TRY(option_i64("--levels", text, 2, 256, &number));
        source->levels = (int32_t)number;
        break;
    case 'I': source->image = text; break;
    case 'L': source->label = text; break;
    case 'h': return parse_shuffle(text, pack);
    case 'S': return parse_shares(text, pack->share);
    case 'l': return option_i64("--limit", text, 1, INT64_C(1) << 48, &pack->limit);
    case 'i': return option_i64("--items", text, 1, INT64_C(1) << 40, &source->toy_items);
    case 's':
        TRY(option_i64("--seed", text, 0, INT64_MAX, &number));
        source->toy_seed = (uint64_t)number;
        break;
    case 'b': pack->skip_bad = true; break;
    case 'F': pack->force = true; break;
    default: FAIL(BAD_USAGE, "see `dye help pack`");
    }
    return STATUS_OK;
}

static Status parse(int argc, char **argv, PackCommand *command) {
    static const struct option options[] = {
        {"out", required_argument, NULL, 'o'},      {"name", required_argument, NULL, 'n'},
        {"split", required_argument, NULL, 'p'},    {"form", required_argument, NULL, 'f'},
        {"alphabet", required_argument, NULL, 'a'}, {"size", required_argument, NULL, 'z'},
        {"colour", required_argument, NULL, 'c'},   {"levels", required_argument, NULL, 'v'},
        {"image", required_argument, NULL, 'I'},    {"label", required_argument, NULL, 'L'},
        {"shuffle", required_argument, NULL, 'h'},  {"shares", required_argument, NULL, 'S'},
        {"limit", required_argument, NULL, 'l'},    {"items", required_argument, NULL, 'i'},
        {"seed", required_argument, NULL, 's'},     {"skip-bad", no_argument, NULL, 'b'},
        {"force", no_argument, NULL, 'F'},          {0}};
    optind = 1;
    // "-": words that are no options come in their place, as --split is about what follows it.
    for (int option; (option = getopt_long(argc, argv, "-o:", options, NULL)) != -1;)
        TRY(parse_option(command, option, optarg));
    for (; optind < argc; ++optind) TRY(add_input(command, argv[optind]));
    FAIL_IF(command->pack.inputs == 0 || command->pack.out == NULL, BAD_USAGE,
            "which source, and where to? usage: dye pack SOURCE... -o DIR");
    FAIL_IF(command->split != NULL && !command->used, BAD_USAGE,
            "--split %s is about the sources behind it, and there are none: put it before them",
            command->split);
    return STATUS_OK;
}

// ---- what people see ----------------------------------------------------------------------------

static void tell_bad(void *context, const char *why) {
    char line[1200];
    (void)context;
    snprintf(line, sizeof line, "not packed: %s", why);
    console_warn(line);
}

// ---- command ------------------------------------------------------------------------------------

static Status agree(void *context, Status mine) {
    int speaker;
    return comm_agree(context, mine, &speaker);
}

static Status start(void *context, Comm *comm) {
    PackCommand *command = context;
    PackConfig *pack = &command->pack;
    command->comm = comm;
    command->started = clock_now();
    pack->input = command->input;
    pack->team = (PackTeam){comm_rank(comm), comm_world(comm), agree, comm};
    if (comm_rank(comm) == 0) pack->progress = console_task_progress;
    pack->bad = tell_bad;
    pack->context = command;
    comm_set_alarm(comm, NULL, NULL); // ranks wait while rank 0 looks at the sources
    return STATUS_OK;
}

static Status run(void *context, Comm *comm) {
    PackCommand *command = context;
    TRY(pack(&command->pack));
    console_task(NULL);
    char line[1400], more[32] = "";
    if (command->pack.inputs > 1)
        snprintf(more, sizeof more, " and %d more", command->pack.inputs - 1);
    snprintf(line, sizeof line, "packed %.500s%s into %.500s in %.1f s", command->input[0].path,
             more, command->pack.out, clock_now() - command->started);
    if (comm_rank(comm) == 0) console_say(line);
    return STATUS_OK;
}

static void finish(void *context) {
    (void)context;
}

Status cmd_pack(int argc, char **argv) {
    static PackCommand command;
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}

// ---- unpack -------------------------------------------------------------------------------------

static Status parse_unpack_form(const char *text, UnpackForm *out) {
    for (int i = 1; i < UNPACK_FORMS; ++i)
        if (strcmp(text, unpack_form_names[i]) == 0) {
            *out = (UnpackForm)i;
            return STATUS_OK;
        }
    FAIL(BAD_USAGE, "--to is text, npy, idx, cifar or png, not '%s'", text);
}

Status cmd_unpack(int argc, char **argv) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"to", required_argument, NULL, 't'},
                                            {"split", required_argument, NULL, 's'},
                                            {0}};
    double started = clock_now();
    UnpackConfig config = {.progress = console_task_progress, .context = &started};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "o:", options, NULL)) != -1;) {
        switch (option) {
        case 'o': config.out = optarg; break;
        case 't': TRY(parse_unpack_form(optarg, &config.form)); break;
        case 's': config.split = optarg; break;
        default: FAIL(BAD_USAGE, "see `dye help unpack`");
        }
    }
    FAIL_IF(argc - optind != 1 || config.out == NULL, BAD_USAGE,
            "which data set, and where to? usage: dye unpack DIR -o OUT [--to FORM]");
    config.set = argv[optind];
    TRY(unpack(&config));
    printf("unpacked %s into %s in %.1f s\n", config.set, config.out, clock_now() - started);
    return STATUS_OK;
}
