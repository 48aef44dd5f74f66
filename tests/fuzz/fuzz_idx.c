// IDX files from strangers: any bytes give a Status, within bounded memory.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/dye-fuzz-XXXXXX";

static void write_part(const char *name, const uint8_t *data, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
}

// The first byte tells how many bytes of the rest are the labels; then come the images.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    if (!made && mkdtemp(folder) == NULL) abort();
    made = true;
    if (size < 1) return 0;
    size_t labels = data[0] < size - 1 ? data[0] : size - 1;
    write_part("train-labels-idx1-ubyte", data + 1, labels);
    write_part("train-images-idx3-ubyte", data + 1 + labels, size - 1 - labels);
    Source source;
    SourceOptions options = {.stage = folder, .lead = true};
    if (source_open_as(&source_idx, NULL, folder, &options, &source) != STATUS_OK) return 0;
    int64_t samples = source.split[0].samples, got, pixels = 1;
    for (int i = 0; i < 3; ++i) pixels *= source.info.column[0].dim[i];
    if (samples * pixels > (int64_t)size) abort();
    uint8_t label, *image = malloc((size_t)pixels);
    uint8_t *const out[DATASET_COLUMNS_MOST] = {image, &label};
    for (int64_t i = 0; i < samples; ++i) {
        if (source_read(&source, 0, i, 1, &got, out) != STATUS_OK) abort();
        if (label >= source.info.classes) abort();
    }
    free(image);
    source_close(&source);
    return 0;
}
