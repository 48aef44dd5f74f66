// What other programs make of the tables of commands and keys: a man page, completion for shells.
#pragma once

#include <stdbool.h>
#include <stdio.h>

// "man": troff; "bash", "zsh": a script of completion, to be sourced or installed; "markdown": all
// keys, which is docs/configuration.md; "exit": the exit codes. False: something else, and nothing
// is printed.
bool manual_print(const char *what, FILE *out);
