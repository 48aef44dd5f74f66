// One part file (data/plane_file.h): the kinds of state of one part.
#include "trainer/checkpoint_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"
#include "data/plane_file.h"

static const char *const kind_names[STATE_KINDS] = {"weight", "adam_m", "adam_v", "ema_0", "ema_1"};

const char *state_kind_name(StateKind kind) {
    REQUIRE(kind >= 0 && kind < STATE_KINDS);
    return kind_names[kind];
}

void part_name(int part, char out[PART_NAME_BYTES]) {
    snprintf(out, PART_NAME_BYTES, "part-%03d.safetensors.zst", part);
}

Status part_path(const char *folder, int part, char out[PATH_BYTES]) {
    char name[PART_NAME_BYTES];
    part_name(part, name);
    return path_format(out, "%s/%s", folder, name);
}

Status part_room_take(const Params *params, PartRoom *room) {
    int64_t most = params->part_size < params->size ? params->part_size : params->size;
    room->numbers = malloc(2 * sizeof(float) * (size_t)most);
    FAIL_IF(room->numbers == NULL, NO_MEMORY, "no memory for a checkpoint part of %lld numbers",
            (long long)most);
    room->planes = (uint8_t *)(room->numbers + most);
    return STATUS_OK;
}

uint64_t part_fingerprint(const Params *params, int part, const float *numbers) {
    uint64_t sum = 0;
    int64_t begin, end;
    params_part(params, part, &begin, &end);
    for (int64_t i = begin; i < end; ++i) {
        uint32_t bits;
        memcpy(&bits, &numbers[i - begin], sizeof bits);
        sum += mix_element((uint64_t)i, bits);
    }
    return sum;
}

static PlaneFile file_of(const Params *params, int part) {
    int64_t begin, end;
    params_part(params, part, &begin, &end);
    return (PlaneFile){kind_names, STATE_KINDS, part, begin, end - begin};
}

static Status write_blocks(BlockWriter *writer, const Params *params, int part,
                           const StateAccess *access, PartRoom *room, uint64_t *fingerprint) {
    PlaneFile file = file_of(params, part);
    TRY(plane_file_begin(writer, &file));
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind) {
        const float *numbers;
        TRY(access->get(access->context, kind, part, &numbers));
        if (kind == STATE_WEIGHT) *fingerprint += part_fingerprint(params, part, numbers);
        TRY(plane_file_add(writer, &file, numbers, room->planes));
    }
    return STATUS_OK;
}

Status part_write(const char *folder, const Params *params, int part, const StateAccess *access,
                  PartRoom *room, BlockFileInfo *info, uint64_t *fingerprint) {
    char path[PATH_BYTES];
    BlockWriter *writer;
    TRY(part_path(folder, part, path));
    TRY(block_writer_open(path, CHECKPOINT_LEVEL, &writer));
    Status status = write_blocks(writer, params, part, access, room, fingerprint);
    if (status != STATUS_OK) block_writer_discard(writer);
    TRY(status);
    TRY(block_writer_finish(writer, info));
    return block_file_verify(path, info);
}

Status part_verify(const char *folder, int part, const BlockFileInfo *file) {
    char path[PATH_BYTES];
    TRY(part_path(folder, part, path));
    return missing_is_bad(block_file_verify(path, file));
}

Status part_open(const char *folder, const Params *params, int part, BlockReader **out) {
    char path[PATH_BYTES];
    PlaneFile file = file_of(params, part);
    TRY(part_path(folder, part, path));
    return missing_is_bad(plane_file_open(path, &file, out));
}

Status part_read_kind(BlockReader *reader, const Params *params, int part, StateKind kind,
                      PartRoom *room, float *numbers) {
    PlaneFile file = file_of(params, part);
    return plane_file_read(reader, &file, (int)kind, room->planes, numbers);
}
