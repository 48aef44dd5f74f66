// CIFAR's binary records: a byte of label (CIFAR-100: coarse, then fine, which is taken), then the
// planes red, green and blue of 32 x 32 pixels. A file of them, plain or compressed; the folder
// that CIFAR-10 or CIFAR-100 unpack to; or their archive as it is published (.tar.gz).
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/pack/blob.h"
#include "data/pack/container.h"

enum {
    SIDE = 32,
    PIXELS = 3 * SIDE * SIDE,
    FILES_MOST = 16,
    SNIFFED = 64,     // records that are looked at
    CLASSES_TEN = 10, // with which a file of any name is taken for CIFAR's
};

typedef struct {
    Blob *blob;
    int split;     // of the source
    int64_t first; // sample of the split
    int64_t count;
} CifarFile;

typedef struct {
    CifarFile file[FILES_MOST];
    int files;
    int labels; // bytes of a record before the pixels
} Cifar;

// ---- recognising --------------------------------------------------------------------------------

static int split_of(const char *name) {
    if (strncmp(name, "data_batch_", 11) == 0 || strcmp(name, "train.bin") == 0) return 0;
    return strcmp(name, "test_batch.bin") == 0 || strcmp(name, "test.bin") == 0 ? 1 : -1;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

// Whether the first records have labels below `classes` where records have so many label bytes;
// both are taken for the last one, which is the label.
static bool labels_fit(const uint8_t *start, size_t got, int labels, int classes) {
    size_t record = (size_t)(PIXELS + labels);
    if (got < record) return false;
    for (size_t at = 0; at + record <= got; at += record)
        if (start[at + (size_t)labels - 1] >= classes) return false;
    return true;
}

static bool is_record_file(const char *path) {
    struct stat about;
    size_t got, most = SNIFFED * (PIXELS + 1);
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode)) return false;
    uint8_t *start = malloc(most);
    bool named = strstr(last_part(path), ".bin") != NULL;
    bool known = start != NULL && blob_begins(path, start, most, &got) &&
                 (labels_fit(start, got, 1, CLASSES_TEN) || (named && got >= PIXELS + 1));
    free(start);
    return known;
}

static bool is_tar_name(const char *path) {
    const char *name = last_part(path);
    return strstr(name, ".tar") != NULL || strstr(name, ".tgz") != NULL;
}

// An archive whose first member lies in a folder of CIFAR's, or is of its names.
static bool is_cifar_archive(const char *path) {
    char name[101] = ""; // begins a tar
    size_t got;
    if (!is_tar_name(path) || !blob_begins(path, name, sizeof name - 1, &got)) return false;
    return strncmp(name, "cifar-10", 8) == 0 || split_of(last_part(name)) >= 0 ||
           strcmp(last_part(name), "batches.meta.txt") == 0;
}

static bool cifar_knows(const char *path) {
    char file[PATH_BYTES];
    struct stat about;
    if (stat(path, &about) != 0) return false;
    if (!S_ISDIR(about.st_mode)) return is_record_file(path) || is_cifar_archive(path);
    static const char *const names[2] = {"data_batch_1.bin", "train.bin"};
    for (int i = 0; i < 2; ++i)
        if (snprintf(file, sizeof file, "%s/%s", path, names[i]) < (int)sizeof file &&
            file_exists(file))
            return true;
    return false;
}

// ---- files --------------------------------------------------------------------------------------

// Records of 3073 or of 3074 bytes: by the length, and where that leaves both, by the labels.
static Status choose_labels(Source *source, Blob *blob) {
    int64_t bytes = blob_bytes(blob);
    bool one = bytes > 0 && bytes % (PIXELS + 1) == 0, two = bytes > 0 && bytes % (PIXELS + 2) == 0;
    FAIL_IF(!one && !two, BAD_DATA,
            "%s: %lld bytes are not whole records of %d (CIFAR-10) or %d bytes (CIFAR-100)",
            blob_path(blob), (long long)bytes, PIXELS + 1, PIXELS + 2);
    if (one && two) {
        uint8_t first[2];
        TRY(blob_read(blob, 0, first, 2));
        one = first[0] < CLASSES_TEN;
    }
    Cifar *cifar = source->state;
    int labels = one ? 1 : 2;
    FAIL_IF(cifar->files > 0 && labels != cifar->labels, BAD_DATA,
            "%s: holds records of another length than %s", blob_path(blob),
            blob_path(cifar->file[0].blob));
    cifar->labels = labels;
    return STATUS_OK;
}

static Status add_file(Source *source, const char *path, int split, const SourceOptions *options) {
    Cifar *cifar = source->state;
    int64_t bytes;
    uint64_t hash;
    FAIL_IF(cifar->files == FILES_MOST, BAD_DATA, "%s: more than %d files", source->path,
            FILES_MOST);
    CifarFile *file = &cifar->file[cifar->files];
    TRY(blob_open(path, 0, options, &file->blob));
    Status status = choose_labels(source, file->blob);
    if (status != STATUS_OK) {
        blob_close(file->blob);
        file->blob = NULL;
        return status;
    }
    ++cifar->files;
    file->split = split;
    file->count = blob_bytes(file->blob) / (PIXELS + cifar->labels);
    if (!options->lead) return STATUS_OK;
    TRY(blob_hash(file->blob, &bytes, &hash));
    source_add_content(source, bytes, hash);
    return STATUS_OK;
}

// In the order of their names, which is that of the batches.
static Status add_folder(Source *source, const char *folder, const SourceOptions *options) {
    char **names;
    int count;
    Status status = STATUS_OK;
    TRY(folder_names(folder, &names, &count));
    for (int i = 0; i < count && status == STATUS_OK; ++i) {
        char path[PATH_BYTES];
        if (split_of(names[i]) < 0) continue;
        status = path_format(path, "%s/%s", folder, names[i]);
        if (status == STATUS_OK) status = add_file(source, path, split_of(names[i]), options);
    }
    folder_names_free(names, count);
    return status;
}

// ---- archives -----------------------------------------------------------------------------------

static Status unpack_members(Container *container, const char *folder) {
    ContainerMember member;
    bool more;
    for (;;) {
        char path[PATH_BYTES];
        int64_t bytes;
        TRY(container_next(container, &member, &more));
        if (!more) return STATUS_OK;
        const char *name = last_part(member.name);
        if (!member.file || (split_of(name) < 0 && strstr(name, ".txt") == NULL)) continue;
        TRY(path_format(path, "%s/%s", folder, name));
        TRY(container_extract(container, path, &bytes));
    }
}

// The members that matter go to a folder of the stage, by the lead.
static Status unpack_archive(const Source *source, const char *folder,
                             const SourceOptions *options) {
    Container *container = NULL;
    Blob *blob;
    TRY(folder_make(folder));
    TRY(blob_open(source->path, 0, options, &blob));
    int fd = open(blob_place(blob), O_RDONLY | O_CLOEXEC);
    Status status = STATUS_OK;
    if (fd < 0) FAIL_OR(done, status, IO, "%s: cannot be opened", blob_place(blob));
    TRY_OR(done, status, container_open(source->path, fd, CONTAINER_TAR, &container));
    TRY_OR(done, status, unpack_members(container, folder));
done:
    container_close(container);
    if (fd >= 0) close(fd);
    blob_close(blob);
    return status;
}

// ---- classes ------------------------------------------------------------------------------------

// A line each, in the file that CIFAR brings; without it classes are numbers.
static Status read_names(Source *source, const char *folder) {
    static const char *const files[2] = {"batches.meta.txt", "fine_label_names.txt"};
    char path[PATH_BYTES], *text = NULL;
    size_t bytes;
    for (int i = 0; i < 2 && text == NULL; ++i) {
        TRY(path_format(path, "%s/%s", folder, files[i]));
        if (file_exists(path)) TRY(file_read(path, 1 << 16, &text, &bytes));
    }
    if (text == NULL) return STATUS_OK;
    char **name = calloc((size_t)source->info.classes, sizeof *name), *rest = text, *line;
    int count = 0;
    while (name != NULL && count < source->info.classes && (line = strsep(&rest, "\r\n")) != NULL)
        if (line[0] != '\0') name[count++] = strdup(line);
    free(text);
    if (name != NULL && count == source->info.classes) {
        source->class_name = name;
        return STATUS_OK;
    }
    for (int i = 0; i < count; ++i) free(name[i]); // names of other classes: they stay numbers
    free(name);
    return STATUS_OK;
}

static Status count_classes(Source *source) {
    Cifar *cifar = source->state;
    int64_t record = PIXELS + cifar->labels;
    for (int f = 0; f < cifar->files; ++f)
        for (int64_t i = 0; i < cifar->file[f].count; ++i) {
            uint8_t label;
            TRY(blob_read(cifar->file[f].blob, i * record + cifar->labels - 1, &label, 1));
            if (label >= source->info.classes) source->info.classes = label + 1;
        }
    return STATUS_OK;
}

// ---- the source ---------------------------------------------------------------------------------

static void add_splits(Source *source) {
    static const char *const names[2] = {"train", "test"};
    Cifar *cifar = source->state;
    for (int s = -1; s < 2; ++s) {
        int64_t samples = 0;
        for (int f = 0; f < cifar->files; ++f) {
            CifarFile *file = &cifar->file[f];
            if (file->split != s) continue;
            file->first = samples;
            samples += file->count;
        }
        if (samples == 0) continue;
        for (int f = 0; f < cifar->files; ++f) // from now on the number of the source's split
            if (cifar->file[f].split == s) cifar->file[f].split = 100 + source->splits;
        source_add_split(source, s < 0 ? "" : names[s], samples);
    }
    for (int f = 0; f < cifar->files; ++f) cifar->file[f].split -= 100;
}

static Status open_files(Source *source, const SourceOptions *options, char folder[PATH_BYTES]) {
    struct stat about;
    FAIL_IF(stat(source->path, &about) != 0, NOT_FOUND, "%s: is not there any more", source->path);
    if (S_ISDIR(about.st_mode)) {
        TRY(path_format(folder, "%s", source->path));
        return add_folder(source, folder, options);
    }
    if (!is_cifar_archive(source->path)) {
        TRY(path_format(folder, "%s.names", source->path)); // there is none
        return add_file(source, source->path, -1, options);
    }
    TRY(path_format(folder, "%s/cifar-%s", options->stage, last_part(source->path)));
    if (options->lead) TRY(unpack_archive(source, folder, options));
    return add_folder(source, folder, options);
}

static Status cifar_open(Source *source, const SourceOptions *options) {
    static const int64_t shape[3] = {3, SIDE, SIDE};
    char folder[PATH_BYTES];
    Cifar *cifar = source->state = calloc(1, sizeof *cifar);
    FAIL_IF(cifar == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    source->info.kind = KIND_IMAGE;
    source_add_column(source, "image", DTYPE_U8, 3, shape);
    source_add_column(source, "label", DTYPE_U8, 0, NULL);
    TRY(open_files(source, options, folder));
    FAIL_IF(cifar->files == 0, BAD_DATA, "%s: holds no batches of CIFAR", source->path);
    add_splits(source);
    TRY(count_classes(source));
    return read_names(source, folder);
}

static Status cifar_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                         uint8_t *const out[DATASET_COLUMNS_MOST]) {
    Cifar *cifar = source->state;
    CifarFile *file = cifar->file;
    int64_t record = PIXELS + cifar->labels;
    uint8_t bytes[PIXELS + 2];
    while (file->split != split || first >= file->first + file->count) ++file;
    int64_t left = file->first + file->count - first;
    *got = most < left ? most : left;
    for (int64_t i = 0; i < *got; ++i) {
        TRY(blob_read(file->blob, (first - file->first + i) * record, bytes, (size_t)record));
        memcpy(out[0] + i * PIXELS, bytes + cifar->labels, PIXELS);
        out[1][i] = bytes[cifar->labels - 1];
    }
    return STATUS_OK;
}

static void cifar_close(Source *source) {
    Cifar *cifar = source->state;
    for (int f = 0; cifar != NULL && f < cifar->files; ++f) blob_close(cifar->file[f].blob);
    free(cifar);
    source->state = NULL;
}

const SourceType source_cifar = {.name = "cifar",
                                 .what = "CIFAR's binary records (a file, a folder, the archive)",
                                 .knows = cifar_knows,
                                 .open = cifar_open,
                                 .read = cifar_read,
                                 .close = cifar_close};
