// A folder of JPEG and PNG files: ROOT/CLASS/.../FILE, ROOT/SPLIT/CLASS/.../FILE with the splits
// train, val (or valid, validation) and test, or either without classes. A file is a picture if it
// begins as one, or its name ends as one: an empty .jpg is a bad sample, not one less. The lead
// looks at every file once and leaves the list in the stage folder.
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/codec.h"
#include "data/content_hash.h"
#include "data/pack/image_file.h"
#include "data/pack/source.h"

enum {
    DEPTH_MOST = 32,        // deeper: a link to a folder above
    LOOKS_MOST = 1000,      // files that are looked at to know a folder
    FIRST_TRIES = 100,      // pictures that may be bad before the one that tells the size
    FILE_MOST = 1 << 28,    // bytes
    LIST_MOST = 0x7fffffff, // bytes of all names
    SPLITS = 3,
    CLASSES_MOST = 65536,
};

typedef struct {
    size_t at; // in names
    const char *path;
    int64_t bytes; // on the lead
} Picture;

// Pictures of a split.
typedef struct {
    int64_t first, count;
    size_t skip; // letters of a path before its class
} Range;

typedef struct {
    char *names; // paths below the root, each with its 0
    size_t names_bytes, names_room;
    Picture *picture; // sorted by path
    int64_t pictures, pictures_room, others;
    Range range[SPLITS];             // of the source's splits
    int32_t size;                    // to crop to; 0: as it is
    int32_t channels, height, width; // of all samples
} Folder;

// ---- which files --------------------------------------------------------------------------------

static bool named_as_picture(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot != NULL && (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 ||
                           strcasecmp(dot, ".png") == 0);
}

// What cannot be opened counts as a picture: reading it will say why not.
static bool is_picture(const char *path, int64_t *bytes) {
    uint8_t start[IMAGE_MAGIC_BYTES];
    struct stat about;
    *bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return true;
    ssize_t got = read(fd, start, sizeof start);
    if (fstat(fd, &about) == 0) *bytes = about.st_size;
    close(fd);
    return got < 0 || image_type(start, (size_t)got) != IMAGE_NONE || named_as_picture(path);
}

typedef enum { ENTRY_FOLDER, ENTRY_FILE, ENTRY_NEITHER } Entry;

// Follows links; one that leads nowhere is a file that cannot be opened.
static Entry entry_of(const struct dirent *entry, const char *path) {
    struct stat about;
    if (entry->d_type == DT_REG) return ENTRY_FILE;
    if (entry->d_type == DT_DIR) return ENTRY_FOLDER;
    if (entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN) return ENTRY_NEITHER;
    if (stat(path, &about) != 0) return ENTRY_FILE;
    if (S_ISDIR(about.st_mode)) return ENTRY_FOLDER;
    return S_ISREG(about.st_mode) ? ENTRY_FILE : ENTRY_NEITHER;
}

// Whether there is a picture below the folder, as far as `looks` files tell.
static bool holds_picture(const char *path, int depth, int *looks) {
    char below[PATH_BYTES];
    bool found = false;
    int64_t bytes;
    DIR *open_folder = depth < DEPTH_MOST ? opendir(path) : NULL;
    if (open_folder == NULL) return false;
    for (struct dirent *entry; !found && *looks > 0 && (entry = readdir(open_folder)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= (int)sizeof below)
            continue;
        --*looks;
        Entry kind = entry_of(entry, below);
        if (kind == ENTRY_FOLDER)
            found = holds_picture(below, depth + 1, looks);
        else
            found = kind == ENTRY_FILE && access(below, R_OK) == 0 && is_picture(below, &bytes);
    }
    closedir(open_folder);
    return found;
}

static bool folder_knows(const char *path) {
    int looks = LOOKS_MOST;
    return holds_picture(path, 0, &looks);
}

static Status add_picture(Folder *folder, const char *path, int64_t bytes) {
    size_t letters = strlen(path) + 1;
    FAIL_IF(folder->names_bytes + letters > LIST_MOST, BAD_DATA, "%s: too many pictures", path);
    if (folder->names_room - folder->names_bytes < letters) {
        size_t room = 2 * folder->names_room + PATH_BYTES;
        char *larger = realloc(folder->names, room);
        FAIL_IF(larger == NULL, NO_MEMORY, "no memory for the names of pictures");
        folder->names = larger;
        folder->names_room = room;
    }
    if (folder->pictures == folder->pictures_room) {
        int64_t room = 2 * folder->pictures_room + 64;
        Picture *larger = realloc(folder->picture, (size_t)room * sizeof *larger);
        FAIL_IF(larger == NULL, NO_MEMORY, "no memory for %" PRId64 " pictures", room);
        folder->picture = larger;
        folder->pictures_room = room;
    }
    memcpy(folder->names + folder->names_bytes, path, letters);
    folder->picture[folder->pictures++] = (Picture){.at = folder->names_bytes, .bytes = bytes};
    folder->names_bytes += letters;
    return STATUS_OK;
}

static Status scan(Folder *folder, const char *path, size_t root_letters, int depth);

static Status scan_entry(Folder *folder, const char *path, const struct dirent *entry,
                         size_t root_letters, int depth) {
    char below[PATH_BYTES];
    int64_t bytes;
    if (entry->d_name[0] == '.') return STATUS_OK;
    TRY(path_format(below, "%s/%s", path, entry->d_name));
    Entry kind = entry_of(entry, below);
    if (kind == ENTRY_FOLDER) return scan(folder, below, root_letters, depth + 1);
    if (kind == ENTRY_FILE && is_picture(below, &bytes))
        return add_picture(folder, below + root_letters, bytes);
    ++folder->others;
    return STATUS_OK;
}

static Status scan(Folder *folder, const char *path, size_t root_letters, int depth) {
    FAIL_IF(depth > DEPTH_MOST, BAD_DATA,
            "%s: is more than %d folders deep: does a link lead to a folder above it?", path,
            DEPTH_MOST);
    DIR *open_folder = opendir(path);
    FAIL_IF(open_folder == NULL, IO, "%s: cannot open the folder", path);
    Status status = STATUS_OK;
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(open_folder)) != NULL;)
        status = scan_entry(folder, path, entry, root_letters, depth);
    closedir(open_folder);
    return status;
}

static int compare_pictures(const void *a, const void *b) {
    return strcmp(((const Picture *)a)->path, ((const Picture *)b)->path);
}

static Status hash_content(Source *source) {
    const Folder *folder = source->state;
    ContentHash *hash = malloc(sizeof *hash);
    char number[32];
    int64_t bytes = 0;
    FAIL_IF(hash == NULL, NO_MEMORY, "%s: no memory for a hash", source->path);
    content_hash_init(hash);
    for (int64_t i = 0; i < folder->pictures; ++i) {
        const Picture *picture = &folder->picture[i];
        content_hash_add(hash, picture->path, strlen(picture->path));
        int letters = snprintf(number, sizeof number, " %" PRId64 "\n", picture->bytes);
        content_hash_add(hash, number, (size_t)letters);
        bytes += picture->bytes;
    }
    source_add_content(source, bytes, content_hash_finish(hash));
    source->content.files = (int)folder->pictures;
    free(hash);
    return STATUS_OK;
}

// The names in their order, each with its 0, for the other ranks.
static Status write_list(Folder *folder, const char *list) {
    char *sorted = malloc(folder->names_bytes);
    size_t at = 0;
    FAIL_IF(sorted == NULL, NO_MEMORY, "no memory for the names of pictures");
    for (int64_t i = 0; i < folder->pictures; ++i) {
        size_t letters = strlen(folder->picture[i].path) + 1;
        memcpy(sorted + at, folder->picture[i].path, letters);
        at += letters;
    }
    Status status = file_write_atomic(list, sorted, at);
    free(sorted);
    return status;
}

static Status list_pictures(Source *source, const char *list) {
    Folder *folder = source->state;
    TRY(scan(folder, source->path, strlen(source->path) + 1, 0));
    FAIL_IF(folder->pictures == 0, BAD_DATA, "%s: holds no picture", source->path);
    FAIL_IF(folder->others > folder->pictures, BAD_DATA,
            "%s: holds %" PRId64 " pictures (JPEG, PNG), but %" PRId64
            " files of other kinds: point to the folder of pictures",
            source->path, folder->pictures, folder->others);
    for (int64_t i = 0; i < folder->pictures; ++i)
        folder->picture[i].path = folder->names + folder->picture[i].at;
    qsort(folder->picture, (size_t)folder->pictures, sizeof *folder->picture, compare_pictures);
    TRY(write_list(folder, list));
    return hash_content(source);
}

static Status read_list(Folder *folder, const char *list) {
    TRY(file_read(list, LIST_MOST, &folder->names, &folder->names_bytes));
    size_t at;
    for (at = 0; at < folder->names_bytes; at += strlen(folder->names + at) + 1) ++folder->pictures;
    folder->picture = calloc((size_t)folder->pictures + 1, sizeof *folder->picture);
    FAIL_IF(folder->picture == NULL, NO_MEMORY, "%s: no memory to read it", list);
    at = 0;
    for (int64_t i = 0; i < folder->pictures; ++i, at += strlen(folder->names + at) + 1)
        folder->picture[i].path = folder->names + at;
    return STATUS_OK;
}

// ---- splits and classes -------------------------------------------------------------------------

// Letters of the first folder of a path; 0: it names a file.
static size_t first_folder(const char *path) {
    const char *slash = strchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) : 0;
}

static const char *const split_names[SPLITS] = {"train", "valid", "test"};

// -1: none. The names for validation are all of one split.
static int split_of(const char *path) {
    static const struct {
        const char *name;
        int split;
    } names[] = {{"train", 0}, {"val", 1}, {"valid", 1}, {"validation", 1}, {"test", 2}};
    size_t letters = first_folder(path);
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
        if (strlen(names[i].name) == letters && memcmp(names[i].name, path, letters) == 0)
            return names[i].split;
    return -1;
}

static Status find_splits(Source *source) {
    Folder *folder = source->state;
    Range range[SPLITS] = {0};
    bool all = true;
    for (int64_t i = 0; i < folder->pictures && all; ++i)
        all = split_of(folder->picture[i].path) >= 0;
    if (!all) {
        folder->range[0] = (Range){.count = folder->pictures};
        source_add_split(source, "", folder->pictures);
        return STATUS_OK;
    }
    for (int64_t i = 0; i < folder->pictures; ++i) {
        const char *path = folder->picture[i].path;
        Range *of = &range[split_of(path)];
        if (of->count == 0) *of = (Range){.first = i, .skip = first_folder(path) + 1};
        FAIL_IF(of->skip != first_folder(path) + 1, BAD_DATA,
                "%s: has two folders for one split, of %s and of %s", source->path,
                folder->picture[of->first].path, path);
        ++of->count;
    }
    for (int s = 0; s < SPLITS; ++s) {
        if (range[s].count == 0) continue;
        folder->range[source->splits] = range[s];
        source_add_split(source, split_names[s], range[s].count);
    }
    return STATUS_OK;
}

static Status add_class(Source *source, const char *name, size_t letters) {
    int32_t count = source->info.classes;
    if ((count & (count - 1)) == 0) { // room is a power of two
        char **larger =
            realloc(source->class_name, (count == 0 ? 1 : 2 * (size_t)count) * sizeof *larger);
        FAIL_IF(larger == NULL, NO_MEMORY, "no memory for the names of classes");
        source->class_name = larger;
    }
    char *copy = strndup(name, letters);
    FAIL_IF(copy == NULL, NO_MEMORY, "no memory for the names of classes");
    source->class_name[source->info.classes++] = copy;
    FAIL_IF(source->info.classes > SPLITS * CLASSES_MOST, BAD_DATA,
            "%s: holds more than %d classes", source->path, CLASSES_MOST);
    return STATUS_OK;
}

// Adds the classes of a split once each: the pictures of one are neighbours.
static Status add_classes(Source *source, const Range *range) {
    const Folder *folder = source->state;
    const char *last = NULL;
    size_t last_letters = 0;
    bool flat = first_folder(folder->picture[0].path + folder->range[0].skip) == 0;
    for (int64_t i = range->first; i < range->first + range->count; ++i) {
        const char *name = folder->picture[i].path + range->skip;
        size_t letters = first_folder(name);
        FAIL_IF((letters == 0) != flat, BAD_DATA,
                "%s: has pictures in folders, which are classes, and beside them: %s, %s",
                source->path, folder->picture[0].path, folder->picture[i].path);
        if (flat || (letters == last_letters && memcmp(name, last, letters) == 0)) continue;
        TRY(add_class(source, name, letters));
        last = name;
        last_letters = letters;
    }
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// All splits have the same classes.
static Status find_classes(Source *source) {
    const Folder *folder = source->state;
    for (int s = 0; s < source->splits; ++s) TRY(add_classes(source, &folder->range[s]));
    char **name = source->class_name;
    int32_t count = source->info.classes, kept = 0;
    if (count == 0) return STATUS_OK;
    qsort(name, (size_t)count, sizeof *name, compare_names);
    for (int32_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && strcmp(name[i], name[next]) == 0;) ++next;
        FAIL_IF(next - i != source->splits, BAD_DATA,
                "%s: class \"%s\" has pictures in some splits only", source->path, name[i]);
    }
    for (int32_t i = 0; i < count; ++i) {
        if (i % source->splits == 0)
            name[kept++] = name[i];
        else
            free(name[i]);
    }
    source->info.classes = kept;
    FAIL_IF(kept > CLASSES_MOST, BAD_DATA, "%s: holds %d classes, at most %d", source->path, kept,
            CLASSES_MOST);
    return STATUS_OK;
}

static int32_t class_of(const Source *source, const char *name) {
    size_t letters = first_folder(name);
    int32_t low = 0, high = source->info.classes;
    while (high - low > 1) {
        int32_t middle = low + (high - low) / 2;
        const char *other = source->class_name[middle];
        int order = strncmp(other, name, letters);
        if (order > 0 || (order == 0 && other[letters] != '\0'))
            high = middle;
        else
            low = middle;
    }
    return low;
}

// ---- samples ------------------------------------------------------------------------------------

// channels 0: the header alone.
static Status read_picture(const Source *source, int64_t number, int32_t channels, int32_t size,
                           Image *out) {
    const Folder *folder = source->state;
    char path[PATH_BYTES], *data;
    size_t bytes;
    TRY(path_format(path, "%s/%s", source->path, folder->picture[number].path));
    TRY(file_read(path, FILE_MOST, &data, &bytes));
    Status status = channels == 0 ? image_header(path, data, bytes, out)
                                  : image_decode(path, data, bytes, channels, size, out);
    free(data);
    return status;
}

// The shape of all samples, from the first picture where options do not tell it.
static Status find_shape(Source *source, const SourceOptions *options) {
    Folder *folder = source->state;
    Image first = {.channels = options->channels};
    folder->size = options->size;
    Status status = STATUS_OK;
    if (options->size == 0 || options->channels == 0) {
        for (int64_t i = 0; i < folder->range[0].count && i < FIRST_TRIES; ++i) {
            status = read_picture(source, folder->range[0].first + i, 0, 0, &first);
            if (status == STATUS_OK) break;
        }
        TRY(status);
        error_clear();
    }
    folder->channels = options->channels != 0 ? options->channels : first.channels;
    folder->height = options->size != 0 ? options->size : first.height;
    folder->width = options->size != 0 ? options->size : first.width;
    int64_t bytes = (int64_t)folder->channels * folder->height * folder->width;
    FAIL_IF(bytes > BLOCK_RAW_MOST, BAD_DATA,
            "%s: pictures of %d x %d are too large for a data set: give a smaller --size",
            source->path, folder->width, folder->height);
    const int64_t shape[3] = {folder->channels, folder->height, folder->width};
    source->info.kind = KIND_IMAGE;
    source->sorted = true;
    source_add_column(source, "image", DTYPE_U8, 3, shape);
    if (source->info.classes > 0)
        source_add_column(source, "label", source->info.classes > 256 ? DTYPE_U16 : DTYPE_U8, 0,
                          NULL);
    return STATUS_OK;
}

static Status folder_open(Source *source, const SourceOptions *options) {
    char list[PATH_BYTES];
    Folder *folder = source->state = calloc(1, sizeof *folder);
    FAIL_IF(folder == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    size_t letters = strlen(source->path);
    while (letters > 1 && source->path[letters - 1] == '/') source->path[--letters] = '\0';
    TRY(path_format(list, "%s/folder-%016llx", options->stage,
                    (unsigned long long)codec_hash(source->path, letters)));
    if (options->lead)
        TRY(list_pictures(source, list));
    else
        TRY(read_list(folder, list));
    TRY(find_splits(source));
    TRY(find_classes(source));
    return find_shape(source, options);
}

static Status read_sample(Source *source, const Range *range, int64_t number,
                          uint8_t *const out[DATASET_COLUMNS_MOST], int64_t at) {
    const Folder *folder = source->state;
    Image image;
    const char *path = folder->picture[range->first + number].path;
    TRY(read_picture(source, range->first + number, folder->channels, folder->size, &image));
    bool fits = image.height == folder->height && image.width == folder->width;
    size_t bytes = (size_t)folder->channels * (size_t)folder->height * (size_t)folder->width;
    if (fits) memcpy(out[0] + (size_t)at * bytes, image.pixels, bytes);
    int32_t height = image.height, width = image.width;
    image_free(&image);
    FAIL_IF(!fits, BAD_DATA, "%s/%s: is %d x %d, the first is %d x %d: give --size", source->path,
            path, width, height, folder->width, folder->height);
    if (source->info.columns < 2) return STATUS_OK;
    int32_t label = class_of(source, path + range->skip);
    if (source->info.column[1].dtype == DTYPE_U8) {
        out[1][at] = (uint8_t)label;
    } else {
        out[1][2 * at] = (uint8_t)(label & 255);
        out[1][2 * at + 1] = (uint8_t)(label >> 8);
    }
    return STATUS_OK;
}

static Status folder_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                          uint8_t *const out[DATASET_COLUMNS_MOST]) {
    const Folder *folder = source->state;
    TRY(read_sample(source, &folder->range[split], first, out, 0));
    for (*got = 1; *got < most; ++*got)
        if (read_sample(source, &folder->range[split], first + *got, out, *got) != STATUS_OK) {
            error_clear(); // it is told when it is the first
            break;
        }
    return STATUS_OK;
}

static void folder_close(Source *source) {
    Folder *folder = source->state;
    if (folder != NULL) {
        free(folder->names);
        free(folder->picture);
    }
    free(folder);
    source->state = NULL;
}

const SourceType source_folder = {.name = "folder",
                                  .what = "a folder of JPEG or PNG files, by classes or not",
                                  .knows = folder_knows,
                                  .open = folder_open,
                                  .read = folder_read,
                                  .close = folder_close};
