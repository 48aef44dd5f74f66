// The table of types of sources, and what they share.
#include "data/pack/source.h"

#include <stdlib.h>
#include <string.h>

#include "data/codec.h"

// The first that knows a path takes it: text, which takes almost anything, stands last.
static const SourceType *const types[] = {
    &source_idx,         &source_cifar, &source_tar,  &source_folder, &source_npy,
    &source_safetensors, &source_font,  &source_text, &source_toy,
};
enum { TYPES = sizeof types / sizeof *types };

static Status recognise(const char *path, const SourceType **out) {
    for (int i = 0; i < TYPES; ++i)
        if (types[i]->knows(path)) {
            *out = types[i];
            return STATUS_OK;
        }
    FAIL_IF(!file_exists(path), NOT_FOUND,
            "%s: there is no such folder or file, and no made-up set of that name (swiss-roll, "
            "two-moons, checkerboard, heartbeat)",
            path);
    char known[1024] = "";
    for (int i = 0; i < TYPES; ++i) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? "; " : "", types[i]->what);
    }
    FAIL(BAD_DATA, "%s: is nothing that pack reads: %s", path, known);
}

Status source_open(const char *path, const SourceOptions *options, Source *out) {
    const SourceType *type;
    memset(out, 0, sizeof *out);
    TRY(recognise(path, &type));
    return source_open_as(type, NULL, path, options, out);
}

// Level k of n holds the bytes from 256 k / n on.
static Status make_levels(Source *source, int32_t levels) {
    Column *column = &source->info.column[0];
    bool grey = source->info.kind == KIND_IMAGE && column->dtype == DTYPE_U8 && column->dims == 3 &&
                column->dim[0] == 1;
    FAIL_IF(!grey, BAD_USAGE,
            "%s: --levels is for grey pictures of bytes; pictures in files become grey by --colour"
            " grey",
            source->path);
    source->levels = levels;
    source->info.kind = KIND_TOKENS;
    source->info.symbols = levels;
    snprintf(column->name, sizeof column->name, "tokens");
    column->dims = 2;
    column->dim[0] = column->dim[1];
    column->dim[1] = column->dim[2];
    return STATUS_OK;
}

Status source_open_as(const SourceType *type, void *state, const char *path,
                      const SourceOptions *options, Source *out) {
    *out = (Source){.type = type, .state = state};
    Status status = path_format(out->path, "%s", path);
    if (status == STATUS_OK) status = type->open(out, options);
    if (status == STATUS_OK && options->levels > 0) status = make_levels(out, options->levels);
    if (status == STATUS_OK) return STATUS_OK;
    source_close(out);
    return error_trail(status, __FILE__, __LINE__, __func__);
}

void source_close(Source *source) {
    if (source->type != NULL) source->type->close(source);
    for (int i = 0; source->class_name != NULL && i < source->info.classes; ++i)
        free(source->class_name[i]);
    free(source->class_name);
    memset(source, 0, sizeof *source);
}

Status source_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                   uint8_t *const out[DATASET_COLUMNS_MOST]) {
    REQUIRE(split >= 0 && split < source->splits && first >= 0 && most >= 1);
    REQUIRE(first + most <= source->split[split].samples);
    *got = 0;
    TRY(source->type->read(source, split, first, most, got, out));
    REQUIRE(*got >= 1 && *got <= most);
    int64_t bytes = *got * column_item_bytes(&source->info.column[0]);
    for (int64_t i = 0; i < bytes && source->levels > 0; ++i)
        out[0][i] = (uint8_t)(out[0][i] * source->levels / 256);
    return STATUS_OK;
}

Column *source_add_column(Source *source, const char *name, Dtype dtype, int dims,
                          const int64_t *dim) {
    REQUIRE(source->info.columns < DATASET_COLUMNS_MOST);
    Column *column = &source->info.column[source->info.columns++];
    snprintf(column->name, sizeof column->name, "%s", name);
    column->dtype = dtype;
    column->dims = dims;
    for (int i = 0; i < dims; ++i) column->dim[i] = dim[i];
    return column;
}

void source_add_split(Source *source, const char *name, int64_t samples) {
    REQUIRE(source->splits < SOURCE_SPLITS_MOST);
    SourceSplit *split = &source->split[source->splits++];
    snprintf(split->name, sizeof split->name, "%s", name);
    split->samples = samples;
}

void source_add_content(Source *source, int64_t bytes, uint64_t hash) {
    SourceContent *content = &source->content;
    uint64_t both[2] = {content->hash, hash};
    content->hash = content->files++ == 0 ? hash : codec_hash(both, sizeof both);
    content->bytes += bytes;
}
