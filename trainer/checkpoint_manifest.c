// manifest.json: what a checkpoint holds. Its last line is the hash of all bytes before, so that a
// flipped bit anywhere in the file is found before anything in it is believed.
#include "trainer/checkpoint_impl.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "dye-checkpoint";

// ---- writing ------------------------------------------------------------------------------------

enum { TAIL_BYTES = 32 };

// The end of the file: `  "hash": "0123456789abcdef"` and the closing brace.
static void make_tail(const char *body, size_t body_bytes, char tail[TAIL_BYTES]) {
    snprintf(tail, TAIL_BYTES, "  \"hash\": \"%016" PRIx64 "\"\n}\n", codec_hash(body, body_bytes));
}

typedef struct {
    FILE *stream;
    bool failed; // out of memory
} Text;

// Writes one value on its line and consumes it.
static void put(Text *text, const char *before, json_t *value, const char *after) {
    char *line = json_dumps(value, JSON_ENCODE_ANY);
    json_decref(value);
    if (line == NULL || fprintf(text->stream, "%s%s%s\n", before, line, after) < 0)
        text->failed = true;
    free(line);
}

static json_t *tensor_json(const Param *param) {
    json_t *shape = json_array();
    for (int i = 0; i < param->dims; ++i) json_array_append_new(shape, json_integer(param->dim[i]));
    return json_pack("{s:s, s:o, s:I}", "name", param->name, "shape", shape, "offset",
                     (json_int_t)param->offset);
}

static json_t *file_json(const Params *params, int part, const BlockFileInfo *file) {
    char name[PART_NAME_BYTES];
    int64_t begin, end;
    part_name(part, name);
    params_part(params, part, &begin, &end);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "name", name, "first",
                     (json_int_t)begin, "count", (json_int_t)(end - begin), "bytes",
                     (json_int_t)file->bytes, "raw", (json_int_t)file->raw, "blocks",
                     (json_int_t)file->blocks, "hash", json_hex64(file->hash));
}

static json_t *kinds_json(void) {
    json_t *kinds = json_array();
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind)
        json_array_append_new(kinds, json_string(state_kind_name(kind)));
    return kinds;
}

static void put_all(Text *text, const Params *params, const CheckpointMeta *meta,
                    const BlockFileInfo *file) {
    put(text, "{\n  \"format\": ", json_string(format_name), ",");
    put(text, "  \"version\": ", json_integer(CHECKPOINT_VERSION), ",");
    put(text, "  \"step\": ", json_integer(meta->step), ",");
    put(text, "  \"samples\": ", json_integer(meta->samples), ",");
    put(text, "  \"fingerprint\": ", json_hex64(meta->fingerprint), ",");
    put(text, "  \"kinds\": ", kinds_json(), ",");
    put(text, "  \"elements\": ", json_integer(params->size), ",");
    put(text, "  \"part_size\": ", json_integer(params->part_size), ",");
    fprintf(text->stream, "  \"tensors\": [\n");
    for (int i = 0; i < params->count; ++i)
        put(text, "    ", tensor_json(&params->list[i]), i + 1 < params->count ? "," : "");
    fprintf(text->stream, "  ],\n  \"parts\": [\n");
    for (int part = 0; part < params->parts; ++part)
        put(text, "    ", file_json(params, part, &file[part]),
            part + 1 < params->parts ? "," : "");
    fprintf(text->stream, "  ],\n");
    json_t *facts = meta->facts != NULL ? json_incref(meta->facts) : json_object();
    put(text, "  \"facts\": ", facts, ",");
}

Status manifest_build(const Params *params, const CheckpointMeta *meta, const BlockFileInfo *file,
                      char **text, size_t *bytes) {
    char tail[TAIL_BYTES] = "";
    Text out = {open_memstream(text, bytes), false};
    FAIL_IF(out.stream == NULL, NO_MEMORY, "no memory for " MANIFEST_NAME);
    put_all(&out, params, meta, file);
    if (fflush(out.stream) == 0) make_tail(*text, *bytes, tail);
    out.failed |= fputs(tail, out.stream) < 0 || ferror(out.stream) != 0;
    out.failed |= fclose(out.stream) != 0;
    if (out.failed) free(*text);
    FAIL_IF(out.failed, NO_MEMORY, "no memory for " MANIFEST_NAME);
    return STATUS_OK;
}

// ---- parsing ------------------------------------------------------------------------------------

static Status check_hash(const char *text, size_t bytes, const char *what) {
    char tail[TAIL_BYTES];
    size_t tail_bytes = TAIL_BYTES - 1;
    FAIL_IF(bytes < tail_bytes, BAD_DATA, "%s is cut short: %zu bytes", what, bytes);
    make_tail(text, bytes - tail_bytes, tail);
    FAIL_IF(memcmp(text + bytes - tail_bytes, tail, tail_bytes) != 0, BAD_DATA,
            "%s is damaged: its last line is not the hash of what stands before", what);
    return STATUS_OK;
}

static Status parse_version(const json_t *root, const char *what) {
    char name[sizeof format_name];
    int64_t version;
    TRY(json_get_text(root, "format", what, name, sizeof name));
    FAIL_IF(strcmp(name, format_name) != 0, BAD_DATA, "%s: format '%s' is not '%s'", what, name,
            format_name);
    TRY(json_get_i64(root, "version", what, 1, INT32_MAX, &version));
    FAIL_IF(version != CHECKPOINT_VERSION, BAD_CONFIG,
            "%s: version %lld of the format; this program reads version %d: use the one that wrote"
            " it",
            what, (long long)version, CHECKPOINT_VERSION);
    json_t *kinds, *wanted = kinds_json();
    Status status = json_get_array(root, "kinds", what, &kinds);
    bool same = status == STATUS_OK && json_equal(kinds, wanted);
    json_decref(wanted);
    TRY(status);
    FAIL_IF(!same, BAD_DATA, "%s: 'kinds' are not those of version %d", what, CHECKPOINT_VERSION);
    return STATUS_OK;
}

static Status parse_tensor(const json_t *entry, const char *what, int64_t offset, Param *param) {
    json_t *shape;
    TRY(json_get_text(entry, "name", what, param->name, sizeof param->name));
    TRY(json_get_i64(entry, "offset", what, offset, offset, &param->offset));
    TRY(json_get_array(entry, "shape", what, &shape));
    int64_t dims = (int64_t)json_array_size(shape);
    FAIL_IF(dims < 1 || dims > 4, BAD_DATA, "%s: tensor '%s' has %lld dimensions", what,
            param->name, (long long)dims);
    param->dims = (int)dims;
    param->size = 1;
    for (int i = 0; i < param->dims; ++i) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        param->dim[i] = json_integer_value(dim); // 0 if it is no integer
        FAIL_IF(param->dim[i] < 1 || param->dim[i] > ((int64_t)1 << 40) / param->size, BAD_DATA,
                "%s: tensor '%s' has an impossible shape", what, param->name);
        param->size *= param->dim[i];
    }
    return STATUS_OK;
}

static Status parse_tensors(const json_t *root, const char *what, Params *params) {
    json_t *list;
    TRY(json_get_array(root, "tensors", what, &list));
    size_t count = json_array_size(list);
    params->list = calloc(count + 1, sizeof *params->list);
    FAIL_IF(params->list == NULL, NO_MEMORY, "%s: no memory for %zu tensors", what, count);
    params->count = (int)count;
    int64_t at = 0;
    for (int i = 0; i < params->count; ++i) {
        TRY(parse_tensor(json_array_get(list, (size_t)i), what, at, &params->list[i]));
        at += params->list[i].size;
        FAIL_IF(at > params->size, BAD_DATA, "%s: its tensors are larger than 'elements'", what);
    }
    FAIL_IF(at != params->size, BAD_DATA, "%s: its tensors have %lld elements of %lld", what,
            (long long)at, (long long)params->size);
    return STATUS_OK;
}

static Status parse_file(const json_t *entry, const char *what, const Params *params, int part,
                         BlockFileInfo *file) {
    char wanted[PART_NAME_BYTES], name[PART_NAME_BYTES];
    int64_t begin, end, first, count, bytes, raw, blocks;
    part_name(part, wanted);
    params_part(params, part, &begin, &end);
    TRY(json_get_text(entry, "name", what, name, sizeof name));
    FAIL_IF(strcmp(name, wanted) != 0, BAD_DATA, "%s: part %d is named '%s'", what, part, name);
    TRY(json_get_i64(entry, "first", what, begin, begin, &first));
    TRY(json_get_i64(entry, "count", what, end - begin, end - begin, &count));
    TRY(json_get_i64(entry, "bytes", what, 1, INT64_MAX, &bytes));
    TRY(json_get_i64(entry, "raw", what, 1, INT64_MAX, &raw));
    TRY(json_get_i64(entry, "blocks", what, 1, INT32_MAX, &blocks));
    TRY(json_get_hex64(entry, "hash", what, &file->hash));
    file->bytes = (uint64_t)bytes;
    file->raw = (uint64_t)raw;
    file->blocks = (uint32_t)blocks;
    return STATUS_OK;
}

static Status parse_parts(const json_t *root, const char *what, Manifest *out) {
    json_t *list;
    Params *params = &out->params;
    TRY(json_get_array(root, "parts", what, &list));
    int64_t parts = (params->size - 1) / params->part_size + 1;
    FAIL_IF((int64_t)json_array_size(list) != parts || parts > INT32_MAX, BAD_DATA,
            "%s lists %zu parts, %lld elements make %lld", what, json_array_size(list),
            (long long)params->size, (long long)parts);
    params->parts = (int)parts;
    out->file = calloc((size_t)parts, sizeof *out->file);
    FAIL_IF(out->file == NULL, NO_MEMORY, "%s: no memory for %d parts", what, params->parts);
    for (int part = 0; part < params->parts; ++part)
        TRY(parse_file(json_array_get(list, (size_t)part), what, params, part, &out->file[part]));
    return STATUS_OK;
}

static Status parse_root(const json_t *root, const char *what, Manifest *out) {
    TRY(parse_version(root, what));
    TRY(json_get_i64(root, "step", what, 0, INT64_MAX, &out->meta.step));
    TRY(json_get_i64(root, "samples", what, 0, INT64_MAX, &out->meta.samples));
    TRY(json_get_hex64(root, "fingerprint", what, &out->meta.fingerprint));
    TRY(json_get_i64(root, "elements", what, 1, (int64_t)1 << 40, &out->params.size));
    TRY(json_get_i64(root, "part_size", what, 1, (int64_t)1 << 40, &out->params.part_size));
    TRY(parse_tensors(root, what, &out->params));
    TRY(parse_parts(root, what, out));
    json_t *facts;
    TRY(json_get_object(root, "facts", what, &facts));
    out->meta.facts = json_incref(facts);
    return STATUS_OK;
}

Status manifest_parse(const char *text, size_t bytes, const char *what, Manifest *out) {
    *out = (Manifest){0};
    TRY(check_hash(text, bytes, what));
    json_t *root;
    TRY(json_parse(text, bytes, what, &root));
    Status status = parse_root(root, what, out);
    json_decref(root);
    if (status != STATUS_OK) manifest_close(out);
    return status;
}

// A folder that is named as a checkpoint of one step must not hold another.
static Status check_name(const char *folder, int64_t step) {
    char copy[PATH_BYTES];
    int64_t named;
    TRY(path_format(copy, "%s", folder));
    FAIL_IF(step_of_name(basename(copy), &named) && named != step, BAD_DATA,
            "%s/%s says step %lld: the folder was renamed", folder, MANIFEST_NAME, (long long)step);
    return STATUS_OK;
}

Status manifest_read(const char *folder, Manifest *out) {
    char path[PATH_BYTES], *text;
    size_t bytes;
    *out = (Manifest){0};
    FAIL_IF(!file_exists(folder), NOT_FOUND, "%s: there is no such checkpoint folder", folder);
    TRY(path_format(path, "%s/%s", folder, MANIFEST_NAME));
    TRY(missing_is_bad(file_read(path, MANIFEST_BYTES_MOST, &text, &bytes)));
    Status status = manifest_parse(text, bytes, path, out);
    free(text);
    if (status == STATUS_OK) status = check_name(folder, out->meta.step);
    if (status != STATUS_OK) manifest_close(out);
    return status;
}

void manifest_close(Manifest *manifest) {
    json_decref(manifest->meta.facts);
    params_close(&manifest->params);
    free(manifest->file);
    *manifest = (Manifest){0};
}

// ---- comparing ----------------------------------------------------------------------------------

enum { TENSOR_TEXT_BYTES = PARAM_NAME_BYTES + 96 };

// "'in.weight' [62, 2]"
static void format_tensor(const Param *param, char out[TENSOR_TEXT_BYTES]) {
    int n = snprintf(out, TENSOR_TEXT_BYTES, "'%s' [", param->name);
    for (int i = 0; i < param->dims; ++i)
        n += snprintf(out + n, TENSOR_TEXT_BYTES - (size_t)n, "%s%lld", i > 0 ? ", " : "",
                      (long long)param->dim[i]);
    snprintf(out + n, TENSOR_TEXT_BYTES - (size_t)n, "]");
}

Status manifest_fits(const Manifest *manifest, const Params *params, const char *folder) {
    const Params *saved = &manifest->params;
    int common = saved->count < params->count ? saved->count : params->count;
    for (int i = 0; i < common; ++i) {
        char is[TENSOR_TEXT_BYTES], wanted[TENSOR_TEXT_BYTES];
        format_tensor(&saved->list[i], is);
        format_tensor(&params->list[i], wanted);
        FAIL_IF(strcmp(is, wanted) != 0, BAD_CONFIG,
                "%s holds tensor %d as %s, the configured model has %s: the model keys must be"
                " those of the run",
                folder, i, is, wanted);
    }
    const Params *longer = saved->count > common ? saved : params;
    FAIL_IF(saved->count != params->count, BAD_CONFIG,
            "%s holds %d tensors, the configured model has %d; the first one more is '%s'", folder,
            saved->count, params->count, longer->list[common].name);
    FAIL_IF(saved->part_size != params->part_size, BAD_CONFIG,
            "%s has parts of %lld elements, this program makes parts of %lld", folder,
            (long long)saved->part_size, (long long)params->part_size);
    return STATUS_OK;
}

Status manifest_check_print(const Manifest *manifest, const char *folder, uint64_t is) {
    FAIL_IF(is != manifest->meta.fingerprint, BAD_DATA,
            "%s: its weights have fingerprint %016llx, its manifest says %016llx", folder,
            (unsigned long long)is, (unsigned long long)manifest->meta.fingerprint);
    return STATUS_OK;
}
