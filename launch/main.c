// dye: how a job starts and ends.
#include <stdio.h>
#include <string.h>

#include "launch/command.h"
#include "launch/console.h"
#include "launch/help.h"
#include "launch/version.h"

static Status run_help(const char *topic) {
    if (topic != NULL) return help_topic(topic);
    help_print(stdout);
    return STATUS_OK;
}

static Status run(int argc, char **argv) {
    if (argc < 2) {
        help_print(stderr);
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
    for (int i = 2; i < argc; ++i)
        if (strcmp(argv[i], "--help") == 0) return help_topic(name);
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
