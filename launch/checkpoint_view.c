// Reading behind launch/checkpoint_view.h, with the files of trainer/checkpoint_impl.h.
#include "launch/checkpoint_view.h"

#include <stdlib.h>
#include <string.h>

#include "trainer/checkpoint_impl.h"

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
        TRY_OR(done, status, manifest_check_print(&manifest, folder, fingerprint));
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
        TRY(part_verify(folder, part, &manifest->file[part]));
        TRY(read_part(folder, params, part, STATE_WEIGHT, room, room->numbers));
        fingerprint += part_fingerprint(params, part, room->numbers);
    }
    return manifest_check_print(manifest, folder, fingerprint);
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
