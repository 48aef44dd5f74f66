// Texts behind launch/help.h, made from the tables of commands and keys.
#include "launch/help.h"

#include <string.h>

#include "launch/command.h"
#include "launch/console.h"
#include "launch/manual.h"
#include "launch/run_config.h"
#include "launch/version.h"

enum { OPTION_COLUMN = 26 };

void help_print(FILE *out) {
    const char *bold = console_style(out, STYLE_BOLD), *plain = console_style(out, STYLE_PLAIN);
    fprintf(out,
            "dye %s: diffusion training, the same bits on any number of ranks\n\n"
            "usage: dye COMMAND ..., dye help COMMAND\n",
            version_text());
    for (int i = 0; i < command_count; ++i) {
        const CommandRow *row = &command_rows[i];
        if (row->group != NULL) fprintf(out, "\n%s%s%s\n", bold, row->group, plain);
        fprintf(out, "  %-10s %s\n", row->name, row->help);
    }
    fprintf(
        out,
        "\n%sHelp%s\n"
        "  help       this text; of a COMMAND; config: every key; of a section or key: dye help"
        " optim\n"
        "             exit: the exit codes; man, markdown: a man page, the page on all keys;\n"
        "             bash, zsh: completion for shells (source <(dye help bash))\n"
        "  --version  versions of dye and of its libraries\n\n"
        "pack, verify, train, eval, sample, bench and doctor run under mpirun as well: mpirun -n 4"
        " dye train CONFIG.yaml\n"
        "Exit codes: dye help exit\n",
        bold, plain);
}

static void print_command(const CommandRow *row) {
    const char *bold = console_style(stdout, STYLE_BOLD),
               *plain = console_style(stdout, STYLE_PLAIN);
    bool options = false;
    for (int i = 0; i < command_option_count; ++i)
        options |= strcmp(command_options[i].command, row->name) == 0;
    printf("%sdye %s%s %s%s\n    %s\n", bold, row->name, plain, row->arguments,
           options ? " [OPTION ...]" : "", row->help);
    if (options) printf("\n");
    for (int i = 0; i < command_option_count; ++i) {
        const CommandOption *option = &command_options[i];
        if (strcmp(option->command, row->name) != 0) continue;
        bool wide = strlen(option->option) > OPTION_COLUMN;
        printf("  %-*s%s", OPTION_COLUMN, option->option, wide ? "\n" : "");
        printf("%*s  %s\n", wide ? OPTION_COLUMN + 2 : 0, "", option->help);
    }
    if (strstr(row->arguments, "key=value") != NULL)
        printf("\nkey=value is any key of the configuration (dye help config), such as"
               " sampler.steps=20\n");
}

Status help_topic(const char *topic) {
    const CommandRow *row = command_find(topic);
    if (row != NULL)
        print_command(row);
    else if (strcmp(topic, "help") == 0)
        help_print(stdout);
    else if (!manual_print(topic, stdout))
        FAIL_IF(!run_config_print_help(strcmp(topic, "config") == 0 ? "" : topic, stdout),
                BAD_USAGE, "there is no help on '%s'; try `dye help`", topic);
    return STATUS_OK;
}
