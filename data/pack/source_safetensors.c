// Tensors of a safetensors file as samples and labels.
#include <stdlib.h>
#include <string.h>

#include "data/pack/array_source.h"
#include "data/safetensors.h"

static bool safetensors_knows(const char *path) {
    Safetensors tensors;
    uint8_t start[9];
    size_t got;
    if (!blob_begins(path, start, sizeof start, &got) || got < sizeof start || start[8] != '{')
        return false;
    if (safetensors_read(path, &tensors) != STATUS_OK) {
        error_clear();
        return false;
    }
    safetensors_close(&tensors);
    return true;
}

static NpyType type_of(const char *dtype) {
    static const struct {
        const char *name;
        NpyType type;
    } types[] = {{"U8", {'u', 1, false}},  {"I8", {'i', 1, false}},  {"U16", {'u', 2, false}},
                 {"I16", {'i', 2, false}}, {"U32", {'u', 4, false}}, {"I32", {'i', 4, false}},
                 {"U64", {'u', 8, false}}, {"I64", {'i', 8, false}}, {"F16", {'f', 2, false}},
                 {"F32", {'f', 4, false}}, {"F64", {'f', 8, false}}, {"BF16", {'V', 2, false}}};
    for (size_t i = 0; i < sizeof types / sizeof *types; ++i)
        if (strcmp(types[i].name, dtype) == 0) return types[i].type;
    return (NpyType){'?', 1, false};
}

static Status safetensors_open_arrays(Source *source, const SourceOptions *options) {
    Safetensors tensors;
    ArrayList list = {0};
    Blob *blob;
    TRY(safetensors_read(source->path, &tensors));
    Status status = blob_open(source->path, 0, options, &blob);
    if (status == STATUS_OK) list.list = calloc((size_t)tensors.count + 1, sizeof *list.list);
    for (int i = 0; i < tensors.count && list.list != NULL; ++i) {
        const SafetensorsEntry *entry = &tensors.list[i];
        Array *array = &list.list[list.count++];
        *array = (Array){.type = type_of(entry->dtype),
                         .dims = entry->dims,
                         .blob = blob,
                         .at = (int64_t)(tensors.header_bytes + entry->begin)};
        for (int d = 0; d < entry->dims; ++d) array->dim[d] = entry->dim[d];
        snprintf(array->name, sizeof array->name, "%s", entry->name);
    }
    safetensors_close(&tensors);
    TRY(status);
    if (list.count == 0) blob_close(blob);
    if (list.count > 0) return array_source_open(source, options, &list);
    free(list.list);
    FAIL(BAD_DATA, "%s: holds no tensors", source->path);
}

const SourceType source_safetensors = {.name = "safetensors",
                                       .what = "tensors of samples (.safetensors)",
                                       .knows = safetensors_knows,
                                       .open = safetensors_open_arrays,
                                       .read = array_source_read,
                                       .close = array_source_close};
