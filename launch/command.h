// The subcommands of `dye`. Each gets its own arguments (argv[0] is its name) and returns a Status;
// main prints the error record and turns the status into the exit code.
#pragma once

#include "base/status.h"

typedef Status (*Command)(int argc, char **argv);

Status cmd_pack(int argc, char **argv);
Status cmd_unpack(int argc, char **argv);
Status cmd_inspect(int argc, char **argv);
Status cmd_verify(int argc, char **argv);
Status cmd_train(int argc, char **argv);
Status cmd_sample(int argc, char **argv);
Status cmd_encode(int argc, char **argv);
Status cmd_film(int argc, char **argv);
Status cmd_distance(int argc, char **argv);
Status cmd_eval(int argc, char **argv);
Status cmd_export(int argc, char **argv);
Status cmd_import(int argc, char **argv);
Status cmd_bench(int argc, char **argv);
Status cmd_compare(int argc, char **argv);
Status cmd_plan(int argc, char **argv);
Status cmd_doctor(int argc, char **argv);
Status cmd_launch(int argc, char **argv);
Status cmd_status(int argc, char **argv);
Status cmd_report(int argc, char **argv);
Status cmd_ls(int argc, char **argv);
Status cmd_diff(int argc, char **argv);
Status cmd_clean(int argc, char **argv);
Status cmd_forensics(int argc, char **argv);

// The one table of them, in the order in which they are listed.
typedef struct {
    const char *group; // a heading before it, or NULL
    const char *name;
    Command run;
    const char *arguments, *help; // arguments: without options; help: one sentence
} CommandRow;
extern const CommandRow command_rows[];
extern const int command_count;
const CommandRow *command_find(const char *name); // NULL: there is none

// Their options, those of a command together and in the order of its row.
typedef struct {
    const char *command, *option, *help; // option: "-n N", "--seed S"
} CommandOption;
extern const CommandOption command_options[];
extern const int command_option_count;
