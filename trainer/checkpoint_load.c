// Loading and checking: nothing is believed before its hash is, and a broken checkpoint is named.
#include "trainer/checkpoint_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- choosing and loading a checkpoint, all ranks together --------------------------------------

typedef struct {
    Comm *comm;
    const char *run_dir;
    const Params *params;
    const Ownership *ownership;
    const StateAccess *access;
    void (*warn)(const char *message);
    char **names;    // rank 0: oldest first
    int count, left; // rank 0: names[0..left) were not tried yet
    int tried;
    char reasons[ERROR_TEXT_BYTES - 300]; // rank 0: what was wrong with those tried
    PartRoom room;
} Load;

// What rank 0 tells the others; the text of the manifest follows.
typedef struct {
    int64_t found, step;
    uint64_t bytes;
} Choice;

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
    ++load->tried;
    error_clear();
}

// Rank 0: the newest one left with a good manifest; choice->bytes is 0 if there is none.
static Status choose(Load *load, Choice *choice, char **text) {
    while (load->left > 0) {
        char path[PATH_BYTES];
        Manifest manifest;
        size_t bytes = 0;
        const char *name = load->names[--load->left];
        TRY(path_format(path, "%s/%s", load->run_dir, name));
        Status status = manifest_read(path, &manifest, text, &bytes);
        if (is_damage(status)) {
            note_damage(load);
            continue;
        }
        TRY(status);
        status = manifest_fits(&manifest, load->params, path);
        choice->step = manifest.meta.step;
        choice->bytes = bytes;
        manifest_close(&manifest);
        return status;
    }
    FAIL_IF(load->count > 0, BAD_DATA,
            "%s: none of %d checkpoints is good:%s\nNothing was started over; --fresh does that",
            load->run_dir, load->tried, load->reasons);
    return STATUS_OK;
}

// All ranks learn the choice and its manifest (*text, malloc'ed; NULL if there is none).
static Status share_choice(Load *load, Choice *choice, char **text) {
    bool first = comm_rank(load->comm) == 0;
    *choice = (Choice){.found = load->count > 0};
    Status status = share_status(load->comm, first ? choose(load, choice, text) : STATUS_OK);
    if (status == STATUS_OK) status = comm_broadcast(load->comm, choice, sizeof *choice, 0);
    if (status != STATUS_OK || choice->bytes == 0) return status;
    if (!first) *text = malloc(choice->bytes);
    bool failed = *text == NULL;
    if (failed)
        status = error_raise(STATUS_NO_MEMORY, __FILE__, __LINE__, __func__,
                             "no memory for a manifest of %llu bytes",
                             (unsigned long long)choice->bytes);
    TRY(share_status(load->comm, status));
    return comm_broadcast(load->comm, *text, choice->bytes, 0);
}

static Status verify_file(const char *folder, int part, const BlockFileInfo *file) {
    char name[PART_NAME_BYTES], path[PATH_BYTES];
    part_name(part, name);
    TRY(path_format(path, "%s/%s", folder, name));
    return missing_is_bad(block_file_verify(path, file));
}

static Status load_part(Load *load, const char *folder, const Manifest *manifest, int part,
                        uint64_t *fingerprint) {
    BlockReader *reader;
    int64_t begin, end;
    float *numbers = load->room.numbers;
    params_part(load->params, part, &begin, &end);
    TRY(verify_file(folder, part, &manifest->file[part]));
    TRY(part_open(folder, load->params, part, &reader));
    Status status = STATUS_OK;
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind) {
        TRY_OR(done, status,
               part_read_kind(reader, load->params, part, kind, &load->room, numbers));
        if (kind == STATE_WEIGHT) *fingerprint += part_fingerprint(numbers, begin, end - begin);
        TRY_OR(done, status, load->access->set(load->access->context, kind, part, numbers));
    }
done:
    block_reader_close(reader);
    return status;
}

static Status load_parts(Load *load, const char *folder, const Manifest *manifest,
                         uint64_t *fingerprint) {
    int rank = comm_rank(load->comm);
    for (int part = 0; part < load->params->parts; ++part)
        if (ownership_owner(load->ownership, part) == rank)
            TRY(load_part(load, folder, manifest, part, fingerprint));
    return STATUS_OK;
}

static Status check_fingerprint(const char *folder, uint64_t is, uint64_t wanted) {
    FAIL_IF(is != wanted, BAD_DATA,
            "%s: its weights have fingerprint %016llx, its manifest says %016llx", folder,
            (unsigned long long)is, (unsigned long long)wanted);
    return STATUS_OK;
}

// The parts of the chosen checkpoint into their places. The result is the same on all ranks.
static Status load_choice(Load *load, const Choice *choice, const char *text,
                          CheckpointMeta *meta) {
    char name[STEP_NAME_BYTES], folder[PATH_BYTES];
    Manifest manifest = {0};
    uint64_t fingerprint = 0;
    step_name(choice->step, name);
    Status status = path_format(folder, "%s/%s", load->run_dir, name);
    if (status == STATUS_OK) status = manifest_parse(text, choice->bytes, folder, &manifest);
    if (status == STATUS_OK) status = load_parts(load, folder, &manifest, &fingerprint);
    TRY_OR(done, status, share_status(load->comm, status));
    TRY_OR(done, status, comm_sum_u64(load->comm, &fingerprint, 1));
    TRY_OR(done, status, check_fingerprint(folder, fingerprint, manifest.meta.fingerprint));
    *meta = manifest.meta;
    manifest.meta.facts = NULL;
done:
    manifest_close(&manifest);
    return status;
}

static Status load_newest(Load *load, CheckpointMeta *meta, bool *found) {
    for (bool first = comm_rank(load->comm) == 0;;) {
        Choice choice;
        char *text = NULL;
        Status status = share_choice(load, &choice, &text);
        *found = choice.found != 0;
        if (status != STATUS_OK || choice.bytes == 0) {
            free(text);
            return status;
        }
        status = load_choice(load, &choice, text, meta);
        free(text);
        if (!is_damage(status)) return status;
        if (first) note_damage(load);
    }
}

// Rank 0: what there is to choose from. A run folder that cannot be written to may be loaded.
static Status list_candidates(Load *load) {
    if (leftovers_remove(load->run_dir) != STATUS_OK) error_clear();
    TRY(checkpoint_list(load->run_dir, &load->names, &load->count));
    load->left = load->count;
    return STATUS_OK;
}

Status checkpoint_load(Comm *comm, const char *run_dir, const Params *params,
                       const Ownership *ownership, const StateAccess *access,
                       void (*warn)(const char *message), CheckpointMeta *meta, bool *found) {
    Load load = {.comm = comm,
                 .run_dir = run_dir,
                 .params = params,
                 .ownership = ownership,
                 .access = access,
                 .warn = warn};
    *meta = (CheckpointMeta){0};
    *found = false;
    Status status = part_room_open(params, &load.room);
    if (status == STATUS_OK && comm_rank(comm) == 0) status = list_candidates(&load);
    status = share_status(comm, status);
    if (status == STATUS_OK) status = load_newest(&load, meta, found);
    folder_names_free(load.names, load.count);
    part_room_close(&load.room);
    return status;
}

// ---- one checkpoint, one process ----------------------------------------------------------------

Status checkpoint_read_meta(const char *folder, CheckpointMeta *meta) {
    Manifest manifest;
    TRY(manifest_read(folder, &manifest, NULL, NULL));
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
    TRY(manifest_read(folder, &manifest, NULL, NULL));
    Status status = STATUS_OK;
    uint64_t fingerprint = 0;
    TRY_OR(done, status, manifest_fits(&manifest, params, folder));
    TRY_OR(done, status, part_room_open(params, &room));
    for (int part = 0; part < params->parts; ++part) {
        int64_t begin, end;
        params_part(params, part, &begin, &end);
        TRY_OR(done, status, read_part(folder, params, part, kind, &room, numbers + begin));
        fingerprint += part_fingerprint(numbers + begin, begin, end - begin);
    }
    if (kind == STATE_WEIGHT)
        TRY_OR(done, status, check_fingerprint(folder, fingerprint, manifest.meta.fingerprint));
done:
    part_room_close(&room);
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
        int64_t begin, end;
        params_part(params, part, &begin, &end);
        TRY(verify_file(folder, part, &manifest->file[part]));
        TRY(read_part(folder, params, part, STATE_WEIGHT, room, room->numbers));
        fingerprint += part_fingerprint(room->numbers, begin, end - begin);
    }
    return check_fingerprint(folder, fingerprint, manifest->meta.fingerprint);
}

Status checkpoint_verify(const char *folder) {
    Manifest manifest;
    PartRoom room = {0};
    TRY(manifest_read(folder, &manifest, NULL, NULL));
    Status status = STATUS_OK;
    TRY_OR(done, status, check_entries(folder, &manifest));
    TRY_OR(done, status, part_room_open(&manifest.params, &room));
    TRY_OR(done, status, verify_parts(folder, &manifest, &room));
done:
    part_room_close(&room);
    manifest_close(&manifest);
    return status;
}
