// Several folders as one data set.
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/dataset_index.h"
#include "data/single_set.h"

struct Dataset {
    DatasetInfo info;
    SingleSet *set[DATASET_PARTS_MOST];
    int64_t first[DATASET_PARTS_MOST + 1]; // item
    int parts;
};

bool dataset_part_path(const char *path, int part, char *out, size_t bytes) {
    for (; part > 0; --part) {
        path = strchr(path, ',');
        if (path == NULL) return false;
        ++path;
    }
    path += strspn(path, " \t");
    size_t length = strcspn(path, ",");
    while (length > 0 && (path[length - 1] == ' ' || path[length - 1] == '\t')) --length;
    if (length == 0 || length >= bytes) return false;
    memcpy(out, path, length);
    out[length] = '\0';
    return true;
}

static bool same_columns(const DatasetInfo *a, const DatasetInfo *b) {
    bool same = a->columns == b->columns;
    for (int c = 0; c < a->columns && same; ++c) {
        const Column *x = &a->column[c], *y = &b->column[c];
        same = strcmp(x->name, y->name) == 0 && x->dtype == y->dtype && x->dims == y->dims &&
               memcmp(x->dim, y->dim, (size_t)x->dims * sizeof x->dim[0]) == 0;
    }
    return same;
}

static Status compare(const DatasetInfo *a, const DatasetInfo *b) {
    const char *what = a->kind != b->kind                      ? "kinds"
                       : !same_columns(a, b)                   ? "columns, numbers or shapes"
                       : a->classes != b->classes              ? "numbers of classes"
                       : strcmp(a->alphabet, b->alphabet) != 0 ? "alphabets"
                       : a->symbols != b->symbols              ? "numbers of symbols"
                                                               : NULL;
    FAIL_IF(what != NULL, BAD_CONFIG,
            "the data sets \"%s\" and \"%s\" cannot be mixed: they have different %s", a->name,
            b->name, what);
    return STATUS_OK;
}

static Status open_parts(Dataset *dataset, const DatasetConfig *config) {
    char path[PATH_BYTES], more[PATH_BYTES];
    int parts = 1;
    for (const char *comma = config->path; (comma = strchr(comma, ',')) != NULL; ++comma) ++parts;
    FAIL_IF(parts > DATASET_PARTS_MOST, BAD_CONFIG, "more than %d data sets", DATASET_PARTS_MOST);
    DatasetConfig part = *config;
    part.path = path;
    part.cache_bytes = config->cache_bytes / (size_t)parts;
    for (int i = 0; i < parts; ++i) {
        FAIL_IF(!dataset_part_path(config->path, i, path, sizeof path), BAD_CONFIG,
                "\"%s\": number %d of these data sets has no name", config->path, i + 1);
        for (int k = 0; k < i; ++k)
            FAIL_IF(dataset_part_path(config->path, k, more, sizeof more) &&
                        strcmp(more, path) == 0,
                    BAD_CONFIG, "the data set %s stands twice; give it a larger weight", path);
        TRY(single_set_open(&part, &dataset->set[i]));
        dataset->parts = i + 1;
        TRY(compare(single_set_info(dataset->set[0]), single_set_info(dataset->set[i])));
        dataset->first[i + 1] = dataset->first[i] + single_set_info(dataset->set[i])->items;
    }
    return STATUS_OK;
}

static void describe(Dataset *dataset) {
    uint64_t identity[DATASET_PARTS_MOST];
    DatasetInfo *info = &dataset->info;
    *info = *single_set_info(dataset->set[0]);
    if (dataset->parts == 1) return;
    for (int i = 0; i < dataset->parts; ++i)
        identity[i] = single_set_info(dataset->set[i])->identity;
    info->items = dataset->first[dataset->parts];
    info->identity = codec_hash(identity, (size_t)dataset->parts * sizeof identity[0]);
    size_t used = strlen(info->name);
    snprintf(info->name + used, sizeof info->name - used, " and %d more", dataset->parts - 1);
}

Status dataset_open(const DatasetConfig *config, Dataset **out) {
    Dataset *dataset = calloc(1, sizeof *dataset);
    FAIL_IF(dataset == NULL, NO_MEMORY, "%s: no memory to open it", config->path);
    Status status = open_parts(dataset, config);
    if (status != STATUS_OK) {
        dataset_close(dataset);
        return error_trail(status, __FILE__, __LINE__, __func__);
    }
    describe(dataset);
    *out = dataset;
    return STATUS_OK;
}

void dataset_close(Dataset *dataset) {
    for (int i = 0; dataset != NULL && i < DATASET_PARTS_MOST; ++i)
        single_set_close(dataset->set[i]);
    free(dataset);
}

const DatasetInfo *dataset_info(const Dataset *dataset) {
    return &dataset->info;
}

int dataset_parts(const Dataset *dataset) {
    return dataset->parts;
}

const DatasetInfo *dataset_part(const Dataset *dataset, int part, int64_t *first) {
    REQUIRE(part >= 0 && part < dataset->parts);
    *first = dataset->first[part];
    return single_set_info(dataset->set[part]);
}

int dataset_find_column(const Dataset *dataset, const char *name) {
    for (int c = 0; c < dataset->info.columns; ++c)
        if (strcmp(dataset->info.column[c].name, name) == 0) return c;
    return -1;
}

bool dataset_is_drawn(const DatasetInfo *info) {
    return info->kind == KIND_IMAGE || (info->kind == KIND_TOKENS && info->column[0].dims == 2);
}

// The folder that holds an item.
static int find_part(const Dataset *dataset, int64_t item) {
    int part = 0;
    while (part + 1 < dataset->parts && dataset->first[part + 1] <= item) ++part;
    return part;
}

Status dataset_read(Dataset *dataset, int column, int64_t first, int64_t count, void *out) {
    REQUIRE(column >= 0 && column < dataset->info.columns);
    REQUIRE(first >= 0 && count >= 0 && first <= dataset->info.items - count);
    int64_t item_bytes = column_item_bytes(&dataset->info.column[column]);
    uint8_t *to = out;
    while (count > 0) {
        int part = find_part(dataset, first);
        int64_t left = dataset->first[part + 1] - first, now = count < left ? count : left;
        TRY(single_set_read(dataset->set[part], column, first - dataset->first[part], now, to));
        to += now * item_bytes;
        first += now;
        count -= now;
    }
    return STATUS_OK;
}

bool dataset_lost_range(Dataset *dataset, int column, int64_t item, int64_t *first,
                        int64_t *count) {
    int part = find_part(dataset, item);
    int64_t before = dataset->first[part];
    bool lost = single_set_lost_range(dataset->set[part], column, item - before, first, count);
    *first += before;
    return lost;
}

bool dataset_busy(Dataset *dataset, char *out, size_t bytes) {
    for (int i = 0; i < dataset->parts; ++i)
        if (single_set_busy(dataset->set[i], out, bytes)) return true;
    return false;
}
