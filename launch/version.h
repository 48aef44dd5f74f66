// Versions of dye and of the libraries that it runs with.
#pragma once

#include <stdio.h>

#include "base/json.h"

const char *version_text(void); // "0.1.0 (commit 1a2b3c)"
void version_print(FILE *out);
json_t *version_facts(void); // for RUN/run.json: owned by the caller
