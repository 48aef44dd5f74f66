// Packing: what the source is, a temporary folder, and its change into the dataset.
#include "data/pack_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/glyph.h"
#include "data/shard_writer.h"
#include "data/toys.h"

Column *pack_add_column(Pack *pack, const char *name, Dtype dtype, Filter filter, int dims,
                        const int64_t *dim) {
    DatasetInfo *info = &pack->index.info;
    REQUIRE(info->columns < DATASET_COLUMNS_MOST);
    Column *column = &info->column[info->columns++];
    snprintf(column->name, sizeof column->name, "%s", name);
    column->dtype = dtype;
    column->filter = filter;
    column->dims = dims;
    for (int i = 0; i < dims; ++i) column->dim[i] = dim[i];
    column->group_items = shard_group_items(column_item_bytes(column));
    return column;
}

int pack_add_split(Pack *pack, const char *name, int64_t items) {
    REQUIRE(pack->index.splits < INDEX_SPLITS_MOST);
    IndexSplit *split = &pack->index.split[pack->index.splits];
    snprintf(split->name, sizeof split->name, "%s", name);
    split->items = items;
    return pack->index.splits++;
}

Status pack_add_splits(Pack *pack, int64_t items, const char *things) {
    FAIL_IF(items < 20, BAD_DATA, "%s: %lld %s are too few to split", pack->config->source,
            (long long)items, things);
    int64_t train = items / 10 * 9 + items % 10 * 9 / 10;
    int64_t valid = (items - train) / 2;
    pack_add_split(pack, "train", train);
    pack_add_split(pack, "valid", valid);
    pack_add_split(pack, "test", items - train - valid);
    return STATUS_OK;
}

// The last part of a path, cut to fit; bytes that have no place in a JSON text become '?'.
static void copy_name(const char *path, char *out, size_t bytes) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') --end;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') --start;
    size_t length = end - start < bytes ? end - start : bytes - 1;
    for (size_t i = 0; i < length; ++i) {
        char c = path[start + i];
        out[i] = c >= ' ' && c <= '~' ? c : '?';
    }
    out[length] = '\0';
}

void pack_add_source(Pack *pack, const char *path, int64_t bytes, uint64_t hash) {
    REQUIRE(pack->index.sources < INDEX_SOURCES_MOST);
    IndexSource *source = &pack->index.source[pack->index.sources++];
    copy_name(path, source->file, sizeof source->file);
    source->bytes = bytes;
    source->hash = hash;
}

void pack_add_text(Pack *pack, TextStream *text) {
    int64_t bytes;
    uint64_t hash;
    text_source(text, &bytes, &hash);
    pack_add_source(pack, pack->config->source, bytes, hash);
}

Status pack_check_text(Pack *pack, TextStream *text) {
    const IndexSource *source = &pack->index.source[0];
    size_t got;
    int64_t bytes = -1;
    uint64_t hash = 0;
    TRY(text_read(text, pack->buffer, 1, &got));
    if (got == 0) text_source(text, &bytes, &hash);
    FAIL_IF(bytes != source->bytes || hash != source->hash, BAD_DATA,
            "%s: changed while it was read", pack->config->source);
    return STATUS_OK;
}

void pack_progress(const Pack *pack, int64_t done, int64_t total, const char *what) {
    if (pack->config->progress == NULL) return;
    pack->config->progress(pack->config->context, (double)done / (double)total, what);
}

static Status check_target(const char *out, bool force) {
    char index[PATH_BYTES];
    if (!file_exists(out)) return STATUS_OK;
    FAIL_IF(!force, BAD_USAGE, "%s: exists already; choose another folder or replace it (--force)",
            out);
    TRY(path_format(index, "%s/index.json", out));
    FAIL_IF(!file_exists(index), BAD_USAGE,
            "%s: is not a dataset (no index.json), so it is not replaced", out);
    return STATUS_OK;
}

// Makes the temporary folder, alone in it: a lock on the folder itself keeps others out and goes
// away with this process; what an interrupted pack left is removed.
static Status claim_folder(const char *folder, int *lock) {
    char **names;
    int count;
    TRY(folder_make(folder));
    *lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FAIL_IF(*lock < 0, IO, "%s: cannot be opened: %s", folder, strerror(errno));
    FAIL_IF(flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK, BUSY,
            "%s: another pack is working on it", folder);
    TRY(folder_names(folder, &names, &count));
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; ++i) {
        if (unlinkat(*lock, names[i], 0) == 0) continue;
        FAIL_OR(done, status, IO, "%s/%s: cannot be removed: %s", folder, names[i],
                strerror(errno));
    }
done:
    folder_names_free(names, count);
    return status;
}

// What cannot be read is no font: reading it as text tells why.
static bool is_font(const char *path) {
    char start[GLYPH_LINE_MOST];
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return false;
    size_t got = fread(start, 1, sizeof start, file);
    fclose(file);
    return glyph_begins(start, got);
}

static Status recognise_and_pack(Pack *pack) {
    const char *source = pack->config->source;
    struct stat about;
    int toy;
    if (pack->config->tokens != NULL) return pack_tokens(pack);
    if (stat(source, &about) == 0) {
        if (S_ISDIR(about.st_mode)) {
            TRY(pack_images(pack));
        } else {
            FAIL_IF(!S_ISREG(about.st_mode), BAD_DATA, "%s: is neither a folder nor a file",
                    source);
            TRY(is_font(source) ? pack_unifont(pack) : pack_text(pack));
        }
        return STATUS_OK;
    }
    FAIL_IF(!toy_find(source, &toy), NOT_FOUND,
            "%s: there is no such folder or file, and no made-up set of that name (swiss-roll, "
            "two-moons, checkerboard, heartbeat)",
            source);
    TRY(pack_toy(pack, toy));
    return STATUS_OK;
}

// The finished folder takes the place of `out`.
static Status publish(const char *folder, const char *out) {
    char old[PATH_BYTES];
    TRY(folder_sync(folder));
    bool replace = file_exists(out);
    if (replace) {
        TRY(path_format(old, "%s.replaced", out));
        TRY(folder_remove(old));
        TRY(file_rename(out, old));
    }
    TRY(file_rename(folder, out));
    if (replace) TRY(folder_remove(old));
    return STATUS_OK;
}

static Status pack_into(Pack *pack, const char *out) {
    const char *name = pack->config->name;
    if (name != NULL) {
        FAIL_IF(name[0] == '\0' || strlen(name) >= DATASET_NAME_BYTES, BAD_USAGE,
                "the name \"%s\" must have 1 to %d bytes", name, DATASET_NAME_BYTES - 1);
        snprintf(pack->index.info.name, sizeof pack->index.info.name, "%s", name);
    } else {
        copy_name(out, pack->index.info.name, sizeof pack->index.info.name);
    }
    TRY(recognise_and_pack(pack));
    TRY(dataset_index_save(pack->folder, &pack->index));
    TRY(publish(pack->folder, out));
    return STATUS_OK;
}

Status pack(const PackConfig *config) {
    char out[PATH_BYTES];
    int lock = -1;
    Status status = STATUS_OK;
    FAIL_IF(config->out[0] == '\0', BAD_USAGE, "the folder to make has no name");
    TRY(path_format(out, "%s", config->out));
    for (size_t end = strlen(out); end > 1 && out[end - 1] == '/'; --end) out[end - 1] = '\0';
    TRY(check_target(out, config->force));
    Pack *work = calloc(1, sizeof *work);
    FAIL_IF(work == NULL, NO_MEMORY, "no memory to pack %s", config->source);
    work->config = config;
    TRY_OR(done, status, path_format(work->folder, "%s.packing", out));
    TRY_OR(done, status, claim_folder(work->folder, &lock));
    status = pack_into(work, out);
    if (status != STATUS_OK) {
        ErrorRecord record = error_take(); // the cleanup's own failure would hide the cause
        (void)!folder_remove(work->folder);
        status = error_restore(&record);
        status = error_trail(status, __FILE__, __LINE__, __func__);
    }
done:
    if (lock >= 0) close(lock);
    dataset_index_close(&work->index);
    free(work);
    return status;
}
