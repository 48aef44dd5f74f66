// Loading and checking: nothing is believed before its hash is, and a broken checkpoint is named.
#include "trainer/checkpoint_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- choosing and loading a checkpoint, all ranks together --------------------------------------

typedef struct {
    const CheckpointRun *run;
    void (*warn)(const char *message);
    char **names;                         // rank 0: oldest first
    int count, left;                      // rank 0: names[0..left) were not tried yet
    char reasons[ERROR_TEXT_BYTES - 300]; // rank 0: what was wrong with those tried
    PartRoom room;
} Load;

static bool is_damage(Status status) {
    return status == STATUS_BAD_DATA || status == STATUS_NOT_FOUND || status == STATUS_IO;
}

// Rank 0: warns about the checkpoint tried last and remembers why, for the case that none is good.
static void note_damage(Load *load) {
    const char *name = load->names[load->left], *reason = error_get()->text;
    char message[ERROR_TEXT_BYTES + 64];
    snprintf(message, sizeof message, "checkpoint %s is damaged and skipped: %s", name, reason);
    if (load->warn != NULL) load->warn(message);
    size_t length = strlen(load->reasons), room = sizeof load->reasons - length;
    int n = snprintf(load->reasons + length, room, "\n  %s: %.250s", name, reason);
    if ((size_t)n >= room) load->reasons[length] = 0;
}

static Status verify_file(const char *folder, int part, const BlockFileInfo *file) {
    char path[PATH_BYTES];
    TRY(part_path(folder, part, path));
    return missing_is_bad(block_file_verify(path, file));
}

static Status load_part(Load *load, const char *folder, const Manifest *manifest, int part,
                        uint64_t *fingerprint) {
    const Params *params = load->run->params;
    const StateAccess *access = &load->run->access;
    BlockReader *reader;
    float *numbers = load->room.numbers;
    TRY(verify_file(folder, part, &manifest->file[part]));
    TRY(part_open(folder, params, part, &reader));
    Status status = STATUS_OK;
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind) {
        TRY_OR(done, status, part_read_kind(reader, params, part, kind, &load->room, numbers));
        if (kind == STATE_WEIGHT) *fingerprint += part_fingerprint(params, part, numbers);
        TRY_OR(done, status, access->set(access->context, kind, part, numbers));
    }
done:
    block_reader_close(reader);
    return status;
}

// This rank's part of a checkpoint.
static Status load_own(Load *load, const char *folder, Manifest *manifest, uint64_t *fingerprint) {
    const CheckpointRun *run = load->run;
    TRY(manifest_read(folder, manifest));
    TRY(manifest_fits(manifest, run->params, folder));
    for (int part = 0; part < run->params->parts; ++part)
        if (ownership_owner(run->ownership, part) == comm_rank(run->comm))
            TRY(load_part(load, folder, manifest, part, fingerprint));
    return STATUS_OK;
}

static Status check_fingerprint(const char *folder, uint64_t is, const Manifest *manifest) {
    FAIL_IF(is != manifest->meta.fingerprint, BAD_DATA,
            "%s: its weights have fingerprint %016llx, its manifest says %016llx", folder,
            (unsigned long long)is, (unsigned long long)manifest->meta.fingerprint);
    return STATUS_OK;
}

// The parts of one checkpoint into their places. The result is the same on all ranks.
static Status load_step(Load *load, int64_t step, CheckpointMeta *meta) {
    Comm *comm = load->run->comm;
    char name[STEP_NAME_BYTES], folder[PATH_BYTES];
    Manifest manifest = {0};
    uint64_t fingerprint = 0;
    step_name(step, name);
    Status status = path_format(folder, "%s/%s", load->run->run_dir, name);
    if (status == STATUS_OK) status = load_own(load, folder, &manifest, &fingerprint);
    TRY_OR(done, status, comm_share_status(comm, status));
    TRY_OR(done, status, comm_sum_u64(comm, &fingerprint, 1));
    status = check_fingerprint(folder, fingerprint, &manifest);
    TRY_OR(done, status, comm_share_status(comm, status));
    *meta = manifest.meta;
    manifest.meta.facts = NULL;
done:
    manifest_close(&manifest);
    return status;
}

// Rank 0, when there is none left to try.
static Status check_none(const Load *load) {
    FAIL_IF(load->count > 0, BAD_DATA,
            "%s: none of %d checkpoints is good:%s\nNothing was started over; --fresh does that",
            load->run->run_dir, load->count, load->reasons);
    return STATUS_OK;
}

static Status load_newest(Load *load, CheckpointMeta *meta, bool *found) {
    const CheckpointRun *run = load->run;
    for (;;) {
        int64_t step = -1; // rank 0 says which one is next
        if (load->left > 0) (void)step_of_name(load->names[--load->left], &step);
        TRY(comm_broadcast(run->comm, &step, sizeof step, 0));
        if (step < 0) return comm_share_status(run->comm, check_none(load));
        *found = true;
        Status status = load_step(load, step, meta);
        if (!is_damage(status)) return status;
        if (load->names != NULL) note_damage(load);
        error_clear();
    }
}

// Rank 0: what there is to choose from. A run folder that cannot be written to may be loaded.
static Status list_candidates(Load *load) {
    if (leftovers_remove(load->run->run_dir) != STATUS_OK) error_clear();
    TRY(checkpoint_list(load->run->run_dir, &load->names, &load->count));
    load->left = load->count;
    return STATUS_OK;
}

Status checkpoint_load(const CheckpointRun *run, void (*warn)(const char *message),
                       CheckpointMeta *meta, bool *found) {
    Load load = {.run = run, .warn = warn};
    *meta = (CheckpointMeta){0};
    *found = false;
    Status status = part_room_take(run->params, &load.room);
    if (status == STATUS_OK && comm_rank(run->comm) == 0) status = list_candidates(&load);
    status = comm_share_status(run->comm, status);
    if (status == STATUS_OK) status = load_newest(&load, meta, found);
    folder_names_free(load.names, load.count);
    free(load.room.numbers);
    return status;
}

// ---- one checkpoint, one process ----------------------------------------------------------------

Status checkpoint_read_meta(const char *folder, CheckpointMeta *meta) {
    Manifest manifest;
    TRY(manifest_read(folder, &manifest));
    *meta = manifest.meta;
    manifest.meta.facts = NULL;
    manifest_close(&manifest);
    return STATUS_OK;
}

static Status read_part(const char *folder, const Params *params, int part, StateKind kind,
                        PartRoom *room, float *numbers) {
    BlockReader *reader;
    TRY(part_open(folder, params, part, &reader));
    Status status = part_read_kind(reader, params, part, kind, room, numbers);
    block_reader_close(reader);
    return status;
}

Status checkpoint_read_kind(const char *folder, const Params *params, StateKind kind,
                            float *numbers) {
    Manifest manifest;
    PartRoom room = {0};
    TRY(manifest_read(folder, &manifest));
    Status status = STATUS_OK;
    uint64_t fingerprint = 0;
    TRY_OR(done, status, manifest_fits(&manifest, params, folder));
    TRY_OR(done, status, part_room_take(params, &room));
    for (int part = 0; part < params->parts; ++part) {
        int64_t begin, end;
        params_part(params, part, &begin, &end);
        TRY_OR(done, status, read_part(folder, params, part, kind, &room, numbers + begin));
        fingerprint += part_fingerprint(params, part, numbers + begin);
    }
    if (kind == STATE_WEIGHT)
        TRY_OR(done, status, check_fingerprint(folder, fingerprint, &manifest));
done:
    free(room.numbers);
    manifest_close(&manifest);
    return status;
}

// Every entry of the folder is a listed one.
static Status check_entries(const char *folder, const Manifest *manifest) {
    char **names;
    int count;
    TRY(folder_names(folder, &names, &count));
    Status status = STATUS_OK;
    for (int i = 0; i < count; ++i) {
        bool known = strcmp(names[i], MANIFEST_NAME) == 0;
        for (int part = 0; part < manifest->params.parts && !known; ++part) {
            char wanted[PART_NAME_BYTES];
            part_name(part, wanted);
            known = strcmp(names[i], wanted) == 0;
        }
        if (!known)
            FAIL_OR(done, status, BAD_DATA, "%s/%s does not belong to this checkpoint", folder,
                    names[i]);
    }
done:
    folder_names_free(names, count);
    return status;
}

static Status verify_parts(const char *folder, const Manifest *manifest, PartRoom *room) {
    const Params *params = &manifest->params;
    uint64_t fingerprint = 0;
    for (int part = 0; part < params->parts; ++part) {
        TRY(verify_file(folder, part, &manifest->file[part]));
        TRY(read_part(folder, params, part, STATE_WEIGHT, room, room->numbers));
        fingerprint += part_fingerprint(params, part, room->numbers);
    }
    return check_fingerprint(folder, fingerprint, manifest);
}

Status checkpoint_verify(const char *folder) {
    Manifest manifest;
    PartRoom room = {0};
    TRY(manifest_read(folder, &manifest));
    Status status = STATUS_OK;
    TRY_OR(done, status, check_entries(folder, &manifest));
    TRY_OR(done, status, part_room_take(&manifest.params, &room));
    TRY_OR(done, status, verify_parts(folder, &manifest, &room));
done:
    free(room.numbers);
    manifest_close(&manifest);
    return status;
}
