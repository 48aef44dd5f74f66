// From shards to files.
#include "data/pack/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset_index.h"
#include "data/png.h"

enum {
    CACHE_BYTES = 1 << 22,
    CHUNK_BYTES = 1 << 18,
    CIFAR_SIDE = 32,
    NAME_BYTES = 300,
    NPY_HEADER_BYTES = 192,
};

const char *const unpack_form_names[UNPACK_FORMS] = {"usual", "text", "npy", "idx", "cifar", "png"};

typedef struct {
    const UnpackConfig *config;
    DatasetIndex index;
    UnpackForm form;
    char folder[PATH_BYTES]; // OUT.unpacking
    Dataset *data;           // the split under way
    const IndexSplit *split;
    uint8_t *buffer[DATASET_COLUMNS_MOST];
    int64_t chunk; // samples that each buffer holds
    int64_t done, total;
} Unpack;

// ---- samples ------------------------------------------------------------------------------------

static Status read_samples(Unpack *work, int column, int64_t first, int64_t count) {
    return dataset_read(work->data, column, first, count, work->buffer[column]);
}

static void step_on(Unpack *work, int64_t samples) {
    const UnpackConfig *config = work->config;
    work->done += samples;
    if (config->progress != NULL)
        config->progress(config->context, (double)work->done / (double)work->total, "unpacking");
}

static int64_t chunk_at(const Unpack *work, int64_t first) {
    int64_t left = work->split->items - first;
    return left < work->chunk ? left : work->chunk;
}

static int64_t label_of(const Unpack *work, int64_t row) {
    uint16_t wide;
    if (work->index.info.column[1].dtype == DTYPE_U8) return work->buffer[1][row];
    memcpy(&wide, work->buffer[1] + 2 * row, 2);
    return wide;
}

// ---- files --------------------------------------------------------------------------------------

static Status open_file(const char *path, int *fd) {
    *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FAIL_IF(*fd < 0, IO, "%s: cannot be made: %s", path, strerror(errno));
    return STATUS_OK;
}

static Status close_file(int fd, const char *path, Status status) {
    if (status == STATUS_OK) status = file_flush(fd, path);
    close(fd);
    return status;
}

static Status put_column(Unpack *work, int column, int fd, const char *path) {
    int64_t item = column_item_bytes(&work->index.info.column[column]), count;
    for (int64_t first = 0; first < work->split->items; first += count) {
        count = chunk_at(work, first);
        TRY(read_samples(work, column, first, count));
        TRY(file_put(fd, path, work->buffer[column], (size_t)(count * item)));
        if (column == 0) step_on(work, count);
    }
    return STATUS_OK;
}

// A column as it is behind a header.
static Status write_column(Unpack *work, int column, const char *name, const void *header,
                           size_t bytes) {
    char path[PATH_BYTES];
    int fd;
    TRY(path_format(path, "%s/%s", work->folder, name));
    TRY(open_file(path, &fd));
    Status status = bytes > 0 ? file_put(fd, path, header, bytes) : STATUS_OK;
    if (status == STATUS_OK) status = put_column(work, column, fd, path);
    return close_file(fd, path, status);
}

// ---- forms --------------------------------------------------------------------------------------

// Version 1.0: magic, length of the text (u16), the text of a Python dictionary, spaces and a
// newline up to a multiple of 64: as NumPy writes it.
static size_t npy_header(const Column *column, int64_t items, char out[NPY_HEADER_BYTES]) {
    static const char *const descr[] = {[DTYPE_U8] = "|u1",
                                        [DTYPE_F32] = "<f4",
                                        [DTYPE_U16] = "<u2",
                                        [DTYPE_F16] = "<f2",
                                        [DTYPE_BF16] = "|V2"};
    char shape[96];
    int used = snprintf(shape, sizeof shape, "%" PRId64 ",", items);
    for (int i = 0; i < column->dims; ++i)
        used += snprintf(shape + used, sizeof shape - (size_t)used, " %" PRId64 "%s",
                         column->dim[i], i + 1 < column->dims ? "," : "");
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    size_t length = 10;
    length += (size_t)snprintf(out + length, NPY_HEADER_BYTES - length,
                               "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                               descr[column->dtype], shape);
    while (length % 64 != 63) out[length++] = ' ';
    out[length++] = '\n';
    out[8] = (char)((length - 10) & 0xFF);
    out[9] = (char)((length - 10) >> 8);
    return length;
}

static Status unpack_npy(Unpack *work) {
    for (int c = 0; c < work->index.info.columns; ++c) {
        const Column *column = &work->index.info.column[c];
        char name[64], header[NPY_HEADER_BYTES];
        size_t bytes = npy_header(column, work->split->items, header);
        snprintf(name, sizeof name, "%s-%s.npy", work->split->name, column->name);
        TRY(write_column(work, c, name, header, bytes));
    }
    return STATUS_OK;
}

static void put_be32(uint8_t *out, int64_t value) {
    for (int i = 0; i < 4; ++i) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static Status unpack_idx(Unpack *work) {
    const char *split = strcmp(work->split->name, "test") == 0 ? "t10k" : work->split->name;
    const Column *image = &work->index.info.column[0];
    uint8_t header[16] = {0, 0, 8, 3};
    char name[64];
    put_be32(header + 4, work->split->items);
    put_be32(header + 8, image->dim[1]);
    put_be32(header + 12, image->dim[2]);
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", split);
    TRY(write_column(work, 0, name, header, 16));
    if (work->index.info.columns < 2) return STATUS_OK;
    header[3] = 1;
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", split);
    return write_column(work, 1, name, header, 8);
}

// The split's one file, SPLIT.suffix, as `put` fills it.
static Status write_file(Unpack *work, const char *suffix,
                         Status (*put)(Unpack *work, int fd, const char *path)) {
    char name[64], path[PATH_BYTES];
    int fd;
    snprintf(name, sizeof name, "%s.%s", work->split->name, suffix);
    TRY(path_format(path, "%s/%s", work->folder, name));
    TRY(open_file(path, &fd));
    return close_file(fd, path, put(work, fd, path));
}

static Status put_records(Unpack *work, int fd, const char *path) {
    int64_t item = column_item_bytes(&work->index.info.column[0]), count;
    for (int64_t first = 0; first < work->split->items; first += count) {
        count = chunk_at(work, first);
        TRY(read_samples(work, 0, first, count));
        TRY(read_samples(work, 1, first, count));
        for (int64_t i = 0; i < count; ++i) {
            TRY(file_put(fd, path, work->buffer[1] + i, 1));
            TRY(file_put(fd, path, work->buffer[0] + i * item, (size_t)item));
        }
        step_on(work, count);
    }
    return STATUS_OK;
}

static Status unpack_cifar(Unpack *work) {
    return write_file(work, "bin", put_records);
}

// Each symbol's bytes: a character of UTF-8, or the one byte whose code point it is.
typedef struct {
    char bytes[4];
    uint8_t count;
} Spelling;

static void spell(const DatasetIndex *index, Spelling spelling[256]) {
    int symbol = 0;
    for (const char *at = index->info.alphabet; *at != '\0' && symbol < 256; ++symbol) {
        Spelling *s = &spelling[symbol];
        s->count = 1;
        while ((at[s->count] & 0xC0) == 0x80 && s->count < 4) ++s->count;
        memcpy(s->bytes, at, s->count);
        at += s->count;
        if (index->utf8 || s->count != 2) continue;
        s->bytes[0] = (char)((s->bytes[0] & 3) << 6 | (s->bytes[1] & 0x3F));
        s->count = 1;
    }
}

static Status put_text(Unpack *work, int fd, const char *path) {
    Spelling spelling[256] = {0};
    int64_t count;
    char *text = malloc((size_t)(4 * work->chunk));
    FAIL_IF(text == NULL, NO_MEMORY, "no memory to unpack text");
    Status status = STATUS_OK;
    spell(&work->index, spelling);
    for (int64_t first = 0; first < work->split->items; first += count) {
        size_t bytes = 0;
        count = chunk_at(work, first);
        TRY_OR(done, status, read_samples(work, 0, first, count));
        for (int64_t i = 0; i < count; ++i) {
            const Spelling *s = &spelling[work->buffer[0][i]];
            memcpy(text + bytes, s->bytes, s->count);
            bytes += s->count;
        }
        TRY_OR(done, status, file_put(fd, path, text, bytes));
        step_on(work, count);
    }
done:
    free(text);
    return status;
}

static Status unpack_text(Unpack *work) {
    return write_file(work, "txt", put_text);
}

// ---- pictures -----------------------------------------------------------------------------------

// The folder of a class; '/' has no place in a name.
static void name_class(const Unpack *work, int64_t label, char out[NAME_BYTES]) {
    const json_t *name = json_array_get(work->index.class_names, (size_t)label);
    if (json_is_string(name))
        snprintf(out, NAME_BYTES, "%s", json_string_value(name));
    else
        snprintf(out, NAME_BYTES, "%" PRId64, label);
    for (char *c = out; *c != '\0'; ++c)
        if (*c == '/' || *c == '\\') *c = '_';
    if (out[0] == '.') out[0] = '_';
}

static Status make_class_folders(const Unpack *work) {
    char path[PATH_BYTES], class[NAME_BYTES];
    TRY(path_format(path, "%s/%s", work->folder, work->split->name));
    TRY(folder_make(path));
    for (int64_t i = 0; i < work->index.info.classes; ++i) {
        name_class(work, i, class);
        TRY(path_format(path, "%s/%s/%s", work->folder, work->split->name, class));
        TRY(folder_make(path));
    }
    return STATUS_OK;
}

static Status write_picture(const Unpack *work, int64_t row, int64_t number) {
    const Column *image = &work->index.info.column[0];
    char path[PATH_BYTES], class[NAME_BYTES] = ".";
    if (work->index.info.classes > 0) name_class(work, label_of(work, row), class);
    TRY(path_format(path, "%s/%s/%s/%07" PRId64 ".png", work->folder, work->split->name, class,
                    number));
    uint8_t *data;
    size_t bytes;
    int fd;
    TRY(png_encode_grid(&(PngGrid){.images = work->buffer[0] + row * column_item_bytes(image),
                                   .n = 1,
                                   .channels = (int32_t)image->dim[0],
                                   .height = (int32_t)image->dim[1],
                                   .width = (int32_t)image->dim[2],
                                   .scale = 1},
                        &data, &bytes));
    Status status = open_file(path, &fd);
    if (status == STATUS_OK) {
        status = file_put(fd, path, data, bytes); // of many small files none is synced
        close(fd);
    }
    free(data);
    return status;
}

static Status unpack_png(Unpack *work) {
    int64_t count;
    TRY(make_class_folders(work));
    for (int64_t first = 0; first < work->split->items; first += count) {
        count = chunk_at(work, first);
        for (int c = 0; c < work->index.info.columns; ++c) TRY(read_samples(work, c, first, count));
        for (int64_t i = 0; i < count; ++i) TRY(write_picture(work, i, first + i));
        step_on(work, count);
    }
    return STATUS_OK;
}

// ---- the whole ----------------------------------------------------------------------------------

static Status (*const unpack_forms[UNPACK_FORMS])(Unpack *) = {
    [UNPACK_TEXT] = unpack_text,   [UNPACK_NPY] = unpack_npy, [UNPACK_IDX] = unpack_idx,
    [UNPACK_CIFAR] = unpack_cifar, [UNPACK_PNG] = unpack_png,
};

static bool fits(UnpackForm form, const DatasetInfo *info) {
    const Column *c = &info->column[0];
    bool byte_labels = info->columns == 1 || info->column[1].dtype == DTYPE_U8;
    switch (form) {
    case UNPACK_USUAL:
    case UNPACK_NPY: return true;
    case UNPACK_TEXT: return info->kind == KIND_TEXT;
    case UNPACK_IDX: return info->kind == KIND_IMAGE && c->dim[0] == 1 && byte_labels;
    case UNPACK_CIFAR:
        return info->kind == KIND_IMAGE && c->dim[0] == 3 && c->dim[1] == CIFAR_SIDE &&
               c->dim[2] == CIFAR_SIDE && info->columns == 2 && byte_labels;
    case UNPACK_PNG: return info->kind == KIND_IMAGE && (c->dim[0] == 1 || c->dim[0] == 3);
    }
    return false;
}

static Status choose(Unpack *work) {
    const DatasetInfo *info = &work->index.info;
    const char *split = work->config->split;
    work->form = work->config->form;
    if (work->form == UNPACK_USUAL) work->form = info->kind == KIND_TEXT ? UNPACK_TEXT : UNPACK_NPY;
    FAIL_IF(!fits(work->form, info), BAD_USAGE,
            "%s: this data set (kind %s) has no form '%s'; npy fits all", work->config->set,
            dataset_kind_names[info->kind], unpack_form_names[work->form]);
    FAIL_IF(split != NULL && dataset_index_find_split(&work->index, split) < 0, NOT_FOUND,
            "%s: has no split \"%s\"", work->config->set, split);
    int64_t item = column_item_bytes(&info->column[0]);
    work->chunk = item >= CHUNK_BYTES ? 1 : CHUNK_BYTES / item;
    for (int c = 0; c < info->columns; ++c) {
        work->buffer[c] = malloc((size_t)(work->chunk * column_item_bytes(&info->column[c])));
        FAIL_IF(work->buffer[c] == NULL, NO_MEMORY, "no memory to unpack %s", work->config->set);
    }
    for (int s = 0; s < work->index.splits; ++s)
        if (split == NULL || strcmp(split, work->index.split[s].name) == 0)
            work->total += work->index.split[s].items;
    return STATUS_OK;
}

static Status unpack_splits(Unpack *work) {
    const UnpackConfig *config = work->config;
    TRY(choose(work));
    FAIL_IF(file_exists(config->out), BAD_USAGE, "%s: exists already; choose another folder",
            config->out);
    TRY(folder_remove(work->folder));
    TRY(folder_make(work->folder));
    for (int s = 0; s < work->index.splits; ++s) {
        work->split = &work->index.split[s];
        if (config->split != NULL && strcmp(config->split, work->split->name) != 0) continue;
        TRY(dataset_open(&(DatasetConfig){.path = config->set,
                                          .split = work->split->name,
                                          .cache_bytes = CACHE_BYTES},
                         &work->data));
        Status status = unpack_forms[work->form](work);
        dataset_close(work->data);
        TRY(status);
    }
    return file_rename(work->folder, config->out);
}

Status unpack(const UnpackConfig *config) {
    Unpack *work = calloc(1, sizeof *work);
    FAIL_IF(work == NULL, NO_MEMORY, "no memory to unpack %s", config->set);
    work->config = config;
    Status status = path_format(work->folder, "%s.unpacking", config->out);
    if (status == STATUS_OK) status = dataset_index_load(config->set, &work->index);
    if (status == STATUS_OK) status = unpack_splits(work);
    for (int c = 0; c < DATASET_COLUMNS_MOST; ++c) free(work->buffer[c]);
    dataset_index_close(&work->index);
    free(work);
    return status;
}
