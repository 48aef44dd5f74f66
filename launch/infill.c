// Text with gaps as symbols.
#include "launch/infill.h"

#include <stdlib.h>
#include <string.h>

#include "launch/picture.h"

// -1: the alphabet lacks it.
static int32_t symbol_of(const char *alphabet, const char *character, int bytes) {
    int32_t symbol = 0;
    for (const char *at = alphabet; *at != 0; at += character_bytes(at), ++symbol)
        if (character_bytes(at) == bytes && memcmp(at, character, (size_t)bytes) == 0)
            return symbol;
    return -1;
}

static Status put_symbols(const DatasetInfo *data, int32_t mask, int64_t length, const char *text,
                          int32_t *out) {
    int64_t n = 0;
    for (const char *at = text; *at != 0; at += character_bytes(at)) {
        int bytes = character_bytes(at);
        FAIL_IF(n == length, BAD_USAGE,
                "--infill: the text is longer than the %lld symbols of a sample (data.length)",
                (long long)length);
        out[n] = *at == '_' ? mask : symbol_of(data->alphabet, at, bytes);
        FAIL_IF(out[n] < 0, BAD_USAGE,
                "--infill: the alphabet of the data has no '%.*s' (character %lld); it is '%s', and"
                " _ is a gap",
                bytes, at, (long long)n + 1, data->alphabet);
        ++n;
    }
    while (n < length) out[n++] = mask;
    return STATUS_OK;
}

Status infill_read(const DatasetInfo *data, const Process *process, int64_t length,
                   const char *text, int64_t count, int32_t **out) {
    *out = NULL;
    FAIL_IF(data->kind != KIND_TEXT, BAD_USAGE, "--infill is for text, and %s is none", data->name);
    int32_t mask = process_mask(process);
    FAIL_IF(mask < 0, BAD_USAGE,
            "--infill: this system has no masks that alone are drawn; systems that have: mdlm,"
            " d3pm, sedd and discrete-flow with process.schedule: absorbing");
    int32_t *symbols = calloc((size_t)(count * length), sizeof *symbols);
    FAIL_IF(symbols == NULL, NO_MEMORY, "no memory for %lld symbols", (long long)(count * length));
    Status status = put_symbols(data, mask, length, text, symbols);
    for (int64_t i = 1; i < count; ++i)
        memcpy(symbols + i * length, symbols, (size_t)length * sizeof *symbols);
    if (status == STATUS_OK)
        *out = symbols;
    else
        free(symbols);
    return status;
}
