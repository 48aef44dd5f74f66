// Verifying a dataset folder against its index, and showing it.
#include "data/dataset.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/content_hash.h"
#include "data/dataset_index.h"
#include "data/filter.h"

enum { SHOW_TEXT_SYMBOLS = 512, READ_BYTES = 65536 };

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Every file of the folder is the index or one of its shards.
static Status check_names(const char *path, const DatasetIndex *index) {
    char **names = NULL;
    int count = 0;
    Status status = STATUS_OK;
    const char **known = calloc((size_t)index->shards, sizeof *known);
    FAIL_IF(known == NULL, NO_MEMORY, "%s: no memory for %d names", path, index->shards);
    for (int i = 0; i < index->shards; ++i) known[i] = index->shard[i].file;
    qsort(known, (size_t)index->shards, sizeof *known, compare_names);
    TRY_OR(done, status, folder_names(path, &names, &count));
    for (int i = 0; i < count; ++i) {
        const char *name = names[i];
        if (strcmp(name, "index.json") == 0) continue;
        if (bsearch(&name, known, (size_t)index->shards, sizeof *known, compare_names) == NULL) {
            FAIL_OR(done, status, BAD_DATA,
                    "%s/%s: is not part of the dataset; remove it or pack again", path, name);
        }
    }
done:
    folder_names_free(names, count);
    free(known);
    return status;
}

static Status check_files(const char *path, const DatasetIndex *index, int rank, int world) {
    for (int i = rank; i < index->shards; i += world) {
        char file[PATH_BYTES];
        TRY(path_format(file, "%s/%s", path, index->shard[i].file));
        FAIL_IF(!file_exists(file), BAD_DATA, "%s: is missing; copy it again or pack again", file);
        TRY(block_file_compare(file, &index->shard[i].file_info)); // decoded for its content below
    }
    return STATUS_OK;
}

typedef struct {
    ContentHash hash;
    uint8_t buffer[READ_BYTES];
} ContentCheck;

static Status check_column(Dataset *dataset, int column, const char *place, uint64_t expected,
                           ContentCheck *check, uint8_t *item) {
    const DatasetInfo *info = dataset_info(dataset);
    int64_t item_bytes = column_item_bytes(&info->column[column]);
    int64_t step = item_bytes > READ_BYTES ? 1 : READ_BYTES / item_bytes;
    uint8_t *buffer = item != NULL ? item : check->buffer;
    content_hash_init(&check->hash);
    for (int64_t first = 0; first < info->items; first += step) {
        int64_t count = info->items - first < step ? info->items - first : step;
        TRY(dataset_read(dataset, column, first, count, buffer));
        content_hash_add(&check->hash, buffer, (size_t)(count * item_bytes));
    }
    uint64_t found = content_hash_finish(&check->hash);
    FAIL_IF(found != expected, BAD_DATA,
            "%s, column \"%s\": its content hash is %016" PRIx64
            ", but index.json says %016" PRIx64,
            place, info->column[column].name, found, expected);
    return STATUS_OK;
}

static Status check_content(const char *path, const DatasetIndex *index, int s, int column,
                            ContentCheck *check) {
    const IndexSplit *split = &index->split[s];
    Dataset *dataset = NULL;
    uint8_t *item = NULL; // for items larger than the buffer
    char place[PATH_BYTES];
    int64_t bytes = column_item_bytes(&index->info.column[column]);
    Status status = STATUS_OK;
    TRY(path_format(place, "%s: split \"%s\"", path, split->name));
    TRY_OR(done, status,
           dataset_open(&(DatasetConfig){.path = path, .split = split->name}, &dataset));
    if (bytes > READ_BYTES) {
        item = malloc((size_t)bytes);
        if (item == NULL) FAIL_OR(done, status, NO_MEMORY, "%s: no memory for an item", place);
    }
    TRY_OR(done, status, check_column(dataset, column, place, split->content[column], check, item));
done:
    free(item);
    dataset_close(dataset);
    return status;
}

static Status check_contents(const char *path, const DatasetIndex *index, int rank, int world) {
    Status status = STATUS_OK;
    ContentCheck *check = malloc(sizeof *check);
    FAIL_IF(check == NULL, NO_MEMORY, "%s: no memory to verify it", path);
    int columns = index->info.columns;
    for (int i = rank; i < index->splits * columns; i += world)
        TRY_OR(done, status, check_content(path, index, i / columns, i % columns, check));
done:
    free(check);
    return status;
}

Status dataset_verify(const char *path, int rank, int world) {
    DatasetIndex index;
    Status status = STATUS_OK;
    TRY(dataset_index_load(path, &index));
    if (rank == 0) TRY_OR(done, status, check_names(path, &index));
    TRY_OR(done, status, check_files(path, &index, rank, world));
    TRY_OR(done, status, check_contents(path, &index, rank, world));
done:
    dataset_index_close(&index);
    return status;
}

static void show_index(const DatasetIndex *index, FILE *out) {
    const DatasetInfo *info = &index->info;
    fprintf(out, "%s: %s, identity %016" PRIx64 "\n", info->name, dataset_kind_names[info->kind],
            info->identity);
    for (int i = 0; i < index->sources; ++i) {
        fprintf(out, "source %s: %" PRId64 " bytes, content %016" PRIx64 "\n",
                index->source[i].file, index->source[i].bytes, index->source[i].hash);
    }
    for (int c = 0; c < info->columns; ++c) {
        const Column *column = &info->column[c];
        fprintf(out, "column %s: %s [", column->name, dataset_dtype_names[column->dtype]);
        for (int i = 0; i < column->dims; ++i) {
            fprintf(out, "%s%" PRId64, i > 0 ? ", " : "", column->dim[i]);
        }
        fprintf(out, "], filter %s, groups of %" PRId64 " items\n",
                dataset_filter_names[column->filter], column->group_items);
    }
    if (info->classes > 0) fprintf(out, "classes: %d\n", (int)info->classes);
    if (info->symbols > 0) fprintf(out, "symbols: %d\n", (int)info->symbols);
    for (int s = 0; s < index->splits; ++s) {
        fprintf(out, "split %s: %" PRId64 " items\n", index->split[s].name, index->split[s].items);
    }
    for (int i = 0; i < index->shards; ++i) {
        const IndexShard *shard = &index->shard[i];
        double raw = (double)shard->file_info.raw, bytes = (double)shard->file_info.bytes;
        fprintf(out,
                "shard %s: items %" PRId64 " to %" PRId64 ", %u groups, %.0f bytes (ratio %.3f)\n",
                shard->file, shard->first, shard->first + shard->items - 1,
                (unsigned)shard->file_info.blocks, bytes, raw / bytes);
    }
}

// Two characters a pixel, dark to light; the mean of the channels; wide images thinned.
static void show_image(const Column *column, const uint8_t *pixel, FILE *out) {
    static const char shade[] = " .:-=+*#%@";
    int64_t channels = column->dim[0], height = column->dim[1], width = column->dim[2];
    int64_t step = (width + 63) / 64;
    for (int64_t y = 0; y < height; y += step) {
        for (int64_t x = 0; x < width; x += step) {
            int64_t sum = 0;
            for (int64_t c = 0; c < channels; ++c) sum += pixel[(c * height + y) * width + x];
            char mark = shade[sum / channels * 10 / 256];
            fputc(mark, out);
            fputc(mark, out);
        }
        fputc('\n', out);
    }
}

static void show_symbols(const DatasetInfo *info, const uint8_t *symbol, int64_t count, FILE *out) {
    const char *start[257];
    int symbols = 0;
    for (const char *c = info->alphabet; *c != '\0'; ++c) {
        if ((*c & 0xC0) != 0x80) start[symbols++] = c;
    }
    start[symbols] = info->alphabet + strlen(info->alphabet);
    for (int64_t i = 0; i < count; ++i) {
        const char *from = start[symbol[i]];
        fwrite(from, 1, (size_t)(start[symbol[i] + 1] - from), out);
    }
    fputc('\n', out);
}

// A number of a column of bytes or of u16.
static int whole_number(const Column *column, const uint8_t *from, int64_t i) {
    uint16_t wide;
    if (column->dtype == DTYPE_U8) return from[i];
    memcpy(&wide, from + 2 * i, 2);
    return wide;
}

static int64_t count_numbers(const Column *column) {
    return column_item_bytes(column) / dtype_bytes(column->dtype);
}

// Row by row as numbers.
static void show_tokens(const DatasetInfo *info, const uint8_t *token, FILE *out) {
    const Column *column = &info->column[0];
    int64_t width = column->dim[column->dims - 1];
    for (int64_t i = 0; i < count_numbers(column); ++i) {
        fprintf(out, info->symbols <= 10 ? "%d" : " %*d",
                info->symbols <= 10     ? whole_number(column, token, i)
                : info->symbols <= 1000 ? 3
                                        : 5,
                whole_number(column, token, i));
        if ((i + 1) % width == 0) fputc('\n', out);
    }
}

// One a line.
static void show_floats(const Column *column, const uint8_t *from, FILE *out) {
    for (int64_t i = 0; i < count_numbers(column); ++i)
        fprintf(out, "%.9g\n", (double)number_widen(column->dtype, from, i));
}

static Status show_main(Dataset *dataset, int64_t item, uint8_t *buffer, FILE *out) {
    const DatasetInfo *info = dataset_info(dataset);
    const Column *column = &info->column[0];
    int64_t left = info->items - item, count = info->kind == KIND_TEXT ? SHOW_TEXT_SYMBOLS : 1;
    count = count < left ? count : left;
    TRY(dataset_read(dataset, 0, item, count, buffer));
    if (info->kind == KIND_IMAGE) show_image(column, buffer, out);
    if (info->kind == KIND_TEXT) show_symbols(info, buffer, count, out);
    if (info->kind == KIND_TOKENS) show_tokens(info, buffer, out);
    if (info->kind == KIND_VECTOR || info->kind == KIND_LATENT) show_floats(column, buffer, out);
    return STATUS_OK;
}

static Status show_item(const char *path, const char *split, const json_t *names, int64_t item,
                        FILE *out) {
    Dataset *dataset = NULL;
    uint8_t *buffer = NULL, label[2];
    Status status = STATUS_OK;
    TRY(dataset_open(&(DatasetConfig){.path = path, .split = split}, &dataset));
    const DatasetInfo *info = dataset_info(dataset);
    if (item >= info->items) {
        FAIL_OR(done, status, BAD_USAGE, "%s: split \"%s\" has items 0 to %lld, not %lld", path,
                split, (long long)info->items - 1, (long long)item);
    }
    size_t bytes = (size_t)column_item_bytes(&info->column[0]);
    buffer = malloc(bytes < SHOW_TEXT_SYMBOLS ? SHOW_TEXT_SYMBOLS : bytes);
    if (buffer == NULL) FAIL_OR(done, status, NO_MEMORY, "%s: no memory for an item", path);
    fprintf(out, "%s item %" PRId64, split, item);
    int column = dataset_find_column(dataset, "label");
    if (column >= 0) {
        TRY_OR(done, status, dataset_read(dataset, column, item, 1, label));
        int number = whole_number(&info->column[column], label, 0);
        const char *name = json_string_value(json_array_get(names, (size_t)number));
        fprintf(out, ", label %d%s%s", number, name != NULL ? " " : "", name != NULL ? name : "");
    }
    fputc('\n', out);
    TRY_OR(done, status, show_main(dataset, item, buffer, out));
done:
    free(buffer);
    dataset_close(dataset);
    return status;
}

Status dataset_inspect(const char *path, const char *split, int64_t item, FILE *out) {
    DatasetIndex index;
    TRY(dataset_index_load(path, &index));
    show_index(&index, out);
    Status status = item >= 0 ? show_item(path, split, index.class_names, item, out) : STATUS_OK;
    dataset_index_close(&index);
    return status;
}
