// Any bytes as a safetensors file: refused, or a table that covers the data without gaps and that
// the builder turns into a header with the same content.
#include <stdlib.h>
#include <string.h>

#include "data/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const Safetensors *tensors, uint64_t file_bytes) {
    uint64_t at = 0;
    for (int i = 0; i < tensors->count; ++i) {
        REQUIRE(tensors->list[i].begin == at && tensors->list[i].end >= at);
        at = tensors->list[i].end;
    }
    REQUIRE(at == file_bytes - tensors->header_bytes);
    REQUIRE(tensors->count == 0 || safetensors_find(tensors, tensors->list[0].name) != NULL);
}

static void rebuild(const Safetensors *tensors, uint64_t file_bytes) {
    size_t list_bytes = (size_t)tensors->count * sizeof *tensors->list;
    SafetensorsEntry *list = malloc(list_bytes + 1);
    REQUIRE(list != NULL);
    memcpy(list, tensors->list, list_bytes);
    char *header;
    size_t bytes;
    Safetensors again;
    REQUIRE(safetensors_build(list, tensors->count, tensors->metadata, &header, &bytes) ==
            STATUS_OK);
    uint64_t data = file_bytes - tensors->header_bytes;
    REQUIRE(safetensors_parse(header, bytes, bytes + data, "rebuilt", &again) == STATUS_OK);
    REQUIRE(again.count == tensors->count);
    for (int i = 0; i < again.count; ++i) {
        const SafetensorsEntry *a = &again.list[i], *b = safetensors_find(tensors, a->name);
        REQUIRE(b != NULL && strcmp(a->dtype, b->dtype) == 0 && a->dims == b->dims);
        REQUIRE(memcmp(a->dim, b->dim, sizeof a->dim) == 0);
    }
    safetensors_close(&again);
    free(header);
    free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Safetensors tensors;
    if (safetensors_parse(data, bytes, bytes, "fuzz", &tensors) != STATUS_OK) return 0;
    check(&tensors, bytes);
    rebuild(&tensors, bytes);
    safetensors_close(&tensors);
    return 0;
}
