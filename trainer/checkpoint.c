// Saving: parts by all ranks into a hidden folder, the manifest last, then one rename.
#include "trainer/checkpoint_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- names --------------------------------------------------------------------------------------

void step_name(int64_t step, char out[STEP_NAME_BYTES]) {
    snprintf(out, STEP_NAME_BYTES, "step-%09lld", (long long)step);
}

bool step_of_name(const char *name, int64_t *step) {
    char again[STEP_NAME_BYTES], *end;
    if (strncmp(name, "step-", 5) != 0) return false;
    *step = strtoll(name + 5, &end, 10);
    step_name(*step, again);
    return *step >= 0 && strcmp(name, again) == 0;
}

static int compare_steps(const void *a, const void *b) {
    int64_t x = 0, y = 0;
    (void)step_of_name(*(char *const *)a, &x);
    (void)step_of_name(*(char *const *)b, &y);
    return x < y ? -1 : x > y;
}

Status checkpoint_list(const char *run_dir, char ***names, int *count) {
    TRY(folder_names(run_dir, names, count));
    int kept = 0;
    for (int i = 0; i < *count; ++i) {
        int64_t step;
        if (step_of_name((*names)[i], &step))
            (*names)[kept++] = (*names)[i];
        else
            free((*names)[i]);
    }
    *count = kept;
    if (kept > 0) qsort(*names, (size_t)kept, sizeof **names, compare_steps);
    return STATUS_OK;
}

Status leftovers_remove(const char *run_dir) {
    char **names, path[PATH_BYTES];
    int count;
    TRY(folder_names(run_dir, &names, &count));
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; ++i) {
        if (strncmp(names[i], SAVING_PREFIX, strlen(SAVING_PREFIX)) != 0) continue;
        status = path_format(path, "%s/%s", run_dir, names[i]);
        if (status == STATUS_OK) status = folder_remove(path);
    }
    folder_names_free(names, count);
    return status;
}

// ---- agreement ----------------------------------------------------------------------------------

Status share_status(Comm *comm, Status mine) {
    char text[ERROR_TEXT_BYTES] = "";
    int speaker;
    Status worst = comm_agree(comm, mine, &speaker);
    // Ranks that cannot talk to each other cannot share a sentence either.
    if (worst == STATUS_OK || worst == STATUS_COMM) return worst;
    bool mute = comm_rank(comm) != speaker;
    if (!mute) snprintf(text, sizeof text, "%s", error_get()->text);
    TRY(comm_broadcast(comm, text, sizeof text, speaker));
    if (mute)
        return error_raise(worst, __FILE__, __LINE__, __func__, "rank %d (%s): %s", speaker,
                           comm_host_of(comm, speaker), text);
    return worst;
}

Status missing_is_bad(Status status) {
    if (status != STATUS_NOT_FOUND) return status;
    ErrorRecord record = error_take();
    record.status = STATUS_BAD_DATA;
    return error_restore(&record);
}

// ---- room on the disk ---------------------------------------------------------------------------

static uint64_t raw_bytes(const Params *params, int part) {
    int64_t begin, end;
    params_part(params, part, &begin, &end);
    return (uint64_t)(end - begin) * sizeof(float) * STATE_KINDS + 8192;
}

static Status check_room(const char *run_dir, const Params *params) {
    uint64_t available, needed = 0;
    for (int part = 0; part < params->parts; ++part) needed += raw_bytes(params, part);
    TRY(folder_free_bytes(run_dir, &available));
    FAIL_IF(available < needed, IO,
            "%s: no room for a checkpoint: it may need %.1f MB, %.1f MB are free, %.1f MB are"
            " missing",
            run_dir, (double)needed / 1e6, (double)available / 1e6,
            (double)(needed - available) / 1e6);
    return STATUS_OK;
}

// Adds to a failed write what is missing. The file that failed is removed by now, so `to_come`
// counts it whole.
static Status explain_room(const char *run_dir, uint64_t to_come, Status status) {
    if (status != STATUS_IO) return status;
    ErrorRecord record = error_take();
    uint64_t available = 0;
    size_t length = strlen(record.text);
    if (folder_free_bytes(run_dir, &available) == STATUS_OK && available < to_come)
        snprintf(record.text + length, sizeof record.text - length,
                 " (%.1f MB are free, %.1f MB more may be needed)", (double)available / 1e6,
                 (double)(to_come - available) / 1e6);
    return error_restore(&record);
}

// ---- saving -------------------------------------------------------------------------------------

typedef struct {
    Comm *comm;
    const char *run_dir;
    const Params *params;
    const Ownership *ownership;
    const CheckpointMeta *meta;
    const StateAccess *access;
    int keep;
    bool first; // rank 0
    char saving[PATH_BYTES], final[PATH_BYTES];
    PartRoom room;
    uint64_t *table; // [parts * 4 + 1] of all ranks: each part's BlockFileInfo, the fingerprint
} Save;

static Status prepare(Save *save) {
    char name[STEP_NAME_BYTES];
    step_name(save->meta->step, name);
    TRY(path_format(save->final, "%s/%s", save->run_dir, name));
    TRY(path_format(save->saving, "%s/%s%s", save->run_dir, SAVING_PREFIX, name));
    save->table = calloc((size_t)save->params->parts * 4 + 1, sizeof *save->table);
    FAIL_IF(save->table == NULL, NO_MEMORY, "no memory for the part table");
    TRY(part_room_open(save->params, &save->room));
    if (!save->first) return STATUS_OK;
    TRY(leftovers_remove(save->run_dir));
    TRY(check_room(save->run_dir, save->params));
    return folder_make(save->saving);
}

static Status write_parts(Save *save) {
    int parts = save->params->parts, rank = comm_rank(save->comm);
    uint64_t to_come = 0;
    for (int part = 0; part < parts; ++part)
        if (ownership_owner(save->ownership, part) == rank)
            to_come += raw_bytes(save->params, part);
    for (int part = 0; part < parts; ++part) {
        if (ownership_owner(save->ownership, part) != rank) continue;
        BlockFileInfo info;
        Status status = part_write(save->saving, save->params, part, save->access, &save->room,
                                   &info, &save->table[parts * 4]);
        TRY(explain_room(save->run_dir, to_come, status));
        to_come -= raw_bytes(save->params, part);
        uint64_t row[4] = {info.bytes, info.raw, info.hash, info.blocks};
        memcpy(&save->table[part * 4], row, sizeof row);
    }
    return folder_sync(save->saving);
}

// Every rank learns about all parts; each entry was filled by one rank and is zero elsewhere.
static Status combine(Save *save) {
    int parts = save->params->parts;
    TRY(comm_sum_u64(save->comm, save->table, parts * 4 + 1));
    uint64_t written = save->table[parts * 4], wanted = save->meta->fingerprint;
    FAIL_IF(written != wanted, FAILED,
            "step %lld was not saved: the weights have fingerprint %016llx on the way to the disk,"
            " %016llx on the device; suspect the memory of a host",
            (long long)save->meta->step, (unsigned long long)written, (unsigned long long)wanted);
    return STATUS_OK;
}

static Status write_manifest(const Save *save) {
    int parts = save->params->parts;
    char path[PATH_BYTES], *text = NULL;
    size_t bytes;
    BlockFileInfo *file = malloc((size_t)parts * sizeof *file);
    FAIL_IF(file == NULL, NO_MEMORY, "no memory for the part table");
    for (int part = 0; part < parts; ++part) {
        const uint64_t *row = &save->table[part * 4];
        file[part] = (BlockFileInfo){row[0], row[1], row[2], (uint32_t)row[3]};
    }
    Status status = manifest_build(save->params, save->meta, file, &text, &bytes);
    if (status == STATUS_OK) status = path_format(path, "%s/%s", save->saving, MANIFEST_NAME);
    if (status == STATUS_OK)
        status = explain_room(save->run_dir, bytes, file_write_atomic(path, text, bytes));
    free(text);
    free(file);
    TRY(status);
    Manifest manifest;
    TRY(manifest_read(save->saving, &manifest, NULL, NULL));
    manifest_close(&manifest);
    return STATUS_OK;
}

// A checkpoint of this step is there already: a broken one that was trained past, or a good one.
// Linux exchanges two folders in one step; where the file system cannot, there is a moment without.
static Status replace(const Save *save) {
    if (renameat2(AT_FDCWD, save->saving, AT_FDCWD, save->final, RENAME_EXCHANGE) == 0) {
        TRY(folder_sync(save->run_dir));
        return folder_remove(save->saving);
    }
    char old[PATH_BYTES];
    TRY(path_format(old, "%s/%sreplaced", save->run_dir, SAVING_PREFIX));
    TRY(file_rename(save->final, old));
    Status status = file_rename(save->saving, save->final);
    if (status != STATUS_OK) {
        ErrorRecord record = error_take();
        (void)!file_rename(old, save->final);
        return error_restore(&record);
    }
    return folder_remove(old);
}

static Status publish(const Save *save) {
    TRY(write_manifest(save));
    if (file_exists(save->final)) return replace(save);
    return file_rename(save->saving, save->final);
}

// Cheap: sizes only. A checkpoint that fails here does not count as one that may be fallen back to.
static bool seems_whole(const char *folder) {
    Manifest manifest;
    Status status = manifest_read(folder, &manifest, NULL, NULL);
    for (int part = 0; status == STATUS_OK && part < manifest.params.parts; ++part) {
        char name[PART_NAME_BYTES], path[PATH_BYTES];
        uint64_t bytes = 0;
        part_name(part, name);
        status = path_format(path, "%s/%s", folder, name);
        if (status == STATUS_OK) status = file_size(path, &bytes);
        if (bytes != manifest.file[part].bytes) status = STATUS_BAD_DATA;
    }
    manifest_close(&manifest);
    error_clear();
    return status == STATUS_OK;
}

// Renamed first: a kill on the way leaves something hidden, never half a checkpoint.
static Status remove_checkpoint(const char *run_dir, const char *name) {
    char from[PATH_BYTES], to[PATH_BYTES];
    TRY(path_format(from, "%s/%s", run_dir, name));
    TRY(path_format(to, "%s/%sold-%s", run_dir, SAVING_PREFIX, name));
    TRY(file_rename(from, to));
    return folder_remove(to);
}

// Keeps the new one and the keep - 1 whole ones before it, with the broken ones among them.
static Status prune(const Save *save) {
    char **names, path[PATH_BYTES];
    int count, kept = 1;
    TRY(checkpoint_list(save->run_dir, &names, &count));
    Status status = STATUS_OK;
    for (int i = count - 1; i >= 0 && status == STATUS_OK; --i) {
        int64_t step;
        if (!step_of_name(names[i], &step) || step >= save->meta->step) continue;
        if (kept == save->keep) {
            status = remove_checkpoint(save->run_dir, names[i]);
            continue;
        }
        status = path_format(path, "%s/%s", save->run_dir, names[i]);
        if (status == STATUS_OK && seems_whole(path)) ++kept;
    }
    folder_names_free(names, count);
    return status;
}

static Status save_all(Save *save) {
    TRY(share_status(save->comm, prepare(save)));
    TRY(share_status(save->comm, write_parts(save)));
    TRY(combine(save));
    TRY(share_status(save->comm, save->first ? publish(save) : STATUS_OK));
    return share_status(save->comm, save->first ? prune(save) : STATUS_OK);
}

Status checkpoint_save(Comm *comm, const char *run_dir, const Params *params,
                       const Ownership *ownership, const CheckpointMeta *meta,
                       const StateAccess *access, int keep) {
    REQUIRE(keep >= 1 && meta->step >= 0);
    Save save = {.comm = comm,
                 .run_dir = run_dir,
                 .params = params,
                 .ownership = ownership,
                 .meta = meta,
                 .access = access,
                 .keep = keep,
                 .first = comm_rank(comm) == 0};
    Status status = save_all(&save);
    if (status != STATUS_OK && save.first && save.saving[0] != 0) {
        ErrorRecord record = error_take();
        (void)!folder_remove(save.saving);
        (void)error_restore(&record);
    }
    part_room_close(&save.room);
    free(save.table);
    return status;
}
