// What `dye help` prints.
#pragma once

#include <stdio.h>

#include "base/status.h"

void help_print(FILE *out); // all commands, a line each
// Of a command, a section of the configuration ("optim") or one of its keys, "config", or
// what launch/manual.h prints, on stdout. Errors: BAD_USAGE (nothing is called so).
Status help_topic(const char *topic);
