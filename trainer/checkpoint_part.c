// One part file: a safetensors file of byte planes, cut into blocks at the planes.
#include "trainer/checkpoint_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"
#include "data/safetensors.h"

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

// ---- layout -------------------------------------------------------------------------------------

// Block 0 is the header; each kind has 4 planes of n bytes, each plane whole blocks of its own.
typedef struct {
    int64_t first, n; // elements
    int plane_blocks; // blocks of one plane
} PartLayout;

static PartLayout layout_of(const Params *params, int part) {
    int64_t begin, end;
    params_part(params, part, &begin, &end);
    int64_t n = end - begin;
    return (PartLayout){begin, n, (int)((n + PLANE_BLOCK_BYTES - 1) / PLANE_BLOCK_BYTES)};
}

static int first_block(PartLayout layout, StateKind kind, int plane) {
    return 1 + ((int)kind * PLANES + plane) * layout.plane_blocks;
}

// Raw bytes of the i-th block of a plane.
static size_t block_bytes(PartLayout layout, int i) {
    int64_t left = layout.n - (int64_t)i * PLANE_BLOCK_BYTES;
    return left < PLANE_BLOCK_BYTES ? (size_t)left : PLANE_BLOCK_BYTES;
}

// The start of the safetensors file; equal for equal (params, part), so a reader may compare.
static Status build_header(PartLayout layout, int part, char **header, size_t *bytes) {
    SafetensorsEntry list[STATE_KINDS];
    char planes[64] = "";
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind) {
        list[kind] = (SafetensorsEntry){
            .name = state_kind_name(kind), .dtype = "U8", .dims = 2, .dim = {PLANES, layout.n}};
        if (kind > 0) strcat(planes, ",");
        strcat(planes, state_kind_name(kind));
    }
    json_t *metadata =
        json_pack("{s:s, s:s, s:o, s:o, s:o}", "format", "pt", "planes", planes, "part",
                  json_sprintf("%d", part), "first", json_sprintf("%lld", (long long)layout.first),
                  "count", json_sprintf("%lld", (long long)layout.n));
    FAIL_IF(metadata == NULL, NO_MEMORY, "no memory for the header of part %d", part);
    Status status = safetensors_build(list, STATE_KINDS, metadata, header, bytes);
    json_decref(metadata);
    return status;
}

Status part_room_take(const Params *params, PartRoom *room) {
    int64_t most = params->part_size < params->size ? params->part_size : params->size;
    room->numbers = malloc((sizeof(float) + PLANES) * (size_t)most);
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

// ---- writing ------------------------------------------------------------------------------------

static Status write_kind(BlockWriter *writer, PartLayout layout, const float *numbers,
                         PartRoom *room) {
    codec_split_planes(numbers, (size_t)layout.n, 4, room->planes);
    for (int plane = 0; plane < PLANES; ++plane)
        for (int i = 0; i < layout.plane_blocks; ++i) {
            const uint8_t *raw = room->planes + plane * layout.n + (int64_t)i * PLANE_BLOCK_BYTES;
            TRY(block_writer_add(writer, raw, block_bytes(layout, i)));
        }
    return STATUS_OK;
}

static Status write_blocks(BlockWriter *writer, const Params *params, int part,
                           const StateAccess *access, PartRoom *room, uint64_t *fingerprint) {
    PartLayout layout = layout_of(params, part);
    char *header;
    size_t bytes;
    TRY(build_header(layout, part, &header, &bytes));
    Status status = block_writer_add(writer, header, bytes);
    free(header);
    TRY(status);
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind) {
        const float *numbers;
        TRY(access->get(access->context, kind, part, &numbers));
        if (kind == STATE_WEIGHT) *fingerprint += part_fingerprint(params, part, numbers);
        TRY(write_kind(writer, layout, numbers, room));
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

// ---- reading ------------------------------------------------------------------------------------

static Status check_header(BlockReader *reader, PartLayout layout, int part, const char *path) {
    size_t bytes = block_reader_raw_bytes(reader, 0), wanted_bytes;
    char *wanted, *header = malloc(bytes + 1);
    FAIL_IF(header == NULL, NO_MEMORY, "%s: no memory for its header", path);
    Status status = STATUS_OK;
    TRY_OR(done, status, block_reader_read(reader, 0, header));
    TRY_OR(done, status, build_header(layout, part, &wanted, &wanted_bytes));
    bool same = bytes == wanted_bytes && memcmp(header, wanted, bytes) == 0;
    free(wanted);
    if (!same)
        FAIL_OR(done, status, BAD_DATA,
                "%s: its header is not that of part %d (elements %lld to %lld)", path, part,
                (long long)layout.first, (long long)(layout.first + layout.n));
done:
    free(header);
    return status;
}

static Status check_part(BlockReader *reader, PartLayout layout, int part, const char *path) {
    int blocks = first_block(layout, STATE_KINDS, 0);
    FAIL_IF(block_reader_count(reader) != blocks, BAD_DATA,
            "%s has %d blocks, a part of %lld numbers has %d", path, block_reader_count(reader),
            (long long)layout.n, blocks);
    for (int i = 1; i < blocks; ++i) {
        size_t is = block_reader_raw_bytes(reader, i);
        size_t wanted = block_bytes(layout, (i - 1) % layout.plane_blocks);
        FAIL_IF(is != wanted, BAD_DATA, "%s: block %d holds %zu bytes, %zu are expected", path, i,
                is, wanted);
    }
    return check_header(reader, layout, part, path);
}

Status part_verify(const char *folder, int part, const BlockFileInfo *file) {
    char path[PATH_BYTES];
    TRY(part_path(folder, part, path));
    return missing_is_bad(block_file_verify(path, file));
}

Status part_open(const char *folder, const Params *params, int part, BlockReader **out) {
    char path[PATH_BYTES];
    TRY(part_path(folder, part, path));
    TRY(missing_is_bad(block_reader_open(path, out)));
    Status status = check_part(*out, layout_of(params, part), part, path);
    if (status != STATUS_OK) block_reader_close(*out);
    return status;
}

Status part_read_kind(BlockReader *reader, const Params *params, int part, StateKind kind,
                      PartRoom *room, float *numbers) {
    PartLayout layout = layout_of(params, part);
    for (int plane = 0; plane < PLANES; ++plane)
        for (int i = 0; i < layout.plane_blocks; ++i) {
            uint8_t *raw = room->planes + plane * layout.n + (int64_t)i * PLANE_BLOCK_BYTES;
            TRY(block_reader_read(reader, first_block(layout, kind, plane) + i, raw));
        }
    codec_join_planes(room->planes, (size_t)layout.n, 4, numbers);
    return STATUS_OK;
}
