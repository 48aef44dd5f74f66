// WebDataset: samples in a tar or in a folder of them, in the order of their names. Pictures
// (.jpg, .jpeg, .png) or latents (.npy) with classes (.cls, or "label" in .json).
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "data/pack/blob.h"
#include "data/codec.h"
#include "data/content_hash.h"
#include "data/pack/image_file.h"
#include "data/pack/npy.h"
#include "data/pack/tar.h"

enum { CLASSES_MOST = 65536, MAGIC_AT = 257, BLOCK_BYTES = 512, TARS_MOST = 1 << 20 };

typedef struct {
    char (*path)[PATH_BYTES]; // [tars]
    int64_t *count;           // [tars] samples
    int tars;
    const SourceOptions *options; // of the pack, which outlives the source
    Blob *blob;                   // of tar number `open`
    TarReader *reader;            // before its sample `next`; NULL: none is open
    int open;
    int64_t next;
    char image[TAR_EXTENSION_BYTES], label[TAR_EXTENSION_BYTES]; // label "": there is none
} TarSet;

static bool is_tar(const char *path) {
    uint8_t block[BLOCK_BYTES];
    size_t got;
    struct stat about;
    return stat(path, &about) == 0 && S_ISREG(about.st_mode) &&
           blob_begins(path, block, sizeof block, &got) && got == sizeof block &&
           memcmp(block + MAGIC_AT, "ustar", 5) == 0;
}

// The tars of a folder, or the file itself. `set` NULL: only whether there are any.
static Status list_tars(const char *path, TarSet *set, int *tars) {
    char **names, file[PATH_BYTES];
    int count;
    struct stat about;
    Status status = STATUS_OK;
    *tars = 0;
    FAIL_IF(stat(path, &about) != 0, NOT_FOUND, "%s: is not there", path);
    if (!S_ISDIR(about.st_mode)) {
        *tars = is_tar(path);
        return set != NULL ? path_format(set->path[0], "%s", path) : STATUS_OK;
    }
    TRY(folder_names(path, &names, &count));
    for (int i = 0; i < count && status == STATUS_OK; ++i) {
        if (strstr(names[i], ".tar") == NULL && strstr(names[i], ".tgz") == NULL) continue;
        status = path_format(file, "%s/%s", path, names[i]);
        if (status != STATUS_OK || !is_tar(file)) continue;
        if (set != NULL) memcpy(set->path[*tars], file, sizeof file);
        ++*tars;
    }
    folder_names_free(names, count);
    return status;
}

static bool tar_knows(const char *path) {
    int tars;
    if (list_tars(path, NULL, &tars) == STATUS_OK) return tars > 0;
    error_clear();
    return false;
}

static void close_tar(TarSet *set) {
    tar_close(set->reader);
    blob_close(set->blob);
    set->reader = NULL;
    set->blob = NULL;
}

// Opens a tar before its first sample.
static Status open_tar(TarSet *set, int tar) {
    close_tar(set);
    set->open = tar;
    set->next = 0;
    TRY(blob_open(set->path[tar], 0, set->options, &set->blob));
    return tar_open(set->path[tar], blob_place(set->blob), &set->reader);
}

// ---- labels -------------------------------------------------------------------------------------

static Status read_label(const TarSet *set, const char *tar, const TarSample *sample,
                         int64_t *label) {
    char what[2 * PATH_BYTES];
    const TarMember *member = tar_member(sample, set->label);
    snprintf(what, sizeof what, "%s: '%s.%s'", tar, sample->key, set->label);
    FAIL_IF(member == NULL, BAD_DATA, "%s is not there", what);
    if (strcmp(set->label, "json") == 0) {
        json_t *object;
        TRY(json_parse((const char *)member->data, member->bytes, what, &object));
        Status status = json_get_i64(object, "label", what, 0, CLASSES_MOST - 1, label);
        json_decref(object);
        return status;
    }
    char text[16] = "", *end;
    if (member->bytes < sizeof text) memcpy(text, member->data, member->bytes);
    *label = strtoll(text, &end, 10);
    if (end != text) end += strspn(end, " \r\n");
    FAIL_IF(end == text || *end != '\0' || *label < 0 || *label >= CLASSES_MOST, BAD_DATA,
            "%s is no number from 0 to %d", what, CLASSES_MOST - 1);
    return STATUS_OK;
}

// ---- the pass of the lead -----------------------------------------------------------------------

static Status count_tar(Source *source, int tar, ContentHash *hash) {
    TarSet *set = source->state;
    const TarSample *sample;
    int64_t label, bytes = 0;
    TRY(open_tar(set, tar));
    content_hash_init(hash);
    for (;;) {
        TRY(tar_next(set->reader, true, &sample));
        if (sample == NULL) break;
        ++set->count[tar];
        for (int i = 0; i < sample->members; ++i) {
            const TarMember *member = &sample->member[i];
            content_hash_add(hash, sample->key, strlen(sample->key) + 1);
            content_hash_add(hash, member->extension, strlen(member->extension) + 1);
            content_hash_add(hash, member->data, member->bytes);
            bytes += (int64_t)member->bytes;
        }
        if (set->label[0] == '\0') continue;
        if (read_label(set, set->path[tar], sample, &label) != STATUS_OK)
            error_clear(); // reading tells it
        else if (label >= source->info.classes)
            source->info.classes = (int32_t)label + 1;
    }
    source_add_content(source, bytes, content_hash_finish(hash));
    return STATUS_OK;
}

static Status count_all(Source *source, const char *path) {
    TarSet *set = source->state;
    ContentHash *hash = malloc(sizeof *hash);
    FAIL_IF(hash == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    Status status = STATUS_OK;
    for (int t = 0; t < set->tars && status == STATUS_OK; ++t) status = count_tar(source, t, hash);
    free(hash);
    TRY(status);
    json_t *counts = json_array();
    for (int t = 0; t < set->tars; ++t) json_array_append_new(counts, json_integer(set->count[t]));
    json_t *object = json_pack("{s:i, s:o}", "classes", source->info.classes, "samples", counts);
    FAIL_IF(object == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    status = json_write(path, object);
    json_decref(object);
    return status;
}

static Status take_counts(Source *source, const char *path) {
    TarSet *set = source->state;
    json_t *object, *counts;
    int64_t classes;
    TRY(json_read(path, &object));
    Status status = json_get_i64(object, "classes", path, 0, CLASSES_MOST, &classes);
    if (status == STATUS_OK) status = json_get_array(object, "samples", path, &counts);
    for (int t = 0; status == STATUS_OK && t < set->tars; ++t) {
        set->count[t] = json_integer_value(json_array_get(counts, (size_t)t));
        if (json_array_size(counts) != (size_t)set->tars || set->count[t] < 0) break;
    }
    bool same = status == STATUS_OK && json_array_size(counts) == (size_t)set->tars;
    if (same) source->info.classes = (int32_t)classes;
    json_decref(object);
    TRY(status);
    FAIL_IF(!same, BAD_DATA, "%s: rank 0 sees other tars in it", source->path);
    return STATUS_OK;
}

// ---- columns, from the first sample -------------------------------------------------------------

static Status choose(TarSet *set, const TarSample *sample, const SourceOptions *options) {
    static const char *const images[] = {"jpg", "jpeg", "png", "npy"}, *const labels[] = {"cls",
                                                                                          "json"};
    const char *image = options->image, *label = options->label;
    for (int i = 0; i < 4 && image == NULL; ++i)
        if (tar_member(sample, images[i]) != NULL) image = images[i];
    for (int i = 0; i < 2 && label == NULL; ++i)
        if (tar_member(sample, labels[i]) != NULL) label = labels[i];
    FAIL_IF(image == NULL && tar_member(sample, "pth") != NULL, BAD_DATA,
            "%s: '%s.pth' is a pickle, which can run programs: store .npy instead", set->path[0],
            sample->key);
    FAIL_IF(image == NULL && tar_member(sample, "txt") != NULL, BAD_DATA,
            "%s: '%s.txt' is text: write all of it into one text file and pack that", set->path[0],
            sample->key);
    FAIL_IF(image == NULL || tar_member(sample, image) == NULL, BAD_DATA,
            "%s: its first sample '%s' has no %s", set->path[0], sample->key,
            image != NULL ? image : ".jpg, .jpeg, .png or .npy");
    snprintf(set->image, sizeof set->image, "%s", image);
    snprintf(set->label, sizeof set->label, "%s", label != NULL ? label : "");
    return STATUS_OK;
}

static Status array_dtype(const NpyHeader *header, const char *what, Dtype *out) {
    bool number = header->dims == 3 && !header->type.big && header->numbers > 0;
    char kind = header->type.kind;
    FAIL_IF(!number || (kind != 'f' && kind != 'V') || header->type.bytes > 4, BAD_DATA,
            "%s: is no latent: f32, f16 or bf16 [channels, height, width], little-endian", what);
    *out = kind == 'V' ? DTYPE_BF16 : header->type.bytes == 2 ? DTYPE_F16 : DTYPE_F32;
    return STATUS_OK;
}

static Status add_columns(Source *source, const TarSample *sample, const SourceOptions *options) {
    TarSet *set = source->state;
    const TarMember *member = tar_member(sample, set->image);
    if (strcmp(set->image, "npy") == 0) {
        NpyHeader header;
        Dtype dtype = DTYPE_F32;
        TRY(npy_parse(member->data, member->bytes, sample->key, &header));
        TRY(array_dtype(&header, sample->key, &dtype));
        source->info.kind = KIND_LATENT;
        source_add_column(source, "latent", dtype, 3, header.dim);
    } else {
        Image image;
        TRY(image_header(sample->key, member->data, member->bytes, &image));
        if (options->channels != 0) image.channels = options->channels;
        if (options->size != 0) image.height = image.width = options->size;
        const int64_t shape[3] = {image.channels, image.height, image.width};
        source->info.kind = KIND_IMAGE;
        source_add_column(source, "image", DTYPE_U8, 3, shape);
    }
    return STATUS_OK;
}

static Status look_at_first(Source *source, const SourceOptions *options) {
    TarSet *set = source->state;
    const TarSample *sample = NULL;
    for (int t = 0; t < set->tars && sample == NULL; ++t) {
        TRY(open_tar(set, t));
        TRY(tar_next(set->reader, true, &sample));
    }
    FAIL_IF(sample == NULL, BAD_DATA, "%s: there is no sample in it", source->path);
    TRY(choose(set, sample, options));
    return add_columns(source, sample, options);
}

// ---- the source ---------------------------------------------------------------------------------

static Status tar_open_set(Source *source, const SourceOptions *options) {
    char path[PATH_BYTES];
    int64_t samples = 0;
    TarSet *set = source->state = calloc(1, sizeof *set);
    FAIL_IF(set == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    TRY(list_tars(source->path, NULL, &set->tars));
    FAIL_IF(set->tars < 1 || set->tars > TARS_MOST, BAD_DATA, "%s: has %d tars", source->path,
            set->tars);
    set->path = calloc((size_t)set->tars, sizeof *set->path);
    set->count = calloc((size_t)set->tars, sizeof *set->count);
    FAIL_IF(set->path == NULL || set->count == NULL, NO_MEMORY, "%s: no memory", source->path);
    TRY(list_tars(source->path, set, &set->tars));
    set->options = options;
    TRY(look_at_first(source, options));
    uint64_t key = codec_hash(source->path, strlen(source->path));
    TRY(path_format(path, "%s/tar-%016llx.json", options->stage, (unsigned long long)key));
    TRY(options->lead ? count_all(source, path) : take_counts(source, path));
    for (int t = 0; t < set->tars; ++t) samples += set->count[t];
    if (set->label[0] != '\0')
        source_add_column(source, "label", source->info.classes > 256 ? DTYPE_U16 : DTYPE_U8, 0,
                          NULL);
    source->sequential = true;
    source_add_split(source, "", samples);
    return STATUS_OK;
}

// The reader stands before sample `index`; afterwards behind it. A failure is not the sample's: it
// could be read when it was counted.
static Status seek_sample(TarSet *set, int64_t index, const TarSample **out) {
    int tar = 0;
    while (index >= set->count[tar]) index -= set->count[tar++];
    if (set->reader == NULL || set->open != tar || set->next > index) TRY(open_tar(set, tar));
    for (; set->next <= index; ++set->next) {
        TRY(tar_next(set->reader, set->next == index, out));
        FAIL_IF(*out == NULL, BAD_DATA, "%s: has fewer samples than before", set->path[tar]);
    }
    return STATUS_OK;
}

static Status take_picture(const TarSet *set, const Column *column, const char *what,
                           const TarMember *member, uint8_t *out) {
    Image image;
    TRY(image_decode(what, member->data, member->bytes, (int32_t)column->dim[0], set->options->size,
                     &image));
    bool fits = image.height == column->dim[1] && image.width == column->dim[2];
    if (fits) memcpy(out, image.pixels, (size_t)column_item_bytes(column));
    int32_t height = image.height, width = image.width;
    image_free(&image);
    FAIL_IF(!fits, BAD_DATA, "%s: is %d x %d, not %lld x %lld as the first: use --size", what,
            height, width, (long long)column->dim[1], (long long)column->dim[2]);
    return STATUS_OK;
}

static Status take_array(const Column *column, const char *what, const TarMember *member,
                         uint8_t *out) {
    NpyHeader header;
    Dtype dtype = DTYPE_F32;
    TRY(npy_parse(member->data, member->bytes, what, &header));
    TRY(array_dtype(&header, what, &dtype));
    size_t bytes = (size_t)column_item_bytes(column);
    FAIL_IF(dtype != column->dtype || memcmp(header.dim, column->dim, sizeof column->dim) != 0 ||
                member->bytes - header.header_bytes != bytes,
            BAD_DATA, "%s: has not the type, sizes or length of the first", what);
    memcpy(out, member->data + header.header_bytes, bytes);
    return STATUS_OK;
}

static Status tar_read_sample(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                              uint8_t *const out[DATASET_COLUMNS_MOST]) {
    TarSet *set = source->state;
    const TarSample *sample;
    char what[2 * PATH_BYTES];
    (void)split, (void)most;
    Status status = seek_sample(set, first, &sample);
    if (status == STATUS_BAD_DATA || status == STATUS_NOT_FOUND) {
        ErrorRecord record = error_take();
        FAIL(IO, "%s: changed since it was counted: %.500s", source->path, record.text);
    }
    TRY(status);
    const char *tar = set->path[set->open];
    const Column *column = &source->info.column[0];
    const TarMember *member = tar_member(sample, set->image);
    snprintf(what, sizeof what, "%s: '%s.%s'", tar, sample->key, set->image);
    FAIL_IF(member == NULL, BAD_DATA, "%s is not there", what);
    if (source->info.kind == KIND_LATENT)
        TRY(take_array(column, what, member, out[0]));
    else
        TRY(take_picture(set, column, what, member, out[0]));
    *got = 1;
    if (set->label[0] == '\0') return STATUS_OK;
    int64_t label;
    TRY(read_label(set, tar, sample, &label));
    out[1][0] = (uint8_t)label;
    if (source->info.column[1].dtype == DTYPE_U16) out[1][1] = (uint8_t)(label >> 8);
    return STATUS_OK;
}

static void tar_close_set(Source *source) {
    TarSet *set = source->state;
    if (set == NULL) return;
    close_tar(set);
    free(set->path);
    free(set->count);
    free(set);
    source->state = NULL;
}

const SourceType source_tar = {.name = "tar",
                               .what = "WebDataset (a tar, a folder of tars)",
                               .knows = tar_knows,
                               .open = tar_open_set,
                               .read = tar_read_sample,
                               .close = tar_close_set};
