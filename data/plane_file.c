// Byte planes in blocks behind data/plane_file.h.
#include "data/plane_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/safetensors.h"

// Blocks of one plane.
static int plane_blocks(const PlaneFile *file) {
    return (int)((file->n + PLANE_BLOCK_BYTES - 1) / PLANE_BLOCK_BYTES);
}

static int first_block(const PlaneFile *file, int vector, int plane) {
    return 1 + (vector * PLANES + plane) * plane_blocks(file);
}

// Raw bytes of the i-th block of a plane.
static size_t block_bytes(const PlaneFile *file, int i) {
    int64_t left = file->n - (int64_t)i * PLANE_BLOCK_BYTES;
    return left < PLANE_BLOCK_BYTES ? (size_t)left : PLANE_BLOCK_BYTES;
}

// The start of the safetensors file; equal for equal files, so a reader may compare.
static Status build_header(const PlaneFile *file, char **header, size_t *bytes) {
    SafetensorsEntry list[PLANE_VECTORS_MOST];
    char planes[256] = "";
    REQUIRE(file->vectors <= PLANE_VECTORS_MOST);
    for (int i = 0; i < file->vectors; ++i) {
        list[i] = (SafetensorsEntry){
            .name = file->name[i], .dtype = "U8", .dims = 2, .dim = {PLANES, file->n}};
        size_t used = strlen(planes);
        snprintf(planes + used, sizeof planes - used, "%s%s", i > 0 ? "," : "", file->name[i]);
    }
    json_t *metadata = json_pack("{s:s, s:s, s:o, s:o, s:o}", "format", "pt", "planes", planes,
                                 "part", json_sprintf("%d", file->part), "first",
                                 json_sprintf("%lld", (long long)file->first), "count",
                                 json_sprintf("%lld", (long long)file->n));
    FAIL_IF(metadata == NULL, NO_MEMORY, "no memory for the header of part %d", file->part);
    Status status = safetensors_build(list, file->vectors, metadata, header, bytes);
    json_decref(metadata);
    return status;
}

// ---- writing ----------------------------------------------------------------------------------

Status plane_file_begin(BlockWriter *writer, const PlaneFile *file) {
    char *header;
    size_t bytes;
    TRY(build_header(file, &header, &bytes));
    Status status = block_writer_add(writer, header, bytes);
    free(header);
    return status;
}

Status plane_file_add(BlockWriter *writer, const PlaneFile *file, const float *numbers,
                      uint8_t *room) {
    codec_split_planes(numbers, (size_t)file->n, PLANES, room);
    for (int plane = 0; plane < PLANES; ++plane)
        for (int i = 0; i < plane_blocks(file); ++i) {
            const uint8_t *raw = room + plane * file->n + (int64_t)i * PLANE_BLOCK_BYTES;
            TRY(block_writer_add(writer, raw, block_bytes(file, i)));
        }
    return STATUS_OK;
}

// ---- reading ----------------------------------------------------------------------------------

static Status check_header(BlockReader *reader, const PlaneFile *file, const char *path) {
    size_t bytes = block_reader_raw_bytes(reader, 0), wanted_bytes;
    char *wanted, *header = malloc(bytes + 1);
    FAIL_IF(header == NULL, NO_MEMORY, "%s: no memory for its header", path);
    Status status = STATUS_OK;
    TRY_OR(done, status, block_reader_read(reader, 0, header));
    TRY_OR(done, status, build_header(file, &wanted, &wanted_bytes));
    bool same = bytes == wanted_bytes && memcmp(header, wanted, bytes) == 0;
    free(wanted);
    if (!same)
        FAIL_OR(done, status, BAD_DATA,
                "%s: its header is not that of part %d (elements %lld to %lld)", path, file->part,
                (long long)file->first, (long long)(file->first + file->n));
done:
    free(header);
    return status;
}

static Status check_blocks(BlockReader *reader, const PlaneFile *file, const char *path) {
    int blocks = first_block(file, file->vectors, 0);
    FAIL_IF(block_reader_count(reader) != blocks, BAD_DATA,
            "%s has %d blocks, a part of %lld numbers has %d", path, block_reader_count(reader),
            (long long)file->n, blocks);
    for (int i = 1; i < blocks; ++i) {
        size_t is = block_reader_raw_bytes(reader, i);
        size_t wanted = block_bytes(file, (i - 1) % plane_blocks(file));
        FAIL_IF(is != wanted, BAD_DATA, "%s: block %d holds %zu bytes, %zu are expected", path, i,
                is, wanted);
    }
    return check_header(reader, file, path);
}

Status plane_file_open(const char *path, const PlaneFile *file, BlockReader **out) {
    TRY(block_reader_open(path, out));
    Status status = check_blocks(*out, file, path);
    if (status != STATUS_OK) block_reader_close(*out);
    return status;
}

Status plane_file_read(BlockReader *reader, const PlaneFile *file, int vector, uint8_t *room,
                       float *numbers) {
    for (int plane = 0; plane < PLANES; ++plane)
        for (int i = 0; i < plane_blocks(file); ++i) {
            uint8_t *raw = room + plane * file->n + (int64_t)i * PLANE_BLOCK_BYTES;
            TRY(block_reader_read(reader, first_block(file, vector, plane) + i, raw));
        }
    codec_join_planes(room, (size_t)file->n, PLANES, numbers);
    return STATUS_OK;
}
