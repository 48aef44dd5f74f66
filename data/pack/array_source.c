// Arrays as samples and labels.
#include "data/pack/array_source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/codec.h"
#include "data/filter.h"

enum {
    ITEM_BYTES_MOST = 1 << 24,
    PASS_NUMBERS = 1 << 13,
    VALUE_MOST = 65535,
    READ_BYTES = 1 << 18
};

typedef struct {
    const Array *sample, *label; // label NULL: none
} ArraySplit;

typedef struct {
    ArrayList arrays;
    ArraySplit split[2];
    bool last;    // images: channels stand last
    uint8_t *raw; // of the samples that are being read
    size_t room;
} ArraySource;

static bool is_integer(const Array *array) {
    return array->type.kind == 'u' || array->type.kind == 'i';
}

static bool is_float(const Array *array) {
    return array->type.kind == 'f' || array->type.kind == 'V';
}

static int64_t item_numbers(const Array *array) {
    int64_t numbers = 1;
    for (int i = 1; i < array->dims; ++i) {
        if (array->dim[i] < 1 || array->dim[i] > ITEM_BYTES_MOST / 8 / numbers) return -1;
        numbers *= array->dim[i];
    }
    return numbers;
}

static bool kind_of(const Array *array, DatasetKind *kind) {
    bool bytes = array->type.kind == 'u' && array->type.bytes == 1;
    if (array->dims < 2 || array->dim[0] < 1) return false;
    if (bytes && (array->dims == 3 || array->dims == 4))
        *kind = KIND_IMAGE;
    else if (is_integer(array) && array->dims <= 3)
        *kind = KIND_TOKENS;
    else if (is_float(array) && array->dims == 4)
        *kind = KIND_LATENT;
    else if (is_float(array) && array->dims == 2)
        *kind = KIND_VECTOR;
    else
        return false;
    return true;
}

static const Array *find(const ArrayList *arrays, const char *name) {
    for (int i = 0; i < arrays->count; ++i)
        if (strcmp(arrays->list[i].name, name) == 0) return &arrays->list[i];
    return NULL;
}

static Status find_samples(const Source *source, const char *name, const Array **out) {
    static const char *const usual[] = {"x", "images", "data", "arr_0", "latents", "tokens"};
    const ArraySource *state = source->state;
    const ArrayList *arrays = &state->arrays;
    DatasetKind kind;
    int fitting = 0;
    *out = name != NULL ? find(arrays, name) : NULL;
    FAIL_IF(name != NULL && *out == NULL, BAD_USAGE, "%s: has no array \"%s\"", source->path, name);
    for (int i = 0; i < arrays->count && name == NULL; ++i) {
        const Array *array = &arrays->list[i];
        if (array->vague || !kind_of(array, &kind)) continue;
        ++fitting;
        *out = array;
    }
    for (size_t i = 0; i < sizeof usual / sizeof *usual && fitting > 1; ++i) {
        const Array *array = find(arrays, usual[i]);
        if (array == NULL || array->vague || !kind_of(array, &kind)) continue;
        *out = array;
        fitting = 1;
    }
    FAIL_IF(fitting > 1, BAD_USAGE,
            "%s: several of its %d arrays may be the samples: name one with --image", source->path,
            arrays->count);
    FAIL_IF(*out == NULL || !kind_of(*out, &kind), BAD_DATA,
            "%s: holds no array that can be packed: u8 [N,H,W] or [N,H,W,C] (images), integers "
            "[N,L] (tokens; a stream of them: reshape it to rows), floats [N,C,H,W] (latents) or "
            "[N,D] (vectors); bf16 (V2) must be named with --image",
            source->path);
    return STATUS_OK;
}

static Status find_labels(const Source *source, const char *name, const Array *samples,
                          const Array **out) {
    static const char *const usual[] = {"labels", "label", "y", "arr_1"};
    const ArraySource *state = source->state;
    const Array *array = name != NULL ? find(&state->arrays, name) : NULL;
    FAIL_IF(name != NULL && array == NULL, BAD_USAGE, "%s: has no array \"%s\"", source->path,
            name);
    for (size_t i = 0; i < sizeof usual / sizeof *usual && array == NULL; ++i) {
        array = find(&state->arrays, usual[i]);
        if (array != NULL && (!is_integer(array) || array->dims != 1)) array = NULL;
    }
    *out = array;
    if (array == NULL) return STATUS_OK;
    FAIL_IF(!is_integer(array) || array->dims != 1 || array->dim[0] != samples->dim[0], BAD_DATA,
            "%s: its array \"%s\" is not one integer for each of the %lld samples of \"%s\"",
            source->path, array->name, (long long)samples->dim[0], samples->name);
    return STATUS_OK;
}

static Status check_extent(const Source *source, const Array *array) {
    int64_t numbers = item_numbers(array);
    FAIL_IF(numbers < 0, BAD_DATA, "%s: the items of its array \"%s\" are empty or too large",
            source->path, array->name);
    int64_t item = numbers * array->type.bytes, left = blob_bytes(array->blob) - array->at;
    FAIL_IF(left < 0 || array->dim[0] > left / item, BAD_DATA,
            "%s: ends within its array \"%s\" of %lld items of %lld bytes", source->path,
            array->name, (long long)array->dim[0], (long long)item);
    return STATUS_OK;
}

static uint64_t load(const uint8_t *from, const NpyType *type) {
    uint64_t bits = 0;
    for (int i = 0; i < type->bytes; ++i)
        bits |= (uint64_t)from[type->big ? type->bytes - 1 - i : i] << 8 * i;
    return bits;
}

// -1: negative or above VALUE_MOST.
static int32_t load_value(const uint8_t *from, const NpyType *type) {
    uint64_t bits = load(from, type);
    bool negative = type->kind == 'i' && (bits >> (8 * type->bytes - 1) & 1) != 0;
    return negative || bits > VALUE_MOST ? -1 : (int32_t)bits;
}

// The largest value + 1: a pass over all.
static Status count_values(const Source *source, const Array *array, int32_t *out) {
    uint8_t part[PASS_NUMBERS * 8];
    int64_t numbers = array->dim[0] * item_numbers(array);
    for (int64_t at = 0; at < numbers; at += PASS_NUMBERS) {
        int64_t count = numbers - at < PASS_NUMBERS ? numbers - at : PASS_NUMBERS;
        TRY(blob_read(array->blob, array->at + at * array->type.bytes, part,
                      (size_t)(count * array->type.bytes)));
        for (int64_t i = 0; i < count; ++i) {
            int32_t value = load_value(part + i * array->type.bytes, &array->type);
            FAIL_IF(value < 0, BAD_DATA, "%s: number %lld of its array \"%s\" is not in 0 to %d",
                    source->path, (long long)(at + i), array->name, VALUE_MOST);
            if (value >= *out) *out = value + 1;
        }
    }
    return STATUS_OK;
}

static Status count_all(Source *source) {
    ArraySource *state = source->state;
    DatasetInfo *info = &source->info;
    int64_t bytes;
    uint64_t hash;
    const Blob *seen = NULL;
    for (int s = 0; s < source->splits; ++s) {
        const ArraySplit *split = &state->split[s];
        const Array *both[2] = {split->sample, split->label};
        if (info->kind == KIND_TOKENS) TRY(count_values(source, both[0], &info->symbols));
        if (both[1] != NULL) TRY(count_values(source, both[1], &info->classes));
        for (int i = 0; i < 2 && both[i] != NULL; ++i) {
            if (both[i]->blob == seen) continue;
            seen = both[i]->blob;
            TRY(blob_hash(both[i]->blob, &bytes, &hash));
            source_add_content(source, bytes, hash);
        }
    }
    return STATUS_OK;
}

// The lead counts, and leaves the counts in the stage folder.
static Status share_counts(Source *source, const SourceOptions *options) {
    char path[PATH_BYTES];
    DatasetInfo *info = &source->info;
    int64_t symbols, classes;
    uint64_t key = codec_hash(source->path, strlen(source->path));
    TRY(path_format(path, "%s/array-%016llx.json", options->stage, (unsigned long long)key));
    if (options->lead) {
        TRY(count_all(source));
        json_t *counts =
            json_pack("{s:i, s:i}", "symbols", (int)info->symbols, "classes", (int)info->classes);
        FAIL_IF(counts == NULL, NO_MEMORY, "%s: no memory for its counts", source->path);
        Status status = json_write(path, counts);
        json_decref(counts);
        TRY(status);
        return STATUS_OK;
    }
    json_t *counts;
    TRY(json_read(path, &counts));
    Status status = json_get_i64(counts, "symbols", path, 0, VALUE_MOST + 1, &symbols);
    if (status == STATUS_OK)
        status = json_get_i64(counts, "classes", path, 0, VALUE_MOST + 1, &classes);
    json_decref(counts);
    TRY(status);
    info->symbols = (int32_t)symbols;
    info->classes = (int32_t)classes;
    return STATUS_OK;
}

static bool is_channels(int64_t size) {
    return size == 1 || size == 3;
}

static Status image_shape(Source *source, const Array *array, int64_t shape[3]) {
    ArraySource *state = source->state;
    const int64_t *dim = array->dim;
    bool first = array->dims == 3 || is_channels(dim[1]);
    state->last = array->dims == 4 && is_channels(dim[3]);
    FAIL_IF(array->dims == 4 && first == state->last, BAD_DATA,
            "%s: its array \"%s\" [%lld, %lld, %lld, %lld] does not tell its channels: one of the "
            "second and the last size must be 1 or 3, the other must not",
            source->path, array->name, (long long)dim[0], (long long)dim[1], (long long)dim[2],
            (long long)dim[3]);
    int64_t grey[3] = {1, dim[1], dim[2]}, planes[3] = {dim[1], dim[2], dim[3]},
            pixels[3] = {dim[3], dim[1], dim[2]};
    memcpy(shape, array->dims == 3 ? grey : state->last ? pixels : planes, sizeof grey);
    return STATUS_OK;
}

static Dtype float_dtype(const Array *array, DatasetKind kind) {
    if (kind == KIND_VECTOR || array->type.bytes > 2) return DTYPE_F32;
    return array->type.kind == 'V' ? DTYPE_BF16 : DTYPE_F16;
}

static Status add_columns(Source *source, const SourceOptions *options) {
    ArraySource *state = source->state;
    const Array *array = state->split[0].sample;
    DatasetInfo *info = &source->info;
    int64_t shape[3];
    (void)kind_of(array, &info->kind);
    TRY(share_counts(source, options));
    if (info->kind == KIND_IMAGE) {
        TRY(image_shape(source, array, shape));
        source_add_column(source, "image", DTYPE_U8, 3, shape);
    } else if (info->kind == KIND_TOKENS) {
        source_add_column(source, "tokens", info->symbols > 256 ? DTYPE_U16 : DTYPE_U8,
                          array->dims - 1, array->dim + 1);
    } else {
        source_add_column(source, info->kind == KIND_LATENT ? "latent" : "vector",
                          float_dtype(array, info->kind), array->dims - 1, array->dim + 1);
    }
    if (state->split[0].label != NULL)
        source_add_column(source, "label", info->classes > 256 ? DTYPE_U16 : DTYPE_U8, 0, NULL);
    return STATUS_OK;
}

static Status add_split(Source *source, const char *name, const char *samples,
                        const SourceOptions *options, const char *labels) {
    ArraySource *state = source->state;
    ArraySplit *split = &state->split[source->splits], *first = &state->split[0];
    TRY(find_samples(source, samples, &split->sample));
    if (samples == NULL || options->image != NULL)
        labels = options->label;
    else if (find(&state->arrays, labels) == NULL)
        labels = NULL;
    TRY(find_labels(source, labels, split->sample, &split->label));
    TRY(check_extent(source, split->sample));
    if (split->label != NULL) TRY(check_extent(source, split->label));
    const Array *a = first->sample, *b = split->sample;
    bool same = a->dims == b->dims && a->type.kind == b->type.kind &&
                a->type.bytes == b->type.bytes && a->type.big == b->type.big &&
                memcmp(a->dim + 1, b->dim + 1, sizeof a->dim - sizeof a->dim[0]) == 0 &&
                (first->label == NULL) == (split->label == NULL);
    FAIL_IF(!same, BAD_DATA, "%s: its arrays \"%s\" and \"%s\" differ in type, shape or labels",
            source->path, a->name, b->name);
    source_add_split(source, name, split->sample->dim[0]);
    return STATUS_OK;
}

// Neighbours may share a blob.
static void close_arrays(ArrayList *arrays) {
    for (int i = 0; i < arrays->count; ++i)
        if (i == 0 || arrays->list[i].blob != arrays->list[i - 1].blob)
            blob_close(arrays->list[i].blob);
    free(arrays->list);
}

Status array_source_open(Source *source, const SourceOptions *options, ArrayList *list) {
    ArraySource *state = source->state = calloc(1, sizeof *state);
    if (state == NULL) close_arrays(list);
    FAIL_IF(state == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    state->arrays = *list;
    source->sorted = true;
    bool train = options->image == NULL && find(list, "x_train") != NULL;
    bool test = train && find(list, "x_test") != NULL;
    if (train) TRY(add_split(source, "train", "x_train", options, "y_train"));
    if (test) TRY(add_split(source, "test", "x_test", options, "y_test"));
    if (!train) TRY(add_split(source, "", options->image, options, NULL));
    return add_columns(source, options);
}

static void take_integers(const Array *array, const uint8_t *raw, int64_t numbers, Dtype dtype,
                          uint8_t *out) {
    for (int64_t i = 0; i < numbers; ++i) {
        int32_t value = load_value(raw + i * array->type.bytes, &array->type);
        if (dtype == DTYPE_U16) {
            uint16_t wide = (uint16_t)value;
            memcpy(out + 2 * i, &wide, sizeof wide);
        } else {
            out[i] = (uint8_t)value;
        }
    }
}

// False: one is not finite.
static bool take_floats(const Array *array, const uint8_t *raw, int64_t numbers, Dtype dtype,
                        uint8_t *out) {
    bool finite = true;
    for (int64_t i = 0; i < numbers; ++i) {
        uint64_t bits = load(raw + i * array->type.bytes, &array->type);
        uint16_t half = (uint16_t)bits;
        uint32_t word = (uint32_t)bits;
        double wide;
        float value;
        memcpy(&wide, &bits, sizeof wide);
        memcpy(&value, &word, sizeof value);
        if (array->type.bytes == 8) value = (float)wide;
        if (array->type.bytes == 2)
            value = number_widen(array->type.kind == 'V' ? DTYPE_BF16 : DTYPE_F16, &half, 0);
        finite = finite && isfinite(value);
        if (dtype == DTYPE_F32)
            memcpy(out + 4 * i, &value, sizeof value);
        else
            memcpy(out + 2 * i, &half, sizeof half);
    }
    return finite;
}

static void take_image(const Column *column, const uint8_t *raw, bool last, uint8_t *out) {
    int64_t channels = column->dim[0], pixels = column->dim[1] * column->dim[2];
    if (!last) memcpy(out, raw, (size_t)(channels * pixels));
    for (int64_t c = 0; c < channels && last; ++c)
        for (int64_t p = 0; p < pixels; ++p) out[c * pixels + p] = raw[p * channels + c];
}

static Status take_sample(const Source *source, const Array *array, const uint8_t *raw,
                          int64_t index, uint8_t *out) {
    const ArraySource *state = source->state;
    const Column *column = &source->info.column[0];
    int64_t numbers = item_numbers(array);
    if (source->info.kind == KIND_IMAGE) {
        take_image(column, raw, state->last, out);
    } else if (source->info.kind == KIND_TOKENS) {
        take_integers(array, raw, numbers, column->dtype, out);
    } else {
        FAIL_IF(!take_floats(array, raw, numbers, column->dtype, out), BAD_DATA,
                "%s: sample %lld of its array \"%s\" holds a number that is not finite",
                source->path, (long long)index, array->name);
    }
    return STATUS_OK;
}

static Status take_labels(const Source *source, const Array *label, int64_t first, int64_t count,
                          uint8_t *out) {
    uint8_t part[512 * 8];
    Dtype dtype = source->info.column[1].dtype;
    for (int64_t at = 0; at < count; at += 512) {
        int64_t now = count - at < 512 ? count - at : 512, bytes = label->type.bytes;
        TRY(blob_read(label->blob, label->at + (first + at) * bytes, part, (size_t)(now * bytes)));
        take_integers(label, part, now, dtype, out + at * dtype_bytes(dtype));
    }
    return STATUS_OK;
}

static Status make_room(const Source *source, size_t bytes) {
    ArraySource *state = source->state;
    if (state->room >= bytes) return STATUS_OK;
    uint8_t *more = realloc(state->raw, bytes);
    FAIL_IF(more == NULL, NO_MEMORY, "%s: no memory for %zu bytes of samples", source->path, bytes);
    state->raw = more;
    state->room = bytes;
    return STATUS_OK;
}

// Up to a bad sample, which is then the first of the next call.
Status array_source_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                         uint8_t *const out[DATASET_COLUMNS_MOST]) {
    ArraySource *state = source->state;
    const Array *array = state->split[split].sample, *label = state->split[split].label;
    int64_t item = item_numbers(array) * array->type.bytes, count = READ_BYTES / item;
    int64_t to = column_item_bytes(&source->info.column[0]);
    count = count < 1 ? 1 : count < most ? count : most;
    TRY(make_room(source, (size_t)(count * item)));
    TRY(blob_read(array->blob, array->at + first * item, state->raw, (size_t)(count * item)));
    for (*got = 0; *got < count; ++*got) {
        Status status =
            take_sample(source, array, state->raw + *got * item, first + *got, out[0] + *got * to);
        if (status != STATUS_OK && *got == 0) return status;
        if (status == STATUS_OK) continue;
        error_clear();
        break;
    }
    return label == NULL ? STATUS_OK : take_labels(source, label, first, *got, out[1]);
}

void array_source_close(Source *source) {
    ArraySource *state = source->state;
    if (state != NULL) {
        close_arrays(&state->arrays);
        free(state->raw);
    }
    free(state);
    source->state = NULL;
}
