// What other programs make of the tables of commands and keys: a man page, completion for shells.
#pragma once

#include <stdio.h>

// "man": troff; "bash", "zsh": a script of completion, to be sourced or installed.
void manual_print(const char *what, FILE *out);
