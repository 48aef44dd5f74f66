// Versions behind launch/version.h. Each library's version comes from the file that is its home.
#include "launch/version.h"

#include <dlfcn.h>

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
    {"zstd", codec_version},     {"xxHash", codec_hash_version},
    {"libyaml", schema_version}, {"jansson", jansson_version_str},
    {"libpng", png_version},     {"libjpeg-turbo", image_version},
    {"zlib", blob_version},      {"libarchive", container_version},
    {"ZeroMQ", wire_version},
};

const char *version_text(void) {
    return DYE_VERSION " (commit " DYE_COMMIT ")";
}

// Where a GPU's library lies, and what it says of the device of `backend` (NULL: it has none). One
// that is not installed is not worth a line.
static void print_library(FILE *out, const char *name, const char *symbol, const char *backend) {
    const void *found = NULL;
    Device *device = NULL;
    Dl_info where;
    Status status = library_find(name, symbol, &found);
    if (status == STATUS_OK && dladdr(found, &where) != 0) {
        fprintf(out, "%s%s", where.dli_fname, backend != NULL ? ": " : "\n");
        if (backend != NULL)
            status = device_open(&(DeviceConfig){.backend = backend, .streams = 1}, &device);
    }
    if (device != NULL)
        fprintf(out, "%s\n", device->description);
    else if (status != STATUS_OK && (found != NULL || status == STATUS_NOT_FOUND))
        fprintf(out, "%s%s\n", status == STATUS_NOT_FOUND && found != NULL ? "no GPU here: " : "",
                error_get()->text);
    error_clear();
    device_close(device);
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
    print_library(out, "cuda", "dye_backend", "cuda");
    print_library(out, "nccl", "dye_comm", NULL);
}

json_t *version_facts(void) {
    json_t *facts = json_pack("{s:s}", "dye", version_text());
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; ++i)
        json_object_set_new(facts, libraries[i].library, json_string(libraries[i].version()));
    return facts;
}
