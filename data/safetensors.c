// The header of a safetensors file: built, and parsed with suspicion.
#include "data/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NEST_MOST = 8, LENGTH_BYTES = 8 };

// ---- types --------------------------------------------------------------------------------------

typedef struct {
    const char *name;
    unsigned bits;
} TypeInfo;

static const TypeInfo type_info[] = {
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64},
};

static const TypeInfo *find_type(const char *name) {
    for (size_t i = 0; i < sizeof type_info / sizeof *type_info; ++i)
        if (strcmp(type_info[i].name, name) == 0) return &type_info[i];
    return NULL;
}

// Bytes of a tensor by its shape; false if they overflow 64 bits or end within a byte.
static bool entry_bytes(const SafetensorsEntry *entry, unsigned bits, uint64_t *bytes) {
    uint64_t total = 1;
    for (int i = 0; i < entry->dims; ++i)
        if (__builtin_mul_overflow(total, (uint64_t)entry->dim[i], &total)) return false;
    if (__builtin_mul_overflow(total, (uint64_t)bits, &total)) return false;
    *bytes = total / 8;
    return total % 8 == 0;
}

// ---- parsing ------------------------------------------------------------------------------------

// Brackets outside of strings; what else is wrong is found by the JSON parser.
static Status check_nesting(const char *text, size_t bytes, const char *what) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < bytes; ++i) {
        char c = text[i];
        if (quoted && c == '\\')
            ++i;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            FAIL_IF(++depth > NEST_MOST, BAD_DATA, "%s: header is nested deeper than %d", what,
                    NEST_MOST);
        else if (!quoted && (c == '}' || c == ']'))
            --depth;
    }
    return STATUS_OK;
}

static Status parse_shape(const json_t *shape, const char *what, SafetensorsEntry *entry) {
    FAIL_IF(!json_is_array(shape), BAD_DATA, "%s: tensor '%s' has no list 'shape'", what,
            entry->name);
    FAIL_IF(json_array_size(shape) > SAFETENSORS_DIMS_MOST, BAD_DATA,
            "%s: tensor '%s' has %zu dimensions, at most %d are read", what, entry->name,
            json_array_size(shape), SAFETENSORS_DIMS_MOST);
    entry->dims = (int)json_array_size(shape);
    for (int i = 0; i < entry->dims; ++i) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        FAIL_IF(!json_is_integer(dim) || json_integer_value(dim) < 0, BAD_DATA,
                "%s: tensor '%s': dimension %d is not a whole number", what, entry->name, i);
        entry->dim[i] = json_integer_value(dim);
    }
    return STATUS_OK;
}

static Status parse_offsets(const json_t *offsets, const char *what, SafetensorsEntry *entry) {
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    bool good = json_is_array(offsets) && json_array_size(offsets) == 2 && json_is_integer(begin) &&
                json_is_integer(end);
    FAIL_IF(!good || json_integer_value(begin) < 0 ||
                json_integer_value(end) < json_integer_value(begin),
            BAD_DATA, "%s: tensor '%s': 'data_offsets' must be [begin, end]", what, entry->name);
    entry->begin = (uint64_t)json_integer_value(begin);
    entry->end = (uint64_t)json_integer_value(end);
    return STATUS_OK;
}

static Status parse_entry(const json_t *value, const char *what, SafetensorsEntry *entry) {
    FAIL_IF(!json_is_object(value), BAD_DATA, "%s: tensor '%s' must be an object {...}", what,
            entry->name);
    const json_t *dtype = json_object_get(value, "dtype");
    FAIL_IF(!json_is_string(dtype), BAD_DATA, "%s: tensor '%s' has no text 'dtype'", what,
            entry->name);
    entry->dtype = json_string_value(dtype);
    const TypeInfo *type = find_type(entry->dtype);
    FAIL_IF(type == NULL, BAD_DATA, "%s: tensor '%s' has unknown dtype '%s'", what, entry->name,
            entry->dtype);
    TRY(parse_shape(json_object_get(value, "shape"), what, entry));
    TRY(parse_offsets(json_object_get(value, "data_offsets"), what, entry));
    uint64_t bytes;
    FAIL_IF(!entry_bytes(entry, type->bits, &bytes), BAD_DATA,
            "%s: tensor '%s' has a shape that is no whole number of bytes below 2^64", what,
            entry->name);
    FAIL_IF(bytes != entry->end - entry->begin, BAD_DATA,
            "%s: tensor '%s' needs %llu bytes by its shape but has %llu", what, entry->name,
            (unsigned long long)bytes, (unsigned long long)(entry->end - entry->begin));
    return STATUS_OK;
}

static Status parse_metadata(const json_t *value, const char *what, Safetensors *out) {
    if (json_is_null(value)) return STATUS_OK;
    FAIL_IF(!json_is_object(value), BAD_DATA, "%s: '__metadata__' must be an object {...}", what);
    void *at = json_object_iter((json_t *)value);
    for (; at != NULL; at = json_object_iter_next((json_t *)value, at))
        FAIL_IF(!json_is_string(json_object_iter_value(at)), BAD_DATA,
                "%s: '__metadata__': '%s' must be text", what, json_object_iter_key(at));
    out->metadata = value;
    return STATUS_OK;
}

static int compare_places(const void *a, const void *b) {
    const SafetensorsEntry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static Status check_places(const Safetensors *tensors, uint64_t data_bytes, const char *what) {
    uint64_t at = 0;
    for (int i = 0; i < tensors->count; ++i) {
        const SafetensorsEntry *entry = &tensors->list[i];
        FAIL_IF(entry->begin != at, BAD_DATA,
                "%s: tensor '%s' begins at data byte %llu, %s byte %llu", what, entry->name,
                (unsigned long long)entry->begin,
                entry->begin > at ? "which leaves a hole from" : "but the one before ends at",
                (unsigned long long)at);
        at = entry->end;
    }
    FAIL_IF(at != data_bytes, BAD_DATA, "%s: its tensors end at data byte %llu of %llu", what,
            (unsigned long long)at, (unsigned long long)data_bytes);
    return STATUS_OK;
}

static Status parse_root(Safetensors *out, uint64_t data_bytes, const char *what) {
    size_t keys = json_object_size(out->root);
    out->list = calloc(keys + 1, sizeof *out->list);
    FAIL_IF(out->list == NULL, NO_MEMORY, "%s: no memory for %zu tensors", what, keys);
    void *at = json_object_iter(out->root);
    for (; at != NULL; at = json_object_iter_next(out->root, at)) {
        const char *key = json_object_iter_key(at);
        const json_t *value = json_object_iter_value(at);
        if (strcmp(key, "__metadata__") == 0) {
            TRY(parse_metadata(value, what, out));
            continue;
        }
        SafetensorsEntry *entry = &out->list[out->count++];
        entry->name = key;
        TRY(parse_entry(value, what, entry));
    }
    qsort(out->list, (size_t)out->count, sizeof *out->list, compare_places);
    return check_places(out, data_bytes, what);
}

// The length field; *header_bytes counts it too.
static Status parse_length(const unsigned char *start, uint64_t file_bytes, const char *what,
                           uint64_t *header_bytes) {
    uint64_t length = 0;
    FAIL_IF(file_bytes < LENGTH_BYTES, BAD_DATA, "%s: %llu bytes are no safetensors file", what,
            (unsigned long long)file_bytes);
    for (int i = LENGTH_BYTES - 1; i >= 0; --i) length = length << 8 | start[i];
    FAIL_IF(length == 0 || length > SAFETENSORS_HEADER_MOST || length > file_bytes - LENGTH_BYTES,
            BAD_DATA, "%s: a header of %llu bytes cannot be (file of %llu bytes, limit %d)", what,
            (unsigned long long)length, (unsigned long long)file_bytes, SAFETENSORS_HEADER_MOST);
    *header_bytes = LENGTH_BYTES + length;
    return STATUS_OK;
}

Status safetensors_parse(const void *start, size_t bytes, uint64_t file_bytes, const char *what,
                         Safetensors *out) {
    *out = (Safetensors){0};
    FAIL_IF(bytes < LENGTH_BYTES && bytes < file_bytes, BAD_DATA, "%s: its header is not whole",
            what);
    TRY(parse_length(start, file_bytes, what, &out->header_bytes));
    FAIL_IF(out->header_bytes > bytes, BAD_DATA, "%s: its header is not whole", what);
    const char *text = (const char *)start + LENGTH_BYTES;
    size_t length = (size_t)out->header_bytes - LENGTH_BYTES;
    FAIL_IF(text[0] != '{', BAD_DATA, "%s: its header does not begin with '{'", what);
    TRY(check_nesting(text, length, what));
    TRY(json_parse(text, length, what, &out->root));
    Status status = parse_root(out, file_bytes - out->header_bytes, what);
    if (status != STATUS_OK) safetensors_close(out);
    return status;
}

void safetensors_close(Safetensors *tensors) {
    free(tensors->list);
    json_decref(tensors->root);
    *tensors = (Safetensors){0};
}

const SafetensorsEntry *safetensors_find(const Safetensors *tensors, const char *name) {
    for (int i = 0; i < tensors->count; ++i)
        if (strcmp(tensors->list[i].name, name) == 0) return &tensors->list[i];
    return NULL;
}

// ---- reading ------------------------------------------------------------------------------------

static Status read_start(int fd, const char *path, void *out, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, (char *)out + done, bytes - done, (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        FAIL_IF(n < 0, IO, "cannot read %s: %s", path, strerror(errno));
        FAIL_IF(n == 0, BAD_DATA, "%s ends within its header", path);
        done += (size_t)n;
    }
    return STATUS_OK;
}

static Status read_open(int fd, const char *path, Safetensors *out) {
    struct stat info;
    unsigned char length[LENGTH_BYTES] = {0};
    uint64_t header_bytes;
    FAIL_IF(fstat(fd, &info) != 0, IO, "cannot read %s: %s", path, strerror(errno));
    FAIL_IF(!S_ISREG(info.st_mode), BAD_DATA, "%s is no regular file", path);
    uint64_t file_bytes = (uint64_t)info.st_size;
    if (file_bytes >= LENGTH_BYTES) TRY(read_start(fd, path, length, LENGTH_BYTES));
    TRY(parse_length(length, file_bytes, path, &header_bytes));
    void *start = malloc((size_t)header_bytes);
    FAIL_IF(start == NULL, NO_MEMORY, "%s: no memory for its header of %llu bytes", path,
            (unsigned long long)header_bytes);
    Status status = read_start(fd, path, start, (size_t)header_bytes);
    if (status == STATUS_OK)
        status = safetensors_parse(start, (size_t)header_bytes, file_bytes, path, out);
    free(start);
    return status;
}

Status safetensors_read(const char *path, Safetensors *out) {
    *out = (Safetensors){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int reason = errno;
    FAIL_IF(fd < 0 && (reason == ENOENT || reason == ENOTDIR), NOT_FOUND, "cannot open %s: %s",
            path, strerror(reason));
    FAIL_IF(fd < 0, IO, "cannot open %s: %s", path, strerror(reason));
    Status status = read_open(fd, path, out);
    close(fd);
    return status;
}

// ---- building -----------------------------------------------------------------------------------

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static Status sorted_metadata(const json_t *metadata, json_t *out) {
    size_t count = json_object_size(metadata), n = 0;
    const char **keys = malloc((count + 1) * sizeof *keys);
    FAIL_IF(keys == NULL, NO_MEMORY, "no memory for a safetensors header");
    void *at = json_object_iter((json_t *)metadata);
    for (; at != NULL; at = json_object_iter_next((json_t *)metadata, at))
        keys[n++] = json_object_iter_key(at);
    qsort(keys, n, sizeof *keys, compare_keys);
    bool good = true, texts = true;
    for (size_t i = 0; i < n && good && texts; ++i) {
        json_t *value = json_object_get(metadata, keys[i]);
        texts = json_is_string(value);
        good = json_object_set(out, keys[i], value) == 0;
    }
    free(keys);
    FAIL_IF(!texts, BAD_USAGE, "the metadata of a safetensors file must be texts");
    FAIL_IF(!good, NO_MEMORY, "no memory for a safetensors header");
    return STATUS_OK;
}

static Status place_entry(SafetensorsEntry *entry, uint64_t begin) {
    const TypeInfo *type = find_type(entry->dtype);
    FAIL_IF(type == NULL, BAD_USAGE, "tensor '%s': unknown dtype '%s'", entry->name, entry->dtype);
    uint64_t bytes = 0;
    bool good = entry->dims >= 0 && entry->dims <= SAFETENSORS_DIMS_MOST;
    for (int i = 0; good && i < entry->dims; ++i) good = entry->dim[i] >= 0;
    good = good && entry_bytes(entry, type->bits, &bytes) &&
           !__builtin_add_overflow(begin, bytes, &entry->end) && entry->end <= INT64_MAX;
    FAIL_IF(!good, BAD_USAGE, "tensor '%s': a shape that is no whole number of bytes below 2^63",
            entry->name);
    entry->begin = begin;
    return STATUS_OK;
}

static Status add_entry(json_t *root, const SafetensorsEntry *entry) {
    FAIL_IF(json_object_get(root, entry->name) != NULL || strcmp(entry->name, "__metadata__") == 0,
            BAD_USAGE, "tensor name '%s' is taken", entry->name);
    json_t *shape = json_array();
    for (int i = 0; i < entry->dims; ++i) json_array_append_new(shape, json_integer(entry->dim[i]));
    json_t *value = json_pack("{s:s, s:o, s:[I, I]}", "dtype", entry->dtype, "shape", shape,
                              "data_offsets", (json_int_t)entry->begin, (json_int_t)entry->end);
    FAIL_IF(json_object_set_new(root, entry->name, value) != 0, BAD_USAGE,
            "tensor name '%s' is no UTF-8 text", entry->name);
    return STATUS_OK;
}

static Status build_root(SafetensorsEntry *list, int count, const json_t *metadata, json_t *root) {
    if (metadata != NULL) {
        json_t *sorted = json_object();
        FAIL_IF(json_object_set_new(root, "__metadata__", sorted) != 0, NO_MEMORY,
                "no memory for a safetensors header");
        TRY(sorted_metadata(metadata, sorted));
    }
    uint64_t at = 0;
    for (int i = 0; i < count; ++i) {
        TRY(place_entry(&list[i], at));
        TRY(add_entry(root, &list[i]));
        at = list[i].end;
    }
    return STATUS_OK;
}

// 8 bytes of length, the text, spaces up to a multiple of 8.
static Status frame_text(const char *text, char **out, size_t *bytes) {
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    FAIL_IF(padded > SAFETENSORS_HEADER_MOST, BAD_USAGE,
            "a safetensors header of %zu bytes, at most %d are allowed", padded,
            SAFETENSORS_HEADER_MOST);
    char *framed = malloc(LENGTH_BYTES + padded);
    FAIL_IF(framed == NULL, NO_MEMORY, "no memory for a safetensors header");
    for (int i = 0; i < LENGTH_BYTES; ++i) framed[i] = (char)(padded >> 8 * i & 0xFF);
    memcpy(framed + LENGTH_BYTES, text, length);
    memset(framed + LENGTH_BYTES + length, ' ', padded - length);
    *out = framed;
    *bytes = LENGTH_BYTES + padded;
    return STATUS_OK;
}

Status safetensors_build(SafetensorsEntry *list, int count, const json_t *metadata, char **out,
                         size_t *bytes) {
    json_t *root = json_object();
    char *text = NULL;
    Status status = STATUS_OK;
    if (root == NULL) FAIL_OR(done, status, NO_MEMORY, "no memory for a safetensors header");
    TRY_OR(done, status, build_root(list, count, metadata, root));
    text = json_dumps(root, JSON_COMPACT);
    if (text == NULL) FAIL_OR(done, status, NO_MEMORY, "no memory for a safetensors header");
    TRY_OR(done, status, frame_text(text, out, bytes));
done:
    free(text);
    json_decref(root);
    return status;
}
