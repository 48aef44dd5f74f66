// Reading index.json: every number bounded, every name plain, every sum checked.
#include "data/dataset_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

static const int64_t items_most = (int64_t)1 << 48;

const char *const dataset_kind_names[5] = {"image", "text", "vector", "tokens", "latent"};
const char *const dataset_dtype_names[5] = {"u8", "f32", "u16", "f16", "bf16"};
const char *const dataset_filter_names[4] = {"none", "row-delta", "planes", "green-left"};

// Where an error is: "DIR/index.json: shards[3]".
typedef struct {
    char text[PATH_BYTES + 64];
} Place;

static Place place_of(const char *what, const char *list, size_t entry) {
    Place place;
    snprintf(place.text, sizeof place.text, "%.*s: %s[%zu]", PATH_BYTES - 1, what, list, entry);
    return place;
}

// A letter, digit, '-', '_' or '.', not starting with '.': nothing that could leave the folder.
static bool is_plain_name(const char *name) {
    if (name[0] == '\0' || name[0] == '.') return false;
    return name[strspn(
               name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] == '\0';
}

static Status get_choice(const json_t *object, const char *key, const char *what,
                         const char *const *names, int count, int *out) {
    char text[32];
    TRY(json_get_text(object, key, what, text, sizeof text));
    for (int i = 0; i < count; ++i) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return STATUS_OK;
        }
    }
    FAIL(BAD_DATA, "%s: %s \"%s\" is unknown to this version", what, key, text);
}

static Status get_list(const json_t *root, const char *key, const char *what, size_t least,
                       size_t most, json_t **out) {
    TRY(json_get_array(root, key, what, out));
    size_t count = json_array_size(*out);
    FAIL_IF(count < least || count > most, BAD_DATA, "%s: %s has %zu entries, expected %zu to %zu",
            what, key, count, least, most);
    return STATUS_OK;
}

static Status parse_shape(const json_t *shape, const char *what, Column *column) {
    int64_t numbers = 1;
    column->dims = (int)json_array_size(shape);
    for (int i = 0; i < column->dims; ++i) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        FAIL_IF(!json_is_integer(dim), BAD_DATA, "%s: shape holds something not a number", what);
        int64_t value = json_integer_value(dim);
        FAIL_IF(value < 1 || value > BLOCK_RAW_MOST / numbers, BAD_DATA,
                "%s: shape has a size of %lld, which is not possible", what, (long long)value);
        column->dim[i] = value;
        numbers *= value;
    }
    return STATUS_OK;
}

static Status parse_column(const json_t *entry, const char *what, Column *column) {
    json_t *shape;
    int dtype = 0, filter = 0;
    TRY(json_get_text(entry, "name", what, column->name, sizeof column->name));
    TRY(get_choice(entry, "dtype", what, dataset_dtype_names, 5, &dtype));
    TRY(get_list(entry, "shape", what, 0, 3, &shape));
    TRY(get_choice(entry, "filter", what, dataset_filter_names, 4, &filter));
    column->dtype = (Dtype)dtype;
    column->filter = (Filter)filter;
    TRY(parse_shape(shape, what, column));
    int64_t most = BLOCK_RAW_MOST / column_item_bytes(column);
    TRY(json_get_i64(entry, "group_items", what, 1, most, &column->group_items));
    FAIL_IF(column->filter == FILTER_ROW_DELTA && (column->dtype != DTYPE_U8 || column->dims < 2),
            BAD_DATA, "%s: filter row-delta needs u8 rows", what);
    FAIL_IF(column->filter == FILTER_PLANES && column->dtype == DTYPE_U8, BAD_DATA,
            "%s: filter planes needs numbers of several bytes", what);
    FAIL_IF(column->filter == FILTER_GREEN_LEFT &&
                (column->dtype != DTYPE_U8 || column->dims != 3 || column->dim[0] != 3),
            BAD_DATA, "%s: filter green-left needs u8 images of three channels", what);
    return STATUS_OK;
}

static bool column_is(const Column *column, const char *name, unsigned dtypes, int least,
                      int most) {
    return strcmp(column->name, name) == 0 && (dtypes >> column->dtype & 1) != 0 &&
           column->dims >= least && column->dims <= most;
}

// What a kind promises to its readers: the main column first, then perhaps labels.
static Status check_columns(const DatasetInfo *info, const char *what) {
    enum { U8 = 1 << DTYPE_U8, U16 = 1 << DTYPE_U16, F32 = 1 << DTYPE_F32 };
    enum { F16 = 1 << DTYPE_F16, BF16 = 1 << DTYPE_BF16 };
    static const struct {
        unsigned dtypes;
        int least, most; // sizes
        const char *numbers;
    } main_column[] = {[KIND_IMAGE] = {U8, 3, 3, "u8"},
                       [KIND_TEXT] = {U8, 0, 0, "u8"},
                       [KIND_VECTOR] = {F32, 1, 1, "f32"},
                       [KIND_TOKENS] = {U8 | U16, 1, 2, "u8 or u16"},
                       [KIND_LATENT] = {F32 | F16 | BF16, 3, 3, "f32, f16 or bf16"}};
    const char *name = dataset_kind_names[info->kind];
    int least = main_column[info->kind].least, most = main_column[info->kind].most;
    FAIL_IF(!column_is(&info->column[0], name, main_column[info->kind].dtypes, least, most),
            BAD_DATA, "%s: the first column of kind %s must be \"%s\" of %s with %d to %d sizes",
            what, name, name, main_column[info->kind].numbers, least, most);
    bool labels = info->columns == 2 && column_is(&info->column[1], "label", U8 | U16, 0, 0);
    FAIL_IF(info->columns > 2 || (info->columns == 2 && !labels), BAD_DATA,
            "%s: a second column must be \"label\" of u8 or u16 without sizes, and there is no"
            " third",
            what);
    FAIL_IF(labels && info->kind == KIND_TEXT, BAD_DATA, "%s: text has no labels", what);
    FAIL_IF(labels != (info->classes > 0), BAD_DATA,
            "%s: classes is %d but there is %s column of labels", what, (int)info->classes,
            labels ? "a" : "no");
    return STATUS_OK;
}

static Status parse_alphabet(const json_t *root, const char *what, DatasetInfo *info) {
    TRY(json_get_text(root, "alphabet", what, info->alphabet, sizeof info->alphabet));
    int32_t symbols = 0; // of valid UTF-8: bytes that do not continue a character
    for (const char *c = info->alphabet; *c != '\0'; ++c) symbols += (*c & 0xC0) != 0x80;
    FAIL_IF(symbols < 1 || symbols > 256, BAD_DATA, "%s: alphabet has %d symbols", what,
            (int)symbols);
    info->symbols = symbols;
    return STATUS_OK;
}

static Status parse_info(const json_t *root, const char *what, DatasetInfo *info) {
    json_t *columns;
    int kind = 0;
    int64_t classes = 0, symbols = 0;
    TRY(json_get_text(root, "name", what, info->name, sizeof info->name));
    TRY(get_choice(root, "kind", what, dataset_kind_names, 5, &kind));
    info->kind = (DatasetKind)kind;
    TRY(json_get_hex64(root, "identity", what, &info->identity));
    TRY(get_list(root, "columns", what, 1, DATASET_COLUMNS_MOST, &columns));
    info->columns = (int)json_array_size(columns);
    for (int i = 0; i < info->columns; ++i) {
        Place place = place_of(what, "columns", (size_t)i);
        TRY(parse_column(json_array_get(columns, (size_t)i), place.text, &info->column[i]));
    }
    if (json_object_get(root, "classes") != NULL) {
        TRY(json_get_i64(root, "classes", what, 1, 65536, &classes));
    }
    info->classes = (int32_t)classes;
    if (info->kind == KIND_TEXT) TRY(parse_alphabet(root, what, info));
    if (info->kind == KIND_TOKENS) {
        TRY(json_get_i64(root, "symbols", what, 1, 65536, &symbols));
        info->symbols = (int32_t)symbols;
    }
    return check_columns(info, what);
}

static Status parse_class_names(const json_t *root, const char *what, DatasetIndex *index) {
    json_t *names, *name;
    size_t i, classes = (size_t)index->info.classes;
    if (json_object_get(root, "class_names") == NULL) return STATUS_OK;
    TRY(get_list(root, "class_names", what, classes, classes, &names));
    json_array_foreach(names, i, name) {
        FAIL_IF(!json_is_string(name), BAD_DATA, "%s: class_names[%zu] is no text", what, i);
    }
    index->class_names = json_incref(names);
    return STATUS_OK;
}

static Status parse_sources(const json_t *root, const char *what, DatasetIndex *index) {
    json_t *list;
    TRY(get_list(root, "source", what, 0, INDEX_SOURCES_MOST, &list));
    for (size_t i = 0; i < json_array_size(list); ++i) {
        Place place = place_of(what, "source", i);
        const json_t *entry = json_array_get(list, i);
        IndexSource *source = &index->source[i];
        TRY(json_get_text(entry, "file", place.text, source->file, sizeof source->file));
        TRY(json_get_i64(entry, "bytes", place.text, 0, INT64_MAX, &source->bytes));
        source->files = (int)json_integer_value(json_object_get(entry, "files")); // 0: not told
        TRY(json_get_hex64(entry, "content", place.text, &source->hash));
    }
    index->sources = (int)json_array_size(list);
    return STATUS_OK;
}

static Status parse_splits(const json_t *root, const char *what, DatasetIndex *index) {
    json_t *list, *content;
    TRY(get_list(root, "splits", what, 1, INDEX_SPLITS_MOST, &list));
    for (size_t i = 0; i < json_array_size(list); ++i) {
        Place place = place_of(what, "splits", i);
        const json_t *entry = json_array_get(list, i);
        IndexSplit *split = &index->split[i];
        TRY(json_get_text(entry, "name", place.text, split->name, sizeof split->name));
        FAIL_IF(!is_plain_name(split->name), BAD_DATA, "%s: \"%s\" is no name for a split",
                place.text, split->name);
        FAIL_IF(dataset_index_find_split(index, split->name) >= 0, BAD_DATA,
                "%s: the split \"%s\" stands twice", place.text, split->name);
        TRY(json_get_i64(entry, "items", place.text, 1, items_most, &split->items));
        TRY(json_get_object(entry, "content", place.text, &content));
        for (int c = 0; c < index->info.columns; ++c) {
            TRY(json_get_hex64(content, index->info.column[c].name, place.text,
                               &split->content[c]));
        }
        index->splits = (int)i + 1;
    }
    return STATUS_OK;
}

static Status parse_shard(const json_t *entry, const char *what, const DatasetIndex *index,
                          IndexShard *shard) {
    char name[16];
    int64_t bytes, blocks;
    TRY(json_get_text(entry, "file", what, shard->file, sizeof shard->file));
    FAIL_IF(!is_plain_name(shard->file) || strcmp(shard->file, "index.json") == 0, BAD_DATA,
            "%s: \"%s\" is not a plain file name", what, shard->file);
    TRY(json_get_text(entry, "split", what, name, sizeof name));
    shard->split = dataset_index_find_split(index, name);
    FAIL_IF(shard->split < 0, BAD_DATA, "%s: there is no split \"%s\"", what, name);
    TRY(json_get_text(entry, "column", what, name, sizeof name));
    shard->column = -1;
    for (int c = 0; c < index->info.columns; ++c) {
        if (strcmp(index->info.column[c].name, name) == 0) shard->column = c;
    }
    FAIL_IF(shard->column < 0, BAD_DATA, "%s: there is no column \"%s\"", what, name);
    const Column *column = &index->info.column[shard->column];
    int64_t item_bytes = column_item_bytes(column), raw = 0;
    TRY(json_get_i64(entry, "first", what, 0, items_most, &shard->first));
    TRY(json_get_i64(entry, "items", what, 1, items_most, &shard->items));
    TRY(json_get_i64(entry, "bytes", what, 1, INT64_MAX, &bytes));
    TRY(json_get_i64(entry, "raw", what, 1, INT64_MAX, &raw));
    TRY(json_get_i64(entry, "blocks", what, 1, INT32_MAX, &blocks));
    TRY(json_get_hex64(entry, "hash", what, &shard->file_info.hash));
    FAIL_IF(shard->items > INT64_MAX / item_bytes || raw != shard->items * item_bytes, BAD_DATA,
            "%s: raw is %lld, but %lld items of %lld bytes are something else", what,
            (long long)raw, (long long)shard->items, (long long)item_bytes);
    FAIL_IF(blocks != (shard->items - 1) / column->group_items + 1, BAD_DATA,
            "%s: blocks is %lld, but %lld items in groups of %lld are something else", what,
            (long long)blocks, (long long)shard->items, (long long)column->group_items);
    shard->file_info.bytes = (uint64_t)bytes;
    shard->file_info.raw = (uint64_t)raw;
    shard->file_info.blocks = (uint32_t)blocks;
    return STATUS_OK;
}

static int compare_files(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static Status check_files_differ(const DatasetIndex *index, const char *what) {
    Status status = STATUS_OK;
    const char **name = calloc((size_t)index->shards, sizeof *name);
    FAIL_IF(name == NULL, NO_MEMORY, "%s: no memory for %d shards", what, index->shards);
    for (int i = 0; i < index->shards; ++i) name[i] = index->shard[i].file;
    qsort(name, (size_t)index->shards, sizeof *name, compare_files);
    for (int i = 1; i < index->shards; ++i) {
        if (strcmp(name[i - 1], name[i]) == 0) {
            FAIL_OR(done, status, BAD_DATA, "%s: the shard %s stands twice", what, name[i]);
        }
    }
done:
    free(name);
    return status;
}

static Status parse_shards(const json_t *root, const char *what, DatasetIndex *index) {
    json_t *list;
    int64_t next[INDEX_SPLITS_MOST][DATASET_COLUMNS_MOST] = {0};
    TRY(get_list(root, "shards", what, 1, INDEX_SHARDS_MOST, &list));
    for (size_t i = 0; i < json_array_size(list); ++i) {
        Place place = place_of(what, "shards", i);
        IndexShard shard = {0};
        TRY(parse_shard(json_array_get(list, i), place.text, index, &shard));
        int64_t *expected = &next[shard.split][shard.column];
        FAIL_IF(shard.first != *expected, BAD_DATA,
                "%s: first is %lld, but the shard before it ends at %lld", place.text,
                (long long)shard.first, (long long)*expected);
        *expected += shard.items; // below 2^20 shards of 2^48 items: no overflow
        FAIL_IF(*expected > index->split[shard.split].items, BAD_DATA,
                "%s: more items than split \"%s\" has", place.text, index->split[shard.split].name);
        TRY(dataset_index_add_shard(index, &shard));
    }
    for (int s = 0; s < index->splits; ++s) {
        for (int c = 0; c < index->info.columns; ++c) {
            FAIL_IF(next[s][c] != index->split[s].items, BAD_DATA,
                    "%s: the shards of split \"%s\", column \"%s\" hold %lld of %lld items", what,
                    index->split[s].name, index->info.column[c].name, (long long)next[s][c],
                    (long long)index->split[s].items);
        }
    }
    return check_files_differ(index, what);
}

static Status parse_root(const json_t *root, const char *what, DatasetIndex *index) {
    char format[32];
    int64_t version;
    TRY(json_get_text(root, "format", what, format, sizeof format));
    FAIL_IF(strcmp(format, "dye-dataset") != 0, BAD_DATA, "%s: is not the index of a dataset",
            what);
    TRY(json_get_i64(root, "version", what, 0, INT32_MAX, &version));
    FAIL_IF(version != 1, BAD_DATA,
            "%s: is version %d, this program reads version 1; pack it again", what, (int)version);
    TRY(parse_info(root, what, &index->info));
    TRY(parse_class_names(root, what, index));
    index->utf8 = json_object_get(root, "encoding") != NULL; // the only one that is told
    TRY(parse_sources(root, what, index));
    TRY(parse_splits(root, what, index));
    TRY(parse_shards(root, what, index));
    FAIL_IF(dataset_index_identity(index) != index->info.identity, BAD_DATA,
            "%s: identity does not fit the rest; the file was edited or damaged", what);
    return STATUS_OK;
}

// The hash over the whole text comes last, so that a message about a key comes before it.
static Status parse_checked(json_t *root, const char *what, DatasetIndex *index) {
    uint64_t check;
    TRY(parse_root(root, what, index));
    TRY(json_get_hex64(root, "check", what, &check));
    json_object_del(root, "check");
    FAIL_IF(check != dataset_index_check(root), BAD_DATA,
            "%s: check does not fit the rest; the file was edited or damaged", what);
    index->check = check;
    return STATUS_OK;
}

static Status parse_and_free(json_t *root, const char *what, DatasetIndex *out) {
    Status status = parse_checked(root, what, out);
    json_decref(root);
    if (status != STATUS_OK) dataset_index_close(out);
    return status;
}

Status dataset_index_parse(const char *text, size_t bytes, const char *what, DatasetIndex *out) {
    json_t *root;
    memset(out, 0, sizeof *out);
    TRY(json_parse(text, bytes, what, &root));
    TRY(parse_and_free(root, what, out));
    return STATUS_OK;
}

Status dataset_index_load(const char *path, DatasetIndex *out) {
    char file[PATH_BYTES];
    json_t *root;
    memset(out, 0, sizeof *out);
    TRY(path_format(file, "%s/index.json", path));
    FAIL_IF(!file_exists(file), NOT_FOUND,
            "%s: there is no dataset here (no index.json); make one with `dye pack`", path);
    TRY(json_read(file, &root));
    TRY(parse_and_free(root, file, out));
    return STATUS_OK;
}

void dataset_index_close(DatasetIndex *index) {
    free(index->shard);
    json_decref(index->class_names);
    index->class_names = NULL;
    index->shard = NULL;
    index->shards = index->shard_room = 0;
}

Status dataset_index_add_shard(DatasetIndex *index, const IndexShard *shard) {
    if (index->shards == index->shard_room) {
        int room = index->shard_room == 0 ? 8 : 2 * index->shard_room;
        IndexShard *more = realloc(index->shard, (size_t)room * sizeof *more);
        FAIL_IF(more == NULL, NO_MEMORY, "no memory for an index of %d shards", room);
        index->shard = more;
        index->shard_room = room;
    }
    index->shard[index->shards++] = *shard;
    return STATUS_OK;
}

int dataset_index_find_split(const DatasetIndex *index, const char *name) {
    for (int i = 0; i < index->splits; ++i) {
        if (strcmp(index->split[i].name, name) == 0) return i;
    }
    return -1;
}
