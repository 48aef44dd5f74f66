// Any bytes as manifest.json of a checkpoint: as they are, and as the body of a file with the right
// hash, so that the fuzzer gets past it. What is accepted must describe itself consistently and
// survive being written again.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/checkpoint_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const Manifest *manifest) {
    const Params *params = &manifest->params;
    int64_t at = 0, end = 0;
    for (int i = 0; i < params->count; ++i) {
        REQUIRE(params->list[i].offset == at && params->list[i].size >= 1);
        at += params->list[i].size;
    }
    REQUIRE(at == params->size && json_is_object(manifest->meta.facts));
    for (int part = 0; part < params->parts; ++part) {
        int64_t begin;
        int64_t before = end;
        params_part(params, part, &begin, &end);
        REQUIRE(begin == before && end > begin);
    }
    REQUIRE(end == params->size);
    REQUIRE(manifest_fits(manifest, params, "itself") == STATUS_OK);
}

static void rebuild(const Manifest *manifest) {
    char *text;
    size_t bytes;
    Manifest again;
    REQUIRE(manifest_build(&manifest->params, &manifest->meta, manifest->file, &text, &bytes) ==
            STATUS_OK);
    REQUIRE(manifest_parse(text, bytes, "rebuilt", &again) == STATUS_OK);
    REQUIRE(again.params.parts == manifest->params.parts);
    REQUIRE(memcmp(again.file, manifest->file, (size_t)again.params.parts * sizeof *again.file) ==
            0);
    REQUIRE(json_equal(again.meta.facts, manifest->meta.facts));
    manifest_close(&again);
    free(text);
}

static void parse(const char *text, size_t bytes) {
    Manifest manifest;
    if (manifest_parse(text, bytes, "fuzz", &manifest) != STATUS_OK) return;
    check(&manifest);
    rebuild(&manifest);
    manifest_close(&manifest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char tail[40];
    char *text = malloc(bytes + sizeof tail);
    REQUIRE(text != NULL);
    memcpy(text, data, bytes);
    parse(text, bytes);
    // A seed is a whole file: its own last line gives way to the one that fits.
    const char *own = bytes >= 32 ? memmem(text, bytes, "  \"hash\": \"", 11) : NULL;
    size_t body = own != NULL ? (size_t)(own - text) : bytes;
    int n =
        snprintf(tail, sizeof tail, "  \"hash\": \"%016" PRIx64 "\"\n}\n", codec_hash(text, body));
    memcpy(text + body, tail, (size_t)n);
    parse(text, body + (size_t)n);
    free(text);
    return 0;
}
