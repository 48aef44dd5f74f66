// Any bytes as a choice of products: refused, or written again as they are. With a first byte that
// is odd the rest becomes lines below a good head, and the hash at their end is made right.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"
#include "model/cuda/choice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char device[] = "cuda some GPU, sm_90; driver for CUDA 13.0";
static const char head[] =
    "dye products 1 on cuda some GPU, sm_90\n"
    "m n k lda ldb ldc batch stride_a stride_b stride_c flags aligned_a aligned_b"
    " aligned_c aligned_bias aligned_aux algorithm\n";

static char *forge(const uint8_t *data, size_t bytes) {
    size_t used = strlen(head);
    char *text = malloc(used + bytes + 64);
    if (text == NULL) abort();
    memcpy(text, head, used);
    memcpy(text + used, data, bytes);
    used += bytes;
    int lines = 0;
    uint64_t hash = 0;
    for (size_t i = 0; i < used; ++i) {
        hash = mix64(hash + MIX_GOLDEN + (unsigned char)text[i]);
        lines += text[i] == '\n';
    }
    sprintf(text + used, "%d measured, choice %016llx\n", lines - 2, (unsigned long long)hash);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Choices choices = {0};
    if (bytes == 0) return 0;
    char *again, *text = data[0] % 2 == 1 ? forge(data + 1, bytes - 1) : calloc(1, bytes);
    if (text == NULL) abort();
    if (data[0] % 2 == 0) memcpy(text, data + 1, bytes - 1);
    if (choices_read(&choices, text, device) == STATUS_OK) {
        if (choices_write(&choices, device, &again) != STATUS_OK || strcmp(again, text) != 0)
            abort();
        free(again);
    }
    error_clear();
    choices_clear(&choices);
    free(text);
    return 0;
}
