// Checked numbers behind launch/options.h.
#include "launch/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

Status option_i64(const char *option, const char *text, int64_t least, int64_t most, int64_t *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    FAIL_IF(end == text || *end != '\0' || errno != 0 || value < least || value > most, BAD_USAGE,
            "%s wants a whole number from %" PRId64 " to %" PRId64 ", not '%s'", option, least,
            most, text);
    *out = value;
    return STATUS_OK;
}

Status option_f64(const char *option, const char *text, double least, double most, double *out) {
    char *end;
    double value = strtod(text, &end);
    FAIL_IF(end == text || *end != '\0' || !(value >= least && value <= most), BAD_USAGE,
            "%s wants a number from %g to %g, not '%s'", option, least, most, text);
    *out = value;
    return STATUS_OK;
}
