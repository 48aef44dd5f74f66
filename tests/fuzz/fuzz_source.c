// What dye pack reads, from strangers: any bytes give a Status, within bounded memory, and whatever
// is read fits what the source has said of itself.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/pack/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READ_MOST = 64, ITEM_MOST = 1 << 22 };

static const struct {
    const SourceType *type;
    const char *file; // beside others, in a folder of the type's
} types[] = {
    {&source_idx, NULL},     {&source_cifar, "a.bin"}, {&source_tar, "a.tar"},
    {&source_npy, "a.npz"},  {&source_npy, "a.npy"},   {&source_safetensors, "a.safetensors"},
    {&source_font, "a.hex"}, {&source_text, "a.txt"},  {&source_folder, "b/a.png"}};
enum { TYPES = sizeof types / sizeof *types };

static char root[] = "/tmp/dye-fuzz-XXXXXX";

static void write_file(const char *path, const uint8_t *data, size_t size) {
    FILE *file = fopen(path, "we");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
}

// The first byte tells how many bytes of the rest are the labels; then come the images.
static void write_idx(const char *folder, const uint8_t *data, size_t size) {
    char path[128];
    size_t labels = size < 1 ? 0 : data[0] < size - 1 ? data[0] : size - 1;
    snprintf(path, sizeof path, "%s/train-labels-idx1-ubyte", folder);
    write_file(path, data + (size > 0), labels);
    snprintf(path, sizeof path, "%s/train-images-idx3-ubyte", folder);
    write_file(path, data + (size > 0) + labels, size < 1 ? 0 : size - 1 - labels);
}

static void read_some(Source *source) {
    uint8_t *out[DATASET_COLUMNS_MOST] = {NULL};
    bool fits = true;
    for (int c = 0; c < source->info.columns; ++c) {
        int64_t bytes = column_item_bytes(&source->info.column[c]);
        if (bytes < 1) abort();
        fits = fits && bytes <= ITEM_MOST;
        if (fits) out[c] = malloc((size_t)bytes);
    }
    for (int s = 0; s < source->splits && fits; ++s)
        for (int64_t i = 0; i < source->split[s].samples && i < READ_MOST; ++i) {
            int64_t got;
            if (source_read(source, s, i, 1, &got, out) != STATUS_OK) continue;
            bool labelled = source->info.columns > 1;
            int label = labelled ? out[1][0] : 0;
            if (labelled && source->info.column[1].dtype == DTYPE_U16) label |= out[1][1] << 8;
            if (labelled && label >= source->info.classes) abort();
            if (source->info.kind == KIND_TEXT && out[0][0] >= source->info.symbols) abort();
        }
    for (int c = 0; c < source->info.columns; ++c) free(out[c]);
}

// The first byte chooses the type, the rest is its file.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    char folder[64], path[128], stage[64];
    if (!made && mkdtemp(root) == NULL) abort();
    made = true;
    if (size < 1) return 0;
    int type = data[0] % TYPES;
    snprintf(folder, sizeof folder, "%s/%d", root, type);
    snprintf(stage, sizeof stage, "%s/stage", root);
    snprintf(path, sizeof path, "%s/b", folder);
    if (folder_make(path) != STATUS_OK || folder_make(stage) != STATUS_OK) abort();
    snprintf(path, sizeof path, "%s/%s", folder, types[type].file != NULL ? types[type].file : "");
    if (types[type].file == NULL)
        write_idx(folder, data + 1, size - 1);
    else
        write_file(path, data + 1, size - 1);
    bool whole = types[type].file == NULL || types[type].type == &source_folder;
    SourceOptions options = {.stage = stage, .lead = true};
    Source source;
    if (source_open_as(types[type].type, NULL, whole ? folder : path, &options, &source) ==
        STATUS_OK) {
        read_some(&source);
        source_close(&source);
    }
    if (folder_remove(stage) != STATUS_OK) abort(); // what was decoded is of this input
    return 0;
}
