// NPZ files from strangers: any bytes give a Status, within bounded memory.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char folder[] = "/tmp/dye-fuzz-XXXXXX", path[64];
    if (path[0] == '\0' && mkdtemp(folder) == NULL) abort();
    snprintf(path, sizeof path, "%s/a.npz", folder);
    FILE *file = fopen(path, "we");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
    Source source;
    SourceOptions options = {.stage = folder, .lead = true};
    if (source_open_as(&source_npy, NULL, path, &options, &source) != STATUS_OK) return 0;
    int64_t samples = source.split[0].samples, got;
    uint8_t *out[DATASET_COLUMNS_MOST] = {NULL};
    for (int c = 0; c < source.info.columns; ++c)
        out[c] = malloc((size_t)column_item_bytes(&source.info.column[c]));
    for (int64_t i = 0; i < samples && i < 64; ++i)
        if (source_read(&source, 0, i, 1, &got, out) == STATUS_OK && got != 1) abort();
    for (int c = 0; c < source.info.columns; ++c) free(out[c]);
    source_close(&source);
    return 0;
}
