// Versions behind launch/version.h. Each library's version comes from the file that is its home.
#include "launch/version.h"

#include "data/codec.h"
#include "base/json.h"
#include "launch/schema.h"
#include "data/pack/container.h"
#include "data/png.h"
#include "launch/wire.h"

typedef struct {
    const char *library;
    const char *(*version)(void);
} LibraryRow;

static const LibraryRow libraries[] = {
    {"zstd", codec_version}, {"libyaml", schema_version},       {"jansson", json_version},
    {"libpng", png_version}, {"libarchive", container_version}, {"ZeroMQ", wire_version},
};

const char *version_text(void) {
    return DYE_VERSION " (commit " DYE_COMMIT ")";
}

void version_print(FILE *out) {
    fprintf(out, "dye %s\n", version_text());
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; ++i)
        fprintf(out, "%s %s\n", libraries[i].library, libraries[i].version());
    fputs("Open MPI, the matrix library and the instruction set are told when a run starts\n", out);
}

json_t *version_facts(void) {
    json_t *facts = json_pack("{s:s}", "dye", version_text());
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; ++i)
        json_object_set_new(facts, libraries[i].library, json_string(libraries[i].version()));
    return facts;
}
