// IDX files of the MNIST family: a folder with one or two pairs of images and labels, plain or
// compressed, told from other files by their first bytes and from each other by name ("train..." is
// train, "t10k..." and "test..." are test).
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/pack/blob.h"

// Magic: 00 00, type (08: u8), number of sizes; then the sizes, u32 big-endian.
enum { IDX_U8 = 8, IDX_SPLITS = 2, IDX_HEADER_MOST = 16, ITEM_BYTES_MOST = 1 << 24 };

typedef struct {
    Blob *images, *labels;
    int64_t count, height, width;
} IdxPair;

typedef struct {
    IdxPair pair[IDX_SPLITS]; // train, test
    int number[IDX_SPLITS];   // of the source's split -> which pair
} IdxFolder;

static const char *const split_names[IDX_SPLITS] = {"train", "test"};

// 3 for images, 1 for labels, 0 for anything else.
static int sizes_of(const char *path) {
    uint8_t magic[4];
    size_t got;
    if (!blob_begins(path, magic, sizeof magic, &got) || got < sizeof magic) return 0;
    if (magic[0] != 0 || magic[1] != 0 || magic[2] != IDX_U8) return 0;
    return magic[3] == 3 || magic[3] == 1 ? magic[3] : 0;
}

// -1: neither.
static int split_of(const char *name) {
    if (strncmp(name, "train", 5) == 0) return 0;
    return strncmp(name, "t10k", 4) == 0 || strncmp(name, "test", 4) == 0 ? 1 : -1;
}

static bool idx_knows(const char *path) {
    char file[PATH_BYTES], **names = NULL;
    int count = 0;
    bool known = false;
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode)) return false;
    if (folder_names(path, &names, &count) != STATUS_OK) {
        error_clear();
        return false;
    }
    for (int i = 0; i < count && !known; ++i)
        known = split_of(names[i]) >= 0 &&
                snprintf(file, sizeof file, "%s/%s", path, names[i]) < (int)sizeof file &&
                sizes_of(file) > 0;
    folder_names_free(names, count);
    return known;
}

static int64_t big_endian(const uint8_t *bytes) {
    return (int64_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

// Opens a file of `dims` sizes, which must fit its length exactly.
static Status open_file(const char *path, int dims, const SourceOptions *options, Blob **out,
                        int64_t *dim) {
    uint8_t header[IDX_HEADER_MOST];
    size_t bytes = 4 + 4 * (size_t)dims;
    int64_t item = 1;
    TRY(blob_open(path, 0, options, out));
    FAIL_IF(blob_bytes(*out) < (int64_t)bytes, BAD_DATA,
            "%s: ends within the header of an IDX file", path);
    TRY(blob_read(*out, 0, header, bytes));
    for (int i = 0; i < dims; ++i) {
        dim[i] = big_endian(header + 4 + 4 * i);
        FAIL_IF(dim[i] == 0, BAD_DATA, "%s: size %d is 0: there is nothing in it", path, i);
        FAIL_IF(i > 0 && dim[i] > ITEM_BYTES_MOST / item, BAD_DATA,
                "%s: claims items of more than %d bytes", path, ITEM_BYTES_MOST);
        if (i > 0) item *= dim[i];
    }
    int64_t expected = (int64_t)bytes + dim[0] * item; // below 2^32 * 2^24
    FAIL_IF(blob_bytes(*out) != expected, BAD_DATA,
            "%s: is %lld bytes long, but its header says %lld", path, (long long)blob_bytes(*out),
            (long long)expected);
    return STATUS_OK;
}

static Status take_file(Source *source, const char *name, const SourceOptions *options) {
    IdxFolder *folder = source->state;
    char path[PATH_BYTES];
    int64_t dim[3], bytes;
    uint64_t hash;
    TRY(path_format(path, "%s/%s", source->path, name));
    int split = split_of(name), dims = split < 0 ? 0 : sizes_of(path);
    if (split < 0 || (dims == 0 && strstr(name, "ubyte") == NULL)) return STATUS_OK;
    int expected = strstr(name, "images") != NULL ? 3 : strstr(name, "labels") != NULL ? 1 : dims;
    FAIL_IF(dims == 0 || dims != expected, BAD_DATA,
            "%s: is not an IDX file of bytes (type 0x08) with %s", path,
            expected == 1 ? "one size" : "three sizes");
    IdxPair *pair = &folder->pair[split];
    Blob **blob = dims == 3 ? &pair->images : &pair->labels;
    FAIL_IF(*blob != NULL, BAD_DATA, "%s: holds the %s of %s a second time, after %s", path,
            dims == 3 ? "images" : "labels", split_names[split], blob_path(*blob));
    TRY(open_file(path, dims, options, blob, dim));
    if (dims == 3) {
        pair->count = dim[0];
        pair->height = dim[1];
        pair->width = dim[2];
    }
    if (!options->lead) return STATUS_OK;
    TRY(blob_hash(*blob, &bytes, &hash));
    source_add_content(source, bytes, hash);
    return STATUS_OK;
}

static Status check_pair(const Source *source, int split) {
    const IdxFolder *folder = source->state;
    const IdxPair *pair = &folder->pair[split];
    FAIL_IF((pair->images == NULL) != (pair->labels == NULL), BAD_DATA,
            "%s: has the %s of %s, but not its %s", source->path,
            pair->images == NULL ? "labels" : "images", split_names[split],
            pair->images == NULL ? "images" : "labels");
    if (pair->images == NULL) return STATUS_OK;
    FAIL_IF(blob_bytes(pair->labels) - 8 != pair->count, BAD_DATA,
            "%s holds %lld images, but %s %lld labels", blob_path(pair->images),
            (long long)pair->count, blob_path(pair->labels),
            (long long)blob_bytes(pair->labels) - 8);
    const IdxPair *first = folder->pair[0].images != NULL ? &folder->pair[0] : pair;
    FAIL_IF(pair->height != first->height || pair->width != first->width, BAD_DATA,
            "%s: its images are %lld x %lld, but %lld x %lld in %s", blob_path(pair->images),
            (long long)pair->height, (long long)pair->width, (long long)first->height,
            (long long)first->width, blob_path(first->images));
    return STATUS_OK;
}

static Status count_classes(Source *source, const IdxPair *pair) {
    uint8_t label[4096];
    for (int64_t at = 0; at < pair->count; at += (int64_t)sizeof label) {
        int64_t left = pair->count - at;
        size_t part = left < (int64_t)sizeof label ? (size_t)left : sizeof label;
        TRY(blob_read(pair->labels, 8 + at, label, part));
        for (size_t i = 0; i < part; ++i)
            if (label[i] >= source->info.classes) source->info.classes = label[i] + 1;
    }
    return STATUS_OK;
}

static Status idx_open_folder(Source *source, const SourceOptions *options) {
    char **names;
    int count;
    Status status = STATUS_OK;
    IdxFolder *folder = source->state = calloc(1, sizeof *folder);
    FAIL_IF(folder == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    TRY(folder_names(source->path, &names, &count));
    for (int i = 0; i < count && status == STATUS_OK; ++i)
        status = take_file(source, names[i], options);
    folder_names_free(names, count);
    TRY(status);
    source->info.kind = KIND_IMAGE;
    for (int s = 0; s < IDX_SPLITS; ++s) {
        const IdxPair *pair = &folder->pair[s];
        TRY(check_pair(source, s));
        if (pair->images == NULL) continue;
        const int64_t shape[3] = {1, pair->height, pair->width};
        if (source->splits == 0) {
            source_add_column(source, "image", DTYPE_U8, 3, shape);
            source_add_column(source, "label", DTYPE_U8, 0, NULL);
        }
        folder->number[source->splits] = s;
        source_add_split(source, split_names[s], pair->count);
        TRY(count_classes(source, pair));
    }
    return STATUS_OK;
}

static Status idx_read_samples(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                               uint8_t *const out[DATASET_COLUMNS_MOST]) {
    IdxFolder *folder = source->state;
    IdxPair *pair = &folder->pair[folder->number[split]];
    int64_t item = pair->height * pair->width;
    TRY(blob_read(pair->images, IDX_HEADER_MOST + first * item, out[0], (size_t)(most * item)));
    TRY(blob_read(pair->labels, 8 + first, out[1], (size_t)most));
    *got = most;
    return STATUS_OK;
}

static void idx_close_folder(Source *source) {
    IdxFolder *folder = source->state;
    for (int s = 0; s < IDX_SPLITS && folder != NULL; ++s) {
        blob_close(folder->pair[s].images);
        blob_close(folder->pair[s].labels);
    }
    free(folder);
    source->state = NULL;
}

const SourceType source_idx = {.name = "idx",
                               .what = "a folder of IDX files ({train,t10k}-images..., -labels...)",
                               .knows = idx_knows,
                               .open = idx_open_folder,
                               .read = idx_read_samples,
                               .close = idx_close_folder};
