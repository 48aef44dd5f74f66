// Numbers from the command line, checked.
#pragma once

#include <stdint.h>

#include "base/status.h"

// BAD_USAGE names the option, the text and the range.
Status option_i64(const char *option, const char *text, int64_t least, int64_t most, int64_t *out);
Status option_f64(const char *option, const char *text, double least, double most, double *out);
