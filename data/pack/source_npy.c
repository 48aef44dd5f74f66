// Arrays of NumPy: a file .npy, or a file .npz of several.
#include <stdlib.h>
#include <string.h>

#include "data/pack/array_source.h"
#include "data/codec.h"
#include "data/pack/npz.h"

static bool npy_knows(const char *path) {
    uint8_t start[8];
    size_t got, length = strlen(path);
    if (!blob_begins(path, start, sizeof start, &got)) return false;
    bool zip = length > 4 && strcmp(path + length - 4, ".npz") == 0 && npz_begins(start, got);
    return zip || npy_begins(start, got);
}

// Adds one file, named `name`; one that cannot be packed is left out unless it is `needed`.
static Status add_file(const char *path, const char *what, const char *name, bool needed,
                       const SourceOptions *options, ArrayList *list) {
    uint8_t start[NPY_START_MOST];
    NpyHeader header;
    Blob *blob;
    TRY(blob_open(path, 0, options, &blob));
    int64_t bytes = blob_bytes(blob);
    size_t part = bytes < (int64_t)sizeof start ? (size_t)bytes : sizeof start;
    Status status = blob_read(blob, 0, start, part);
    if (status == STATUS_OK) status = npy_parse(start, part, what, &header);
    if (status != STATUS_OK) blob_close(blob);
    if (status == STATUS_BAD_DATA && !needed) {
        error_clear();
        return STATUS_OK;
    }
    TRY(status);
    Array *array = &list->list[list->count++];
    *array = (Array){
        .type = header.type, .dims = header.dims, .blob = blob, .at = (int64_t)header.header_bytes};
    array->vague = header.type.kind == 'V';
    memcpy(array->dim, header.dim, sizeof array->dim);
    snprintf(array->name, sizeof array->name, "%s", name);
    return STATUS_OK;
}

static Status add_members(const char *path, const char *folder, const SourceOptions *options,
                          ArrayList *list) {
    char file[PATH_BYTES], what[2 * PATH_BYTES], **names, name[128];
    int count;
    Status status = STATUS_OK;
    TRY(folder_names(folder, &names, &count));
    list->list = calloc((size_t)count + 1, sizeof *list->list);
    if (list->list == NULL)
        FAIL_OR(done, status, NO_MEMORY, "%s: no memory for %d arrays", path, count);
    for (int i = 0; i < count; ++i) {
        snprintf(name, sizeof name, "%.*s", (int)strlen(names[i]) - 4, names[i]);
        snprintf(what, sizeof what, "%s, array \"%s\"", path, name);
        bool needed = (options->image != NULL && strcmp(options->image, name) == 0) ||
                      (options->label != NULL && strcmp(options->label, name) == 0);
        TRY_OR(done, status, path_format(file, "%s/%s", folder, names[i]));
        TRY_OR(done, status, add_file(file, what, name, needed || count == 1, options, list));
    }
done:
    folder_names_free(names, count);
    return status;
}

static Status add_all(const char *path, const SourceOptions *options, ArrayList *list) {
    uint8_t start[8];
    char folder[PATH_BYTES];
    size_t got;
    if (!blob_begins(path, start, sizeof start, &got) || !npz_begins(start, got)) {
        list->list = calloc(2, sizeof *list->list);
        FAIL_IF(list->list == NULL, NO_MEMORY, "%s: no memory to read it", path);
        TRY(add_file(path, path, options->image != NULL ? options->image : "array", true, options,
                     list));
        if (options->label == NULL || !file_exists(options->label)) return STATUS_OK;
        return add_file(options->label, options->label, options->label, true, options, list);
    }
    uint64_t key = codec_hash(path, strlen(path));
    TRY(path_format(folder, "%s/npz-%016llx", options->stage, (unsigned long long)key));
    if (options->lead) TRY(npz_unfold(path, folder));
    return add_members(path, folder, options, list);
}

static Status npy_open_arrays(Source *source, const SourceOptions *options) {
    ArrayList list = {0};
    Status status = add_all(source->path, options, &list);
    if (status != STATUS_OK) {
        for (int i = 0; i < list.count; ++i) blob_close(list.list[i].blob);
        free(list.list);
        return error_trail(status, __FILE__, __LINE__, __func__);
    }
    return array_source_open(source, options, &list);
}

const SourceType source_npy = {.name = "npy",
                               .what = "arrays of NumPy (.npy, .npz)",
                               .knows = npy_knows,
                               .open = npy_open_arrays,
                               .read = array_source_read,
                               .close = array_source_close};
