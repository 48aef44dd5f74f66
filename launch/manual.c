// Texts made from the tables behind launch/manual.h.
#include "launch/manual.h"

#include <string.h>

#include "launch/command.h"
#include "launch/run_config.h"
#include "launch/version.h"

static const char bug_text[] = "a bug of dye: please report it";

// ---- man page ---------------------------------------------------------------------------------

// Text as troff takes it: what begins a line may be no request.
static void print_troff(FILE *out, const char *text) {
    if (*text == '.' || *text == '\'') fputs("\\&", out);
    for (; *text != '\0'; ++text) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
    }
}

static void print_item(FILE *out, const char *head, const char *rest, const char *text) {
    fputs(".TP\n\\fB", out);
    print_troff(out, head);
    fputs("\\fR ", out);
    print_troff(out, rest);
    fputc('\n', out);
    print_troff(out, text);
    fputc('\n', out);
}

static void print_command(FILE *out, const CommandRow *row) {
    print_item(out, row->name, row->arguments, row->help);
    fputs(".RS\n", out);
    for (int i = 0; i < command_option_count; ++i)
        if (strcmp(command_options[i].command, row->name) == 0)
            print_item(out, command_options[i].option, "", command_options[i].help);
    fputs(".RE\n", out);
}

static void print_key(void *context, const char *key, const char *usual, const char *help) {
    char rest[600] = "";
    if (usual[0] != '\0') snprintf(rest, sizeof rest, "(%s)", usual);
    print_item(context, key, rest, help);
}

static void print_man(FILE *out) {
    fprintf(out, ".TH DYE 1 \"\" \"dye %s\" \"User Commands\"\n", version_text());
    fputs(
        ".SH NAME\ndye \\- diffusion training, the same bits on any number of ranks\n"
        ".SH SYNOPSIS\n\\fBdye\\fR \\fICOMMAND\\fR ...\n.br\n"
        "\\fBmpirun \\-n\\fR \\fIN\\fR \\fBdye train\\fR \\fICONFIG.yaml\\fR [\\fIkey\\fR=\\fIvalue\\fR"
        " ...]\n.SH COMMANDS\n",
        out);
    for (int i = 0; i < command_count; ++i) print_command(out, &command_rows[i]);
    fputs(".SH CONFIGURATION\nKeys of a YAML file, or key=value behind it; in brackets what they"
          " are where they are not given.\n",
          out);
    run_config_keys(print_key, out);
    fputs(".SH EXIT STATUS\n", out);
    char code[12];
    for (int status = 0; status < STATUS_COUNT; ++status) {
        snprintf(code, sizeof code, "%d", status_info((Status)status)->exit_code);
        print_item(out, code, status_info((Status)status)->name, status_info((Status)status)->text);
    }
    snprintf(code, sizeof code, "%d", EXIT_BUG);
    print_item(out, code, "BUG", bug_text);
}

// ---- completion -------------------------------------------------------------------------------

// Without what they take.
static void print_options(FILE *out, const char *command) {
    for (int i = 0; i < command_option_count; ++i)
        if (strcmp(command_options[i].command, command) == 0)
            fprintf(out, " %.*s", (int)strcspn(command_options[i].option, " "),
                    command_options[i].option);
}

static bool takes_keys(const CommandRow *row) {
    return strstr(row->arguments, "key=value") != NULL;
}

static void print_assignment(void *context, const char *key, const char *usual, const char *help) {
    (void)usual;
    (void)help;
    fprintf(context, " %s=", key);
}

static void print_words(FILE *out) {
    fputs("dye_commands='help", out);
    for (int i = 0; i < command_count; ++i) fprintf(out, " %s", command_rows[i].name);
    fputs("'\ndye_keys='", out);
    run_config_keys(print_assignment, out);
    fputs("'\ndye_words() { # of a command\n    case $1 in\n", out);
    for (int i = 0; i < command_count; ++i) {
        fprintf(out, "    %s) echo \"--help", command_rows[i].name);
        print_options(out, command_rows[i].name);
        fprintf(out, "%s\" ;;\n", takes_keys(&command_rows[i]) ? " $dye_keys" : "");
    }
    fputs("    help) echo \"config exit man bash zsh markdown $dye_commands\" ;;\n    esac\n}\n",
          out);
}

// Files stand beside the words of a command.
static void print_bash(FILE *out) {
    fputs("# bash completion of dye: source it, or put it into"
          " /usr/share/bash-completion/completions/dye\n",
          out);
    print_words(out);
    fputs("_dye() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]}\n"
          "    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W \"$dye_commands --version --help\" -- \"$word\"))\n"
          "        return\n"
          "    fi\n"
          "    COMPREPLY=($(compgen -W \"$(dye_words \"${COMP_WORDS[1]}\")\" -- \"$word\")"
          " $(compgen -f -- \"$word\"))\n"
          "    [[ ${COMPREPLY[0]:-} != *= ]] || compopt -o nospace 2>/dev/null\n"
          "}\n"
          "complete -o filenames -F _dye dye\n",
          out);
}

static void print_zsh(FILE *out) {
    fputs("#compdef dye\n# zsh completion of dye: put it as _dye into a folder of $fpath\n", out);
    print_words(out);
    fputs("if (( CURRENT == 2 )); then\n"
          "    compadd -- ${=dye_commands} --version --help\n"
          "else\n"
          "    compadd -- ${(M)$(dye_words $words[2]):#-*}\n"
          "    compadd -S '' -- ${(M)$(dye_words $words[2]):#*=}\n"
          "    _files\n"
          "fi\n",
          out);
}

// ---- pages ------------------------------------------------------------------------------------

static void print_markdown(FILE *out) {
    fputs("# Configuration\n\n"
          "This page lists every key that a configuration may set: its default, what it may be, and"
          " whether it may\nchange when a run goes on from a checkpoint. `dye help markdown` prints"
          " it; `dye help config` prints the same\nfor a terminal, `dye help optim` one section,"
          " `dye help optim.lr` one key.\n\n"
          "A configuration is a YAML file of sections. A key that is not given has its default, and"
          " a word behind the file\nsets one for this start: `dye train mine.yaml"
          " optim.lr=3e-4`. `RUN/config.yaml` has all keys as they were used.\n\n"
          "| a value | may look like |\n|---|---|\n"
          "| whole number | `256`, `20k`, `1.5M`, `2e6`; k, M, G, T are powers of 1,000; of bytes,"
          " of 1,024 (`64M`, `64MiB`) |\n"
          "| number | `0.5`, `1e-4` |\n"
          "| seconds | `90`, `90s`, `10m`, `2h`, `1d` |\n"
          "| steps or time | `500`, `2k`: steps; `90s`, `10m`, `2h`, `1d`: time; `0`: never. `10m`"
          " is minutes, `10M` millions of steps |\n"
          "| one of some words | the words in the third column |\n\n"
          "A key that is mistyped, a value out of its range, and a key that the chosen"
          " `process.name` does not read are\nrefused with exit code 78. `docs/systems.md` tells"
          " which words each system knows.\n",
          out);
    run_config_print_markdown(out);
}

static void print_exit(FILE *out) {
    for (int status = 0; status < STATUS_COUNT; ++status)
        fprintf(out, "%3d  %s\n", status_info((Status)status)->exit_code,
                status_info((Status)status)->text);
    fprintf(out, "%3d  %s\n", EXIT_BUG, bug_text);
}

bool manual_print(const char *what, FILE *out) {
    static const struct {
        const char *name;
        void (*print)(FILE *out);
    } pages[] = {{"man", print_man},
                 {"bash", print_bash},
                 {"zsh", print_zsh},
                 {"markdown", print_markdown},
                 {"exit", print_exit}};
    for (size_t i = 0; i < sizeof pages / sizeof *pages; ++i) {
        if (strcmp(what, pages[i].name) != 0) continue;
        pages[i].print(out);
        return true;
    }
    return false;
}
