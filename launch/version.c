// Versions behind launch/version.h. Each library's version comes from the file that is its home.
#include "launch/version.h"

#include "base/json.h"
#include "data/codec.h"
#include "data/pack/blob.h"
#include "data/pack/container.h"
#include "data/pack/image_file.h"
#include "data/png.h"
#include "model/backend.h"
#include "comm/comm.h"
#include "launch/schema.h"
#include "launch/watch/wire.h"

typedef struct {
    const char *library;
    const char *(*version)(void);
} LibraryRow;

static const LibraryRow libraries[] = {
    {"zstd", codec_version},   {"xxHash", codec_hash_version},    {"libyaml", schema_version},
    {"jansson", json_version}, {"libpng", png_version},           {"libjpeg-turbo", image_version},
    {"zlib", blob_version},    {"libarchive", container_version}, {"ZeroMQ", wire_version},
};

const char *version_text(void) {
    return DYE_VERSION " (commit " DYE_COMMIT ")";
}

void version_print(FILE *out) {
    fprintf(out, "dye %s\n", version_text());
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; ++i)
        fprintf(out, "%s %s\n", libraries[i].library, libraries[i].version());
    // What a run says of itself when it starts: how it multiplies on this machine.
    Device *device = NULL;
    if (device_open(&(DeviceConfig){.backend = "cpu", .streams = 1}, &device) == STATUS_OK)
        fprintf(out, "%s\n", device->description);
    error_clear();
    device_close(device);
    fprintf(out, "%s\n", comm_library());
}

json_t *version_facts(void) {
    json_t *facts = json_pack("{s:s}", "dye", version_text());
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; ++i)
        json_object_set_new(facts, libraries[i].library, json_string(libraries[i].version()));
    return facts;
}
