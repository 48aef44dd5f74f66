// dye: how a job starts and ends.
#include <stdio.h>
#include <string.h>

#include "launch/command.h"
#include "launch/console.h"
#include "launch/manual.h"
#include "launch/run_config.h"
#include "launch/version.h"

static void print_help(FILE *out) {
    fprintf(out, "dye %s: diffusion training, the same bits on any number of ranks\n\n",
            version_text());
    for (int i = 0; i < command_count; ++i)
        fprintf(out, "  dye %s %s\n      %s\n", command_rows[i].name, command_rows[i].usage,
                command_rows[i].help);
    fputs(
        "  dye help [COMMAND|config|man|bash|zsh]\n      this text, or that of a command; every"
        " configuration key; a man page; completion for a shell\n"
        "  dye --version\n      versions of dye and of its libraries\n\n"
        "pack, verify, train, eval, bench and doctor run under mpirun as well: mpirun -n 4 dye train CONFIG.yaml\n"
        "Exit codes: 0 finished, 75 saved but unfinished (run the same command again),\n"
        "78 wrong configuration, 65 damaged data, 66 not found, 69 in use, 79 a rank hung or was\n"
        "lost, 2 wrong usage.\n",
        out);
}

static Status run_help(const char *topic) {
    if (topic == NULL) {
        print_help(stdout);
        return STATUS_OK;
    }
    if (strcmp(topic, "config") == 0) {
        run_config_print_help(stdout);
        return STATUS_OK;
    }
    if (strcmp(topic, "man") == 0 || strcmp(topic, "bash") == 0 || strcmp(topic, "zsh") == 0) {
        manual_print(topic, stdout);
        return STATUS_OK;
    }
    const CommandRow *row = command_find(topic);
    FAIL_IF(row == NULL, BAD_USAGE, "there is no help on '%s'; try `dye help`", topic);
    printf("dye %s %s\n    %s\n", row->name, row->usage, row->help);
    return STATUS_OK;
}

static Status run(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        FAIL(BAD_USAGE, "no command given");
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return run_help(argc > 2 ? argv[2] : NULL);
    if (strcmp(name, "--version") == 0) {
        version_print(stdout);
        return STATUS_OK;
    }
    const CommandRow *row = command_find(name);
    FAIL_IF(row == NULL, BAD_USAGE, "there is no command '%s'; try `dye help`", name);
    if (argc > 2 && strcmp(argv[2], "--help") == 0) return run_help(name);
    return row->run(argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    Status status = run(argc, argv);
    if (status == STATUS_UNFINISHED)
        console_say(error_get()->text);
    else if (status != STATUS_OK && error_get()->status != STATUS_OK)
        console_error();
    return status_info(status)->exit_code;
}
