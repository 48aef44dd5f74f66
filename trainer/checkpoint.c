// Saving: parts by all ranks into a hidden folder, the manifest last, then one rename.
#include "trainer/checkpoint_impl.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"

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

static Status remove_entries(const char *run_dir, bool leftovers) {
    char **names, path[PATH_BYTES];
    int count;
    int64_t step;
    TRY(folder_names(run_dir, &names, &count));
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; ++i) {
        bool wanted = leftovers ? strncmp(names[i], SAVING_PREFIX, strlen(SAVING_PREFIX)) == 0
                                : step_of_name(names[i], &step);
        if (!wanted) continue;
        status = path_format(path, "%s/%s", run_dir, names[i]);
        if (status == STATUS_OK) status = folder_remove(path);
    }
    folder_names_free(names, count);
    return status;
}

Status leftovers_remove(const char *run_dir) {
    return remove_entries(run_dir, true);
}

Status checkpoint_remove_all(const char *run_dir) {
    return remove_entries(run_dir, false);
}

Status missing_is_bad(Status status) {
    if (status != STATUS_NOT_FOUND) return status;
    ErrorRecord record = error_take();
    record.status = STATUS_BAD_DATA;
    return error_restore(&record);
}

// ---- room on the disk ---------------------------------------------------------------------------

// Most bytes of the parts from `first` on that a rank (-1: all ranks) writes.
static uint64_t bytes_to_come(const CheckpointRun *run, int first, int rank) {
    uint64_t sum = 0;
    for (int part = first; part < run->params->parts; ++part) {
        if (rank >= 0 && ownership_owner(run->ownership, part) != rank) continue;
        int64_t begin, end;
        params_part(run->params, part, &begin, &end);
        sum += (uint64_t)(end - begin) * sizeof(float) * STATE_KINDS + 8192;
    }
    return sum;
}

static Status check_room(const CheckpointRun *run) {
    uint64_t available, needed = bytes_to_come(run, 0, -1);
    TRY(folder_free_bytes(run->run_dir, &available));
    FAIL_IF(available < needed, IO,
            "%s: no room for a checkpoint: it may need %.1f MB, %.1f MB are free, %.1f MB are"
            " missing",
            run->run_dir, (double)needed / 1e6, (double)available / 1e6,
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

struct CheckpointSave {
    CheckpointRun run;
    CheckpointMeta meta;
    int keep, rank;
    char saving[PATH_BYTES], final[PATH_BYTES];
    PartRoom room;
    uint64_t fingerprint;
    pthread_t writer;
    bool is_threaded;       // the writer is still to be joined
    _Atomic double written; // clock_now() when it had ended; 0 before
    ErrorRecord failure;    // of the writer, status OK: none
    BlockFileInfo file[];   // [parts]
};

static Status prepare(const CheckpointRun *run, const CheckpointMeta *meta, int keep,
                      CheckpointSave **out) {
    char name[STEP_NAME_BYTES];
    size_t table_bytes = (size_t)run->params->parts * sizeof(BlockFileInfo);
    CheckpointSave *save = *out = calloc(1, sizeof *save + table_bytes);
    FAIL_IF(save == NULL, NO_MEMORY, "no memory for a save");
    *save =
        (CheckpointSave){.run = *run, .meta = *meta, .keep = keep, .rank = comm_rank(run->comm)};
    json_incref(save->meta.facts);
    step_name(meta->step, name);
    TRY(path_format(save->final, "%s/%s", run->run_dir, name));
    TRY(path_format(save->saving, "%s/%s%s", run->run_dir, SAVING_PREFIX, name));
    TRY(part_room_take(run->params, &save->room));
    if (save->rank != 0) return STATUS_OK;
    TRY(leftovers_remove(run->run_dir));
    TRY(check_room(run));
    return folder_make(save->saving);
}

static Status write_parts(CheckpointSave *save) {
    const CheckpointRun *run = &save->run;
    for (int part = 0; part < run->params->parts; ++part) {
        if (ownership_owner(run->ownership, part) != save->rank) continue;
        Status status = part_write(save->saving, run->params, part, &run->access, &save->room,
                                   &save->file[part], &save->fingerprint);
        TRY(explain_room(run->run_dir, bytes_to_come(run, part, save->rank), status));
    }
    return folder_sync(save->saving);
}

// Every rank learns about all parts; each entry was filled by one rank and is zero elsewhere.
static Status combine(CheckpointSave *save) {
    enum { WORDS = sizeof(BlockFileInfo) / sizeof(uint64_t) };
    _Static_assert(sizeof(BlockFileInfo) % sizeof(uint64_t) == 0, "it is summed by words");
    TRY(comm_sum_u64(save->run.comm, (uint64_t *)save->file, save->run.params->parts * WORDS));
    TRY(comm_sum_u64(save->run.comm, &save->fingerprint, 1));
    FAIL_IF(save->fingerprint != save->meta.fingerprint, FAILED,
            "step %lld was not saved: the weights have fingerprint %016llx on the way to the disk,"
            " %016llx on the device; suspect the memory of a host",
            (long long)save->meta.step, (unsigned long long)save->fingerprint,
            (unsigned long long)save->meta.fingerprint);
    return STATUS_OK;
}

static Status write_manifest(const CheckpointSave *save) {
    char path[PATH_BYTES], *text;
    size_t bytes;
    TRY(path_format(path, "%s/%s", save->saving, MANIFEST_NAME));
    TRY(manifest_build(save->run.params, &save->meta, save->file, &text, &bytes));
    Status status = explain_room(save->run.run_dir, bytes, file_write_atomic(path, text, bytes));
    free(text);
    TRY(status);
    Manifest manifest;
    TRY(manifest_read(save->saving, &manifest));
    manifest_close(&manifest);
    return STATUS_OK;
}

// A checkpoint of this step is there already: a broken one that was trained past, or a good one.
// Linux exchanges two folders in one step; where the file system cannot, there is a moment without.
static Status replace(const CheckpointSave *save) {
    if (renameat2(AT_FDCWD, save->saving, AT_FDCWD, save->final, RENAME_EXCHANGE) == 0) {
        TRY(folder_sync(save->run.run_dir));
        return folder_remove(save->saving);
    }
    char old[PATH_BYTES];
    TRY(path_format(old, "%s/%sreplaced", save->run.run_dir, SAVING_PREFIX));
    TRY(file_rename(save->final, old));
    Status status = file_rename(save->saving, save->final);
    if (status != STATUS_OK) {
        ErrorRecord record = error_take();
        (void)!file_rename(old, save->final);
        return error_restore(&record);
    }
    return folder_remove(old);
}

static Status publish(const CheckpointSave *save) {
    TRY(write_manifest(save));
    if (file_exists(save->final)) return replace(save);
    return file_rename(save->saving, save->final);
}

// Cheap: sizes only. A checkpoint that fails here does not count as one that may be fallen back to.
static bool seems_whole(const char *folder) {
    Manifest manifest;
    Status status = manifest_read(folder, &manifest);
    for (int part = 0; status == STATUS_OK && part < manifest.params.parts; ++part) {
        char path[PATH_BYTES];
        uint64_t bytes = 0;
        status = part_path(folder, part, path);
        if (status == STATUS_OK) status = file_size(path, &bytes);
        if (bytes != manifest.file[part].bytes) status = STATUS_BAD_DATA;
    }
    manifest_close(&manifest);
    error_clear();
    return status == STATUS_OK;
}

// Renamed first: a kill on the way leaves something hidden, never half a checkpoint.
Status checkpoint_remove(const char *run_dir, const char *name) {
    char from[PATH_BYTES], to[PATH_BYTES];
    TRY(path_format(from, "%s/%s", run_dir, name));
    TRY(path_format(to, "%s/%sold-%s", run_dir, SAVING_PREFIX, name));
    TRY(file_rename(from, to));
    return folder_remove(to);
}

// Keeps the new one and the keep - 1 whole ones before it, with the broken ones among them.
static Status prune(const CheckpointSave *save) {
    char **names, path[PATH_BYTES];
    int count, kept = 1;
    TRY(checkpoint_list(save->run.run_dir, &names, &count));
    Status status = STATUS_OK;
    for (int i = count - 1; i >= 0 && status == STATUS_OK; --i) {
        int64_t step;
        if (!step_of_name(names[i], &step) || step >= save->meta.step) continue;
        if (kept == save->keep) {
            status = checkpoint_remove(save->run.run_dir, names[i]);
            continue;
        }
        status = path_format(path, "%s/%s", save->run.run_dir, names[i]);
        if (status == STATUS_OK && seems_whole(path)) ++kept;
    }
    folder_names_free(names, count);
    return status;
}

static void *run_writer(void *context) {
    CheckpointSave *save = context;
    if (write_parts(save) != STATUS_OK) save->failure = error_take();
    save->written = clock_now();
    return NULL;
}

bool checkpoint_save_written(const CheckpointSave *save) {
    return save->written > 0;
}

double checkpoint_save_wait(CheckpointSave *save) {
    if (save->is_threaded) pthread_join(save->writer, NULL);
    save->is_threaded = false;
    return save->written;
}

void checkpoint_save_abandon(CheckpointSave *save) {
    if (save == NULL) return;
    checkpoint_save_wait(save);
    json_decref(save->meta.facts);
    free(save->room.numbers);
    free(save);
}

static Status end(CheckpointSave *save, Status status) {
    if (status != STATUS_OK && save != NULL && save->rank == 0) {
        ErrorRecord record = error_take();
        (void)!folder_remove(save->saving);
        (void)error_restore(&record);
    }
    checkpoint_save_abandon(save);
    return status;
}

Status checkpoint_save_start(const CheckpointRun *run, const CheckpointMeta *meta, int keep,
                             CheckpointSave **out) {
    REQUIRE(keep >= 1 && meta->step >= 0);
    CheckpointSave *save = NULL;
    *out = NULL;
    Status status = comm_share_status(run->comm, prepare(run, meta, keep, &save));
    if (status != STATUS_OK) return end(save, status);
    save->is_threaded = thread_start(&save->writer, "dye-save", NULL, run_writer, save) == 0;
    if (!save->is_threaded) run_writer(save); // slower, but saved
    *out = save;
    return STATUS_OK;
}

static Status complete(CheckpointSave *save) {
    Comm *comm = save->run.comm;
    checkpoint_save_wait(save);
    TRY(comm_share_status(comm, error_restore(&save->failure)));
    TRY(combine(save));
    TRY(comm_share_status(comm, save->rank == 0 ? publish(save) : STATUS_OK));
    return comm_share_status(comm, save->rank == 0 ? prune(save) : STATUS_OK);
}

Status checkpoint_save_finish(CheckpointSave *save) {
    return end(save, complete(save));
}
