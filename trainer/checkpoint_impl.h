// What the files behind trainer/checkpoint.h share: names, part files, the manifest.
// Nobody else includes this but launch/checkpoint_view.c and tests.
#pragma once

#include "data/codec.h"
#include "trainer/checkpoint.h"

enum {
    CHECKPOINT_VERSION = 1,
    CHECKPOINT_LEVEL = 1, // zstd
    MANIFEST_BYTES_MOST = 16 << 20,
    PART_NAME_BYTES = 32,
    STEP_NAME_BYTES = 32,
};
#define SAVING_PREFIX ".saving-"
#define MANIFEST_NAME "manifest.json"

// ---- names --------------------------------------------------------------------------------------

void step_name(int64_t step, char out[STEP_NAME_BYTES]); // "step-000000500"
bool step_of_name(const char *name, int64_t *step);      // false if it is no such name
void part_name(int part, char out[PART_NAME_BYTES]);     // "part-000.safetensors.zst"
Status part_path(const char *folder, int part, char out[PATH_BYTES]);
// Removes what a killed save has left behind in the run folder.
Status leftovers_remove(const char *run_dir);
// Of this thread's last failure: NOT_FOUND becomes BAD_DATA, since a listed file must be there.
Status missing_is_bad(Status status);

// ---- part files ---------------------------------------------------------------------------------

// Host memory for one part at a time.
typedef struct {
    float *numbers;  // [part_size]; free this
    uint8_t *planes; // [4 * part_size], behind them
} PartRoom;
Status part_room_take(const Params *params, PartRoom *room);

// Sum of mix_element over the numbers of a part.
uint64_t part_fingerprint(const Params *params, int part, const float *numbers);

// Writes all kinds of a part, fsyncs, reads the file again. Adds to *fingerprint that of the
// part's weights. Nothing is left behind after a failure.
Status part_write(const char *folder, const Params *params, int part, const StateAccess *access,
                  PartRoom *room, BlockFileInfo *info, uint64_t *fingerprint);
// BAD_DATA where a part's file is not there, or not the one that the manifest lists.
Status part_verify(const char *folder, int part, const BlockFileInfo *file);
// Opens a part and checks that its header and blocks are those of this part. BAD_DATA also if the
// file is not there.
Status part_open(const char *folder, const Params *params, int part, BlockReader **out);
// numbers[n of the part] of one kind, decoding only its blocks.
Status part_read_kind(BlockReader *reader, const Params *params, int part, StateKind kind,
                      PartRoom *room, float *numbers);

// ---- manifest -----------------------------------------------------------------------------------

typedef struct {
    CheckpointMeta meta;
    Params params;       // names, shapes, places, parts; nothing about initial values
    BlockFileInfo *file; // [params.parts]
} Manifest;

// The text of manifest.json, malloc'ed.
Status manifest_build(const Params *params, const CheckpointMeta *meta, const BlockFileInfo *file,
                      char **text, size_t *bytes);
// Errors: BAD_DATA (damaged), BAD_CONFIG (whole, but of another version of the format).
Status manifest_parse(const char *text, size_t bytes, const char *what, Manifest *out);
// Reads FOLDER/manifest.json and checks that it belongs to a folder of that name. Errors: also
// NOT_FOUND (no such folder), IO.
Status manifest_read(const char *folder, Manifest *out);
void manifest_close(Manifest *manifest); // fine on a zeroed one
// BAD_CONFIG names the first tensor that differs from what the model wants.
Status manifest_fits(const Manifest *manifest, const Params *params, const char *folder);
// BAD_DATA: the weights of all parts have another fingerprint than the manifest says.
Status manifest_check_print(const Manifest *manifest, const char *folder, uint64_t is);
