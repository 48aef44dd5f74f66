// Loading: nothing is believed before its hash is, and a broken checkpoint is named.
#include "trainer/checkpoint_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static Status load_part(Load *load, const char *folder, const Manifest *manifest, int part,
                        uint64_t *fingerprint) {
    const Params *params = load->run->params;
    const StateAccess *access = &load->run->access;
    BlockReader *reader;
    float *numbers = load->room.numbers;
    TRY(part_verify(folder, part, &manifest->file[part]));
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
    status = manifest_check_print(&manifest, folder, fingerprint);
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
